//! One sequence: its events in order, and its state writes that are not durable.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use crate::event::StateWrite;
use crate::unit::Position;

/// State writes of staged events of a sequence, by name. They hide what the ledger holds under the same name.
#[derive(Clone, Debug, Default)]
pub struct StagedState(Option<Arc<BTreeMap<String, Staged>>>);

#[derive(Clone, Debug)]
struct Staged {
    writer: Position,
    value: Option<Bytes>,
}

impl StagedState {
    /// The staged value of this name: none when nothing is staged, `Some(None)` when its removal is.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Option<Bytes>> {
        self.0
            .as_ref()?
            .get(name)
            .map(|staged| staged.value.clone())
    }

    /// Staged names in order, and whether each is present after the staged writes.
    pub fn names(&self) -> impl Iterator<Item = (&str, bool)> {
        self.0
            .iter()
            .flat_map(|map| map.iter())
            .map(|(name, staged)| (name.as_str(), staged.value.is_some()))
    }
}

/// Events of one sequence that have no durable fate.
#[derive(Debug, Default)]
pub(super) struct Lane {
    /// Without a fate, in order; the first is the head.
    queue: VecDeque<Position>,
    /// Events of this sequence that are staged or in a unit.
    staged: usize,
    state: StagedState,
}

impl Lane {
    pub(super) fn push(&mut self, position: Position) {
        self.queue.push_back(position);
    }

    pub(super) fn head(&self) -> Option<Position> {
        self.queue.front().copied()
    }

    pub(super) fn is_head(&self, position: Position) -> bool {
        self.head() == Some(position)
    }

    pub(super) fn staged_state(&self) -> StagedState {
        self.state.clone()
    }

    /// Takes an event out of the queue and its writes into the staged state.
    pub(super) fn stage(&mut self, position: Position, writes: &[StateWrite]) {
        if self.is_head(position) {
            self.queue.pop_front();
        } else {
            self.queue.retain(|queued| *queued != position);
        }
        self.staged += 1;
        self.write(position, writes);
    }

    fn write(&mut self, writer: Position, writes: &[StateWrite]) {
        if writes.is_empty() {
            return;
        }
        let map = Arc::make_mut(self.state.0.get_or_insert_default());
        for write in writes {
            map.insert(
                write.name.clone(),
                Staged {
                    writer,
                    value: write.value.clone(),
                },
            );
        }
    }

    /// Forgets the staged writes of a committed event: the ledger holds them.
    pub(super) fn commit(&mut self, position: Position, writes: &[StateWrite]) {
        self.staged -= 1;
        let Some(map) = &mut self.state.0 else { return };
        let map = Arc::make_mut(map);
        for write in writes {
            if map
                .get(&write.name)
                .is_some_and(|staged| staged.writer == position)
            {
                map.remove(&write.name);
            }
        }
        if map.is_empty() {
            self.state.0 = None;
        }
    }

    /// Puts withdrawn events, in order, back before the queue, and replaces the staged state by what `kept` wrote.
    pub(super) fn withdraw<'a>(
        &mut self,
        withdrawn: &[Position],
        kept: impl Iterator<Item = (Position, &'a [StateWrite])>,
    ) {
        for position in withdrawn.iter().rev() {
            self.queue.push_front(*position);
            self.staged -= 1;
        }
        self.state = StagedState::default();
        for (position, writes) in kept {
            self.write(position, writes);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.staged == 0
    }
}
