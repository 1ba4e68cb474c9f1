//! `cargo xtask chaos`: kills a host under load again and again, and checks every effect.

use std::path::Path;
use std::time::SystemTime;

use anyhow::Context as _;
use weir_tests::chaos;
use weir_tests::host::{self, Place};

use crate::{cargo, guests, machine};

/// Kills the host so often; what went wrong is the error.
pub(crate) fn run(
    root: &Path,
    kills: usize,
    seed: Option<u64>,
    json: bool,
) -> anyhow::Result<bool> {
    machine::prepare()?;
    guests::build(root)?;
    guests::build_fixtures(root)?;
    cargo::build_host(root)?;
    let folder = root.join("target/chaos");
    if folder.exists() {
        std::fs::remove_dir_all(&folder).with_context(|| format!("remove {}", folder.display()))?;
    }
    let handlers = host::handlers(root, &chaos::HANDLERS)?;
    let place = Place::new(&host::binary()?, &folder, &handlers, "")?;
    let seed = seed.map_or_else(any_seed, Ok)?;
    eprintln!(
        "{kills} kills, seed {seed}; the host's log is {}",
        place.log().display()
    );
    let report = chaos::run(&place, kills, seed, |done, at, recovery| {
        eprintln!(
            "{done:>5} of {kills}  {at:<16} ready again after {:>5} ms",
            recovery.as_millis()
        );
    })?;
    if json {
        println!("{}", serde_json::to_string_pretty(&report.json())?);
    } else {
        println!("\n{report}");
    }
    std::fs::remove_dir_all(&folder).with_context(|| format!("remove {}", folder.display()))?;
    Ok(true)
}

/// A seed of its own for each run; it is printed.
fn any_seed() -> anyhow::Result<u64> {
    Ok(SystemTime::UNIX_EPOCH.elapsed()?.subsec_nanos().into())
}
