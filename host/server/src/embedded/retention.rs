//! Deletes whole batches from the start of a partition, by age and by size, and never what a deployed subscription
//! has not handled.

use std::time::Duration;

use rocksdb::WriteBatch;
use weir_core::time::Millis;

use super::EmbeddedConfig;
use super::batch::BatchHeader;
use super::catalog::{Catalog, TopicLog};
use super::key::{Family, Key, PARTITION_PREFIX};
use super::store::{ReadError, Store};
use crate::names::is_dlq_topic;

/// Beyond this the log is compacted after a sweep, so that the disk space comes back: what one blob file holds. Less
/// leaves with RocksDB's own compactions.
const COMPACT_BYTES_MIN: u64 = 64 << 20;

/// Sweeps all partitions once.
pub(super) fn sweep(
    store: &Store,
    catalog: &Catalog,
    config: &EmbeddedConfig,
    now: Millis,
) -> Result<(), ReadError> {
    let mut deleted = 0;
    for topic in catalog.topics() {
        for partition in 0..topic.count() {
            deleted += sweep_partition(store, catalog, config, now, &topic, partition)?;
        }
    }
    if deleted >= COMPACT_BYTES_MIN {
        store.compact(Family::Log);
    }
    Ok(())
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
    let (age, bytes_max) = bounds(config, &topic.name);
    let oldest = (now - age).0;
    let (start, bytes) = (log.start(), log.bytes());
    let (mut cut, mut cut_bytes) = (start, 0);
    let prefix = Key::BatchHeader {
        topic: topic.id,
        partition,
        base: 0,
    }
    .encode();
    store.scan(
        Family::Meta,
        &prefix[..PARTITION_PREFIX],
        |key, value| -> Result<bool, ReadError> {
            let Key::BatchHeader { base, .. } = key else {
                return Ok(true);
            };
            let header = BatchHeader::decode(value)?;
            let end = base + u64::from(header.count);
            let unwanted = header.newest_ms < oldest || bytes - cut_bytes > bytes_max;
            if end > floor || !unwanted {
                return Ok(false);
            }
            (cut, cut_bytes) = (end, cut_bytes + header.bytes);
            Ok(true)
        },
    )?;
    if cut == start {
        return Ok(0);
    }
    // First what readers see, so that one that misses a batch finds that it lies before the start.
    log.cut(cut, cut_bytes);
    drop(held);
    let topic_id = topic.id;
    let mut batch = WriteBatch::default();
    let header = |base| Key::BatchHeader {
        topic: topic_id,
        partition,
        base,
    };
    let records = |base| Key::Batch {
        topic: topic_id,
        partition,
        base,
    };
    store.delete_range(&mut batch, &header(start), &header(cut));
    store.delete_range(&mut batch, &records(start), &records(cut));
    store.put(
        &mut batch,
        &Key::LogStart {
            topic: topic_id,
            partition,
        },
        &cut.to_be_bytes(),
    );
    store.write_synced(batch);
    tracing::debug!(
        topic = &*topic.name,
        partition,
        start = cut,
        bytes = cut_bytes,
        "retention moved the log start"
    );
    Ok(cut_bytes)
}
