//! Who may start under an id: each has one event with an effect.

use super::{Load, Partition, Stage};
use crate::identity::Hash128;
use crate::inbox::Seen;
use crate::time::Millis;
use crate::unit::{Fate, ItemId, Marked, Output};

/// What is known of an id.
pub(super) enum Claim {
    /// Nobody has it: it is this event's.
    Free,
    /// It has a fate, durable or staged.
    Seen,
    /// Another event has started under it and has no fate.
    InFlight,
    /// The ledger must be asked.
    Unknown(Load),
}

impl Partition {
    /// Holds an id for the event that is about to start under it.
    pub(super) fn claim(&mut self, mark: Hash128, item: ItemId) -> Claim {
        let Some((holder, waiters)) = self.ids.get_mut(&mark) else {
            return match self.inbox.look_up(&mark) {
                Seen::Yes => Claim::Seen,
                Seen::Perhaps(units) => Claim::Unknown(Load::Mark(item, mark, units)),
                Seen::No => {
                    self.ids.insert(mark, (item, Vec::new()));
                    Claim::Free
                }
            };
        };
        if *holder == item {
            return Claim::Free;
        }
        match self.entries.get(holder).map(|entry| &entry.stage) {
            Some(Stage::Staged(_)) => Claim::Seen,
            Some(_) | None => {
                waiters.push(item);
                Claim::InFlight
            }
        }
    }

    /// Whether this item has started under this id.
    pub(super) fn holds(&self, mark: Hash128, item: ItemId) -> bool {
        self.ids
            .get(&mark)
            .is_some_and(|(holder, _)| *holder == item)
    }

    /// The ledger knows an id, or it does not and the id is free.
    pub(super) fn marked(
        &mut self,
        now: Millis,
        item: ItemId,
        mark: Hash128,
        found: Option<Marked>,
    ) {
        let reached = self.stream_reached();
        if found.is_some_and(|found| self.inbox.covers(found, reached, now)) {
            return self.stage(now, item, Fate::Duplicate, Output::default());
        }
        self.ids.entry(mark).or_insert_with(|| (item, Vec::new()));
        self.make_ready(item);
    }
}
