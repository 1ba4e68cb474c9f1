//! The bus's side: topics, records, readers.

use std::sync::Arc;

use futures_util::future::{self, BoxFuture, FutureExt as _};
use weir_core::unit::Position;

use super::Embedded;
use super::catalog::RegisterError;
use super::reader::{EveryPartition, LogReader};
use crate::bus::{
    Bus, EnsureTopicError, Joining, Membership, Publish, PublishError, Reader, ReaderError,
    SubscribeError, Topic,
};

impl Bus for Embedded {
    fn topics(&self) -> Vec<Topic> {
        let topics = self.inner.catalog.topics();
        topics
            .iter()
            .map(|log| Topic {
                name: Arc::clone(&log.name),
                partitions: log.count(),
            })
            .collect()
    }

    fn topic(&self, name: &str) -> Option<Topic> {
        let log = self.inner.catalog.topic(name)?;
        Some(Topic {
            name: Arc::clone(&log.name),
            partitions: log.count(),
        })
    }

    fn ensure_topic(&self, name: &str, partitions: u32) -> Result<(), EnsureTopicError> {
        self.inner
            .catalog
            .ensure_topic(&self.inner.store, name, partitions)
    }

    fn publish(
        &self,
        topic: &str,
        records: Vec<Publish>,
    ) -> BoxFuture<'static, Result<(), PublishError>> {
        let (inner, topic) = (Arc::clone(&self.inner), topic.to_owned());
        Box::pin(async move { inner.publish(topic, records).await })
    }

    fn subscribe(&self, joining: Joining<'_>) -> Result<Box<dyn Membership>, SubscribeError> {
        let scope = joining.scope;
        let logs = scope.topics.iter().map(|topic| {
            let log = self.inner.catalog.topic(topic);
            log.ok_or_else(|| SubscribeError::UnknownTopic(topic.to_string()))
        });
        let logs = logs.collect::<Result<_, _>>()?;
        match self.register_subscription(scope) {
            Ok(()) => {}
            Err(RegisterError::Partitions {
                topic,
                stored,
                found,
            }) => {
                return Err(SubscribeError::PartitionCount {
                    group: scope.group.to_string(),
                    topic: topic.as_ref().to_owned(),
                    stored,
                    found,
                });
            }
            // The ledger says the same when the subscription's progress is restored; nothing runs before that.
            Err(error @ RegisterError::Topics { .. }) => tracing::error!(
                error = &error as &dyn std::error::Error,
                "cannot register a subscription"
            ),
        }
        Ok(Box::new(EveryPartition::new(
            Arc::clone(&self.inner.store),
            logs,
            self.inner.closed.clone(),
        )))
    }

    fn reader(
        &self,
        topic: &str,
        partition: u32,
        from: u64,
    ) -> BoxFuture<'static, Result<Box<dyn Reader>, ReaderError>> {
        // The method below: reading begins with memory alone.
        future::ready(Self::reader(self, topic, partition, from)).boxed()
    }

    fn extent(&self, topic: &str, partition: u32) -> Option<(u64, u64)> {
        let log = self.inner.catalog.topic(topic)?;
        let extent = log.partition(partition)?;
        Some((extent.start(), extent.end()))
    }
}

impl Embedded {
    /// Reads one partition of one topic without a subscription.
    ///
    /// # Errors
    /// There is no such topic or partition.
    pub fn reader(
        &self,
        topic: &str,
        partition: u32,
        from: u64,
    ) -> Result<Box<dyn Reader>, ReaderError> {
        let log = self.inner.catalog.topic(topic);
        let log = log.ok_or_else(|| ReaderError::UnknownTopic(topic.to_owned()))?;
        if partition >= log.count() {
            let (topic, partitions) = (topic.to_owned(), log.count());
            return Err(ReaderError::UnknownPartition {
                topic,
                partitions,
                partition,
            });
        }
        let mut reader = LogReader::new(Arc::clone(&self.inner.store), &[log], partition);
        reader.seek(Position {
            topic: 0,
            offset: from,
        });
        Ok(Box::new(reader))
    }
}
