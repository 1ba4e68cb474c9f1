//! The topics that the ledger of a partition lies in, and how they are read.
//!
//! What is read is what is committed: the high watermark is asked for through a client that sees open transactions, and
//! nothing is read before the last stable offset has passed that. Only then an end that is told is the end [KAFKA-10167].

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::config::FromClientConfigAndContext as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::clients::{Clients, Logged};
use super::cluster::Cluster;
use super::denied::is_denied;
use super::patience::RestoreError;
use super::records::{self, number};
use super::waiting::{ANSWER, pause};
use crate::embedded::{Extent, Unloaded};
use crate::names;

/// For the end of an open transaction, in one try of a restore: others wait for its turn. One that takes longer, or a
/// broker that was restarted, is waited for in the tries that follow.
pub(super) const STABLE: Duration = Duration::from_secs(10);
/// Between two records of a changelog that is not at its end. Others wait for the turn.
const SILENCE: Duration = Duration::from_secs(10);
/// Between two looks at what the cluster has still to write.
pub(super) const AGAIN: Duration = Duration::from_millis(20);

/// A partition of both topics as it is, by [`crate::embedded::Log`].
pub(super) struct Changelogs {
    partition: u32,
    topics: [Arc<str>; 2],
    pub(super) extents: [Extent; 2],
}

impl Changelogs {
    pub(super) fn look(
        cluster: &Cluster,
        group: &str,
        partition: u32,
    ) -> Result<Self, RestoreError> {
        let topics = [names::ledger_topic(group), names::park_topic(group)].map(Arc::from);
        let bounds = |topic: &str| {
            let topic = topic.to_owned();
            move |error| RestoreError::Bounds { topic, error }
        };
        let described = cluster.describe(&topics);
        let described = described.map_err(bounds(&topics.join(" and ")))?;
        let extent = |log: usize| {
            let topic = &*topics[log];
            let described = described[log].ok_or_else(|| RestoreError::Absent {
                topic: topic.to_owned(),
            })?;
            let (first, end) = cluster
                .watermarks(topic, partition)
                .map_err(bounds(topic))?;
            Ok(Extent {
                topic: described.id,
                first,
                end,
            })
        };
        let extents = [extent(0)?, extent(1)?];
        Ok(Self {
            partition,
            topics,
            extents,
        })
    }

    /// Hands over all entries from these offsets on, of one topic after the other; answers how many there were, and
    /// one past the last of each.
    pub(super) fn read(
        &self,
        clients: &Clients,
        from: [u64; 2],
        mut entry: impl FnMut(&[u8], Option<&[u8]>) -> Result<(), Unloaded>,
    ) -> Result<(u64, [u64; 2]), RestoreError> {
        let (mut entries, mut next) = (0, from);
        for (log, next) in next.iter_mut().enumerate() {
            let (topic, end) = (&*self.topics[log], self.extents[log].end);
            if *next == end {
                continue;
            }
            let bounds = |error| RestoreError::Bounds {
                topic: topic.to_owned(),
                error,
            };
            let consumer = BaseConsumer::from_config_and_context(&clients.reading(), Logged)
                .map_err(bounds)?;
            wait_until_stable(&consumer, topic, self.partition, end, STABLE).map_err(bounds)?;
            entries += read(&consumer, (topic, self.partition), next, &mut entry)?;
        }
        Ok((entries, next))
    }
}

/// Waits until what was written before `high` is committed or aborted.
pub(super) fn wait_until_stable(
    consumer: &BaseConsumer<Logged>,
    topic: &str,
    partition: u32,
    high: u64,
    patience: Duration,
) -> Result<(), KafkaError> {
    let deadline = Instant::now() + patience;
    loop {
        // This client reads what is committed, so for it a partition ends at the last stable offset.
        let error = match consumer.fetch_watermarks(topic, number(partition), ANSWER) {
            Ok((_, stable)) if u64::try_from(stable).is_ok_and(|stable| stable >= high) => {
                return Ok(());
            }
            Ok(_) => KafkaError::OffsetFetch(RDKafkaErrorCode::UnstableOffsetCommit),
            Err(error) => error,
        };
        if Instant::now() > deadline {
            return Err(error);
        }
        pause(AGAIN);
    }
}

/// Hands over all entries from `next` up to the end, and moves it behind the last; answers how many.
fn read(
    consumer: &BaseConsumer<Logged>,
    (topic, partition): (&str, u32),
    next: &mut u64,
    mut entry: impl FnMut(&[u8], Option<&[u8]>) -> Result<(), Unloaded>,
) -> Result<u64, RestoreError> {
    let failed = |error| RestoreError::Read {
        topic: topic.to_owned(),
        error,
    };
    let from = Offset::Offset(records::offset(*next));
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, number(partition), from)
        .map_err(failed)?;
    consumer.assign(&list).map_err(failed)?;
    let (mut entries, mut heard) = (0, Instant::now());
    loop {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                let loaded = entry(message.key().unwrap_or_default(), message.payload());
                loaded.map_err(|why| match why {
                    Unloaded::Unknown => RestoreError::Unknown {
                        topic: topic.to_owned(),
                    },
                    Unloaded::Full(message) => RestoreError::Full(message),
                })?;
                entries += 1;
                *next = u64::try_from(message.offset()).unwrap_or_default() + 1;
                heard = Instant::now();
            }
            Some(Err(KafkaError::PartitionEOF(_))) => {
                consumer.unassign().map_err(failed)?;
                return Ok(entries);
            }
            Some(Err(error)) if heard.elapsed() > SILENCE || is_denied(&error) => {
                return Err(failed(error));
            }
            None if heard.elapsed() > SILENCE => {
                return Err(failed(KafkaError::MessageConsumption(
                    RDKafkaErrorCode::OperationTimedOut,
                )));
            }
            Some(Err(_)) | None => {}
        }
    }
}
