//! `cargo xtask sample --format`: a data directory of the present format, kept so that every later version shows that it
//! still reads it.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use weir_tests::host::{self, Place};
use weir_tests::purchases::{self, INVOICES};

use crate::{cargo, guests, machine};

/// As `tests/weir/damage.rs` expects it.
const EVENTS: usize = 200;
const SETTLE: Duration = Duration::from_secs(120);

/// Writes `tests/data/formats/<n>`, unless it is there: what was released does not change.
pub(crate) fn write(root: &Path) -> anyhow::Result<()> {
    machine::prepare()?;
    guests::build(root)?;
    cargo::build_host(root)?;
    let scratch = root.join("target/format-sample");
    if scratch.exists() {
        fs::remove_dir_all(&scratch).with_context(|| format!("remove {}", scratch.display()))?;
    }
    let handlers = host::handlers(root, &["billing", "notification"])?;
    let place = Place::new(&host::binary()?, &scratch, &handlers, "")?;
    let events = purchases::lines(&purchases::sample(root))?;
    // Two runs: what the first wrote lies in tables then, what the second wrote in the journal.
    for half in events[..EVENTS].chunks(EVENTS / 2) {
        let host = place.start()?;
        for batch in half.chunks(20) {
            let answer = host.client().publish(INVOICES, batch)?;
            anyhow::ensure!(answer.status == 202, "{}: {}", answer.status, answer.body);
        }
        host.client().settle(SETTLE)?;
        host.drain()?;
    }
    let format = fs::read_to_string(place.data().join("FORMAT"))?;
    let target = root.join("tests/data/formats").join(format.trim());
    anyhow::ensure!(
        !target.exists(),
        "{} is there and stays as it is",
        target.display()
    );
    copy(&place.data(), &target)?;
    copy(&place.data().join("store"), &target.join("store"))?;
    eprintln!("wrote {EVENTS} events to {}", target.display());
    fs::remove_dir_all(&scratch).with_context(|| format!("remove {}", scratch.display()))
}

/// The files of a folder, but for those that nothing reads.
fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let name = entry.file_name();
        let is_read = !["LOG", "LOCK", "OPTIONS"]
            .iter()
            .any(|unread| name.to_string_lossy().starts_with(unread));
        if entry.file_type()?.is_file() && is_read {
            fs::copy(entry.path(), to.join(&name))?;
        }
    }
    Ok(())
}
