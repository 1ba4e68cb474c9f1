//! Timers: those that are due first are known here, the others wait in the ledger.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::{Decoded, Partition};
use crate::binding;
use crate::emission::HOPS;
use crate::event::{Event, TimerWrite};
use crate::identity::{Hash128, partition_hash, timer_id};
use crate::time::Millis;
use crate::unit::{
    Fate, ItemId, OutRecord, Output, SequenceKey, Timer, TimerChange, TimerKey, TimerPage,
    TimerSlot,
};

/// Timers that a partition keeps in memory: some megabytes. Beyond it the later ones are read when their turn comes.
pub const TIMERS_RESIDENT_MAX: usize = 10_000;

/// `type` of the event that a timer fires as.
pub const TIMER_TYPE: &str = "weir.timer.v1";

/// Extension attribute with the name of the timer that fires.
pub const TIMER_NAME: &str = "weirtimer";

/// The timers that are due first.
#[derive(Debug, Default)]
pub(super) struct Timers {
    by_due: BTreeMap<(Millis, TimerKey), Hash128>,
    /// Invariant: exactly the keys of `by_due`.
    due_of: HashMap<TimerKey, Millis>,
    /// All durable timers that are due before this instant are resident; none: all of them are.
    horizon: Option<Millis>,
    /// The ledger is not asked before.
    not_before: Millis,
    resident_max: usize,
    /// Timers that are due and whose sequence is parked.
    asleep: HashMap<SequenceKey, BTreeMap<TimerKey, (Millis, Hash128)>>,
}

impl Timers {
    pub(super) fn restore(page: TimerPage, resident_max: usize) -> Self {
        let mut timers = Self {
            resident_max,
            ..Self::default()
        };
        timers.take(page, |_| false);
        timers
    }

    pub(super) fn len(&self) -> usize {
        self.by_due.len()
    }

    /// Takes over the first timers of the ledger, but those that fire already.
    pub(super) fn take(&mut self, page: TimerPage, fires: impl Fn(&Hash128) -> bool) {
        self.by_due.clear();
        self.due_of.clear();
        let (mut new, mut more) = (page.timers, page.more);
        let mut last = new.last().map(|(_, due, _)| *due);
        new.retain(|(key, _, id)| {
            let asleep = self.asleep.get(&key.sequence);
            let sleeps = asleep.and_then(|asleep| asleep.get(key));
            sleeps.is_none_or(|(_, other)| other != id) && !fires(id)
        });
        if new.len() > self.resident_max {
            new.truncate(self.resident_max);
            (last, more) = (new.last().map(|(_, due, _)| *due), true);
        }
        self.horizon = last.filter(|_| more);
        // Others may be due at the instant of the last one. If all are new at that instant, they are taken without
        // those, or none of them would ever fire.
        let first = new.first().map(|(_, due, _)| *due);
        let horizon = self.horizon.filter(|_| first != last);
        for (key, due, id) in new {
            if horizon.is_none_or(|horizon| due < horizon) {
                self.insert(key, due, id);
            }
        }
    }

    fn insert(&mut self, key: TimerKey, due: Millis, id: Hash128) {
        if let Some(old) = self.due_of.insert(key.clone(), due) {
            self.by_due.remove(&(old, key.clone()));
        }
        self.by_due.insert((due, key), id);
    }

    fn remove(&mut self, key: &TimerKey) -> Option<Hash128> {
        let asleep = self.asleep.get_mut(&key.sequence);
        let asleep = asleep.and_then(|asleep| asleep.remove(key));
        let due = self.due_of.remove(key);
        let known = due.and_then(|due| self.by_due.remove(&(due, key.clone())));
        known.or(asleep.map(|(_, id)| id))
    }

    /// It is due and its sequence is parked.
    pub(super) fn sleep(&mut self, due: Millis, key: TimerKey, id: Hash128) {
        let asleep = self.asleep.entry(key.sequence.clone()).or_default();
        asleep.insert(key, (due, id));
    }

    /// The sequence is not parked any more.
    pub(super) fn wake(&mut self, sequence: &SequenceKey) {
        for (key, (due, id)) in self.asleep.remove(sequence).unwrap_or_default() {
            // One that was set under its name meanwhile has taken its place.
            if !self.due_of.contains_key(&key) {
                self.admit(key, due, id);
            }
        }
    }

    /// The identities of all settings, if all of them are in memory.
    fn all(&self) -> Option<HashSet<Hash128>> {
        let asleep = self.asleep.values().flat_map(BTreeMap::values);
        let asleep = asleep.map(|(_, id)| *id);
        let all = || self.by_due.values().copied().chain(asleep).collect();
        self.horizon.is_none().then(all)
    }

    /// How many timers to read so that some are new, while so many others may be firing.
    pub(super) fn page(&self, firing: usize) -> usize {
        let asleep: usize = self.asleep.values().map(BTreeMap::len).sum();
        self.resident_max + asleep + firing
    }

    /// A durable unit changed a timer; says which setting is gone.
    pub(super) fn changed(&mut self, change: &TimerChange) -> Option<Hash128> {
        let gone = self.remove(&change.key);
        if let Some(timer) = &change.timer {
            self.admit(change.key.clone(), timer.due, timer.id);
        }
        gone
    }

    /// Keeps a durable timer in memory, if it is among the first.
    fn admit(&mut self, key: TimerKey, due: Millis, id: Hash128) {
        if self.horizon.is_some_and(|horizon| due >= horizon) {
            return;
        }
        self.insert(key, due, id);
        if self.by_due.len() > self.resident_max
            && let Some(((due, _), _)) = self.by_due.pop_last()
        {
            // Whatever is due at that instant or later is read again when its turn comes.
            let later = self.by_due.split_off(&(due, lowest()));
            later.into_keys().for_each(|(_, key)| {
                self.due_of.remove(&key);
            });
            self.due_of.retain(|_, at| *at < due);
            self.horizon = Some(due);
        }
    }

    /// Whether the ledger must be asked for the timers that come next.
    pub(super) fn must_load(&self, now: Millis) -> bool {
        self.by_due.is_empty()
            && self.horizon.is_some_and(|horizon| horizon <= now)
            && self.not_before <= now
    }

    pub(super) fn postpone(&mut self, at: Millis) {
        self.not_before = at;
    }

    pub(super) fn due_at(&self) -> Option<Millis> {
        let first = self.by_due.first_key_value().map(|((due, _), _)| *due);
        first.or(self.horizon.map(|horizon| horizon.max(self.not_before)))
    }

    /// The next timer that is due.
    pub(super) fn pop_due(&mut self, now: Millis) -> Option<(Millis, TimerKey, Hash128)> {
        let first = self.by_due.first_entry()?;
        if first.key().0 > now {
            return None;
        }
        let ((due, key), id) = first.remove_entry();
        self.due_of.remove(&key);
        Some((due, key, id))
    }
}

/// Before all keys.
fn lowest() -> TimerKey {
    TimerKey {
        sequence: SequenceKey::Alone(ItemId::Record(crate::unit::Position {
            topic: 0,
            offset: 0,
        })),
        slot: TimerSlot::Named("".into()),
    }
}

impl Partition {
    /// Forgets the attempts of timers that are gone: one that was cancelled while it was not in memory left them behind.
    pub(super) fn forget_timers(&mut self) -> bool {
        let of_timer = |item: &ItemId| matches!(item, ItemId::Timer(_));
        if !self.tallies.keys().any(of_timer) {
            return false;
        }
        let Some(all) = self.timers.all() else {
            return false;
        };
        let (before, entries) = (self.tallies.len(), &self.entries);
        self.tallies.retain(|item, _| match item {
            ItemId::Timer(id) => all.contains(id) || entries.contains_key(item),
            ItemId::Record(_) | ItemId::Parked(_) => true,
        });
        self.tallies.len() < before
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
                        record: binding::to_record(event, Some(key.clone()), now.0),
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
