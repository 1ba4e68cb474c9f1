//! Waiting for a state, with a deadline and a reason.

use std::time::{Duration, Instant};

/// How often a state is looked at: short against everything that is waited for, long enough to cost nothing.
const INTERVAL: Duration = Duration::from_millis(10);

/// Looks until `state` has something, and fails with `what` and the last error when it has not by the deadline.
///
/// # Errors
/// The deadline passed.
pub fn until<T>(
    what: &str,
    deadline: Duration,
    mut state: impl FnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let started = Instant::now();
    loop {
        let seen = state();
        if let Ok(Some(found)) = seen {
            return Ok(found);
        }
        if started.elapsed() > deadline {
            let why = seen.err().map_or_else(
                || "the state never came".to_owned(),
                |error| format!("{error:#}"),
            );
            anyhow::bail!("waited {deadline:?} for {what}: {why}");
        }
        pause(INTERVAL);
    }
}

/// Lets time pass where the moment itself is what is tried (the moment of a kill), or between two looks.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that sleeps: callers look at a state after it"
)]
pub fn pause(time: Duration) {
    std::thread::sleep(time);
}
