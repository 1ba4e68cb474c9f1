//! The smaller interfaces that need a grant.

use std::time::Duration;

use crate::host;

/// A setting of the deployment. Needs the grant `config`.
pub fn config(name: &str) -> Option<String> {
    host::config::get(name)
}

/// A secret of the deployment. Needs the grant `secrets` for this name.
pub fn secret(name: &str) -> Option<String> {
    host::secrets::get(name)
}

/// Whole milliseconds, as the contract counts. A part of one counts as a whole, so that nothing comes early; what
/// exceeds 584 million years is cut.
pub(crate) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}
