//! L1 of the inbox: the identities that a partition has given a fate, for 24 hours on both clocks.

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::time::Duration;

use crate::identity::Hash128;
use crate::time::Millis;
use crate::unit::InboxBlock;

/// Bounds of the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Age at which a mark leaves, on the stream's clock and on the wall clock both.
    pub window: Duration,
    /// Ids kept per partition; the oldest block leaves first.
    pub ids_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(24 * 3600),
            ids_max: 1_000_000,
        }
    }
}

/// The marks of one partition and subscription.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    config: Config,
    /// Invariant: exactly the ids of `blocks`.
    ids: HashSet<Hash128, BuildHasherDefault<AlreadyHashed>>,
    blocks: VecDeque<InboxBlock>,
    /// The bound on ids has made marks leave before their time.
    cut: bool,
}

impl Inbox {
    pub(crate) fn restore(config: Config, blocks: Vec<InboxBlock>) -> Self {
        let ids = blocks
            .iter()
            .flat_map(|block| block.ids.iter().copied())
            .collect();
        Self {
            config,
            ids,
            blocks: blocks.into(),
            cut: false,
        }
    }

    pub(crate) fn contains(&self, id: &Hash128) -> bool {
        self.ids.contains(id)
    }

    /// The number of ids in the window.
    pub(crate) fn len(&self) -> usize {
        self.ids.len()
    }

    /// The age of the oldest mark, when the bound on ids and not the window ends there.
    pub(crate) fn cut_window(&self, now: Millis) -> Option<Duration> {
        let oldest = self.blocks.front().filter(|_| self.cut)?;
        Some(now.since(oldest.staged_at))
    }

    /// Takes in the marks of a committed unit.
    pub(crate) fn insert(&mut self, block: InboxBlock) {
        if !block.ids.is_empty() {
            self.ids.extend(block.ids.iter().copied());
            self.blocks.push_back(block);
        }
    }

    /// Drops what has left the window and says the units whose blocks they were.
    ///
    /// Both clocks must agree: a host that was down for a day must not wake up with an empty inbox, and a backfill of
    /// old records must not flush it.
    pub(crate) fn expire(&mut self, stream_time: Millis, now: Millis) -> Vec<u64> {
        let mut expired = Vec::new();
        while let Some(block) = self.blocks.front() {
            let old = stream_time.since(block.stream_time) >= self.config.window
                && now.since(block.staged_at) >= self.config.window;
            if !old && self.ids.len() <= self.config.ids_max {
                break;
            }
            self.cut = !old;
            if let Some(block) = self.blocks.pop_front() {
                block.ids.iter().for_each(|id| {
                    self.ids.remove(id);
                });
                expired.push(block.unit);
            }
        }
        expired
    }
}

/// The first eight bytes of a [`Hash128`], which is uniform already.
#[derive(Default)]
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
