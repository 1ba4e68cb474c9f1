//! The letters that died last, so many at most, each by its latest record.

use std::collections::{BTreeMap, HashMap};

use weir_core::identity::Hash128;
use weir_core::time::Millis;

use super::{Found, Listing};

/// Takes records in the order of their partition, which is the order in which a letter died again.
pub(super) struct Latest {
    max: usize,
    more: bool,
    letters: BTreeMap<(Millis, Hash128), Found>,
    /// When the kept ones died.
    died: HashMap<Hash128, Millis>,
}

impl Latest {
    pub(super) fn new(max: usize) -> Self {
        Self {
            max,
            more: false,
            letters: BTreeMap::new(),
            died: HashMap::new(),
        }
    }

    /// Takes the next record of the letter `id`; none is one that does not fit, and replaces an earlier one all the same.
    pub(super) fn take(&mut self, id: Hash128, found: Option<Found>) {
        if let Some(died) = self.died.remove(&id) {
            self.letters.remove(&(died, id));
        }
        let Some(found) = found else {
            return;
        };
        self.died.insert(id, found.dead_at);
        self.letters.insert((found.dead_at, id), found);
        if self.letters.len() > self.max {
            self.more = true;
            if let Some(((_, id), _)) = self.letters.pop_first() {
                self.died.remove(&id);
            }
        }
    }

    pub(super) fn finish(self) -> Listing {
        Listing {
            letters: self.letters.into_values().collect(),
            more: self.more,
        }
    }
}
