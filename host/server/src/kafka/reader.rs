//! Reads what a group gave to this host, and single partitions for `weir tail`.
//!
//! Each topic partition has a queue of its own in librdkafka, bounded in bytes: one that is not read fills up and is no
//! longer fetched. So nothing has to be paused, and nothing stays paused that should not.

mod source;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use rdkafka::config::FromClientConfigAndContext as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio::sync::Notify;
use weir_core::event::Record;
use weir_core::unit::Position;

use self::source::{Failing, LOOKS_APART, QUIET, STARVED, Source, TRIES};
use super::clients::{Clients, Logged, TRANSACTION_TIMEOUT};
use super::cluster::Cluster;
use super::native::position;
use super::reading::{is_gone, wait_until_stable};
use super::records::{self, number};
use super::share::{Context, GroupConsumer, Leave, Share};
use crate::bus::{FetchError, Reader};
use crate::fail::{self, Point};

/// A queue that became full between two looks tells so; this is for the tell that got lost.
const LOOK: Duration = Duration::from_millis(250);
/// Between two looks whether something waits that does not come.
const STARVED_LOOK: Duration = Duration::from_secs(1);

/// What both readers do with their queues.
struct Sources<C: ConsumerContext> {
    partition: u32,
    by_topic: BTreeMap<u16, Source<C>>,
    only: Option<u16>,
    filled: Arc<Notify>,
    /// The topic that was read last: the others come first.
    last: u16,
    /// Told by librdkafka when it changes, and by us after what was read before it.
    failure: Option<FetchError>,
    /// All that is committed was read; told once for each end, where ends are told.
    ended: bool,
    /// In tests: nothing comes of the first topic.
    starves: bool,
}

impl<C: ConsumerContext> Sources<C> {
    fn new(partition: u32) -> Self {
        Self {
            partition,
            by_topic: BTreeMap::new(),
            only: None,
            filled: Arc::default(),
            last: 0,
            failure: None,
            ended: false,
            starves: false,
        }
    }

    /// Takes the queue of a topic partition that is about to be assigned.
    fn split(&mut self, consumer: &Arc<BaseConsumer<C>>, index: u16, topic: &Arc<str>, from: u64) {
        let stale = || position(consumer, topic, number(self.partition));
        if let Some(source) = self.by_topic.get_mut(&index) {
            source.note_sought(from, stale());
            return;
        }
        // Before the position, which panics of a name that librdkafka cannot be given.
        let Some(mut queue) = consumer.split_partition_queue(topic, number(self.partition)) else {
            tracing::error!(%topic, "a topic's name cannot be given to librdkafka");
            return;
        };
        let filled = Arc::clone(&self.filled);
        queue.set_nonempty_callback(move || filled.notify_one());
        let source = Source::new(Arc::clone(topic), queue, from, stale());
        self.by_topic.insert(index, source);
    }

    /// The next records; none at an end, and where a topic that is read has news by `has_news`.
    async fn fetch(
        &mut self,
        bytes_max: usize,
        has_news: impl Fn(&mut Source<C>) -> bool,
    ) -> Result<Vec<(Position, Record)>, FetchError> {
        loop {
            let records = self.take(bytes_max)?;
            if !records.is_empty() || self.ended {
                return Ok(records);
            }
            let only = self.only;
            let read = |index: &u16| only.is_none_or(|only| only == *index);
            let mut read = self.by_topic.iter_mut().filter(|(index, _)| read(index));
            if read.any(|(_, source)| has_news(source)) {
                return Ok(records);
            }
            // Either of them: both are looks at the queues.
            drop(tokio::time::timeout(LOOK, self.filled.notified()).await);
        }
    }

    /// What is there, a topic after the other.
    fn take(&mut self, bytes_max: usize) -> Result<Vec<(Position, Record)>, FetchError> {
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        let mut records = Vec::new();
        let topics: Vec<u16> = match self.only {
            Some(only) => vec![only],
            None => {
                let after = self.by_topic.range(self.last + 1..);
                let all = after.chain(self.by_topic.range(..=self.last));
                all.map(|(index, _)| *index).collect()
            }
        };
        for index in topics {
            let Some(source) = self.by_topic.get_mut(&index) else {
                continue;
            };
            if self.starves && index == 0 {
                source.note_empty();
                continue;
            }
            let mut bytes = 0;
            while bytes < bytes_max {
                match source.queue.poll(Duration::ZERO) {
                    None => break,
                    Some(Ok(message)) => {
                        let offset = u64::try_from(message.offset()).unwrap_or_default();
                        if offset < source.from {
                            continue;
                        }
                        source.from = offset + 1;
                        self.ended = false;
                        let record = records::from_message(&message);
                        bytes += record.bytes();
                        records.push((
                            Position {
                                topic: index,
                                offset,
                            },
                            record,
                        ));
                    }
                    Some(Err(KafkaError::PartitionEOF(_))) => self.ended = true,
                    Some(Err(error)) => {
                        source.fail();
                        let failure = failed(source, self.partition, error);
                        if records.is_empty() {
                            return Err(failure);
                        }
                        self.failure = Some(failure);
                        break;
                    }
                }
            }
            if records.is_empty() {
                source.note_empty();
                continue;
            }
            source.note_came(self.failure.is_some());
            self.last = index;
            return Ok(records);
        }
        Ok(records)
    }
}

fn failed<C: ConsumerContext>(source: &Source<C>, partition: u32, error: KafkaError) -> FetchError {
    let topic = Arc::clone(&source.topic);
    if is_gone(&error) {
        return FetchError::OutOfRange {
            topic,
            partition,
            offset: source.from,
            first: 0,
        };
    }
    FetchError::Store {
        topic,
        partition,
        source: error.into(),
    }
}

/// Reads a partition that the group gave to this host.
pub(super) struct GroupReader {
    share: Arc<Share>,
    partition: u32,
    epoch: u64,
    /// Where to start, by topic, until the first fetch.
    seeks: BTreeMap<u16, u64>,
    sources: Sources<Context>,
    /// When it was last looked whether something waits that does not come.
    looked: Instant,
}

impl GroupReader {
    pub(super) fn new(share: Arc<Share>, partition: u32, epoch: u64) -> Self {
        Self {
            share,
            partition,
            epoch,
            seeks: BTreeMap::new(),
            sources: Sources {
                starves: fail::fails(Point::ReaderStarves),
                ..Sources::new(partition)
            },
            looked: Instant::now(),
        }
    }

    /// Has sought again what is to be, and ends what is over; true when something was.
    fn mend(&mut self, consumer: &Arc<GroupConsumer>) -> bool {
        let mut is_over = false;
        let due: Vec<u16> = {
            let sources = self.sources.by_topic.iter();
            let due = sources.filter(|(_, source)| source.is_due());
            due.map(|(index, _)| *index).collect()
        };
        for index in due {
            let Some(source) = self.sources.by_topic.get_mut(&index) else {
                continue;
            };
            if source.failing == Some(Failing::Sought) {
                // By now librdkafka says where it stands since.
                (source.failing, source.stale) = (None, None);
                is_over = true;
                continue;
            }
            let (topic, from) = (Arc::clone(&source.topic), source.from);
            self.sources.split(consumer, index, &topic, from);
            let sought = self
                .share
                .seek_again(consumer, self.partition, (topic, from));
            if let Some(source) = self.sources.by_topic.get_mut(&index) {
                match sought {
                    Ok(()) => source.failing = Some(Failing::Sought),
                    Err(error) => {
                        tracing::debug!(%error, topic = &*source.topic, "cannot seek again yet");
                        source.fail();
                    }
                }
            }
        }
        is_over
    }

    /// Looks for a topic in which records wait that do not come, whatever comes of others. It is an error like another, which
    /// is told after what was read before it.
    fn look_for_starved(&mut self) {
        if self.looked.elapsed() < STARVED_LOOK || self.sources.failure.is_some() {
            return;
        }
        self.looked = Instant::now();
        let only = self.sources.only;
        for (index, source) in &mut self.sources.by_topic {
            let end = self.share.reaches(&source.topic, self.partition);
            let waits = end.is_some_and(|end| end > source.from);
            let waits = waits && only.is_none_or(|only| only == *index);
            let fetched = self.share.fetched(&source.topic, self.partition);
            if !source.is_starved(waits, fetched) {
                continue;
            }
            source.starved += 1;
            source.fail();
            let topic = Arc::clone(&source.topic);
            let why = format!(
                "records wait in {topic}, and none has come for {} s",
                STARVED.as_secs()
            );
            if source.starved >= TRIES {
                self.share.leave(Leave::Renew(why.clone()));
            }
            self.sources.failure = Some(FetchError::Store {
                topic,
                partition: self.partition,
                source: why.into(),
            });
            return;
        }
    }

    /// Has fetched what was sought, from the positions that the ledger gave.
    fn assign(&mut self, consumer: &Arc<GroupConsumer>) -> Result<(), FetchError> {
        let seeks = std::mem::take(&mut self.seeks);
        let share = Arc::clone(&self.share);
        let mut places = Vec::new();
        for (index, topic) in share.topics_of(self.partition) {
            if let Some(&offset) = seeks.get(&index) {
                self.sources.split(consumer, index, topic, offset);
                share.note_read(topic, self.partition, offset);
                places.push((Arc::clone(topic), offset));
            }
        }
        let fetching = share.fetch(consumer, self.partition, self.epoch, places);
        fetching.map_err(|error| {
            self.seeks = seeks;
            FetchError::Store {
                topic: Arc::clone(&share.scope.topics[0]),
                partition: self.partition,
                source: error.into(),
            }
        })
    }

    /// Waits for records, for offsets without records that were passed over, or for something that is due.
    async fn look(&mut self, bytes_max: usize) -> Result<Vec<(Position, Record)>, FetchError> {
        let (share, partition) = (&self.share, self.partition);
        // A record would show it; this is for the end of a topic.
        let has_passed_more = |source: &mut Source<Context>| {
            if source.is_due() {
                return true;
            }
            if source.busy.elapsed() < QUIET {
                return false;
            }
            source.busy = Instant::now();
            let consumer = share.consumer();
            let position = consumer.and_then(|it| source.position(&it, partition));
            position.is_some_and(|at| at > source.told.max(source.from))
        };
        self.sources.fetch(bytes_max, has_passed_more).await
    }

    /// The consumer fetches nothing of a partition any more whose position it did not find. Another one looks where the
    /// position is, and the restore says what is lost.
    async fn give_up(&self, error: &FetchError) -> ! {
        self.share.leave(Leave::Renew(error.to_string()));
        std::future::pending().await
    }
}

impl Reader for GroupReader {
    fn seek(&mut self, position: Position) {
        self.seeks.insert(position.topic, position.offset);
    }

    fn passed(&mut self, topic: u16) -> u64 {
        let source = self.sources.by_topic.get_mut(&topic);
        let Some(source) = source.filter(|_| !self.seeks.contains_key(&topic)) else {
            return 0;
        };
        let consumer = self.share.consumer();
        let position = consumer.and_then(|consumer| source.position(&consumer, self.partition));
        source.told = position.unwrap_or_default().max(source.told);
        position.unwrap_or_default()
    }

    fn only(&mut self, topic: Option<u16>) {
        self.sources.only = topic;
    }

    fn is_failing(&self) -> bool {
        let mut sources = self.sources.by_topic.values();
        sources.any(|source| source.failing.is_some())
    }

    fn fetch(
        &mut self,
        bytes_max: usize,
    ) -> BoxFuture<'_, Result<Vec<(Position, Record)>, FetchError>> {
        Box::pin(async move {
            let fetched = loop {
                let is_due = self.sources.by_topic.values().any(Source::is_due);
                if is_due || !self.seeks.is_empty() {
                    let Some(consumer) = self.share.consumer() else {
                        // The membership is over: nothing comes any more.
                        return std::future::pending().await;
                    };
                    if !self.seeks.is_empty() {
                        self.assign(&consumer)?;
                    }
                    if self.mend(&consumer) {
                        return Ok(Vec::new());
                    }
                }
                self.look_for_starved();
                if let Ok(fetched) = tokio::time::timeout(LOOKS_APART, self.look(bytes_max)).await {
                    break fetched;
                }
            };
            let fetched = match fetched {
                Err(error @ FetchError::OutOfRange { .. }) => self.give_up(&error).await,
                fetched => fetched?,
            };
            for source in self.sources.by_topic.values() {
                self.share
                    .note_read(&source.topic, self.partition, source.from);
            }
            Ok(fetched)
        })
    }
}

impl Drop for GroupReader {
    fn drop(&mut self) {
        // The queues hold the consumer: it must not be closed by whoever drops them last.
        self.sources.by_topic.clear();
        self.share.tenure.release(self.partition, self.epoch);
    }
}

/// Reads one partition outside of any group.
pub(super) struct TopicReader {
    consumer: Arc<BaseConsumer<Logged>>,
    topic: Arc<str>,
    partition: u32,
    first: u64,
    /// How far the partition reached when the reader was made, open transactions included. They are over: an end that
    /// is told lies behind it.
    end: u64,
    passed: u64,
    sources: Sources<Logged>,
}

impl TopicReader {
    pub(super) fn new(
        clients: &Clients,
        cluster: &Cluster,
        topic: &str,
        partition: u32,
        from: u64,
    ) -> Result<Self, KafkaError> {
        let (first, end) = cluster.watermarks(topic, partition)?;
        let consumer = BaseConsumer::from_config_and_context(&clients.reading(), Logged)?;
        wait_until_stable(&consumer, topic, partition, end, 2 * TRANSACTION_TIMEOUT)?;
        let consumer = Arc::new(consumer);
        let topic: Arc<str> = topic.into();
        let mut reader = Self {
            consumer,
            topic,
            partition,
            first,
            end,
            passed: from,
            sources: Sources::new(partition),
        };
        reader.assign(from)?;
        Ok(reader)
    }

    fn assign(&mut self, from: u64) -> Result<(), KafkaError> {
        self.sources.by_topic.clear();
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(
            &self.topic,
            number(self.partition),
            Offset::Offset(records::offset(from)),
        )?;
        self.sources.split(&self.consumer, 0, &self.topic, from);
        self.consumer.assign(&list)
    }
}

impl Drop for TopicReader {
    /// librdkafka's threads are waited for when a consumer ends, and a request must not wait for them.
    fn drop(&mut self) {
        let last = (
            Arc::clone(&self.consumer),
            std::mem::take(&mut self.sources.by_topic),
        );
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn_blocking(move || drop(last));
        }
    }
}

impl Reader for TopicReader {
    fn seek(&mut self, position: Position) {
        if let Err(error) = self.assign(position.offset) {
            tracing::error!(%error, topic = %self.topic, "cannot seek");
        }
    }

    fn passed(&mut self, _topic: u16) -> u64 {
        self.passed
    }

    fn only(&mut self, topic: Option<u16>) {
        self.sources.only = topic;
    }

    fn fetch(
        &mut self,
        bytes_max: usize,
    ) -> BoxFuture<'_, Result<Vec<(Position, Record)>, FetchError>> {
        Box::pin(async move {
            let fetched = self.sources.fetch(bytes_max, |_source| false).await;
            if std::mem::take(&mut self.sources.ended) {
                self.passed = self.end;
            }
            fetched.map_err(|error| match error {
                FetchError::OutOfRange {
                    topic,
                    partition,
                    offset,
                    ..
                } => FetchError::OutOfRange {
                    topic,
                    partition,
                    offset,
                    first: self.first,
                },
                other @ FetchError::Store { .. } => other,
            })
        })
    }
}
