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
//! | `completions[..].output` timers | put or delete, by name and by due time | one changelog record per name |
//! | `completions[..].output` parking | put or delete in the same batch | produced to the park topic; a tombstone when it leaves |
//! | `completions[..].output` letter | put | one changelog record per letter |
//! | `open`, `lease`, `marked`, `active` | stored with the cursor | one changelog record per partition |
//! | `heads` | one value per parked sequence | one changelog record per sequence |
//! | `expired_blocks` | delete | tombstones |

mod restore;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::event::{Record, StateWrite};
use crate::identity::Hash128;
use crate::time::Millis;

pub use self::restore::{InboxBlock, Marked, Restore, TimerPage, TimerPlace};

/// Where a record stands: the topic's place in the subscription's list, and the offset in its partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Index into the subscription's topics; the partition number is the machine's.
    pub topic: u16,
    /// Offset in the partition.
    pub offset: u64,
}

/// What an attempt is made for and what gets a fate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ItemId {
    /// A record of the bus.
    Record(Position),
    /// A parked event, by its number in the partition's park.
    Parked(u64),
    /// A timer, by the identity of its setting.
    Timer(Hash128),
}

impl ItemId {
    /// Where the record stands; none for what comes out of the ledger.
    #[must_use]
    pub fn position(self) -> Option<Position> {
        match self {
            Self::Record(position) => Some(position),
            Self::Parked(_) | Self::Timer(_) => None,
        }
    }
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
    /// State changes of the sequence.
    pub state: Vec<StateWrite>,
    /// Timers that are set, replaced or removed.
    pub timers: Vec<TimerChange>,
    /// What changes in the park of the sequence; most events change nothing.
    pub parking: Option<Box<Parking>>,
    /// A dead letter whose status changes.
    pub letter: Option<(Hash128, LetterStatus)>,
}

/// One event that gets its fate in a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completion {
    /// Which event.
    pub item: ItemId,
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
    /// An event without a key is a sequence of its own.
    Alone(ItemId),
    /// Tenant and record key.
    Keyed {
        /// Owner of the event.
        tenant: Arc<str>,
        /// Record key.
        key: Bytes,
    },
}

/// The name of a timer within its sequence.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TimerSlot {
    /// Set by the handler.
    Named(Arc<str>),
    /// A delayed emission, by its id.
    Emission(Arc<str>),
}

/// Which timer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimerKey {
    /// Whose timer: always a sequence with a key.
    pub sequence: SequenceKey,
    /// Its name there.
    pub slot: TimerSlot,
}

/// A durable timer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timer {
    /// Identity of the setting.
    pub id: Hash128,
    /// It fires at this instant or later.
    pub due: Millis,
    /// What fires: the event of a named timer, the emission of a delayed one.
    pub out: OutRecord,
}

/// A timer is set (or replaced) or removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimerChange {
    /// Which timer.
    pub key: TimerKey,
    /// What it is from now on; none: it is gone.
    pub timer: Option<Timer>,
}

/// Failures of an event so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attempts {
    /// Counted attempts.
    pub counted: u32,
    /// Those of them that trapped or exceeded a limit.
    pub traps: u32,
    /// Failures of any kind, the uncounted ones included: they choose the delay.
    pub failures: u32,
    /// Times that the host ended while this event ran alone.
    pub crashes: u32,
    /// When the first counted failure happened.
    pub first_failed: Option<Millis>,
    /// From when its age counts, on the partition's active clock.
    pub aging_since: Option<Active>,
}

impl Attempts {
    /// Before the first.
    pub const NONE: Self = Self {
        counted: 0,
        traps: 0,
        failures: 0,
        crashes: 0,
        first_failed: None,
        aging_since: None,
    };
}

/// The partition's active clock, milliseconds: it stands still while the partition is not owned or its breaker is open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Active(pub u64);

impl Active {
    /// The active time from `earlier` to `self`.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// Where a record stood, in the bus's own words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Full topic name.
    pub topic: Arc<str>,
    /// Partition number.
    pub partition: u32,
    /// Offset.
    pub offset: u64,
}

/// An event that was set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParkedEvent {
    /// Its place: events of a sequence are tried in ascending order.
    pub number: u64,
    /// As it was read, or as the timer would have fired.
    pub record: Record,
    /// Where it was read.
    pub origin: Origin,
    /// When it was parked.
    pub parked_at: Millis,
    /// From when its age counts.
    pub parked_active: Active,
    /// The dead letter that is replayed; none for an event that was never dead, or that is held.
    pub letter: Option<Hash128>,
    /// How often it was replayed.
    pub replays: u32,
}

impl ParkedEvent {
    /// What it takes of the park's storage bound.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.record.bytes() as u64
    }
}

/// What is next for a parked sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// When its first event is tried.
    pub due: Millis,
    /// Failures of its first event.
    pub attempts: Attempts,
    /// The dead letter that its first event is.
    pub letter: Option<Hash128>,
    /// True while the sequence waits for an operator: its first event is dead.
    pub held: bool,
}

/// A parked sequence, without its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParkedSequence {
    /// Events in it, at least one.
    pub count: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What is next.
    pub head: Head,
}

/// How the completion of an event changes the park of its sequence: first one leaves, then one joins. An event that joins
/// under the number of the one that leaves takes its place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parking {
    /// This event joins, at the end or in the place of the one that leaves.
    pub join: Option<ParkedEvent>,
    /// The first event leaves: its number and bytes.
    pub leave: Option<(u64, u64)>,
    /// What is next for the sequence; none leaves that as it is.
    pub head: Option<Head>,
}

/// What became of a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LetterStatus {
    /// Dead; waits for an operator or for its retention.
    Dead,
    /// It was put back into its sequence and has no fate yet.
    Replaying,
    /// Its replay was handled.
    Done,
    /// An operator gave it up.
    Dropped,
}

impl LetterStatus {
    /// The name in the command line and in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Dead => "dead",
            Self::Replaying => "replaying",
            Self::Done => "done",
            Self::Dropped => "dropped",
        }
    }
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
    pub item: ItemId,
    /// Its failures.
    pub attempts: Attempts,
}

/// Everything that is committed together or not at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unit {
    /// One more than the unit before it of this partition and subscription.
    pub number: u64,
    /// Epoch of the assignment in which it was staged.
    pub epoch: u64,
    /// The events that get their fates, per sequence in order; shared with the machine that may have to stage them again.
    pub completions: Vec<Arc<Completion>>,
    /// What it writes, about: units that are committed together are bounded by it.
    pub bytes: usize,
    /// Cursors after this unit, one per topic of the subscription, in its order.
    pub cursors: Vec<Cursor>,
    /// All counted attempts of open events after this unit, parked ones apart; replaces what was stored.
    pub open: Vec<OpenAttempts>,
    /// Parked sequences that this unit changes; none: the sequence is no longer parked.
    pub heads: Vec<(SequenceKey, Option<ParkedSequence>)>,
    /// One past the highest position of each topic that may start an attempt before the next unit. Empty: nothing may,
    /// which an orderly end leaves behind.
    pub lease: Vec<u64>,
    /// Suspects of a crash that may run after this unit, with nothing beside them. Found by another owner, one counts a
    /// crash; of several each runs alone from then on.
    pub marked: Vec<ItemId>,
    /// The partition's active clock.
    pub active: Active,
    /// The number that the next parked event gets, at least.
    pub next_parked: u64,
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
        item: ItemId,
        /// Stable, lower-case.
        code: String,
        /// For people.
        message: String,
    },
    /// Absent, because another owner has the partition: nothing of this one will be committed any more.
    Moved,
    /// Absent as a whole for any other reason; to be staged again later.
    Unavailable {
        /// For people.
        message: String,
    },
}
