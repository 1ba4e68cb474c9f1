//! Turns at work that waits for the cluster on a thread, so many at a time. Work that gets nowhere gives its turn back
//! before it is tried again: it delays those that wait for one by a single try, however long its topic is not there.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::{self, JoinError};

/// What came of a try.
pub(super) enum Tried<T> {
    Done(T),
    Again,
}

/// Given out in the order in which they were asked for.
pub(super) struct Turns(Arc<Semaphore>);

impl Turns {
    pub(super) fn new(at_once: usize) -> Self {
        Self(Arc::new(Semaphore::new(at_once)))
    }

    /// Tries until it is done, each time in a turn of its own. A try that nobody waits for any more keeps its turn to its
    /// end, as it keeps its thread.
    pub(super) async fn until_done<T: Send + 'static>(
        &self,
        pause: Duration,
        mut attempt: impl FnMut() -> Tried<T> + Send + 'static,
    ) -> Result<T, JoinError> {
        loop {
            let turn = Arc::clone(&self.0).acquire_owned().await;
            let tried = task::spawn_blocking(move || {
                let tried = attempt();
                drop(turn);
                (tried, attempt)
            });
            match tried.await? {
                (Tried::Done(done), _) => return Ok(done),
                (Tried::Again, again) => attempt = again,
            }
            tokio::time::sleep(pause).await;
        }
    }
}

#[cfg(test)]
mod tests;
