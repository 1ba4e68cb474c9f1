//! Lanes: events in the order in which they run, and what the staged ones changed that is not durable.
//!
//! A lane is a sequence, or the whole partition where that is the order.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use super::Ordering;
use crate::unit::{Completion, ItemId, Output, SequenceKey, TimerKey, TimerSlot};

/// State and timers that staged events of a sequence wrote. They hide what the ledger holds under the same names.
#[derive(Clone, Debug, Default)]
pub struct StagedState(Option<Arc<Writes>>);

#[derive(Clone, Debug, Default)]
struct Writes {
    state: BTreeMap<String, Staged<Bytes>>,
    timers: BTreeMap<TimerSlot, Staged<()>>,
}

/// A value, or its removal, and who wrote it.
#[derive(Clone, Debug)]
struct Staged<V> {
    writer: ItemId,
    value: Option<V>,
}

impl StagedState {
    /// The staged value of this name: none when nothing is staged, `Some(None)` when its removal is.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Option<Bytes>> {
        let staged = self.0.as_ref()?.state.get(name)?;
        Some(staged.value.clone())
    }

    /// Staged names in order, and whether each is present after the staged writes.
    pub fn names(&self) -> impl Iterator<Item = (&str, bool)> {
        let state = self.0.iter().flat_map(|writes| writes.state.iter());
        state.map(|(name, staged)| (name.as_str(), staged.value.is_some()))
    }

    /// Staged timers of the handler in order of their names, and whether each is set after the staged writes.
    pub fn timers(&self) -> impl Iterator<Item = (&str, bool)> {
        let timers = self.0.iter().flat_map(|writes| writes.timers.iter());
        timers.filter_map(|(slot, staged)| match slot {
            TimerSlot::Named(name) => Some((&**name, staged.value.is_some())),
            TimerSlot::Emission(_) => None,
        })
    }
}

/// The lanes of a partition, by the sequences that stand in them.
#[derive(Debug)]
pub(super) struct Lanes {
    by_sequence: HashMap<SequenceKey, Lane>,
    /// The lane of all sequences, where the order is the partition's.
    whole: Option<Lane>,
}

impl Lanes {
    pub(super) fn new(ordering: Ordering) -> Self {
        Self {
            by_sequence: HashMap::new(),
            whole: (ordering == Ordering::Partition).then(Lane::default),
        }
    }

    pub(super) fn get(&self, sequence: &SequenceKey) -> Option<&Lane> {
        let own = || self.by_sequence.get(sequence);
        self.whole.as_ref().or_else(own)
    }

    pub(super) fn get_mut(&mut self, sequence: &SequenceKey) -> Option<&mut Lane> {
        match &mut self.whole {
            Some(whole) => Some(whole),
            None => self.by_sequence.get_mut(sequence),
        }
    }

    /// The lane of a sequence, which is made if there is none.
    pub(super) fn of(&mut self, sequence: &SequenceKey) -> &mut Lane {
        match &mut self.whole {
            Some(whole) => whole,
            None => self.by_sequence.entry(sequence.clone()).or_default(),
        }
    }

    /// Forgets the lane of a sequence, which is empty. That of all sequences stays.
    pub(super) fn remove(&mut self, sequence: &SequenceKey) {
        self.by_sequence.remove(sequence);
    }

    /// Whether these sequences stand in one lane.
    pub(super) fn are_one(&self, one: &SequenceKey, other: &SequenceKey) -> bool {
        self.whole.is_some() || one == other
    }
}

/// Events of one lane that have no durable fate.
#[derive(Debug, Default)]
pub(super) struct Lane {
    /// Without a fate, in order; the first is the head.
    queue: VecDeque<ItemId>,
    /// Events of this lane that are staged or in a unit.
    staged: usize,
    /// What the staged ones wrote: state and timers are a sequence's own, whoever shares its lane.
    writes: HashMap<SequenceKey, StagedState>,
}

impl Lane {
    pub(super) fn push(&mut self, item: ItemId) {
        self.queue.push_back(item);
    }

    pub(super) fn head(&self) -> Option<ItemId> {
        self.queue.front().copied()
    }

    pub(super) fn is_head(&self, item: ItemId) -> bool {
        self.head() == Some(item)
    }

    pub(super) fn staged_state(&self, sequence: &SequenceKey) -> StagedState {
        self.writes.get(sequence).cloned().unwrap_or_default()
    }

    /// Whether a staged event sets or removes this timer.
    pub(super) fn changes_timer(&self, key: &TimerKey) -> bool {
        let writes = self.writes.get(&key.sequence);
        let writes = writes.and_then(|writes| writes.0.as_ref());
        writes.is_some_and(|writes| writes.timers.contains_key(&key.slot))
    }

    /// Whether nothing of this lane waits for a commit.
    pub(super) fn is_settled(&self) -> bool {
        self.staged == 0
    }

    /// Takes an event out of the queue that gets no fate.
    pub(super) fn remove(&mut self, item: ItemId) {
        if self.is_head(item) {
            self.queue.pop_front();
        } else {
            self.queue.retain(|queued| *queued != item);
        }
    }

    /// Takes an event out of the queue and its writes into the staged ones.
    pub(super) fn stage(&mut self, item: ItemId, sequence: &SequenceKey, output: &Output) {
        self.remove(item);
        self.staged += 1;
        self.write(item, sequence, output);
    }

    fn write(&mut self, writer: ItemId, sequence: &SequenceKey, output: &Output) {
        if output.state.is_empty() && output.timers.is_empty() {
            return;
        }
        let writes = self.writes.entry(sequence.clone()).or_default();
        let writes = Arc::make_mut(writes.0.get_or_insert_default());
        for write in &output.state {
            let value = write.value.clone();
            let staged = Staged { writer, value };
            writes.state.insert(write.name.clone(), staged);
        }
        for change in &output.timers {
            let value = change.timer.as_ref().map(|_| ());
            let staged = Staged { writer, value };
            writes.timers.insert(change.key.slot.clone(), staged);
        }
    }

    /// Forgets the staged writes of a committed event: the ledger holds them.
    pub(super) fn commit(&mut self, item: ItemId, sequence: &SequenceKey, output: &Output) {
        self.staged -= 1;
        let Some(staged) = self.writes.get_mut(sequence) else {
            return;
        };
        let writes = Arc::make_mut(staged.0.get_or_insert_default());
        for write in &output.state {
            if is_written_by(writes.state.get(&write.name), item) {
                writes.state.remove(&write.name);
            }
        }
        for change in &output.timers {
            if is_written_by(writes.timers.get(&change.key.slot), item) {
                writes.timers.remove(&change.key.slot);
            }
        }
        if writes.state.is_empty() && writes.timers.is_empty() {
            self.writes.remove(sequence);
        }
    }

    /// Puts withdrawn events, in order, back before the queue, and replaces the staged writes by those of `kept`.
    pub(super) fn withdraw<'a>(
        &mut self,
        withdrawn: &[ItemId],
        kept: impl Iterator<Item = &'a Completion>,
    ) {
        for item in withdrawn.iter().rev() {
            self.queue.push_front(*item);
            self.staged -= 1;
        }
        self.writes.clear();
        for done in kept {
            self.write(done.item, &done.sequence, &done.output);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.staged == 0
    }
}

fn is_written_by<V>(staged: Option<&Staged<V>>, item: ItemId) -> bool {
    staged.is_some_and(|staged| staged.writer == item)
}
