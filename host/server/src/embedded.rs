//! Bus and ledger in one RocksDB: what the host runs on with no configuration.
//!
//! [`committer`] is the only writer of records and units: one batch and one sync for everything that waits.
//! [`key`] is the schema; the files beside it hold one kind of value each. [`catalog`] keeps in memory what every
//! event looks up: topics, subscriptions, how far each reaches.

mod attempts;
mod batch;
mod begun;
mod bus;
mod catalog;
mod checkpoint;
mod codec;
mod committer;
mod copy;
mod damage;
mod disk;
pub mod doctor;
mod inbox;
mod job;
mod journal;
mod key;
mod ledger;
mod letter;
mod mark;
mod names;
mod operate;
mod park;
mod progress;
mod purge;
mod reader;
mod reads;
mod restore;
mod retention;
mod staging;
mod state;
mod steering;
mod store;
mod timer;
mod trust;
mod writes;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::bus::{Publish, PublishError};
use crate::clock::now;
use crate::fail::{self, Point};
use crate::ledger::Scope;
use catalog::Catalog;
pub use catalog::RegisterError;
use committer::{Committer, Rejected};
pub(crate) use copy::{Changes, Checkpoint, Extent, Log, Missing, Reached, Unloaded};
use disk::Disk;
pub use disk::DiskSpace;
pub(crate) use job::{decode_plan, decode_progress, encode_plan, encode_progress};
use key::Family;
pub(crate) use key::{sequence_from_bytes, sequence_to_bytes};
pub use purge::{PurgeError, Purged};
pub use retention::SweepError;
use staging::Appender;
pub(crate) use staging::RECORD_BYTES_MAX;
use store::{Store, StoreError};

/// Settings of the embedded store.
#[derive(Clone, Debug)]
pub struct EmbeddedConfig {
    /// Records are kept this long.
    pub retention_age: Duration,
    /// Dead letters are kept this long at least, however many they are: people have to come to them.
    pub dead_letter_age: Duration,
    /// And not more of them than this, before compression.
    pub retention_bytes_per_partition: Option<u64>,
    /// Free disk, in bytes, below which nothing is taken in; none is 5 % of the disk or 1 GiB, whichever is less.
    pub disk_reserve: Option<u64>,
    /// What may wait to be made durable.
    pub queue_bytes_max: usize,
    /// And in how many calls.
    pub queue_requests_max: usize,
    /// What one sync covers, about.
    pub group_bytes_max: usize,
}

impl Default for EmbeddedConfig {
    fn default() -> Self {
        Self {
            retention_age: Duration::from_secs(7 * 24 * 3600),
            dead_letter_age: Duration::from_secs(30 * 24 * 3600),
            retention_bytes_per_partition: None,
            disk_reserve: None,
            // Half a second of the fastest intake that was measured.
            queue_bytes_max: 64 << 20,
            queue_requests_max: 16_384,
            // A larger group gains no rate and makes its first caller wait.
            group_bytes_max: 8 << 20,
        }
    }
}

/// Why the store could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("open the store in {path}: {remedy}")]
pub struct OpenError {
    path: PathBuf,
    remedy: &'static str,
    source: Box<dyn std::error::Error + Send + Sync>,
}

/// The store could not be copied.
#[derive(Debug, thiserror::Error)]
#[error("make a checkpoint of the store: {0}")]
pub struct CheckpointError(Box<dyn std::error::Error + Send + Sync>);

const DAMAGED: &str =
    "`weir doctor DIR` on the data directory says what is damaged and how to go on";

/// What to do about a store that does not open. RocksDB gives the system's errors as text.
fn remedy(error: &str) -> &'static str {
    if error.contains("No space left on device") {
        "the disk is full: free space and start again; nothing that was accepted is lost"
    } else if error.contains("Permission denied") {
        "start the host as the owner of the data directory"
    } else {
        DAMAGED
    }
}

/// What the store holds.
#[derive(Clone, Debug)]
pub struct DiskUsage {
    /// Bytes on disk by column family, compressed: `log`, `state`, `park`, `timer`, `ledger` (inbox and letters), `meta`.
    pub families: Vec<(&'static str, u64)>,
    /// Bytes of records by topic, before compression.
    pub topics: Vec<(Arc<str>, u64)>,
}

/// The embedded bus and ledger. Clones share it; it is closed by [`Self::close`] or with the last clone.
#[derive(Clone)]
pub struct Embedded {
    inner: Arc<Inner>,
}

struct Inner {
    store: Arc<Store>,
    catalog: Catalog,
    committer: Committer,
    disk: Disk,
    config: EmbeddedConfig,
    closed: CancellationToken,
}

impl Embedded {
    /// Opens the store in `path` and makes it where there is none.
    pub fn open(path: &Path, config: EmbeddedConfig) -> Result<Self, OpenError> {
        Self::open_by(path, config, Store::open)
    }

    fn open_by(
        path: &Path,
        config: EmbeddedConfig,
        open: impl FnOnce(&Path) -> Result<Store, StoreError>,
    ) -> Result<Self, OpenError> {
        let error = |remedy| {
            move |source: Box<dyn std::error::Error + Send + Sync>| OpenError {
                path: path.to_owned(),
                remedy,
                source,
            }
        };
        let store = open(path).map_err(|source| error(remedy(&source.text()))(source.into()))?;
        fail::pass(Point::StoreOpened);
        let store = Arc::new(store);
        let catalog = Catalog::load(&store).map_err(|source| error(DAMAGED)(source.into()))?;
        let committer = Committer::spawn(Arc::clone(&store), &config).map_err(|source| {
            error("the committer's thread could not be started")(source.into())
        })?;
        let disk = Disk::new(path.to_owned(), config.disk_reserve);
        let closed = CancellationToken::new();
        Ok(Self {
            inner: Arc::new(Inner {
                store,
                catalog,
                committer,
                disk,
                config,
                closed,
            }),
        })
    }

    /// Refuses new work, makes durable what waits and ends memberships. Blocks for as long as that takes.
    pub fn close(self) {
        self.inner.close();
    }

    /// Deletes what retention no longer keeps. Blocks; to be called now and then.
    ///
    /// # Errors
    /// Of a partition that cannot be read, the first; the others were swept.
    pub fn sweep_retention(&self) -> Result<(), SweepError> {
        let inner = &self.inner;
        retention::sweep(&inner.store, &inner.catalog, &inner.config, now())
    }

    /// Makes retention wait for this subscription: for its committed position, or the start of its topics where
    /// nothing was committed. Subscriptions of earlier runs are waited for until they are released.
    pub fn register_subscription(&self, scope: &Scope) -> Result<(), RegisterError> {
        let group = self
            .inner
            .catalog
            .group(&self.inner.store, &scope.group, &scope.topics)?;
        self.inner.catalog.deploy(&group);
        self.inner.catalog.check_partitions(&group)
    }

    /// Retention stops to wait for this subscription, because it is no longer deployed. What it committed is kept.
    pub fn release_subscription(&self, group: &str) {
        self.inner.catalog.release_group(group);
    }

    /// Copies everything that is committed to `path`, which must not exist; by hard links on the same file system.
    /// Commits go on meanwhile, and each is in the copy as a whole or not at all. Blocks.
    pub fn checkpoint(&self, path: &Path) -> Result<(), CheckpointError> {
        let made = self.inner.store.checkpoint(path);
        made.map_err(|error| CheckpointError(error.into()))
    }

    /// What lies on the disk.
    #[must_use]
    pub fn disk_usage(&self) -> DiskUsage {
        let families = Family::ALL.map(|family| (family.name(), self.inner.store.bytes(family)));
        let topics = self.inner.catalog.topics();
        let topics = topics
            .iter()
            .map(|topic| (Arc::clone(&topic.name), topic.bytes()))
            .collect();
        DiskUsage {
            families: families.to_vec(),
            topics,
        }
    }

    /// The disk that all of it lies on.
    ///
    /// # Errors
    /// The file system does not say.
    pub fn disk_space(&self) -> std::io::Result<DiskSpace> {
        self.inner.disk.space()
    }

    /// Whether events are taken in.
    ///
    /// # Errors
    /// They are not, because the disk is down to its reserve: what is wrong and what to do, for people.
    pub fn check_intake(&self) -> Result<(), String> {
        self.inner.disk.check()
    }

    /// How long the write has taken that is not over; none while nothing is written.
    #[must_use]
    pub fn writing_for(&self) -> Option<Duration> {
        self.inner.committer.writing_for()
    }

    /// Gives a topic other partitions, as only an editor of the store can.
    #[cfg(test)]
    pub(crate) fn repartition(&self, topic: &str, partitions: u32) {
        self.inner
            .catalog
            .repartition(&self.inner.store, topic, partitions);
    }

    /// Puts another, empty topic in the place of one, as only an editor of the store can.
    #[cfg(test)]
    pub(crate) fn remake(&self, topic: &str) {
        self.inner.catalog.remake(&self.inner.store, topic);
    }

    /// Writes over the first header of a partition of a topic, as only damage does; answers what was there.
    #[cfg(test)]
    pub(crate) fn spoil_header(&self, topic: &str, partition: u32, with: &[u8]) -> Vec<u8> {
        let topic = self.inner.catalog.topic(topic).expect("a topic").id;
        let base = 0;
        let key = key::Key::BatchHeader {
            topic,
            partition,
            base,
        };
        let store = &self.inner.store;
        let before = store
            .get(&key)
            .expect("readable")
            .expect("a batch")
            .to_vec();
        let mut batch = rocksdb::WriteBatch::default();
        store.put(&mut batch, &key, with);
        store.write_synced(batch);
        before
    }

    /// Deletes the positions of a partition, as only damage does.
    #[cfg(test)]
    pub(crate) fn lose_positions(&self, group: &str, partition: u32) {
        let group = self.inner.catalog.group_id(group).expect("a subscription");
        let mut batch = rocksdb::WriteBatch::default();
        let key = key::Key::Progress { group, partition };
        self.inner.store.delete(&mut batch, &key);
        self.inner.store.write_synced(batch);
    }
}

impl Inner {
    fn close(&self) {
        self.committer.close();
        self.closed.cancel();
    }

    async fn publish(&self, topic: String, records: Vec<Publish>) -> Result<(), PublishError> {
        let Some(log) = self.catalog.topic(&topic) else {
            return Err(PublishError::UnknownTopic(topic));
        };
        if records.is_empty() {
            return Ok(());
        }
        self.disk.check().map_err(PublishError::Stopped)?;
        let mut appender = Appender::default();
        for Publish {
            partition_hash,
            record,
        } in &records
        {
            appender.push(&log, partition_hash % log.count(), record);
        }
        drop(records);
        self.committer
            .publish(appender.finish())
            .await
            .map_err(|rejected| match rejected {
                Rejected::Full => PublishError::Busy,
                Rejected::Closed => PublishError::Stopped("the host is shutting down".to_owned()),
            })
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests;
