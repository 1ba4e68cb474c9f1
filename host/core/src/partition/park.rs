//! Sequences that are set aside (R3): durably, in order, blocking nobody but themselves.
//!
//! The ledger holds their events; here is what is next for each sequence. One event of a sequence is tried at a time,
//! and the next one is read from the ledger when the fate of the one before it is durable.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::outcome::fresh_head;
use crate::gate::Pass;
use crate::identity::Hash128;
use crate::time::Millis;
use crate::unit::{Attempts, Completion, Head, ParkedSequence, Parking, SequenceKey};

/// A copy that another owner of the partition is filling has them in a moment, and then this owner is gone.
const MISSES_MAX: u32 = 3;

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
    /// The bytes that the gate knows of.
    told: u64,
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
    /// How often in a row it was not there.
    misses: u32,
    /// Its place in [`Park::due`].
    queued: Option<Millis>,
    /// Its place in [`Park::held`].
    held_by: Option<Hash128>,
}

impl Parked {
    fn new(head: Head, durable: Option<ParkedSequence>) -> Self {
        Self {
            durable,
            head,
            joining: 0,
            active: false,
            not_before: Millis(0),
            misses: 0,
            queued: None,
            held_by: None,
        }
    }
}

impl Park {
    pub(super) fn restore(sequences: Vec<(SequenceKey, ParkedSequence)>, next: u64) -> Self {
        let mut park = Self {
            next,
            ..Self::default()
        };
        for (key, durable) in sequences {
            let parked = Parked::new(durable.head, Some(durable));
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

    /// Tells the gate what is stored here, and learns whether there is room for more. A partition that is going away
    /// stores nothing on this host.
    pub(super) fn tell(
        &mut self,
        gate: &mut dyn Pass,
        partition: u32,
        bytes_max: u64,
        leaves: bool,
    ) {
        let bytes = if leaves { 0 } else { self.bytes };
        if bytes != self.told || bytes > 0 || self.full {
            let sum = gate.park(partition, bytes);
            self.told = bytes;
            self.full = sum >= bytes_max;
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

    /// The ledger has shown no event of a sequence that it calls parked, and is asked again at this instant. Answers how
    /// many there should be, once that has been asked often enough to be believed.
    pub(super) fn missed(&mut self, sequence: &SequenceKey, at: Millis) -> Option<u64> {
        let mut missing = None;
        if let Some(parked) = self.sequences.get_mut(sequence) {
            parked.misses += 1;
            let events = parked.durable.map(|durable| durable.count);
            missing = events.filter(|_| parked.misses >= MISSES_MAX);
        }
        self.postpone(sequence, at);
        missing
    }

    /// The first event of a sequence was read.
    pub(super) fn found(&mut self, sequence: &SequenceKey) {
        if let Some(parked) = self.sequences.get_mut(sequence) {
            parked.misses = 0;
        }
    }

    /// The number of the next event that is parked.
    pub(super) fn take_number(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }

    /// Makes a sequence known as parked that was not.
    pub(super) fn begin(&mut self, sequence: SequenceKey, head: Head) {
        self.sequences.insert(sequence, Parked::new(head, None));
    }

    /// Its first event is tried again, not before `due`.
    pub(super) fn wait(&mut self, sequence: SequenceKey, due: Millis, attempts: Attempts) {
        if let Some(parked) = self.sequences.get_mut(&sequence) {
            parked.head.due = due;
            parked.head.attempts = attempts;
            parked.active = false;
        }
        self.settle(&sequence);
        self.dirty.insert(sequence);
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
    pub(super) fn committed(&mut self, sequence: &SequenceKey, parking: &Parking) {
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
        if let Some(letter) = parked.held_by.take() {
            self.held.remove(&letter);
        }
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
                parked.held_by = Some(letter);
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
    head: fresh_head(Millis(0)),
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
