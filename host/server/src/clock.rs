//! The one place that reads the wall clock.

use std::time::{SystemTime, UNIX_EPOCH};

use weir_core::time::Millis;

/// Unix time.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the wall clock; all others are passed it"
)]
pub fn now() -> Millis {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
