//! What the shell hands to the machine, and what it is asked to do.

use std::ops::RangeInclusive;
use std::sync::Arc;

use super::StagedState;
use crate::command::Command;
use crate::event::{Event, Record};
use crate::identity::Hash128;
use crate::unit::{
    ItemId, LetterStatus, Marked, Origin, ParkedEvent, SequenceKey, Timer, TimerKey, TimerPage,
    TimerPlace, Unit,
};

/// What the shell made of a record before it reached the machine.
#[derive(Clone, Debug)]
pub enum Decoded {
    /// An event for the handler.
    Event(Arc<Event>),
    /// An event that the subscription's filter refuses.
    Filtered,
    /// A record with nothing to handle.
    Skipped,
    /// No event: code and message for the dead letter.
    Poison {
        /// Stable, lower-case.
        code: String,
        /// For people.
        message: String,
    },
    /// What an operator asks; the record is the letter's own.
    Command {
        /// What is asked.
        command: Box<Command>,
        /// What the letter's record carries.
        letter: Box<Decoded>,
    },
}

impl Decoded {
    pub(super) fn event(&self) -> Option<&Event> {
        match self {
            Self::Event(event) => Some(event),
            Self::Filtered | Self::Skipped | Self::Poison { .. } | Self::Command { .. } => None,
        }
    }
}

/// Names one attempt; the outcome of another one is not taken for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttemptId {
    /// Epoch of the assignment in which it was started.
    pub epoch: u64,
    /// What it is made for.
    pub item: ItemId,
    /// Counts the attempts of the epoch.
    pub serial: u64,
}

/// An attempt to run.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// To be given back with the outcome.
    pub id: AttemptId,
    /// 1 for the first.
    pub number: u32,
    /// What the handler sees.
    pub event: Arc<Event>,
    /// What carried it.
    pub record: Arc<Record>,
    /// Where it stood.
    pub origin: Origin,
    /// Owner of the event.
    pub tenant: Arc<str>,
    /// Whose state it reads.
    pub sequence: SequenceKey,
    /// Writes of earlier events of the sequence that are not committed: they hide what the ledger holds.
    pub staged: StagedState,
    /// True when the fallback handler is to be called, without state and timers.
    pub fallback: bool,
}

/// What the shell reads from the ledger for the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Load {
    /// The first parked event of this sequence.
    Parked(SequenceKey),
    /// This timer.
    Timer(ItemId, TimerKey),
    /// The timers that come after this place, so many of them.
    Timers(TimerPlace, usize),
    /// The timers that the handler has set in this sequence.
    TimersOf(SequenceKey),
    /// The status of the dead letter that this command names, and the first parked event of the sequence.
    Letter(ItemId, Hash128, SequenceKey),
    /// Whether the inbox block of one of these units has the id of this item, and the last that does.
    Mark(ItemId, Hash128, Vec<RangeInclusive<u64>>),
}

/// What the ledger holds.
#[derive(Clone, Debug)]
pub enum Loaded {
    /// Answers [`Load::Parked`], with what its record carries.
    Parked(Option<(ParkedEvent, Decoded)>),
    /// Answers [`Load::Timer`], with what its record carries.
    Timer(Option<(Timer, Decoded)>),
    /// Answers [`Load::Timers`] and [`Load::TimersOf`].
    Timers(TimerPage),
    /// Answers [`Load::Letter`].
    Letter(Option<LetterStatus>, Option<ParkedEvent>),
    /// Answers [`Load::Mark`].
    Mark(Option<Marked>),
    /// The ledger could not be read: it is asked again after a while.
    Unavailable,
}

/// Work for the shell.
#[derive(Clone, Debug)]
pub enum Action {
    /// Run this and answer by [`Partition::handle_outcome`].
    Attempt(Box<Attempt>),
    /// Read this and answer by [`Partition::handle_loaded`], before any other call.
    Load(Load),
    /// Commit this and answer by [`Partition::handle_commit`].
    Commit(Box<Unit>),
}
