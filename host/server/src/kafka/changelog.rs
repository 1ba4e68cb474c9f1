//! The topics that the ledger of a partition lies in, and how they are read.
//!
//! What is read is what is committed: the high watermark is asked for through a client that sees open transactions, and
//! nothing is read before the last stable offset has passed that. Only then an end that is told is the end [KAFKA-10167].

use std::sync::Arc;
use std::time::Duration;

use rdkafka::config::FromClientConfigAndContext as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::clients::{Clients, Logged};
use super::cluster::Cluster;
use super::denied::is_denied;
use super::native::position;
use super::patience::RestoreError;
use super::reading::{End, is_lost, read_to_end, wait_until_stable};
use super::records::{self, number};
use crate::embedded::{Extent, Unloaded};
use crate::names;

/// For the end of an open transaction, in one try of a restore: others wait for its turn. One that takes longer, or a
/// broker that was restarted, is waited for in the tries that follow.
pub(super) const STABLE: Duration = Duration::from_secs(10);
/// Between two records of a changelog that is not at its end. Others wait for the turn.
const SILENCE: Duration = Duration::from_secs(10);

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
            entries += read(&consumer, (topic, self.partition), (next, end), &mut entry)?;
        }
        Ok((entries, next))
    }
}

/// Hands over all entries from `next` up to `end`, and moves `next` behind the last; answers how many.
///
/// An end that is told is that of the leader at the time, and one that has just become leader may know of less than has been
/// committed: what counts is how far was read, markers of transactions included.
fn read(
    consumer: &BaseConsumer<Logged>,
    (topic, partition): (&str, u32),
    (next, end): (&mut u64, u64),
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
    let mut entries = 0;
    let stops = |error: &KafkaError| is_lost(error) || is_denied(error);
    let each = |message: &BorrowedMessage<'_>| -> Result<(), RestoreError> {
        let loaded = entry(message.key().unwrap_or_default(), message.payload());
        loaded.map_err(|why| match why {
            Unloaded::Unknown => RestoreError::Unknown {
                topic: topic.to_owned(),
            },
            Unloaded::Full(message) => RestoreError::Full(message),
            Unloaded::Copy(error) => RestoreError::Copy(error),
        })?;
        entries += 1;
        *next = u64::try_from(message.offset()).unwrap_or_default() + 1;
        Ok(())
    };
    let is_end = |told| match told {
        End::Told => position(consumer, topic, number(partition)).is_some_and(|at| at >= end),
        // Nothing comes of what compaction has emptied, not even a marker.
        End::Silent => wait_until_stable(consumer, topic, partition, end, Duration::ZERO).is_ok(),
    };
    read_to_end(consumer, SILENCE, (is_end, stops), failed, each)?;
    consumer.unassign().map_err(failed)?;
    Ok(entries)
}
