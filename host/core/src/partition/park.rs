//! Sequences that are set aside (R3): durably, in order, blocking nobody but themselves.
//!
//! The ledger holds their events; here is what is next for each sequence. One event of a sequence is tried at a time,
//! and the next one is read from the ledger when the fate of the one before it is durable.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::outcome::aside;
use super::{Decoded, Entry, Partition, Progress, Stage, Work};
use crate::gate::Pass;
use crate::identity::Hash128;
use crate::time::Millis;
use crate::unit::{
    Attempts, Completion, Fate, Head, ItemId, Output, ParkedEvent, ParkedSequence, Parking,
    Position, SequenceKey, TimerChange,
};

/// What is parked in a partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Sequences.
    pub sequences: u64,
    /// Of them, those that wait for an operator.
    pub held: u64,
    /// Events of all sequences.
    pub events: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Events of the longest sequence.
    pub longest: u64,
}

/// All parked sequences of the partition.
#[derive(Debug, Default)]
pub(super) struct Park {
    sequences: HashMap<SequenceKey, Parked>,
    /// Of those that are neither active nor held.
    due: BTreeSet<(Millis, SequenceKey)>,
    /// By the letter that holds them.
    held: HashMap<Hash128, SequenceKey>,
    /// Their state changed and no unit holds it.
    dirty: BTreeSet<SequenceKey>,
    next: u64,
    bytes: u64,
    events: u64,
    /// How many sequences have so many durable events: status asks for the longest all the time.
    lengths: BTreeMap<u64, u64>,
    full: bool,
}

#[derive(Debug)]
struct Parked {
    /// As the ledger has it; none before the first event is durable.
    durable: Option<ParkedSequence>,
    /// What is next.
    head: Head,
    /// Staged events that join it.
    joining: u32,
    /// Its first event is being read, tried or committed.
    active: bool,
    /// It is not read before: it could not be the last time.
    not_before: Millis,
    /// Its place in [`Park::due`].
    queued: Option<Millis>,
}

impl Park {
    pub(super) fn restore(sequences: Vec<(SequenceKey, ParkedSequence)>, next: u64) -> Self {
        let mut park = Self {
            next,
            ..Self::default()
        };
        for (key, durable) in sequences {
            let parked = Parked {
                durable: Some(durable),
                head: durable.head,
                joining: 0,
                active: false,
                not_before: Millis(0),
                queued: None,
            };
            park.measure(None, Some(durable));
            park.sequences.insert(key.clone(), parked);
            park.settle(&key);
        }
        park
    }

    pub(super) fn contains(&self, sequence: &SequenceKey) -> bool {
        self.sequences.contains_key(sequence)
    }

    /// Whether the first event of a parked sequence is being read, tried or committed.
    pub(super) fn is_busy(&self, sequence: &SequenceKey) -> bool {
        self.sequences
            .get(sequence)
            .is_some_and(|parked| parked.active || parked.joining > 0)
    }

    pub(super) fn head(&self, sequence: &SequenceKey) -> Option<&Head> {
        self.sequences.get(sequence).map(|parked| &parked.head)
    }

    /// The sequence that this letter holds.
    pub(super) fn held_by(&self, letter: &Hash128) -> Option<&SequenceKey> {
        self.held.get(letter)
    }

    pub(super) fn next_number(&self) -> u64 {
        self.next
    }

    /// True while the storage of the subscription is spent.
    pub(super) fn is_full(&self) -> bool {
        self.full
    }

    /// Tells the gate what is stored here, and learns whether there is room for more.
    pub(super) fn tell(&mut self, gate: &mut dyn Pass, partition: u32, bytes_max: u64) {
        if self.bytes > 0 || self.full {
            self.full = gate.park(partition, self.bytes) >= bytes_max;
        }
    }

    pub(super) fn counts(&self) -> Counts {
        Counts {
            sequences: self.sequences.len() as u64,
            held: self.held.len() as u64,
            events: self.events,
            bytes: self.bytes,
            longest: self
                .lengths
                .last_key_value()
                .map_or(0, |(length, _)| *length),
        }
    }

    pub(super) fn due_at(&self) -> Option<Millis> {
        self.due.first().map(|(due, _)| *due)
    }

    /// The next sequence whose first event is due; it counts as active from here on.
    pub(super) fn pop_due(&mut self, now: Millis) -> Option<SequenceKey> {
        if self.due_at()? > now {
            return None;
        }
        let (_, sequence) = self.due.pop_first()?;
        if let Some(parked) = self.sequences.get_mut(&sequence) {
            parked.active = true;
            parked.queued = None;
        }
        Some(sequence)
    }

    /// Its first event is read again at this instant.
    pub(super) fn postpone(&mut self, sequence: &SequenceKey, at: Millis) {
        if let Some(parked) = self.sequences.get_mut(sequence) {
            parked.active = false;
            parked.not_before = at;
        }
        self.settle(sequence);
    }

    /// The ledger holds no event of a sequence that it calls parked.
    pub(super) fn vanished(&mut self, sequence: &SequenceKey) {
        if let Some(parked) = self.sequences.get_mut(sequence) {
            parked.active = false;
            let old = parked.durable;
            if let Some(durable) = &mut parked.durable {
                (durable.count, durable.bytes) = (0, 0);
            }
            let new = parked.durable;
            self.measure(old, new);
            self.dirty.insert(sequence.clone());
        }
        self.settle(sequence);
    }

    /// A staged event joins the sequence.
    pub(super) fn staged(&mut self, sequence: &SequenceKey) {
        if let Some(parked) = self.sequences.get_mut(sequence) {
            parked.joining += 1;
        }
    }

    /// What it staged was taken back.
    pub(super) fn unstaged(&mut self, sequence: &SequenceKey) {
        if let Some(parked) = self.sequences.get_mut(sequence) {
            parked.joining -= 1;
        }
        self.settle(sequence);
    }

    /// The completion of an event changes a sequence, as `parking` says, and is durable.
    fn committed(&mut self, sequence: &SequenceKey, parking: &Parking) {
        if let Some(parked) = self.sequences.get_mut(sequence) {
            parked.joining -= u32::from(parking.join.is_some());
            if let Some(head) = parking.head {
                parked.head = head;
            }
            // A fate of its first event, or a command, which waits for that.
            if parking.leave.is_some() || parking.join.is_none() {
                parked.active = false;
            }
        }
    }

    /// Takes over what the ledger holds of a sequence.
    pub(super) fn settle_durable(
        &mut self,
        sequence: &SequenceKey,
        durable: Option<ParkedSequence>,
    ) {
        if let Some(parked) = self.sequences.get_mut(sequence) {
            let old = std::mem::replace(&mut parked.durable, durable);
            self.measure(old, durable);
        }
        self.settle(sequence);
    }

    /// Puts what the ledger holds of a sequence into the sums in place of what it held before.
    fn measure(&mut self, old: Option<ParkedSequence>, new: Option<ParkedSequence>) {
        if let Some(old) = old {
            self.bytes -= old.bytes;
            self.events -= old.count;
            if let Some(number) = self.lengths.get_mut(&old.count) {
                *number -= 1;
                if *number == 0 {
                    self.lengths.remove(&old.count);
                }
            }
        }
        if let Some(new) = new {
            self.bytes += new.bytes;
            self.events += new.count;
            *self.lengths.entry(new.count).or_default() += 1;
        }
    }

    /// Puts a sequence where it belongs: gone, held, or waiting for its instant.
    fn settle(&mut self, sequence: &SequenceKey) {
        let Some(parked) = self.sequences.get_mut(sequence) else {
            return;
        };
        if let Some(at) = parked.queued.take() {
            self.due.remove(&(at, sequence.clone()));
        }
        self.held.retain(|_, held| held != sequence);
        let events = parked.durable.map_or(0, |durable| durable.count);
        if events == 0 && parked.joining == 0 && !parked.active {
            let gone = self.sequences.remove(sequence);
            self.measure(gone.and_then(|gone| gone.durable), None);
            return;
        }
        let Head {
            due, letter, held, ..
        } = parked.head;
        match letter.filter(|_| held) {
            Some(letter) => {
                self.held.insert(letter, sequence.clone());
            }
            None if events > 0 && !parked.active => {
                let due = due.max(parked.not_before);
                parked.queued = Some(due);
                self.due.insert((due, sequence.clone()));
            }
            None => {}
        }
    }

    /// What the sequences are after a unit with these completions.
    pub(super) fn heads_after<'a>(
        &mut self,
        completions: impl Iterator<Item = &'a Completion>,
    ) -> Vec<(SequenceKey, Option<ParkedSequence>)> {
        let mut after: BTreeMap<SequenceKey, ParkedSequence> = BTreeMap::new();
        for sequence in std::mem::take(&mut self.dirty) {
            let Some(parked) = self.sequences.get(&sequence) else {
                // Its events have vanished, and it is to follow them.
                after.insert(sequence, NO_EVENTS);
                continue;
            };
            let head = parked.head;
            if let Some(durable) = parked.durable {
                after.insert(sequence, ParkedSequence { head, ..durable });
            }
        }
        for completion in completions {
            let Some(parking) = &completion.output.parking else {
                continue;
            };
            let parked = self.sequences.get(&completion.sequence);
            let state = after.entry(completion.sequence.clone()).or_insert_with(|| {
                let durable = parked.and_then(|parked| parked.durable);
                durable.unwrap_or(NO_EVENTS)
            });
            apply(state, parking);
        }
        after
            .into_iter()
            .map(|(sequence, state)| (sequence, Some(state).filter(|state| state.count > 0)))
            .collect()
    }

    /// A unit with these heads is absent.
    pub(super) fn not_durable(&mut self, heads: &[(SequenceKey, Option<ParkedSequence>)]) {
        let known = heads.iter().map(|(sequence, _)| sequence);
        let stored = known.filter(|sequence| {
            let parked = self.sequences.get(*sequence);
            parked.is_none_or(|parked| parked.durable.is_some())
        });
        self.dirty.extend(stored.cloned());
    }
}

/// A sequence that is not parked.
const NO_EVENTS: ParkedSequence = ParkedSequence {
    count: 0,
    bytes: 0,
    head: super::outcome::fresh_head(Millis(0)),
};

fn apply(state: &mut ParkedSequence, parking: &Parking) {
    if let Some(event) = &parking.join {
        state.count += 1;
        state.bytes += event.bytes();
    }
    if let Some((_, bytes)) = parking.leave {
        state.count = state.count.saturating_sub(1);
        state.bytes = state.bytes.saturating_sub(bytes);
    }
    if let Some(head) = parking.head {
        state.head = head;
    }
}

impl Partition {
    /// Sets an event aside: behind its sequence, or as the first of it with what is next.
    pub(super) fn park(&mut self, now: Millis, item: ItemId, head: Option<Head>) {
        let Some(entry) = self.entries.get(&item) else {
            return;
        };
        let sequence = entry.sequence.clone();
        let mut output = Output::default();
        if let Work::Timer(key) = &entry.work {
            // The firing is an event of its sequence from here on; the name is free again.
            output.timers.push(TimerChange {
                key: key.clone(),
                timer: None,
            });
        }
        let head = self.begin_park(&sequence, head);
        output.parking = Some(Box::new(Parking {
            join: Some(self.parked_event(now, item, None)),
            leave: None,
            head,
        }));
        self.stage(now, item, Fate::Parked, output);
    }

    /// Sets an event aside that did not fail: the breaker wants it, or the span is at its bound.
    pub(super) fn set_aside(&mut self, now: Millis, item: ItemId) {
        if self.is_in_park(item) {
            let attempts = self.attempts(item);
            return self.repark(now, item, now + aside(&self.config.retry), attempts);
        }
        let head = Head {
            due: now + aside(&self.config.retry),
            attempts: self.attempts(item),
            letter: None,
            held: false,
        };
        self.park(now, item, Some(head));
    }

    fn is_in_park(&self, item: ItemId) -> bool {
        let entry = self.entries.get(&item);
        entry.is_some_and(|entry| matches!(entry.work, Work::Parked(_)))
    }

    /// Makes a sequence known as parked; what is next counts only if it was not.
    pub(super) fn begin_park(
        &mut self,
        sequence: &SequenceKey,
        head: Option<Head>,
    ) -> Option<Head> {
        if self.park.contains(sequence) {
            return None;
        }
        let head = head.unwrap_or_else(|| super::outcome::fresh_head(Millis(0)));
        let parked = Parked {
            durable: None,
            head,
            joining: 0,
            active: false,
            not_before: Millis(0),
            queued: None,
        };
        self.park.sequences.insert(sequence.clone(), parked);
        Some(head)
    }

    /// The parked form of an item.
    pub(super) fn parked_event(
        &mut self,
        now: Millis,
        item: ItemId,
        letter: Option<Hash128>,
    ) -> ParkedEvent {
        let number = self.park.next;
        self.park.next += 1;
        let record = self.entries.get(&item).map(|entry| (*entry.record).clone());
        ParkedEvent {
            number,
            record: record.unwrap_or_default(),
            origin: self.origin(item),
            parked_at: now,
            parked_active: self.clock.active,
            letter,
            replays: 0,
        }
    }

    /// The first event of a parked sequence failed, or must wait: what is next is written with the next unit.
    pub(super) fn repark(&mut self, now: Millis, item: ItemId, due: Millis, attempts: Attempts) {
        let Some(entry) = self.entries.remove(&item) else {
            return;
        };
        self.memory.give_back(entry.bytes);
        self.tallies.remove(&item);
        if let Some(parked) = self.park.sequences.get_mut(&entry.sequence) {
            parked.head.due = due;
            parked.head.attempts = attempts;
            parked.active = false;
        }
        self.park.dirty.insert(entry.sequence.clone());
        self.park.settle(&entry.sequence);
        self.commits.attempts_changed(now);
    }

    /// The first event of a parked sequence is here.
    pub(super) fn unpark(
        &mut self,
        now: Millis,
        sequence: SequenceKey,
        parked: ParkedEvent,
        decoded: Decoded,
    ) {
        let item = ItemId::Parked(parked.number);
        let tenant = super::admission::tenant(decoded.event());
        let record = Arc::new(parked.record.clone());
        let entry = Entry {
            tenant,
            sequence,
            bytes: record.bytes(),
            record,
            event: None,
            mark: None,
            // Whatever was parked before the host ended may have been running then.
            admitted: parked.parked_at,
            work: Work::Parked(Box::new(parked)),
            stage: Stage::Queued,
        };
        self.admit(item, entry, false);
        self.begin(now, item, decoded);
    }

    /// The first open position of a topic may not wait longer than the span allows: its sequence is set aside.
    pub(super) fn relieve_span(&mut self, now: Millis, gate: &dyn Pass) {
        if !self.sets_aside() || gate.is_open(now) {
            return;
        }
        let limits = &self.config.limits;
        let late = self.blockers().filter(|(_, progress, since)| {
            progress.span() >= limits.span_max || now.since(*since) >= limits.span_age_max
        });
        let late: HashSet<ItemId> = late.map(|(blocker, ..)| blocker).collect();
        for item in late {
            if let Some(Stage::RetryWait(at)) = self.entries.get(&item).map(|entry| &entry.stage) {
                self.retries.remove(&(*at, item));
                self.set_aside(now, item);
            }
        }
    }

    /// When a first open position will have waited as long as it may.
    pub(super) fn span_due_at(&self) -> Option<Millis> {
        let age_max = self.config.limits.span_age_max;
        let due = self.blockers().map(|(.., since)| since + age_max);
        due.min().filter(|_| self.sets_aside())
    }

    /// How long a first open position has waited.
    pub(super) fn span_age(&self, now: Millis) -> Duration {
        let ages = self.blockers().map(|(.., since)| now.since(since));
        ages.max().unwrap_or_default()
    }

    /// Whoever waits for a retry and holds the first open position of a topic up, and since when.
    fn blockers(&self) -> impl Iterator<Item = (ItemId, &Progress, Millis)> {
        let topics = (0..).zip(&self.progress);
        let topics = topics.filter(|_| !self.retries.is_empty());
        topics.filter_map(|(topic, progress)| {
            let offset = progress.frontier();
            let blocker = self.blocker(ItemId::Record(Position { topic, offset }))?;
            Some((blocker, progress, self.entries.get(&blocker)?.admitted))
        })
    }

    /// Whoever waits for a retry so that `item` cannot get its fate: itself, the head of its lane, or the holder of
    /// its id.
    fn blocker(&self, item: ItemId) -> Option<ItemId> {
        let sequence = &self.entries.get(&item)?.sequence;
        let head = self.lanes.get(sequence).and_then(super::Lane::head)?;
        let entry = self.entries.get(&head)?;
        let blocker = match entry.stage {
            Stage::RetryWait(_) => head,
            Stage::AwaitsId => self.ids.get(&entry.mark?)?.0,
            Stage::Queued
            | Stage::Ready
            | Stage::Loading
            | Stage::Running(_)
            | Stage::Staged(_) => return None,
        };
        let entry = self.entries.get(&blocker)?;
        let waits = matches!(entry.stage, Stage::RetryWait(_)) && entry.event.is_some();
        // One that waits for the ledger's word on its id may turn out to be a duplicate.
        let own_id = entry.mark.is_none_or(|mark| self.holds(mark, blocker));
        (waits && own_id).then_some(blocker)
    }

    /// Takes over what a durable completion changed in the park.
    pub(super) fn parking_committed(&mut self, sequence: &SequenceKey, parking: &Parking) {
        self.park.committed(sequence, parking);
    }
}
