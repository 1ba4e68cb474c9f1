//! The gate of a subscription, shared by the workers of its partitions and its operators.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use weir_core::breaker::Breaker;
use weir_core::gate::Gate;
use weir_core::rate::Rate;

/// A [`Gate`] behind a lock that is held for a few decisions at a time, never over an attempt or a commit.
#[derive(Debug)]
pub struct SharedGate {
    gate: Mutex<Gate>,
    turns: watch::Sender<u64>,
}

impl SharedGate {
    /// A gate that lets all pass but what breaker and rate hold back.
    #[must_use]
    pub fn new(breaker: Breaker, rate: Option<Rate>) -> Self {
        Self {
            gate: Mutex::new(Gate::new(breaker, rate)),
            turns: watch::Sender::new(0),
        }
    }

    /// Decides with the gate; whoever waits for it is told when the answer may be another one now.
    pub fn with<T>(&self, decide: impl FnOnce(&mut Gate) -> T) -> T {
        let mut gate = self.lock();
        let result = decide(&mut gate);
        let turns = gate.turns();
        drop(gate);
        self.turns.send_if_modified(|known| {
            let turned = turns > *known;
            *known = turns.max(*known);
            turned
        });
        result
    }

    /// Tells when waiting events should ask again.
    pub fn turns(&self) -> watch::Receiver<u64> {
        self.turns.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
