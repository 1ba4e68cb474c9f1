//! The latest outcome of each sequence within a span of time, oldest first.
//!
//! A list through the entries keeps them in the order of their instants, so that the common case, one more success of
//! a known sequence, is a look-up and a few writes, and expiry never searches.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::time::Duration;

use crate::inbox::AlreadyHashed;
use crate::time::Millis;

/// No entry.
const NONE: u16 = u16::MAX;

/// What the rules make of an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    Success,
    Failure,
    Trap,
}

/// Sequences by their latest outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) total: usize,
    pub(super) failures: usize,
    pub(super) traps: usize,
    pub(super) deaths: usize,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    sequence: u64,
    at: Millis,
    mark: Mark,
    dead: bool,
    older: u16,
    newer: u16,
}

/// Invariant: `index` holds exactly the entries of the list from `oldest` to `newest`, whose instants do not fall.
#[derive(Debug)]
pub(super) struct Window {
    index: HashMap<u64, u16, BuildHasherDefault<AlreadyHashed>>,
    entries: Vec<Entry>,
    /// Entries that are in use by nobody.
    free: Vec<u16>,
    oldest: u16,
    newest: u16,
    counts: Counts,
}

impl Window {
    pub(super) fn new() -> Self {
        Self {
            index: HashMap::default(),
            entries: Vec::new(),
            free: Vec::new(),
            oldest: NONE,
            newest: NONE,
            counts: Counts::default(),
        }
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    /// Replaces what is known of a sequence; beyond `sequences_max` the one heard of longest ago is forgotten.
    ///
    /// `now` must not fall from call to call.
    pub(super) fn put(&mut self, now: Millis, sequence: u64, mark: Mark, sequences_max: u16) {
        let slot = self.refresh(now, sequence, sequences_max);
        self.change(slot, mark, false);
    }

    /// Notes that an event of a sequence died: of its latest outcome, if there was one.
    pub(super) fn put_death(&mut self, now: Millis, sequence: u64, sequences_max: u16) {
        let slot = self.refresh(now, sequence, sequences_max);
        self.change(slot, self.entries[usize::from(slot)].mark, true);
    }

    /// Forgets what is `span` old; an empty window gives its memory back.
    pub(super) fn expire(&mut self, now: Millis, span: Duration) {
        while self.oldest != NONE && now.since(self.entries[usize::from(self.oldest)].at) >= span {
            self.forget_oldest();
        }
        if self.counts.total == 0 && self.entries.capacity() > 0 {
            *self = Self::new();
        }
    }

    #[cfg(test)]
    pub(super) fn allocated(&self) -> usize {
        let index = self.index.capacity() * size_of::<(u64, u16)>();
        index + self.entries.capacity() * size_of::<Entry>() + self.free.capacity() * 2
    }

    /// The entry of a sequence, made if need be, as the newest.
    fn refresh(&mut self, now: Millis, sequence: u64, sequences_max: u16) -> u16 {
        if let Some(&slot) = self.index.get(&sequence) {
            if slot != self.newest {
                self.unlink(slot);
                self.push(slot);
            }
            self.entries[usize::from(slot)].at = now;
            return slot;
        }
        if self.counts.total >= usize::from(sequences_max.max(1)) {
            self.forget_oldest();
        }
        let entry = Entry {
            sequence,
            at: now,
            mark: Mark::Success,
            dead: false,
            older: NONE,
            newer: NONE,
        };
        let slot = if let Some(slot) = self.free.pop() {
            self.entries[usize::from(slot)] = entry;
            slot
        } else {
            self.entries.push(entry);
            u16::try_from(self.entries.len() - 1).expect("entries are bounded by a u16")
        };
        self.index.insert(sequence, slot);
        self.counts.total += 1;
        self.push(slot);
        slot
    }

    fn change(&mut self, slot: u16, mark: Mark, dead: bool) {
        let entry = &mut self.entries[usize::from(slot)];
        let before = std::mem::replace(&mut entry.mark, mark);
        let was_dead = std::mem::replace(&mut entry.dead, dead);
        self.counts.remove(before, was_dead);
        self.counts.add(mark, dead);
    }

    fn forget_oldest(&mut self) {
        let slot = self.oldest;
        let Entry {
            sequence,
            mark,
            dead,
            ..
        } = self.entries[usize::from(slot)];
        self.unlink(slot);
        self.index.remove(&sequence);
        self.free.push(slot);
        self.counts.remove(mark, dead);
        self.counts.total -= 1;
    }

    fn unlink(&mut self, slot: u16) {
        let Entry { older, newer, .. } = self.entries[usize::from(slot)];
        match self.entries.get_mut(usize::from(older)) {
            Some(entry) => entry.newer = newer,
            None => self.oldest = newer,
        }
        match self.entries.get_mut(usize::from(newer)) {
            Some(entry) => entry.older = older,
            None => self.newest = older,
        }
    }

    fn push(&mut self, slot: u16) {
        let older = std::mem::replace(&mut self.newest, slot);
        let entry = &mut self.entries[usize::from(slot)];
        (entry.older, entry.newer) = (older, NONE);
        match self.entries.get_mut(usize::from(older)) {
            Some(entry) => entry.newer = slot,
            None => self.oldest = slot,
        }
    }
}

impl Counts {
    fn add(&mut self, mark: Mark, dead: bool) {
        match mark {
            Mark::Success => {}
            Mark::Failure => self.failures += 1,
            Mark::Trap => self.traps += 1,
        }
        self.deaths += usize::from(dead);
    }

    fn remove(&mut self, mark: Mark, dead: bool) {
        match mark {
            Mark::Success => {}
            Mark::Failure => self.failures -= 1,
            Mark::Trap => self.traps -= 1,
        }
        self.deaths -= usize::from(dead);
    }
}
