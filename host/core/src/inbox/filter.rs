//! A filter of ids: what was put in is found, and of a hundred others one at most (Bloom, CACM 13(7), 1970).

use crate::identity::Hash128;

/// With seven probes each, one id in 120 is mistaken.
const BITS_PER_ID: usize = 10;
const PROBES: u64 = 7;

/// A fixed set of ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Filter {
    bits: Vec<u64>,
}

impl Filter {
    pub(super) fn of<'a>(ids: impl Iterator<Item = &'a Hash128> + Clone) -> Self {
        let words = (ids.clone().count() * BITS_PER_ID).div_ceil(64).max(1);
        let mut bits = vec![0; words];
        for id in ids {
            for (word, bit) in places(id, words) {
                bits[word] |= bit;
            }
        }
        Self { bits }
    }

    pub(super) fn may_hold(&self, id: &Hash128) -> bool {
        places(id, self.bits.len()).all(|(word, bit)| self.bits[word] & bit != 0)
    }
}

/// The bits of an id. An id is a hash already: its halves make as many hashes as are wanted (Kirsch and Mitzenmacher,
/// "Less Hashing, Same Performance", 2006).
fn places(id: &Hash128, words: usize) -> impl Iterator<Item = (usize, u64)> {
    let both = u128::from_le_bytes(id.0);
    let bits = words as u128 * 64;
    (0..PROBES).map(move |probe| {
        #[expect(clippy::cast_possible_truncation, reason = "the halves of the hash")]
        let (base, step) = (both as u64, (both >> 64) as u64 | 1);
        let hash = base.wrapping_add(step.wrapping_mul(probe));
        let place = (u128::from(hash) * bits) >> 64;
        let word = usize::try_from(place / 64).expect("less than the number of words");
        (word, 1 << (place % 64))
    })
}

#[cfg(test)]
mod tests;
