//! L1 of the inbox: the identities that a partition has given a fate, for 24 hours on both clocks.
//!
//! The latest ones are in memory exactly, as far as the partition's share of memory goes. Of those before them there are
//! [`Filter`]s, sixteen when the window is full, each of which mistakes one new id in 256 for an old one. Then the ledger is
//! asked, which has them all, about a thousand of them.

mod filter;

use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::RangeInclusive;
use std::time::Duration;

use self::filter::{Filter, STRETCHES_MAX};
use crate::event::Event;
use crate::identity::Hash128;
use crate::time::Millis;
use crate::unit::{InboxBlock, Marked};

/// What an id takes that is kept exactly, about: its place in a set that is half empty at worst (39 bytes), and in its
/// block (16).
const ID_BYTES: usize = 64;
/// What its block takes beside the ids, about: its place in a queue that is half empty at worst (80 bytes), and what the
/// allocator adds to a buffer of its own (32). Where little happens each id has a block to itself.
const BLOCK_BYTES: usize = 112;

/// A filter covers at most this part of all ids, because they leave together when there are too many.
const SEALED_PART: usize = 16;

/// Bounds of the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Age at which a mark leaves, on the stream's clock and on the wall clock both.
    pub window: Duration,
    /// Ids kept per partition; the oldest leave first.
    pub ids_max: usize,
    /// Bytes that those may take which are in memory as they are.
    pub resident_bytes_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(24 * 3600),
            ids_max: 1_000_000,
            resident_bytes_max: 256 << 20,
        }
    }
}

/// A subscription's own choice of what tells an event from others, in place of its `source` and `id`.
pub trait IdempotencyKey: fmt::Debug + Send + Sync {
    /// The key of this event; one that is none or empty is not used.
    fn of(&self, event: &Event) -> Option<String>;
}

/// The marks of one partition and subscription.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inbox {
    config: Config,
    /// Before all of `blocks`, the oldest first.
    sealed: VecDeque<Sealed>,
    /// Ids of `sealed`.
    sealed_ids: usize,
    /// Invariant: exactly the ids of `blocks`.
    ids: HashSet<Hash128, BuildHasherDefault<AlreadyHashed>>,
    blocks: VecDeque<InboxBlock>,
    /// The bound on ids has made marks leave before their time.
    cut: bool,
}

/// Blocks whose ids are known to the ledger alone.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Sealed {
    filter: Filter,
    ids: usize,
    /// The unit of the first block, and of each by how many units it came later.
    first: u64,
    units: Vec<u32>,
    /// Of the parts that its filter tells apart, the place of the first unit.
    stretches: Vec<usize>,
    oldest: Millis,
    newest: Marked,
}

/// What is known of an id without a look into the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    No,
    Yes,
    /// If it was, then by one of these units.
    Perhaps(Vec<RangeInclusive<u64>>),
}

impl Inbox {
    /// An empty one.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            config,
            ..Self::default()
        }
    }

    /// The same marks within other bounds.
    pub(crate) fn within(mut self, config: Config) -> Self {
        self.config = config;
        self.seal();
        self
    }

    /// The blocks that are in memory, the oldest first.
    pub fn blocks(&self) -> impl Iterator<Item = &InboxBlock> {
        self.blocks.iter()
    }

    pub(crate) fn look_up(&self, id: &Hash128) -> Seen {
        if self.ids.contains(id) {
            return Seen::Yes;
        }
        let mut units: Vec<_> = self.sealed.iter().flat_map(|part| part.units(id)).collect();
        units.dedup();
        if units.is_empty() {
            Seen::No
        } else {
            Seen::Perhaps(units)
        }
    }

    /// Whether a mark that the ledger has is within the window: what a filter covers leaves when all of it is old.
    pub(crate) fn covers(&self, mark: Marked, stream_time: Millis, now: Millis) -> bool {
        !self.is_old(mark, stream_time, now)
    }

    /// Both clocks must agree: a host that was down for a day must not wake up with an empty inbox, and a backfill of
    /// old records must not flush it.
    fn is_old(&self, mark: Marked, stream_time: Millis, now: Millis) -> bool {
        stream_time.since(mark.stream_time) >= self.config.window
            && now.since(mark.staged_at) >= self.config.window
    }

    /// The number of ids in the window.
    pub(crate) fn len(&self) -> usize {
        self.sealed_ids + self.ids.len()
    }

    /// What those take that are in memory as they are, about.
    pub(crate) fn resident_bytes(&self) -> usize {
        self.ids.len() * ID_BYTES + self.blocks.len() * BLOCK_BYTES
    }

    /// The age of the oldest mark, when the bound on ids and not the window ends there.
    pub(crate) fn cut_window(&self, now: Millis) -> Option<Duration> {
        let sealed = self.sealed.front().map(|part| part.oldest);
        let oldest = sealed.or_else(|| Some(self.blocks.front()?.staged_at));
        oldest.filter(|_| self.cut).map(|at| now.since(at))
    }

    /// Takes in the marks of a committed unit, which comes after all others.
    pub fn insert(&mut self, block: InboxBlock) {
        if !block.ids.is_empty() {
            self.ids.extend(block.ids.iter().copied());
            self.blocks.push_back(block);
            self.seal();
        }
    }

    /// Leaves the oldest ids to the ledger while there are more than fit. Half of what fits stays, so that filters are
    /// few.
    fn seal(&mut self) {
        while self.resident_bytes() > self.config.resident_bytes_max {
            let part = (self.config.ids_max / SEALED_PART).max(1);
            let wanted = self.resident_bytes() - self.config.resident_bytes_max / 2;
            let (mut count, mut ids) = (0, 0);
            while ids < part
                && ids * ID_BYTES + count * BLOCK_BYTES < wanted
                && let Some(block) = self.blocks.get(count)
            {
                ids += block.ids.len();
                count += 1;
            }
            let blocks: Vec<_> = self.blocks.drain(..count).collect();
            let Some(sealed) = Sealed::new(&blocks) else {
                return;
            };
            for id in blocks.iter().flat_map(|block| &block.ids) {
                self.ids.remove(id);
            }
            self.sealed_ids += sealed.ids;
            self.sealed.push_back(sealed);
        }
    }

    /// Drops what has left the window, until so many blocks have or a few more, and says the units whose they were.
    pub(crate) fn expire(&mut self, stream_time: Millis, now: Millis, enough: usize) -> Vec<u64> {
        let mut expired = Vec::new();
        while expired.len() < enough {
            let sealed = self.sealed.front().map(|part| part.newest);
            let block = self.blocks.front().map(Marked::from);
            let Some(first) = sealed.or(block) else {
                break;
            };
            let old = self.is_old(first, stream_time, now);
            if !old && self.len() <= self.config.ids_max {
                break;
            }
            self.cut = !old;
            if let Some(part) = self.sealed.pop_front() {
                self.sealed_ids -= part.ids;
                let units = part.units.iter();
                expired.extend(units.map(|later| part.first + u64::from(*later)));
            } else if let Some(block) = self.blocks.pop_front() {
                for id in &block.ids {
                    self.ids.remove(id);
                }
                expired.push(block.unit);
            }
        }
        expired
    }
}

impl Sealed {
    /// None of no blocks.
    fn new(blocks: &[InboxBlock]) -> Option<Self> {
        let (first, last) = (blocks.first()?, blocks.last()?);
        let ids = blocks.iter().map(|block| block.ids.len()).sum();
        let (mut before, mut stretches) = (0, Vec::new());
        let mut places = Vec::with_capacity(blocks.len());
        for (place, block) in blocks.iter().enumerate() {
            // Stretches have about as many ids each, and blocks are whole in one.
            if stretches.len() * ids <= before * STRETCHES_MAX {
                stretches.push(place);
            }
            places.push(stretches.len() - 1);
            before += block.ids.len();
        }
        let placed = blocks.iter().zip(&places);
        let placed = placed.flat_map(|(block, place)| block.ids.iter().map(move |id| (*place, id)));
        let after = |block: &InboxBlock| u32::try_from(block.unit - first.unit).ok();
        Some(Self {
            filter: Filter::of(placed),
            ids,
            first: first.unit,
            units: blocks.iter().filter_map(after).collect(),
            stretches,
            oldest: first.staged_at,
            newest: last.into(),
        })
    }

    /// Those that may have marked an id.
    fn units(&self, id: &Hash128) -> impl Iterator<Item = RangeInclusive<u64>> {
        let unit = |place: usize| self.first + u64::from(self.units[place]);
        self.filter.stretches(id).map(move |stretch| {
            let next = self.stretches.get(stretch + 1);
            let end = next.copied().unwrap_or(self.units.len());
            unit(self.stretches[stretch])..=unit(end - 1)
        })
    }
}

/// The first eight bytes of a [`Hash128`], which is uniform already.
#[derive(Clone, Default)]
pub(crate) struct AlreadyHashed(u64);

impl Hasher for AlreadyHashed {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(head) = bytes.first_chunk::<8>() {
            self.0 = u64::from_le_bytes(*head);
        }
    }

    /// The length prefix of an array says nothing.
    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests;
