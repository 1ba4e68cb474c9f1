//! A topic, and from where to where its partitions reach.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;

use crate::embedded::batch::BatchHeader;
use crate::embedded::codec::DecodeError;
use crate::embedded::key::{Family, Key, PARTITION_PREFIX};
use crate::embedded::store::{ReadError, Store};

/// A topic and the extent of its partitions.
#[derive(Debug)]
pub(in crate::embedded) struct TopicLog {
    pub(in crate::embedded) id: u32,
    pub(in crate::embedded) name: Arc<str>,
    partitions: Box<[PartitionLog]>,
}

/// The extent of one partition. Only the committer moves the end and only retention moves the start.
#[derive(Debug)]
pub(in crate::embedded) struct PartitionLog {
    start: AtomicU64,
    end: watch::Sender<u64>,
    bytes: AtomicU64,
}

impl TopicLog {
    pub(in crate::embedded) fn count(&self) -> u32 {
        u32::try_from(self.partitions.len()).expect("counted by a u32 when it was made")
    }

    /// The partition of this number; none beyond the last.
    pub(in crate::embedded) fn partition(&self, partition: u32) -> Option<&PartitionLog> {
        self.partitions.get(usize::try_from(partition).ok()?)
    }

    /// Bytes of all partitions before compression.
    pub(in crate::embedded) fn bytes(&self) -> u64 {
        self.partitions.iter().map(PartitionLog::bytes).sum()
    }

    pub(super) fn load(
        store: &Store,
        id: u32,
        name: Arc<str>,
        count: u32,
    ) -> Result<Self, ReadError> {
        let partitions = (0..count)
            .map(|partition| PartitionLog::load(store, id, partition))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            id,
            name,
            partitions,
        })
    }
}

impl PartitionLog {
    fn load(store: &Store, topic: u32, partition: u32) -> Result<Self, ReadError> {
        let start = match store.get(&Key::LogStart { topic, partition })? {
            Some(value) => u64::from_be_bytes(
                value
                    .as_ref()
                    .try_into()
                    .map_err(|_length| MALFORMED_START)?,
            ),
            None => 0,
        };
        let (mut end, mut bytes) = (start, 0);
        each_header(store, topic, partition, |base, header| {
            if base != end {
                return Err(MISSING_BATCH.into());
            }
            end = base + u64::from(header.count);
            bytes += header.bytes;
            Ok(true)
        })?;
        Ok(Self {
            start: start.into(),
            end: watch::Sender::new(end),
            bytes: bytes.into(),
        })
    }

    /// The first kept offset.
    pub(in crate::embedded) fn start(&self) -> u64 {
        self.start.load(Ordering::Acquire)
    }

    /// The offset after the last durable record.
    pub(in crate::embedded) fn end(&self) -> u64 {
        *self.end.borrow()
    }

    /// Tells when the end moves.
    pub(in crate::embedded) fn watch_end(&self) -> watch::Receiver<u64> {
        self.end.subscribe()
    }

    pub(in crate::embedded) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// The committer made records up to `end` durable.
    pub(in crate::embedded) fn extend(&self, end: u64, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.end.send_replace(end);
    }

    /// Retention deletes `bytes` of batches before `start`.
    pub(in crate::embedded) fn cut(&self, start: u64, bytes: u64) {
        self.start.store(start, Ordering::Release);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Calls `each` with the first offset and the header of each batch of a partition, in order, until it answers false.
pub(in crate::embedded) fn each_header(
    store: &Store,
    topic: u32,
    partition: u32,
    mut each: impl FnMut(u64, BatchHeader) -> Result<bool, ReadError>,
) -> Result<(), ReadError> {
    let base = 0;
    let first = Key::BatchHeader {
        topic,
        partition,
        base,
    };
    let prefix = &first.encode()[..PARTITION_PREFIX];
    store.scan(Family::Meta, prefix, |key, value| {
        let Key::BatchHeader { base, .. } = key else {
            return Ok(true);
        };
        each(base, BatchHeader::decode(value)?)
    })
}

const MISSING_BATCH: DecodeError = DecodeError::Malformed("log: a batch is missing");
const MALFORMED_START: DecodeError = DecodeError::Malformed("log start");
