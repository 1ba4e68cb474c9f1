//! What the machine under test has been told in its epoch, and what follows from that by the rules alone.

use std::collections::{BTreeMap, BTreeSet};

use weir_core::identity::Hash128;
use weir_core::time::Millis;
use weir_core::unit::{ItemId, SequenceKey};

/// Who made an attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Runner {
    pub(crate) epoch: u64,
    pub(crate) serial: u64,
    /// Of the handler.
    pub(crate) version: u64,
}

/// What the last successful attempt of an event is to write.
#[derive(Clone, Debug, Default)]
pub(crate) struct Expected {
    pub(crate) fallback: bool,
    /// Ids of what is emitted with the commit.
    pub(crate) emitted: Vec<String>,
    /// Ids of what is emitted later, and when.
    pub(crate) delayed: Vec<(String, Millis)>,
    /// Names of timers, and their settings.
    pub(crate) timers: Vec<(String, Option<(Hash128, Millis)>)>,
}

#[derive(Default)]
pub(crate) struct Told {
    pub(crate) epoch: u64,
    /// The active clock when this owner took over.
    pub(crate) active_base: u64,
    /// Keyed records in the order of their arrival.
    pub(crate) arrivals: BTreeMap<SequenceKey, Vec<ItemId>>,
    /// Counted failures of what has no fate, and of the first events of parked sequences.
    pub(crate) counted: BTreeMap<ItemId, u32>,
    /// Of the latest attempt.
    pub(crate) runner: BTreeMap<ItemId, Runner>,
    /// The version of the handler whose attempt ended last.
    pub(crate) tried: BTreeMap<ItemId, u64>,
    /// What attempts that ended well are to write.
    pub(crate) expected: BTreeMap<ItemId, Expected>,
    /// Whose attempt ended for good, per sequence in that order, without a durable fate.
    pub(crate) settled: BTreeMap<SequenceKey, Vec<ItemId>>,
    /// Whose output the ledger refused.
    pub(crate) refused: BTreeSet<ItemId>,
    /// What dies of its last attempt, or of a refusal.
    pub(crate) dying: BTreeSet<ItemId>,
    /// What was running when the host ended, and has not run apart since.
    pub(crate) suspects: BTreeSet<ItemId>,
    /// Those that were marked together when it ended, and have not run alone since.
    pub(crate) narrowed: BTreeSet<ItemId>,
}

impl Told {
    pub(crate) fn settle(&mut self, item: ItemId, sequence: &SequenceKey) {
        let order = self.settled.entry(sequence.clone()).or_default();
        if !order.contains(&item) {
            order.push(item);
        }
    }

    pub(crate) fn has_settled(&self, item: ItemId) -> bool {
        self.settled.values().any(|order| order.contains(&item))
    }

    /// It has a durable fate.
    pub(crate) fn forget(&mut self, item: ItemId, sequence: &SequenceKey) {
        self.counted.remove(&item);
        self.runner.remove(&item);
        self.tried.remove(&item);
        self.expected.remove(&item);
        self.refused.remove(&item);
        self.dying.remove(&item);
        self.suspects.remove(&item);
        self.narrowed.remove(&item);
        if let Some(order) = self.settled.get_mut(sequence) {
            order.retain(|settled| *settled != item);
        }
    }

    /// What the sequence did after this item is taken back.
    pub(crate) fn withdraw(&mut self, item: ItemId, sequence: &SequenceKey) {
        let Some(order) = self.settled.get_mut(sequence) else {
            return;
        };
        let at = order.iter().position(|settled| *settled == item);
        let later = order.split_off(at.map_or(order.len(), |at| at + 1));
        self.take_back(later);
    }

    /// A command is obeyed when nothing of its sequence is staged: all that is goes after it.
    pub(crate) fn withdraw_all(&mut self, sequence: &SequenceKey) {
        let parked = |item: &ItemId| matches!(item, ItemId::Parked(_));
        let Some(order) = self.settled.get_mut(sequence) else {
            return;
        };
        let later = order.extract_if(.., |item| !parked(item)).collect();
        self.take_back(later);
    }

    fn take_back(&mut self, items: Vec<ItemId>) {
        for item in items {
            self.runner.remove(&item);
            self.expected.remove(&item);
        }
    }
}
