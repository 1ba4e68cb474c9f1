//! A subscription: what it reads, what is fixed for it, and how far it is.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use crate::embedded::names::StoredGroup;
use crate::ledger::Fixed;

/// A subscription.
#[derive(Debug)]
pub(in crate::embedded) struct Group {
    pub(in crate::embedded) id: u32,
    pub(in crate::embedded) name: Arc<str>,
    pub(in crate::embedded) topics: Arc<[Arc<str>]>,
    /// How many partitions each topic had when the subscription first started; none: it was not there.
    pub(super) partitions: Vec<Option<NonZeroU32>>,
    /// Empty until it first joins.
    pub(super) fixed: OnceLock<Fixed>,
    /// Whether retention waits for it.
    pub(super) deployed: AtomicBool,
    /// Committed frontiers by partition number, one per topic.
    frontiers: Mutex<HashMap<u32, Vec<u64>>>,
}

impl Group {
    pub(super) fn new(id: u32, stored: StoredGroup) -> Self {
        Self {
            id,
            name: stored.name,
            topics: stored.topics,
            partitions: stored.partitions,
            fixed: stored.fixed.map(OnceLock::from).unwrap_or_default(),
            deployed: AtomicBool::new(true),
            frontiers: Mutex::default(),
        }
    }

    fn frontiers(&self) -> MutexGuard<'_, HashMap<u32, Vec<u64>>> {
        self.frontiers
            .lock()
            .expect("nothing panics under this lock")
    }

    /// A unit of work was committed.
    pub(in crate::embedded) fn advance(&self, partition: u32, frontiers: Vec<u64>) {
        self.frontiers().insert(partition, frontiers);
    }

    /// The first offset of a topic that is still needed; none when the topic is not read or nothing was committed.
    pub(in crate::embedded) fn frontier(&self, index: usize, partition: u32) -> Option<u64> {
        self.frontiers().get(&partition)?.get(index).copied()
    }
}

/// Why a subscription cannot go on as what it was stored as.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// It was stored with other topics.
    #[error(
        "subscription {group:?} reads {wanted:?} but was started with {stored:?}; its topics and their order are fixed, deploy it under another name"
    )]
    Topics {
        /// Which subscription.
        group: Arc<str>,
        /// What it is to read.
        wanted: Arc<[Arc<str>]>,
        /// What it has read.
        stored: Arc<[Arc<str>]>,
    },
    /// A topic has another number of partitions than then.
    #[error("topic {topic:?} has {found} partitions and had {stored}")]
    Partitions {
        /// Which topic.
        topic: Arc<str>,
        /// What it had when the subscription first started.
        stored: u32,
        /// What it has.
        found: u32,
    },
}
