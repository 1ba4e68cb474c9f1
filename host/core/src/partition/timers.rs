//! Timers: those that are due first are known here, the others wait in the ledger.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use super::{Decoded, Load, Partition};
use crate::binding;
use crate::emission::HOPS;
use crate::event::{Event, TimerWrite};
use crate::identity::{Hash128, partition_hash, timer_id};
use crate::time::Millis;
use crate::unit::{
    Fate, ItemId, OutRecord, Output, SequenceKey, Timer, TimerChange, TimerKey, TimerPage,
    TimerPlace, TimerSlot,
};

/// Timers that a partition keeps in memory: some megabytes. Beyond it the later ones are read when their turn comes.
pub const TIMERS_RESIDENT_MAX: usize = 10_000;

/// `type` of the event that a timer fires as.
pub const TIMER_TYPE: &str = "weir.timer.v1";

/// Extension attribute with the name of the timer that fires.
pub const TIMER_NAME: &str = "weirtimer";

/// The timers that are due first.
///
/// Those of a parked sequence wait for it: of them only the sequence is kept here, whose timers are read when it is
/// parked no longer. So memory holds as many timers as it may, however many wait.
#[derive(Debug, Default)]
pub(super) struct Timers {
    by_due: BTreeMap<TimerPlace, TimerKey>,
    /// Invariant: exactly the keys of `by_due`.
    place_of: HashMap<TimerKey, TimerPlace>,
    /// All durable timers up to this place were read, and are resident, fire, or wait for their sequence; none: all were.
    horizon: Option<TimerPlace>,
    /// The ledger is not asked before.
    not_before: Millis,
    resident_max: usize,
    /// Parked sequences with timers that are due.
    asleep: HashSet<SequenceKey>,
    /// Sequences that were among them, whose timers are to be read.
    awake: VecDeque<SequenceKey>,
    /// Settings with attempts, by their names.
    failing: HashMap<TimerKey, Hash128>,
    /// Settings with attempts of an earlier owner whose names are not known.
    unseen: HashSet<Hash128>,
}

impl Timers {
    pub(super) fn restore(
        page: TimerPage,
        resident_max: usize,
        failing: impl Iterator<Item = Hash128>,
    ) -> Self {
        let mut timers = Self {
            resident_max,
            unseen: failing.collect(),
            ..Self::default()
        };
        timers.take(page);
        timers
    }

    pub(super) fn len(&self) -> usize {
        self.by_due.len()
    }

    /// Takes over the timers that come next in the ledger.
    pub(super) fn take(&mut self, page: TimerPage) {
        let last = page.timers.last().map(|(_, due, id)| (*due, *id));
        self.horizon = last.filter(|_| page.more);
        for (key, due, id) in page.timers {
            self.admit(key, due, id);
        }
    }

    /// Takes over the timers of a sequence that is parked no longer.
    pub(super) fn take_awake(&mut self, page: TimerPage) {
        for (key, due, id) in page.timers {
            self.admit(key, due, id);
        }
    }

    fn insert(&mut self, key: TimerKey, place: TimerPlace) {
        if self.unseen.remove(&place.1) {
            self.failing.insert(key.clone(), place.1);
        }
        if let Some(old) = self.place_of.insert(key.clone(), place) {
            self.by_due.remove(&old);
        }
        self.by_due.insert(place, key);
    }

    /// It is due and its sequence is parked.
    pub(super) fn sleep(&mut self, sequence: &SequenceKey) {
        if !self.asleep.contains(sequence) {
            self.asleep.insert(sequence.clone());
        }
    }

    /// The sequence is not parked any more.
    pub(super) fn wake(&mut self, sequence: &SequenceKey) {
        if self.asleep.remove(sequence) {
            self.awake.push_back(sequence.clone());
        }
    }

    /// A timer was attempted.
    pub(super) fn fails(&mut self, key: &TimerKey, id: Hash128) {
        self.failing.insert(key.clone(), id);
    }

    /// Settings of an earlier owner with attempts that are gone: whatever was attempted was due, and all that is due
    /// was read.
    pub(super) fn take_gone(&mut self, now: Millis) -> HashSet<Hash128> {
        if self.horizon.is_some_and(|(due, _)| due <= now) {
            return HashSet::new();
        }
        std::mem::take(&mut self.unseen)
    }

    /// A durable unit changed a timer; says which setting with attempts is gone.
    pub(super) fn changed(&mut self, change: &TimerChange) -> Option<Hash128> {
        if let Some(place) = self.place_of.remove(&change.key) {
            self.by_due.remove(&place);
        }
        let stays = change.timer.as_ref().map(|timer| timer.id);
        let failing = self.failing.get(&change.key).copied();
        let gone = failing.filter(|id| Some(*id) != stays);
        if gone.is_some() {
            self.failing.remove(&change.key);
        }
        if let Some(timer) = &change.timer {
            self.admit(change.key.clone(), timer.due, timer.id);
        }
        gone
    }

    /// Keeps a durable timer in memory, if it is among the first.
    pub(super) fn admit(&mut self, key: TimerKey, due: Millis, id: Hash128) {
        let place = (due, id);
        if self.horizon.is_some_and(|horizon| place > horizon) {
            return;
        }
        self.insert(key, place);
        if self.by_due.len() > self.resident_max
            && let Some((_, key)) = self.by_due.pop_last()
        {
            // It is read again when its turn comes.
            self.place_of.remove(&key);
            self.horizon = self.by_due.last_key_value().map(|(place, _)| *place);
        }
    }

    /// What must be read of the ledger for the timers that come next.
    pub(super) fn load(&mut self, now: Millis) -> Option<Load> {
        if self.not_before > now {
            return None;
        }
        if let Some(sequence) = self.awake.pop_front() {
            return Some(Load::TimersOf(sequence));
        }
        let horizon = self.horizon.filter(|(due, _)| *due <= now)?;
        let load = Load::Timers(horizon, self.resident_max);
        self.by_due.is_empty().then_some(load)
    }

    /// The ledger could not be read.
    pub(super) fn postpone(&mut self, load: Load, at: Millis) {
        self.not_before = at;
        if let Load::TimersOf(sequence) = load {
            self.awake.push_back(sequence);
        }
    }

    pub(super) fn due_at(&self) -> Option<Millis> {
        if !self.awake.is_empty() {
            return Some(self.not_before);
        }
        let first = self.by_due.first_key_value().map(|((due, _), _)| *due);
        first.or(self.horizon.map(|(due, _)| due.max(self.not_before)))
    }

    /// The next timer that is due.
    pub(super) fn pop_due(&mut self, now: Millis) -> Option<(Millis, TimerKey, Hash128)> {
        let first = self.by_due.first_entry()?;
        if first.key().0 > now {
            return None;
        }
        let ((due, id), key) = first.remove_entry();
        self.place_of.remove(&key);
        Some((due, key, id))
    }
}

impl Partition {
    /// Forgets the attempts of timers that were cancelled or replaced before this owner knew their names.
    pub(super) fn forget_timers(&mut self, now: Millis) {
        let gone = self.timers.take_gone(now);
        let before = self.tallies.len();
        for id in gone {
            let item = ItemId::Timer(id);
            if !self.entries.contains_key(&item) {
                self.tallies.remove(&item);
            }
        }
        if self.tallies.len() < before {
            self.commits.changed(now);
        }
    }

    /// What an attempt did to the timers of its sequence.
    pub(super) fn set_timers(
        &self,
        now: Millis,
        item: ItemId,
        writes: Vec<TimerWrite>,
        output: &mut Output,
    ) {
        let Some(entry) = self.entries.get(&item) else {
            return;
        };
        let (SequenceKey::Keyed { tenant, key }, Some(cause)) = (&entry.sequence, &entry.event)
        else {
            return;
        };
        for TimerWrite { name, call, set } in writes {
            let group = &self.config.source.group;
            let event = (cause.source.as_str(), cause.id.as_str());
            let id = timer_id(group, tenant, key, &name, event, call);
            let timer = set.map(|set| {
                let event = self.firing(cause, &name, id, set.due, set.data);
                let hash = partition_hash(Some(key), tenant, &event.source, &event.id);
                Timer {
                    id,
                    due: set.due,
                    out: OutRecord {
                        topic: Arc::clone(&self.config.topics[0]),
                        partition: Some(self.config.partition),
                        partition_hash: hash,
                        record: binding::to_record(&event, Some(key.clone()), now.0),
                    },
                }
            });
            let sequence = entry.sequence.clone();
            let slot = TimerSlot::Named(name.into());
            output.timers.push(TimerChange {
                key: TimerKey { sequence, slot },
                timer,
            });
        }
    }

    /// The event that a timer fires as. It is of the process that set it, and passes no handler on its way, so that a
    /// timer that sets itself again is no loop.
    fn firing(
        &self,
        cause: &Event,
        name: &str,
        id: Hash128,
        due: Millis,
        data: Option<bytes::Bytes>,
    ) -> Event {
        let mut extensions = vec![
            (TIMER_NAME.to_owned(), name.to_owned()),
            ("causationid".to_owned(), cause.id.clone()),
        ];
        let correlation = cause.extension("correlationid").unwrap_or(&cause.id);
        extensions.push(("correlationid".to_owned(), correlation.to_owned()));
        for passed_on in ["tenantid", "partitionkey", "traceparent", HOPS] {
            if let Some(value) = cause.extension(passed_on) {
                extensions.push((passed_on.to_owned(), value.to_owned()));
            }
        }
        Event {
            id: id.to_uuid(),
            source: format!("/weir/{}/timers", self.config.source.handler),
            ty: TIMER_TYPE.to_owned(),
            time: Some(due.to_rfc3339()),
            datacontenttype: data
                .is_some()
                .then(|| "application/octet-stream".to_owned()),
            extensions,
            data,
            ..Event::default()
        }
    }

    /// A due timer is here: an emission is published, an event goes on to its attempt.
    pub(super) fn fire(&mut self, now: Millis, item: ItemId, timer: Timer, decoded: Decoded) {
        let Some(entry) = self.entries.get_mut(&item) else {
            return;
        };
        self.memory.give_back(entry.bytes);
        entry.bytes = timer.out.record.bytes();
        self.memory.take(entry.bytes);
        entry.record = Arc::new(timer.out.record.clone());
        if matches!(entry.work, super::Work::Emission(_)) {
            let mut output = Output {
                records: vec![timer.out],
                ..Output::default()
            };
            self.leave_source(now, item, &mut output);
            self.stage(now, item, Fate::Handled, output);
            return;
        }
        self.begin(now, item, decoded);
    }
}
