//! What is fixed for a partition's machine: whose events it handles, in which order, and within which bounds.

use std::sync::Arc;
use std::time::Duration;

use super::TIMERS_RESIDENT_MAX;
use crate::budget::Budget;
use crate::solitude::Solitude;
use crate::{dead_letter, emission, inbox, retry};

/// What is fixed for the life of a partition's machine.
#[derive(Clone, Debug)]
pub struct Config {
    /// Who handles, and where dead letters come from.
    pub source: dead_letter::Source,
    /// Partition number.
    pub partition: u32,
    /// Full names of the topics; [`Position::topic`] indexes them.
    pub topics: Arc<[Arc<str>]>,
    /// Which of them carries the operator's commands, if any.
    pub commands: Option<u16>,
    /// Their dead-letter topics, in the same order; the one of the command topic is not used.
    pub dead_letter_topics: Arc<[Arc<str>]>,
    /// What follows a death.
    pub on_dead: OnDead,
    /// Which events wait for one another.
    pub ordering: Ordering,
    /// What the handler may emit.
    pub emit: emission::Rules,
    /// What the handler may emit that takes its place while the breaker is open.
    pub fallback: Option<emission::Rules>,
    /// True when the handler has state or timers: a record without a key is a dead letter.
    pub keyed_only: bool,
    /// Whether the ledger can set sequences aside; without, an event waits at the delays of R3 with its position open.
    pub parks: bool,
    /// Retry schedule.
    pub retry: retry::Config,
    /// Inbox window; none switches L1 off.
    pub inbox: Option<inbox::Config>,
    /// What L1 knows an event by; none: its `source` and `id`.
    pub inbox_key: Option<Arc<dyn inbox::IdempotencyKey>>,
    /// Bounds.
    pub limits: Limits,
    /// Memory of the host for events, those of the other partitions too.
    pub memory: Arc<Budget>,
    /// The host's silence, for an event that may have ended it.
    pub solitude: Arc<Solitude>,
}

/// Which events wait for one another: none starts before those that came before it have their fate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ordering {
    /// Those of a sequence. One that keeps failing is set aside, and its sequence with it.
    #[default]
    Key,
    /// All of the partition. None is set aside: the partition waits for the one that fails. State and timers are the
    /// sequence's all the same.
    Partition,
    /// None: each event is a sequence of its own. The handler has neither state nor timers.
    None,
}

impl Ordering {
    /// The word for it in a manifest.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Partition => "partition",
            Self::None => "none",
        }
    }
}

/// What follows the death of an event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnDead {
    /// Its sequence goes on.
    #[default]
    Release,
    /// Its sequence waits for an operator.
    Hold,
    /// There is no dead-letter topic: the partition stops, with an alarm.
    Stop,
}

/// Bounds of one partition; each keeps memory or an outage small (I10).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Events that are ready or running. More would only wait in memory.
    pub in_flight_max: usize,
    /// Attempts that run at a time: each holds an instance.
    pub running_max: usize,
    /// From the first open position to the last admitted, per topic.
    pub span_max: u64,
    /// How long the first open position may wait for a retry before its sequence is set aside.
    pub span_age_max: Duration,
    /// Bytes of admitted records and of what they are about to write.
    pub bytes_max: usize,
    /// Bytes that parked events of the subscription may take on this host: then its partitions pause.
    pub park_bytes_max: u64,
    /// Events in one unit.
    pub unit_events_max: usize,
    /// Bytes written by one unit.
    pub unit_bytes_max: usize,
    /// How long a staged event waits for company while attempts are still running.
    pub unit_linger: Duration,
    /// Bytes of a dead letter, by [`crate::event::Record::stored_bytes`]: what its topic takes.
    pub letter_bytes_max: usize,
    /// Timers in memory. Beyond it the later ones are read when their turn comes.
    pub timers_resident_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            in_flight_max: 256,
            running_max: 64,
            span_max: 65_536,
            span_age_max: Duration::from_secs(30),
            bytes_max: 16 << 20,
            park_bytes_max: 1 << 30,
            unit_events_max: 1_024,
            unit_bytes_max: 4 << 20,
            unit_linger: Duration::from_millis(2),
            letter_bytes_max: 2 << 20,
            timers_resident_max: TIMERS_RESIDENT_MAX,
        }
    }
}
