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

/// Timers of the event's key. Needs the grant `timers`.
pub mod timers {
    use std::time::{Duration, SystemTime};

    use crate::host;

    /// Fires once, this long after the commit. A timer of the same name is replaced.
    pub fn set_after(name: &str, wait: Duration, data: Option<&[u8]>) {
        host::timers::set_after(name, super::milliseconds(wait), data);
    }

    /// Fires once, at this time; a time that has passed fires after the commit.
    pub fn set_at(name: &str, at: SystemTime, data: Option<&[u8]>) {
        let since_epoch = at
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        host::timers::set_at(name, super::milliseconds(since_epoch), data);
    }

    /// Forgets the timer of this name, if there is one.
    pub fn cancel(name: &str) {
        host::timers::cancel(name);
    }
}

/// Whole milliseconds, as the contract counts. What exceeds 584 million years is cut.
pub(crate) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
