//! The memory that all partitions of the host share: for events, and for the ids of their inboxes.

use std::sync::Arc;

use tokio::sync::watch;
use weir_core::budget::Budget;

use super::FETCH_BYTES;

/// For the ids of inboxes. Beyond it the ledger is asked.
const INBOX_BYTES: usize = 256 << 20;

/// How memory is divided among so many partitions.
pub struct Memory {
    budget: Arc<Budget>,
    partitions: usize,
    turns: watch::Sender<u64>,
}

impl Memory {
    /// Divides so many bytes for events.
    #[must_use]
    pub fn new(bytes: u64, partitions: usize) -> Self {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        // What a partition has fetched and not handed over is counted from the start.
        let fetched = FETCH_BYTES.saturating_mul(partitions).min(bytes / 2);
        Self {
            budget: Arc::new(Budget::new(bytes - fetched, partitions)),
            partitions: partitions.max(1),
            turns: watch::Sender::new(0),
        }
    }

    /// What events take.
    pub(crate) fn budget(&self) -> Arc<Budget> {
        Arc::clone(&self.budget)
    }

    /// Bytes that the ids may take which one inbox keeps as they are.
    pub(crate) fn inbox_bytes(&self) -> usize {
        INBOX_BYTES / self.partitions
    }

    /// Tells those that wait for memory when there is some again.
    pub(super) fn tell(&self) {
        let turns = self.budget.turns();
        if turns > *self.turns.borrow() {
            self.turns.send_replace(turns);
        }
    }

    /// Changes when whoever waits for memory should look again.
    pub(super) fn turns(&self) -> watch::Receiver<u64> {
        self.turns.subscribe()
    }
}
