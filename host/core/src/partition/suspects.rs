//! After an unclean end: which items may have started an attempt that ended the host, and the one that runs alone.
//!
//! Every unit carries a lease: how far attempts may start before the next unit. What lies before the lease of the last
//! unit, was in the log when the host came back, and has no fate, may have been running. Each of these runs once with
//! nothing beside it, after a unit that says so. A new owner that finds such a mark counts one crash.

use std::collections::HashSet;

use crate::breaker::Ticket;
use crate::time::Millis;
use crate::unit::{ItemId, Restore};

/// Positions beyond the last admitted one that may start before the next unit. Under load a unit is committed before
/// they are used up; after a crash so many run one at a time.
pub(super) const LEASE: u64 = 1_024;

#[derive(Debug, Default)]
pub(super) struct Suspects {
    /// One past the last suspect position of each topic; empty after an orderly end.
    until: Vec<u64>,
    /// Timers and parked events that were due by then; none after an orderly end, and when it is not yet known.
    due_until: Option<Millis>,
    unclean: bool,
    /// Those that ran alone and ended.
    cleared: HashSet<ItemId>,
    running: Option<ItemId>,
    waiting: Option<Waiting>,
}

/// A suspect that may start as soon as its mark is durable.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    pub(super) item: ItemId,
    /// None for a fallback.
    pub(super) ticket: Option<Ticket>,
    /// Nothing else may run on the host meanwhile.
    pub(super) in_silence: bool,
}

impl Suspects {
    pub(super) fn new(restore: &Restore) -> Self {
        let unclean = !restore.lease.is_empty();
        let ends = restore.ends.iter().copied();
        Self {
            until: restore
                .lease
                .iter()
                .zip(ends.chain(std::iter::repeat(u64::MAX)))
                .map(|(lease, end)| (*lease).min(end))
                .collect(),
            unclean,
            ..Self::default()
        }
    }

    /// The first look at the clock after the restore.
    pub(super) fn tell(&mut self, now: Millis) {
        if self.unclean {
            self.due_until.get_or_insert(now);
        }
    }

    /// Whether this item must run alone; `due` is when it became due, of what comes out of the ledger.
    pub(super) fn contains(&self, item: ItemId, due: Millis) -> bool {
        if self.cleared.contains(&item) {
            return false;
        }
        match item {
            ItemId::Record(position) => self
                .until
                .get(usize::from(position.topic))
                .is_some_and(|until| position.offset < *until),
            ItemId::Parked(_) | ItemId::Timer(_) => {
                self.due_until.is_some_and(|until| due <= until)
            }
        }
    }

    /// A suspect has its permit and asks for its mark.
    pub(super) fn wait(&mut self, one: Waiting) {
        self.waiting = Some(one);
    }

    /// The one that has its permit and waits for its mark.
    pub(super) fn waiting(&self) -> Option<Waiting> {
        self.waiting
    }

    pub(super) fn take_waiting(&mut self) -> Option<Waiting> {
        self.waiting.take()
    }

    /// True while a suspect runs: nothing else may start.
    pub(super) fn runs_alone(&self) -> bool {
        self.running.is_some()
    }

    pub(super) fn started(&mut self, item: ItemId, due: Millis) {
        if self.contains(item, due) {
            self.running = Some(item);
        }
    }

    /// Its attempt has ended; true when it ran alone: it is no suspect any more.
    pub(super) fn finished(&mut self, item: ItemId) -> bool {
        let alone = self.running == Some(item);
        if alone {
            self.running = None;
            self.cleared.insert(item);
        }
        alone
    }

    /// Its attempt was given up: true when it ran alone. It stays a suspect.
    pub(super) fn stopped(&mut self, item: ItemId) -> bool {
        let alone = self.running == Some(item);
        if alone {
            self.running = None;
        }
        alone
    }
}
