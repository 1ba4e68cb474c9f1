//! The unit of work: everything that the completion of a group of events changes, and what a new owner is given back.
//!
//! This is the seam to the ledger. What each part becomes in each ledger:
//!
//! | part | embedded | Kafka transaction |
//! |---|---|---|
//! | `number` | stored with the cursor | in the metadata of the committed offset: how an unknown outcome is resolved |
//! | `epoch` | ignored, one process owns the store | epoch of the assignment; work of an ended one is dropped |
//! | `cursors` | one value per topic partition | `send_offsets_to_transaction`, for every partition touched, unchanged ones too |
//! | `completions[..].mark` | one block of ids per unit | one changelog record per unit |
//! | `completions[..].output` records | appended to the log in the same batch | produced within the transaction |
//! | `completions[..].output` state | put or delete in the same batch | one changelog record per name |
//! | `open` | stored with the cursor | one changelog record per partition |
//! | `expired_blocks` | delete | tombstones |

use std::sync::Arc;

use bytes::Bytes;

use crate::event::{Record, StateWrite};
use crate::identity::Hash128;
use crate::time::Millis;

/// Where a record stands: the topic's place in the subscription's list, and the offset in its partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Index into the subscription's topics; the partition number is the machine's.
    pub topic: u16,
    /// Offset in the partition.
    pub offset: u64,
}

/// How an event ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fate {
    /// An attempt succeeded and its effects are committed.
    Handled,
    /// Its identity was seen before.
    Duplicate,
    /// The subscription's filter said no.
    Filtered,
    /// Nothing to hand to the handler (an unmapped tombstone).
    Skipped,
    /// Set aside with its sequence.
    Parked,
    /// Written to the dead-letter topic.
    Dead,
}

impl Fate {
    /// All fates, in the order of their discriminants.
    pub const ALL: [Self; 6] = [
        Self::Handled,
        Self::Duplicate,
        Self::Filtered,
        Self::Skipped,
        Self::Parked,
        Self::Dead,
    ];

    /// The name in metrics, status and logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Handled => "handled",
            Self::Duplicate => "duplicate",
            Self::Filtered => "filtered",
            Self::Skipped => "skipped",
            Self::Parked => "parked",
            Self::Dead => "dead",
        }
    }
}

/// A record to append to a topic, named as the bus names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutRecord {
    /// Full topic name.
    pub topic: Arc<str>,
    /// A given partition (dead letters keep the source's); none: chosen by `partition_hash`.
    pub partition: Option<u32>,
    /// murmur2 of the key, or of the identity for a record without one; modulo the topic's partition count.
    pub partition_hash: u32,
    /// What is appended.
    pub record: Record,
}

/// What the completion of one event writes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// Emissions, or the dead letter.
    pub records: Vec<OutRecord>,
    /// State changes of `sequence`.
    pub state: Vec<StateWrite>,
}

/// One event that gets its fate in a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completion {
    /// Which event.
    pub position: Position,
    /// Its sequence: state is kept under it.
    pub sequence: SequenceKey,
    /// How it ended.
    pub fate: Fate,
    /// The inbox mark that this unit makes durable; none for duplicates, filtered and undecodable events.
    pub mark: Option<Hash128>,
    /// What it writes.
    pub output: Output,
}

/// The key of a sequence within one (subscription, partition number): tenant and record key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SequenceKey {
    /// A record without a key is a sequence of its own.
    Alone(Position),
    /// Tenant and record key.
    Keyed {
        /// Owner of the event.
        tenant: Arc<str>,
        /// Record key.
        key: Bytes,
    },
}

/// Where a subscription stands in one topic partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// The first open position: everything before it has a fate.
    pub frontier: u64,
    /// Completed positions after the frontier, as half-open ranges in ascending order, neither empty nor touching.
    pub completed: Vec<(u64, u64)>,
}

/// Counted attempts of an event that has no fate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenAttempts {
    /// Which event.
    pub position: Position,
    /// Counted attempts.
    pub attempts: u32,
    /// Those of them that trapped or exceeded a limit.
    pub traps: u32,
    /// When the first failure happened.
    pub first_failed: Millis,
}

/// Everything that is committed together or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// One more than the unit before it of this partition and subscription.
    pub number: u64,
    /// Epoch of the assignment in which it was staged.
    pub epoch: u64,
    /// The events that get their fates, per sequence in order; shared with the machine that may have to stage them again.
    pub completions: Vec<Arc<Completion>>,
    /// Cursors after this unit, one per topic of the subscription, in its order.
    pub cursors: Vec<Cursor>,
    /// All counted attempts of open events after this unit; replaces what was stored.
    pub open: Vec<OpenAttempts>,
    /// Stream time when the unit was staged: the time of its inbox block on the partition's clock.
    pub stream_time: Millis,
    /// Wall clock when the unit was staged.
    pub staged_at: Millis,
    /// Numbers of the units whose inbox blocks have left the window.
    pub expired_blocks: Vec<u64>,
}

/// How a ledger answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommitResult {
    /// Durable as a whole.
    Committed,
    /// Absent as a whole, because of this event's output (size, authorisation, unknown topic, invalid).
    Refused {
        /// Whose output.
        position: Position,
        /// Stable, lower-case.
        code: String,
        /// For people.
        message: String,
    },
    /// Absent as a whole for any other reason; to be staged again later.
    Unavailable {
        /// For people.
        message: String,
    },
}

/// Ids that one unit marked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InboxBlock {
    /// The unit that wrote it.
    pub unit: u64,
    /// Stream time of that unit.
    pub stream_time: Millis,
    /// Wall clock of that unit.
    pub staged_at: Millis,
    /// The marks.
    pub ids: Vec<Hash128>,
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
    /// Inbox blocks in ascending order of `unit`.
    pub inbox: Vec<InboxBlock>,
    /// Highest stream time that was committed.
    pub stream_time: Millis,
}
