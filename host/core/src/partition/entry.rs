//! An item that has no durable fate yet: what it is, and where it stands.

use std::sync::Arc;

use bytes::Bytes;

use super::action::Decoded;
use crate::breaker::Ticket;
use crate::command::Command;
use crate::event::{Event, Record};
use crate::identity::Hash128;
use crate::time::Millis;
use crate::unit::{Completion, ParkedEvent, SequenceKey, TimerKey};

/// Where an open item stands.
#[derive(Debug)]
pub(super) enum Stage {
    /// Behind the head of its lane.
    Queued,
    /// Head of its lane, about to start.
    Ready,
    /// Asked of the ledger.
    Loading,
    /// Head of its lane; another event with its id has no fate.
    AwaitsId,
    /// In an attempt.
    Running(Runner),
    /// Head of its lane until this instant.
    RetryWait(Millis),
    /// It has a fate that is not durable.
    Staged(Arc<Completion>),
}

/// A running attempt.
#[derive(Clone, Copy, Debug)]
pub(super) struct Runner {
    pub(super) serial: u64,
    /// The breaker's permit; none for a fallback.
    pub(super) ticket: Option<Ticket>,
}

/// What an item is.
#[derive(Debug)]
pub(super) enum Work {
    /// A record of the bus.
    Record,
    /// The first event of a parked sequence. It stands in no lane.
    Parked(Box<ParkedEvent>),
    /// A timer of the handler that is due.
    Timer(TimerKey),
    /// A delayed emission that is due. It stands in no lane.
    Emission(TimerKey),
    /// A command of the operator, and what the letter's record carries.
    Command(Box<Command>, Box<Decoded>),
    /// The dead letter of this command, which runs in its place where nothing is set aside.
    Replay(Box<Command>),
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) sequence: SequenceKey,
    pub(super) tenant: Arc<str>,
    pub(super) record: Arc<Record>,
    /// None for what no handler sees, and for what is not loaded.
    pub(super) event: Option<Arc<Event>>,
    pub(super) mark: Option<Hash128>,
    /// Bytes of its record.
    pub(super) bytes: usize,
    /// Bytes of what it is to write.
    pub(super) written: usize,
    pub(super) admitted: Millis,
    pub(super) work: Work,
    pub(super) stage: Stage,
}

impl Entry {
    /// What orders it.
    pub(super) fn key(&self) -> Option<&Bytes> {
        match &self.event {
            Some(event) => event.key(&self.record),
            None => self.record.key.as_ref(),
        }
    }

    /// Whether its order is kept by a lane. What no handler sees has none.
    pub(super) fn has_lane(&self) -> bool {
        match self.work {
            Work::Record => self.event.is_some(),
            Work::Timer(_) | Work::Command(..) | Work::Replay(_) => true,
            Work::Parked(_) | Work::Emission(_) => false,
        }
    }
}
