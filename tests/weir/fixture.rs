//! What the tests start from.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;
use weir_tests::host::{self, Host, Place};

/// For all handlers to finish what was published.
pub(crate) const SETTLE: Duration = Duration::from_secs(120);

/// A place whose folder goes with it.
pub(crate) struct Scratch {
    pub(crate) place: Place,
    folder: TempDir,
}

impl Scratch {
    /// A place for a host with these handlers; `config` goes to the end of its `weir.toml`.
    pub(crate) fn new(handlers: &[&str], config: &str) -> Self {
        Self::in_folders(&host::handlers(root(), handlers).unwrap(), config)
    }

    /// The same with handlers in these folders.
    pub(crate) fn in_folders(handlers: &[PathBuf], config: &str) -> Self {
        let folder = TempDir::with_prefix("weir-").unwrap();
        let place = Place::new(&host::binary().unwrap(), folder.path(), handlers, config).unwrap();
        Self { place, folder }
    }

    /// A place with the handlers of the purchases, and a host that runs there.
    pub(crate) fn with_purchases() -> (Self, Host) {
        let scratch = Self::new(&["billing", "notification"], "");
        let host = scratch.place.start().unwrap();
        (scratch, host)
    }

    /// Writes a file beside the configuration.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

/// The root of the repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Says that a test could not run; `cargo xtask test` counts it as skipped. Not captured, unlike `println!`.
pub(crate) fn skip(test: &str, reason: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "\nSKIPPED: {test}: {reason}").unwrap();
}

/// Says that a part of a test was passed over on a machine that is too slow for it; `cargo xtask test` lists it, and the
/// test counts by the rest of it. Not captured either.
pub(crate) fn untried(part: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "\nUNTRIED: {part}: the machine is too slow").unwrap();
}

/// What a command has printed; what it says where it fails.
pub(crate) fn json(output: &std::process::Output) -> anyhow::Result<serde_json::Value> {
    let said = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "{said}");
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// The public CDNOW purchase log, which stands beside the project; none where it is not there, which is said.
pub(crate) fn cdnow(test: &str) -> Option<PathBuf> {
    let file = root().join("../shared/data/cdnow.ndjson.gz");
    let found = file.is_file();
    if !found {
        skip(
            test,
            "there is no ../shared/data/cdnow.ndjson.gz; the sample ran",
        );
    }
    found.then_some(file)
}

/// An event that no handler minds.
pub(crate) fn invoice(id: &str, customer: &str, amount: &str) -> String {
    format!(
        r#"{{"specversion":"1.0","id":"{id}","source":"/tests","type":"InvoiceCreated","datacontenttype":"application/json","partitionkey":"{customer}","data":{{"invoiceId":"{id}","customerId":"{customer}","quantity":1,"amount":"{amount}","currency":"USD"}}}}"#
    )
}
