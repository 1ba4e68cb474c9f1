//! Deletes whole batches from the start of a partition, by age and by size, and never what a deployed subscription
//! has not handled.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rocksdb::WriteBatch;
use weir_core::dead_letter;
use weir_core::identity::Hash128;
use weir_core::time::Millis;
use weir_core::unit::LetterStatus;

use super::EmbeddedConfig;
use super::batch::Records;
use super::catalog::{Catalog, Group, TopicLog, each_header};
use super::key::{Family, Key};
use super::reads::PartitionReads;
use super::store::{ReadError, Store};
use crate::names::{self, is_dlq_topic};

/// Beyond this the log is compacted after a sweep, so that the disk space comes back: what one blob file holds. Less
/// leaves with RocksDB's own compactions.
const COMPACT_BYTES_MIN: u64 = 64 << 20;

/// A partition could not be swept.
#[derive(Debug, thiserror::Error)]
#[error("sweep topic {topic}, partition {partition}")]
pub struct SweepError {
    topic: Arc<str>,
    partition: u32,
    source: Box<dyn std::error::Error + Send + Sync>,
}

/// Sweeps all partitions once. One that cannot be read keeps no other from it.
pub(super) fn sweep(
    store: &Store,
    catalog: &Catalog,
    config: &EmbeddedConfig,
    now: Millis,
) -> Result<(), SweepError> {
    let (mut deleted, mut first) = (0, None);
    for topic in catalog.topics() {
        for partition in 0..topic.count() {
            match sweep_partition(store, catalog, config, now, &topic, partition) {
                Ok(bytes) => deleted += bytes,
                Err(error) => {
                    first.get_or_insert_with(|| SweepError {
                        topic: Arc::clone(&topic.name),
                        partition,
                        source: error.into(),
                    });
                }
            }
        }
    }
    if deleted >= COMPACT_BYTES_MIN {
        store.compact(Family::Log);
    }
    first.map_or(Ok(()), Err)
}

/// How old records of this topic may grow, and how many bytes of a partition there may be.
fn bounds(config: &EmbeddedConfig, topic: &str) -> (Duration, u64) {
    if is_dlq_topic(topic) {
        return (config.retention_age.max(config.dead_letter_age), u64::MAX);
    }
    let bytes_max = config.retention_bytes_per_partition;
    (config.retention_age, bytes_max.unwrap_or(u64::MAX))
}

/// Answers how many bytes it deleted.
fn sweep_partition(
    store: &Store,
    catalog: &Catalog,
    config: &EmbeddedConfig,
    now: Millis,
    topic: &TopicLog,
    partition: u32,
) -> Result<u64, ReadError> {
    let Some(log) = topic.partition(partition) else {
        return Ok(0);
    };
    // A subscription that starts meanwhile would be told a start that is about to go.
    let held = catalog.hold_subscriptions();
    let floor = catalog.floor(topic, partition, log);
    let mut letters = match catalog.dead_letters_of(&topic.name) {
        Some(group) if has_commands(catalog, &group, partition) => return Ok(0),
        Some(group) => Some(Leaving::new(store, group.id, partition)),
        None => None,
    };
    let (age, bytes_max) = bounds(config, &topic.name);
    let oldest = (now - age).0;
    let (start, bytes) = (log.start(), log.bytes());
    let (mut cut, mut cut_bytes) = (start, 0);
    each_header(store, topic.id, partition, |base, header| {
        let end = base + u64::from(header.count);
        let unwanted = header.newest_ms < oldest || bytes - cut_bytes > bytes_max;
        if end > floor || !unwanted {
            return Ok(false);
        }
        if let Some(letters) = &mut letters
            && !letters.take(topic.id, base)?
        {
            return Ok(false);
        }
        (cut, cut_bytes) = (end, cut_bytes + header.bytes);
        Ok(true)
    })?;
    if cut == start {
        return Ok(0);
    }
    // First what readers see, so that one that misses a batch finds that it lies before the start.
    log.cut(cut, cut_bytes);
    drop(held);
    delete(store, (topic.id, partition), start..cut, letters);
    tracing::debug!(
        topic = &*topic.name,
        partition,
        start = cut,
        bytes = cut_bytes,
        "retention moved the log start"
    );
    Ok(cut_bytes)
}

/// Deletes these records of a partition of a topic, and what is kept of the letters among them.
fn delete(
    store: &Store,
    (topic, partition): (u32, u32),
    range: Range<u64>,
    letters: Option<Leaving>,
) {
    let mut batch = WriteBatch::default();
    let header = |base| Key::BatchHeader {
        topic,
        partition,
        base,
    };
    let records = |base| Key::Batch {
        topic,
        partition,
        base,
    };
    store.delete_range(&mut batch, &header(range.start), &header(range.end));
    store.delete_range(&mut batch, &records(range.start), &records(range.end));
    store.put(
        &mut batch,
        &Key::LogStart { topic, partition },
        &range.end.to_be_bytes(),
    );
    if let Some(letters) = letters {
        letters.delete(&mut batch);
    }
    store.write_synced(batch);
}

/// Whether an operator's commands wait to be obeyed: they carry letters, and the statuses of these must be there.
fn has_commands(catalog: &Catalog, group: &Group, partition: u32) -> bool {
    let name = names::commands_topic(&group.name);
    let Some(index) = group.topics.iter().position(|topic| **topic == *name) else {
        return false;
    };
    let topic = catalog.topic(&name);
    let end = topic.and_then(|topic| Some(topic.partition(partition)?.end()));
    group.frontier(index, partition).unwrap_or(0) < end.unwrap_or(0)
}

/// The letters of a subscription whose records leave: their statuses leave with them.
struct Leaving<'a> {
    reads: PartitionReads<'a>,
    /// Letters that hold a sequence; read when the first batch is to leave.
    held: Option<HashSet<Hash128>>,
    gone: Vec<Hash128>,
}

impl<'a> Leaving<'a> {
    fn new(store: &'a Store, group: u32, partition: u32) -> Self {
        Self {
            reads: PartitionReads {
                store,
                group,
                partition,
            },
            held: None,
            gone: Vec::new(),
        }
    }

    /// Takes the letters of a batch; false when the batch must stay, because a letter of it is held or on its way:
    /// nobody could replay, drop or release what has no record.
    fn take(&mut self, topic: u32, base: u64) -> Result<bool, ReadError> {
        if self.held.is_none() {
            let heads = self.reads.parked(usize::MAX)?.into_iter();
            let held =
                heads.filter_map(|(_, parked)| parked.head.letter.filter(|_| parked.head.held));
            self.held = Some(held.collect());
        }
        let partition = self.reads.partition;
        let batch = self.reads.store.get(&Key::Batch {
            topic,
            partition,
            base,
        })?;
        let Some(batch) = batch else {
            return Ok(true);
        };
        let mut records = Records::new(Bytes::copy_from_slice(&batch))?;
        let mut gone = Vec::new();
        while let Some((record, _)) = records.next()? {
            let Ok((letter, _)) = dead_letter::from_record(record) else {
                continue;
            };
            let Some(stored) = self.reads.letter(letter.id)? else {
                continue;
            };
            if stored.died != Some(letter.dead_at) {
                // It died again: a later record is the letter's.
                continue;
            }
            let held = self
                .held
                .as_ref()
                .is_some_and(|held| held.contains(&letter.id));
            if held || stored.status == LetterStatus::Replaying {
                return Ok(false);
            }
            gone.push(letter.id);
        }
        self.gone.append(&mut gone);
        Ok(true)
    }

    fn delete(self, batch: &mut WriteBatch) {
        let PartitionReads {
            store,
            group,
            partition,
        } = self.reads;
        for id in self.gone {
            let key = Key::Letter {
                group,
                partition,
                id,
            };
            store.delete(batch, &key);
        }
    }
}
