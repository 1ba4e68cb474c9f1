//! Where an id may be: of ids that leave memory together, in which stretch of them. What was put in is found in its stretch,
//! and of 256 others one in some stretch.
//!
//! A table of fingerprints (Fan et al., "Cuckoo Filter", CoNEXT 2014, without the eviction: nothing is added later). A Bloom
//! filter takes half as much and says only that an id is somewhere: to look there is to read all of the ids.

use crate::identity::Hash128;

/// Stretches of a filter: a look-up reads one of so many parts of its ids.
pub(super) const STRETCHES_MAX: usize = 1 << STRETCH_BITS;
const STRETCH_BITS: u32 = 6;
/// Of a cell, what is not its stretch.
const PRINT_BITS: u32 = u16::BITS - STRETCH_BITS;
/// Ids in a bucket, on average: each is another chance to be mistaken, and each bucket takes as much as two cells.
const IDS_PER_BUCKET: usize = 4;

/// A fixed set of ids, at 24 bits each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Filter {
    /// Where the cells of each bucket begin, and where those of the last one end.
    starts: Vec<u32>,
    /// The print of an id and its stretch; in each bucket the last one first.
    cells: Vec<u16>,
}

impl Filter {
    /// Of ids and the numbers of their stretches, below [`STRETCHES_MAX`].
    pub(super) fn of<'a>(ids: impl Iterator<Item = (usize, &'a Hash128)> + Clone) -> Self {
        let buckets = ids.clone().count().div_ceil(IDS_PER_BUCKET).max(1);
        // Each bucket's end, after its cells are counted; its start, after they are put before that.
        let mut starts = vec![0u32; buckets + 1];
        for (_, id) in ids.clone() {
            starts[bucket(id, buckets)] += 1;
        }
        let mut end = 0;
        for start in &mut starts {
            end += *start;
            *start = end;
        }
        let mut cells = vec![0; end as usize];
        for (stretch, id) in ids {
            let start = &mut starts[bucket(id, buckets)];
            *start -= 1;
            cells[*start as usize] = cell(id, stretch);
        }
        Self { starts, cells }
    }

    /// The stretches that may hold an id, in ascending order where ids were put in so; one may come twice.
    pub(super) fn stretches(&self, id: &Hash128) -> impl Iterator<Item = usize> {
        let bucket = bucket(id, self.starts.len() - 1);
        let (start, end) = (self.starts[bucket], self.starts[bucket + 1]);
        let cells = &self.cells[start as usize..end as usize];
        let print = cell(id, 0) >> STRETCH_BITS;
        let hits = cells
            .iter()
            .rev()
            .filter(move |cell| **cell >> STRETCH_BITS == print);
        hits.map(|cell| usize::from(*cell) % STRETCHES_MAX)
    }
}

/// An id is a hash already: one half of it says the bucket, the other one the print.
fn bucket(id: &Hash128, buckets: usize) -> usize {
    let half = u128::from_le_bytes(id.0) >> 64;
    let bucket = (half * buckets as u128) >> 64;
    usize::try_from(bucket).expect("less than the number of buckets")
}

fn cell(id: &Hash128, stretch: usize) -> u16 {
    let print = u16::from_le_bytes([id.0[0], id.0[1]]) >> (u16::BITS - PRINT_BITS);
    let stretch = u16::try_from(stretch % STRETCHES_MAX).expect("a stretch has six bits");
    print << STRETCH_BITS | stretch
}

#[cfg(test)]
mod tests;
