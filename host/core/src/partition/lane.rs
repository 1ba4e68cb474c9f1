//! One sequence: its events in order, and what its staged events changed that is not durable.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use crate::unit::{ItemId, Output, TimerKey, TimerSlot};

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

/// Events of one sequence that have no durable fate.
#[derive(Debug, Default)]
pub(super) struct Lane {
    /// Without a fate, in order; the first is the head.
    queue: VecDeque<ItemId>,
    /// Events of this sequence that are staged or in a unit.
    staged: usize,
    writes: StagedState,
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

    pub(super) fn staged_state(&self) -> StagedState {
        self.writes.clone()
    }

    /// Whether a staged event sets or removes this timer.
    pub(super) fn changes_timer(&self, key: &TimerKey) -> bool {
        let writes = self.writes.0.as_ref();
        writes.is_some_and(|writes| writes.timers.contains_key(&key.slot))
    }

    /// Whether nothing of this sequence waits for a commit.
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
    pub(super) fn stage(&mut self, item: ItemId, output: &Output) {
        self.remove(item);
        self.staged += 1;
        self.write(item, output);
    }

    fn write(&mut self, writer: ItemId, output: &Output) {
        if output.state.is_empty() && output.timers.is_empty() {
            return;
        }
        let writes = Arc::make_mut(self.writes.0.get_or_insert_default());
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
    pub(super) fn commit(&mut self, item: ItemId, output: &Output) {
        self.staged -= 1;
        let Some(writes) = &mut self.writes.0 else {
            return;
        };
        let writes = Arc::make_mut(writes);
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
            self.writes.0 = None;
        }
    }

    /// Puts withdrawn events, in order, back before the queue, and replaces the staged writes by those of `kept`.
    pub(super) fn withdraw<'a>(
        &mut self,
        withdrawn: &[ItemId],
        kept: impl Iterator<Item = (ItemId, &'a Output)>,
    ) {
        for item in withdrawn.iter().rev() {
            self.queue.push_front(*item);
            self.staged -= 1;
        }
        self.writes = StagedState::default();
        for (item, output) in kept {
            self.write(item, output);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.staged == 0
    }
}

fn is_written_by<V>(staged: Option<&Staged<V>>, item: ItemId) -> bool {
    staged.is_some_and(|staged| staged.writer == item)
}
