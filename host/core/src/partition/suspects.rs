//! After an unclean end: which items may have started an attempt that ended the host, and those that run apart.
//!
//! Every unit carries a lease: how far attempts may start before the next unit. What lies before the lease of the last
//! unit, was in the log when the host came back, and has no fate, may have been running. These run first, with none but
//! suspects beside them, after a unit that marks them: a group at a time, for thousands may wait. A new owner that finds
//! a group marked runs each of it alone, and one that finds a single mark counts a crash, unless the host that marked it
//! lives: it has lost the partition, and not its life.

use crate::breaker::Ticket;
use crate::time::Millis;
use crate::unit::{ItemId, Restore};
use std::collections::{HashSet, VecDeque};

/// Positions beyond the last admitted one that may start before the next unit. Under load a unit is committed before
/// they are used up; after a crash so many are suspects.
pub(super) const LEASE: u64 = 1_024;
/// Suspects that are marked together: so few that each of them soon has run alone, if one of them ends the host.
pub(super) const GROUP: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Suspects {
    /// One past the last suspect position of each topic; empty after an orderly end.
    until: Vec<u64>,
    /// Timers and parked events that were due by then; none after an orderly end, and when it is not yet known.
    due_until: Option<Millis>,
    unclean: bool,
    /// Those of which one ended the host while they were marked together: each runs alone.
    narrowed: HashSet<ItemId>,
    /// Those that ran apart and ended.
    cleared: HashSet<ItemId>,
    running: HashSet<ItemId>,
    waiting: VecDeque<Waiting>,
    /// No more may join those that wait: they hold what the gate let pass at one moment, and not what it lets pass while
    /// they wait.
    closed: bool,
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
            narrowed: match &restore.marked[..] {
                [_] => HashSet::new(),
                several => several.iter().copied().collect(),
            },
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

    /// Whether this one may be marked with those that wait.
    pub(super) fn may_join(&self, item: ItemId, in_silence: bool) -> bool {
        let alone = |item, in_silence| in_silence || self.narrowed.contains(&item);
        match self.waiting.front() {
            None => true,
            Some(first) => {
                !self.closed
                    && self.waiting.len() < GROUP
                    && !alone(first.item, first.in_silence)
                    && !alone(item, in_silence)
            }
        }
    }

    /// A suspect has its permit and waits for its mark.
    pub(super) fn wait(&mut self, one: Waiting) {
        self.closed &= !self.waiting.is_empty();
        self.waiting.push_back(one);
    }

    /// All that may wait together have come.
    pub(super) fn close(&mut self) {
        self.closed = true;
    }

    /// Those that have their permits and wait for their marks, or for room to run.
    pub(super) fn waiting(&self) -> impl Iterator<Item = &Waiting> {
        self.waiting.iter()
    }

    /// The next one to start.
    pub(super) fn take_waiting(&mut self) -> Option<Waiting> {
        self.waiting.pop_front()
    }

    /// All that wait; those that still do are given back.
    pub(super) fn take_all(&mut self) -> VecDeque<Waiting> {
        std::mem::take(&mut self.waiting)
    }

    pub(super) fn wait_on(&mut self, waiting: VecDeque<Waiting>) {
        self.waiting = waiting;
    }

    /// True while suspects run: nothing else may start.
    pub(super) fn run_apart(&self) -> bool {
        !self.running.is_empty()
    }

    /// True when of those that are marked none runs or will.
    pub(super) fn are_over(&self) -> bool {
        self.running.is_empty() && self.waiting.is_empty()
    }

    pub(super) fn started(&mut self, item: ItemId, due: Millis) {
        if self.contains(item, due) {
            self.running.insert(item);
        }
    }

    /// Its attempt has ended: it is no suspect any more. True when it was the last of those that ran apart.
    pub(super) fn finished(&mut self, item: ItemId) -> bool {
        // Nearly always: there are suspects after a crash alone.
        let apart = self.run_apart() && self.running.remove(&item);
        if apart {
            self.cleared.insert(item);
        }
        apart && self.are_over()
    }

    /// Its attempt was given up, and it stays a suspect. True when it was the last of those that ran apart.
    pub(super) fn stopped(&mut self, item: ItemId) -> bool {
        self.run_apart() && self.running.remove(&item) && self.are_over()
    }
}
