//! What the ledger gives a new owner of a partition.

use super::{Active, Cursor, ItemId, OpenAttempts, ParkedSequence, SequenceKey, TimerKey};
use crate::identity::Hash128;
use crate::inbox::Inbox;
use crate::time::Millis;

/// Ids that one unit marked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InboxBlock {
    /// The unit that wrote it.
    pub unit: u64,
    /// Stream time of that unit.
    pub stream_time: Millis,
    /// Wall clock of that unit.
    pub staged_at: Millis,
    /// The marks: most blocks are small, and there are many.
    pub ids: Box<[Hash128]>,
}

/// When an id was marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marked {
    /// Stream time of the unit that marked it.
    pub stream_time: Millis,
    /// Wall clock of that unit.
    pub staged_at: Millis,
}

impl From<&InboxBlock> for Marked {
    fn from(block: &InboxBlock) -> Self {
        Self {
            stream_time: block.stream_time,
            staged_at: block.staged_at,
        }
    }
}

/// Where a timer stands among those of its partition: its instant, then the identity of its setting.
pub type TimerPlace = (Millis, Hash128);

/// Timers of a partition that follow one another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TimerPage {
    /// In the order of their places.
    pub timers: Vec<(TimerKey, Millis, Hash128)>,
    /// Whether there are more.
    pub more: bool,
}

/// What the ledger gives a new owner of a partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restore {
    /// Number of the last committed unit; zero before the first.
    pub unit: u64,
    /// One per topic of the subscription, in its order.
    pub cursors: Vec<Cursor>,
    /// Counted attempts of open events.
    pub open: Vec<OpenAttempts>,
    /// All parked sequences.
    pub parked: Vec<(SequenceKey, ParkedSequence)>,
    /// The first timers, at most [`crate::partition::TIMERS_RESIDENT_MAX`].
    pub timers: TimerPage,
    /// As the last unit had it: empty after an orderly end.
    pub lease: Vec<u64>,
    /// As the last unit had it.
    pub marked: Vec<ItemId>,
    /// The host that wrote the last unit has not ended since: nothing that it marked has ended it.
    pub witnessed: bool,
    /// As the last unit had it.
    pub active: Active,
    /// As the last unit had it.
    pub next_parked: u64,
    /// One past the last record of each topic when this was read: what came later cannot have been started before.
    pub ends: Vec<u64>,
    /// All inbox blocks.
    pub inbox: Inbox,
    /// Highest stream time that was committed.
    pub stream_time: Millis,
}
