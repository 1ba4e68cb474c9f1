//! What has to be asked of the cluster for somebody who must not wait for it on his own thread: requests over HTTP, jobs.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::bus::Unanswered;

/// Calls at a time: each takes a thread until a broker answers. Partitions that are loaded take as many of a runtime's, and
/// as many are left for the disk.
const AT_ONCE: usize = 8;
/// For a turn, which is long for a cluster that answers; one that does not holds each turn for its time-out.
const TURN: Duration = Duration::from_secs(5);

/// Threads that may wait for a broker. Clones share them.
///
/// Invariant: no call makes another, which would wait for a turn in its own.
#[derive(Clone)]
pub(super) struct Calls {
    turns: Arc<Semaphore>,
    patience: Duration,
}

impl Calls {
    pub(super) fn new() -> Self {
        Self::of(AT_ONCE, TURN)
    }

    fn of(at_once: usize, patience: Duration) -> Self {
        Self {
            turns: Arc::new(Semaphore::new(at_once)),
            patience,
        }
    }

    /// Asks on a thread of its own; `what` is said where there is no answer.
    pub(super) async fn make<T: Send + 'static, E: Display + Send + 'static>(
        &self,
        what: impl FnOnce() -> String,
        call: impl FnOnce() -> Result<T, E> + Send + 'static,
    ) -> Result<T, Unanswered> {
        let turn = Arc::clone(&self.turns).acquire_owned();
        let Ok(turn) = tokio::time::timeout(self.patience, turn).await else {
            let why = "too many others wait for its answers".to_owned();
            return Err(Unanswered { what: what(), why });
        };
        let called = tokio::task::spawn_blocking(move || {
            let answer = call();
            // Held to the end of the call, whether or not anybody waits for it.
            drop(turn);
            answer
        });
        let why = match called.await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => error.to_string(),
            Err(panicked) => panicked.to_string(),
        };
        Err(Unanswered { what: what(), why })
    }
}

#[cfg(test)]
mod tests;
