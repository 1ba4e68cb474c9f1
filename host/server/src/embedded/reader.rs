//! Reading partitions: [`LogReader`] for one partition number, [`EveryPartition`] for a subscription.
//!
//! Reads run on the caller's task. What a fetch reads was mostly written a moment ago and lies in RocksDB's memory; a
//! read of the disk is bounded by [`FETCH_BYTES_MAX`]. Both cost less than handing the work to another thread.

use std::future;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::{BoxFuture, select_all};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use weir_core::event::Record;
use weir_core::unit::Position;

use super::batch::Records;
use super::catalog::TopicLog;
use super::codec::DecodeError;
use super::key::{Family, Key, PARTITION_PREFIX};
use super::store::{ReadError, Store};
use crate::bus::{Assignment, FetchError, Membership, Reader};

/// A fetch answers at most about this much, whatever is asked: it bounds how long it holds the caller's thread.
const FETCH_BYTES_MAX: usize = 256 * 1024;

/// Reads one partition number of some topics.
pub(super) struct LogReader {
    store: Arc<Store>,
    sources: Vec<Source>,
    /// The source that is read first, so that a full one does not starve those behind it.
    first: usize,
    /// The topic that is read alone.
    only: Option<u16>,
}

/// One topic partition.
struct Source {
    /// Index in the subscription's order.
    topic: u16,
    log: Arc<TopicLog>,
    partition: u32,
    /// Offset of the next record.
    next: u64,
    end: watch::Receiver<u64>,
    /// What is left of the batch that `next` stands in.
    open: Option<Records>,
}

impl LogReader {
    /// Starts at the first kept offset of each topic; topics without this partition are left out.
    pub(super) fn new(store: Arc<Store>, topics: &[Arc<TopicLog>], partition: u32) -> Self {
        let source = |(topic, log): (u16, &Arc<TopicLog>)| {
            let extent = log.partition(partition)?;
            let (next, end) = (extent.start(), extent.watch_end());
            Some(Source {
                topic,
                log: Arc::clone(log),
                partition,
                next,
                end,
                open: None,
            })
        };
        Self {
            store,
            sources: (0..).zip(topics).filter_map(source).collect(),
            first: 0,
            only: None,
        }
    }

    fn read(&mut self, bytes_max: usize) -> Result<Vec<(Position, Record)>, FetchError> {
        let mut records = Vec::new();
        let count = self.sources.len();
        let share = bytes_max.min(FETCH_BYTES_MAX) / count.max(1);
        for turn in 0..count {
            let source = &mut self.sources[(self.first + turn) % count];
            if self.only.is_some_and(|only| only != source.topic) {
                continue;
            }
            source.read(&self.store, share, &mut records)?;
        }
        self.first = (self.first + 1) % count.max(1);
        Ok(records)
    }

    async fn wait(&mut self) {
        let only = self.only;
        let changes: Vec<_> = self
            .sources
            .iter_mut()
            .filter(|source| only.is_none_or(|only| only == source.topic))
            .map(|source| Box::pin(source.end.changed()))
            .collect();
        if changes.is_empty() {
            return future::pending().await;
        }
        // The senders live in the topics that the sources hold.
        let (Ok(()) | Err(_), ..) = select_all(changes).await;
    }
}

impl Reader for LogReader {
    fn seek(&mut self, position: Position) {
        if let Some(source) = self
            .sources
            .iter_mut()
            .find(|source| source.topic == position.topic)
        {
            source.next = position.offset;
            source.open = None;
        }
    }

    fn only(&mut self, topic: Option<u16>) {
        self.only = topic;
    }

    fn fetch(
        &mut self,
        bytes_max: usize,
    ) -> BoxFuture<'_, Result<Vec<(Position, Record)>, FetchError>> {
        Box::pin(async move {
            loop {
                // Nothing is awaited between a read and its answer, so a dropped call has moved nothing.
                let records = self.read(bytes_max)?;
                if !records.is_empty() {
                    return Ok(records);
                }
                self.wait().await;
            }
        })
    }
}

impl Source {
    /// Adds the next records: at least one if there is one, then until they reach `bytes_max`. On an error the
    /// position stays behind what was added.
    fn read(
        &mut self,
        store: &Store,
        bytes_max: usize,
        out: &mut Vec<(Position, Record)>,
    ) -> Result<(), FetchError> {
        let end = *self.end.borrow_and_update();
        if self.next > end {
            return Err(self.gap());
        }
        if self.next == end {
            return Ok(());
        }
        let mut bytes = 0;
        if !self
            .drain(bytes_max, &mut bytes, out)
            .map_err(|error| self.failed(error.into()))?
        {
            return Ok(());
        }
        let log = Arc::clone(&self.log);
        let prefix = Key::Batch {
            topic: log.id,
            partition: self.partition,
            base: 0,
        }
        .encode();
        let mut batches = store.iterate(Family::Log, &prefix[..PARTITION_PREFIX]);
        batches.seek_for_prev(
            Key::Batch {
                topic: log.id,
                partition: self.partition,
                base: self.next,
            }
            .encode(),
        );
        if !batches.valid() {
            batches.seek_to_first();
        }
        while self.next < end {
            let Some((key, value)) = batches.item() else {
                return Err(batches
                    .status()
                    .map_or_else(|error| self.failed(error.into()), |()| self.gap()));
            };
            let opened = self
                .open(key, value)
                .map_err(|error| self.failed(error.into()))?;
            if !opened {
                return Err(self.gap());
            }
            if !self
                .drain(bytes_max, &mut bytes, out)
                .map_err(|error| self.failed(error.into()))?
            {
                return Ok(());
            }
            batches.next();
        }
        Ok(())
    }

    /// Opens a stored batch at the position; false when the position is not in it.
    fn open(&mut self, key: &[u8], value: &[u8]) -> Result<bool, DecodeError> {
        let Key::Batch { base, .. } = Key::decode(key)? else {
            return Err(DecodeError::Malformed("batch key"));
        };
        let mut records = Records::new(Bytes::copy_from_slice(value))?;
        if self.next < base || self.next >= base + u64::from(records.left()) {
            return Ok(false);
        }
        for _ in base..self.next {
            records.skip()?;
        }
        self.open = Some(records);
        Ok(true)
    }

    /// Takes records of the open batch; false when `bytes_max` is reached.
    fn drain(
        &mut self,
        bytes_max: usize,
        bytes: &mut usize,
        out: &mut Vec<(Position, Record)>,
    ) -> Result<bool, DecodeError> {
        let Some(records) = &mut self.open else {
            return Ok(true);
        };
        while let Some((record, size)) = records.next()? {
            out.push((
                Position {
                    topic: self.topic,
                    offset: self.next,
                },
                record,
            ));
            self.next += 1;
            *bytes += size;
            if *bytes >= bytes_max {
                return Ok(false);
            }
        }
        self.open = None;
        Ok(true)
    }

    /// There is no batch with the position.
    fn gap(&self) -> FetchError {
        let (offset, partition) = (self.next, self.partition);
        let (first, end) = self
            .log
            .partition(partition)
            .map_or((0, 0), |log| (log.start(), log.end()));
        if offset < first || offset > end {
            return FetchError::OutOfRange {
                topic: Arc::clone(&self.log.name),
                partition,
                offset,
                first,
            };
        }
        self.failed(DecodeError::Malformed("log: a batch is missing").into())
    }

    fn failed(&self, error: ReadError) -> FetchError {
        FetchError::Store {
            topic: Arc::clone(&self.log.name),
            partition: self.partition,
            source: error.into(),
        }
    }
}

/// One process owns the store, so a member owns every partition, for ever.
pub(super) struct EveryPartition {
    store: Arc<Store>,
    topics: Vec<Arc<TopicLog>>,
    next: u32,
    closed: CancellationToken,
}

impl EveryPartition {
    pub(super) fn new(
        store: Arc<Store>,
        topics: Vec<Arc<TopicLog>>,
        closed: CancellationToken,
    ) -> Self {
        Self {
            store,
            topics,
            next: 0,
            closed,
        }
    }
}

impl Membership for EveryPartition {
    fn next(&mut self) -> BoxFuture<'_, Option<Assignment>> {
        Box::pin(async move {
            let count = self
                .topics
                .iter()
                .map(|topic| topic.count())
                .max()
                .unwrap_or(0);
            if self.next == count || self.closed.is_cancelled() {
                self.closed.cancelled().await;
                return None;
            }
            let partition = self.next;
            self.next += 1;
            let reader = LogReader::new(Arc::clone(&self.store), &self.topics, partition);
            Some(Assignment::Assigned {
                partition,
                epoch: 1,
                reader: Box::new(reader),
            })
        })
    }
}
