//! What stands open in a partition, for status and metrics.

use std::time::Duration;

pub use super::park::Counts;
use super::{Partition, Progress};
use crate::time::Millis;

/// Levels of one moment, where [`super::Counters`] only grow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gauges {
    /// Events without a durable fate.
    pub open: usize,
    /// Attempts that run.
    pub running: usize,
    /// Events that wait for a retry.
    pub retrying: usize,
    /// Positions from the first open one to the last admitted, of the topic where they are most.
    pub span: u64,
    /// How long the first open position of a topic has been open that waits for a retry, where that is longest.
    pub span_age: Duration,
    /// Events are ready to start and the gate refused them: the operator's pause, the breaker or the rate limit.
    pub held_back: bool,
    /// What is set aside.
    pub parked: Counts,
    /// No more is read, because the storage of what is set aside is spent.
    pub park_full: bool,
    /// Timers that are known here; the ledger may hold more.
    pub timers: usize,
    /// Why the partition stopped by itself: an event died and there is no dead-letter topic.
    pub halted: Option<String>,
    /// Why the partition waits: the dead-letter topic does not take a letter. It goes on by itself when it does.
    pub letter_refused: Option<String>,
    /// Ids in the inbox window (L1).
    pub inbox_ids: usize,
    /// What those of them take that are in memory, about; the ledger is asked for the others.
    pub inbox_bytes: usize,
    /// The age at which marks leave, when the bound on ids has made it less than the window.
    pub inbox_cut: Option<Duration>,
}

impl Partition {
    /// What stands open at `now`.
    #[must_use]
    pub fn gauges(&self, now: Millis) -> Gauges {
        Gauges {
            open: self.entries.len(),
            running: self.running,
            retrying: self.retries.len(),
            span: self.progress.iter().map(Progress::span).max().unwrap_or(0),
            span_age: self.span_age(now),
            held_back: self.held_back,
            parked: self.park.counts(),
            park_full: self.park.is_full(),
            timers: self.timers.len(),
            halted: self.halted.clone(),
            letter_refused: self.commits.letter_refused.clone(),
            inbox_ids: self.inbox.len(),
            inbox_bytes: self.inbox.resident_bytes(),
            inbox_cut: self.inbox.cut_window(now),
        }
    }
}
