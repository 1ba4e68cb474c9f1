//! The bus's side: topics, records, groups and readers. For who must not wait for the cluster it is asked by [`super::calls`].

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use weir_core::time::Millis;

use super::denied::{refused, unavailable, unjoined};
use super::membership::GroupMembership;
use super::origin::Origin;
use super::reader::TopicReader;
use super::share::{Leave, Share};
use super::{Group, Inner, Kafka, acknowledged, transaction};
use crate::bus::{
    Bus, Departure, EnsureTopicError, Joining, Membership, Publish, PublishError, Reader,
    ReaderError, SubscribeError, Topic, Unanswered,
};
use crate::config::Delivery;
use crate::ledger::{Fixed, Scope};
use crate::names;

impl Bus for Kafka {
    fn topics(&self) -> Vec<Topic> {
        self.inner.cluster.metadata.topics()
    }

    fn topic(&self, name: &str) -> Option<Topic> {
        let partitions = self.inner.cluster.metadata.partitions(name)?;
        Some(Topic {
            name: name.into(),
            partitions,
        })
    }

    fn find_topic(&self, name: &str) -> BoxFuture<'static, Result<Option<Topic>, Unanswered>> {
        let (inner, name) = (Arc::clone(&self.inner), Arc::<str>::from(name));
        Box::pin(async move {
            let found = inner.count(&name).await?;
            Ok(found.map(|partitions| Topic { name, partitions }))
        })
    }

    fn ensure_topic(&self, name: &str, partitions: u32) -> Result<(), EnsureTopicError> {
        self.inner.own.ensure_topic(name, partitions)
    }

    fn ensure_kept(&self, name: &str, partitions: u32) -> Result<(), EnsureTopicError> {
        self.inner.own.ensure_kept(name, partitions)
    }

    fn publish(
        &self,
        topic: &str,
        records: Vec<Publish>,
    ) -> BoxFuture<'static, Result<(), PublishError>> {
        let (inner, topic) = (Arc::clone(&self.inner), topic.to_owned());
        Box::pin(async move {
            let found = inner.count(&topic).await;
            let found = found.map_err(|unanswered| PublishError::Stopped(unanswered.to_string()));
            let Some(partitions) = found? else {
                return Err(PublishError::UnknownTopic(topic));
            };
            inner.publisher.publish(&topic, partitions, records).await
        })
    }

    fn subscribe(&self, joining: Joining<'_>) -> Result<Box<dyn Membership>, SubscribeError> {
        let inner = &self.inner;
        let Joining {
            scope,
            fixed,
            holds_letters,
        } = joining;
        let group = &scope.group;
        // Its committers end before their successors begin, and while nobody waits for the lock.
        let before = inner.groups().remove(group);
        drop(before);
        if inner.delivery == Delivery::ExactlyOnce {
            inner.own.ensure_ledger(scope)?;
        }
        inner.own.check_letters(scope, holds_letters)?;
        let origin = inner.origin(scope, fixed)?;
        inner.own.check_letter_sizes(scope, &origin)?;
        let first = inner.first(group, &origin);
        let cluster = Arc::clone(&inner.cluster);
        let share = Arc::new(Share::new(scope.clone(), origin, first, cluster));
        let (departing, twins) = (&inner.departing, &inner.twins);
        let membership = GroupMembership::join(&inner.clients, &share, departing, twins)
            .map_err(|error| refused(scope, error.to_string()))?;
        let (clients, cluster, bounds) = (&inner.clients, &inner.cluster, inner.transaction);
        let committers = match inner.delivery {
            Delivery::ExactlyOnce => {
                transaction::spawn(clients, cluster, &inner.copies, &share, bounds)
            }
            Delivery::AtLeastOnce => acknowledged::spawn(clients, cluster, &share, bounds),
        };
        let committers = committers.map_err(|error| {
            refused(
                scope,
                format!("its committer could not be started: {error}"),
            )
        })?;
        let one = Group { share, committers };
        inner.groups().insert(Arc::clone(group), one);
        Ok(Box::new(membership))
    }

    fn reader(
        &self,
        topic: &str,
        partition: u32,
        from: u64,
    ) -> BoxFuture<'static, Result<Box<dyn Reader>, ReaderError>> {
        let (inner, topic) = (Arc::clone(&self.inner), topic.to_owned());
        Box::pin(async move {
            let found = inner.count(&topic).await?;
            let partitions = found.ok_or_else(|| ReaderError::UnknownTopic(topic.clone()))?;
            if partition >= partitions {
                return Err(ReaderError::UnknownPartition {
                    topic,
                    partitions,
                    partition,
                });
            }
            let what = || format!("read topic {topic:?} partition {partition}");
            let (own, name) = (Arc::clone(&inner), topic.clone());
            let open = move || TopicReader::new(&own.clients, &own.cluster, &name, partition, from);
            let reader: Box<dyn Reader> = Box::new(inner.calls.make(what, open).await?);
            Ok(reader)
        })
    }

    fn bounds(
        &self,
        topic: &str,
        partition: u32,
    ) -> BoxFuture<'static, Result<Option<(u64, u64)>, Unanswered>> {
        let (inner, topic) = (Arc::clone(&self.inner), topic.to_owned());
        Box::pin(async move {
            let what = || format!("how far topic {topic:?} partition {partition} reaches");
            let (own, name) = (Arc::clone(&inner), topic.clone());
            let call = move || own.cluster.bounds(&name, partition);
            inner.calls.make(what, call).await
        })
    }

    fn extent(&self, topic: &str, partition: u32) -> Option<(u64, u64)> {
        self.inner.cluster.extents.get(topic, partition)
    }

    fn end(&self, topic: &str, partition: u32) -> Option<(u64, Millis)> {
        self.inner.cluster.extents.end(topic, partition)
    }

    fn left_open(&self, topic: &str, partition: u32) -> Option<(u64, Duration)> {
        self.inner.cluster.extents.left_open(topic, partition)
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn renew(&self, group: &str) {
        if let Some(share) = self.inner.share(group) {
            let why = "records wait, and none comes";
            share.leave(Leave::Renew(why.to_owned()));
        }
    }

    fn depart(&self) {
        self.inner.departing.store(true, Ordering::Release);
    }

    fn departed(&self, within: Duration) -> Vec<Departure> {
        let groups: Vec<_> = {
            let groups = self.inner.groups();
            groups
                .iter()
                .map(|(group, one)| (Arc::clone(group), Arc::clone(&one.share)))
                .collect()
        };
        let deadline = Instant::now() + within;
        let remaining = || deadline.saturating_duration_since(Instant::now());
        let departures = groups.into_iter().map(|(group, share)| Departure {
            left: share.tenure.wait_ended(remaining()) && share.has_left(remaining()),
            group,
        });
        let mut departures: Vec<_> = departures.collect();
        departures.sort_by(|a, b| a.group.cmp(&b.group));
        departures
    }
}

impl Inner {
    /// How many partitions a topic has, none where there is no such topic.
    async fn count(self: &Arc<Self>, topic: &str) -> Result<Option<u32>, Unanswered> {
        if let Some(count) = self.cluster.metadata.partitions(topic) {
            return Ok(Some(count));
        }
        let (inner, name) = (Arc::clone(self), topic.to_owned());
        let what = || format!("whether there is a topic {topic:?}");
        let call = move || inner.cluster.partitions(&name);
        self.calls.make(what, call).await
    }

    /// The subscription's topics as they are. Its ledger has a partition for each of the largest topic's.
    fn origin(&self, scope: &Scope, fixed: &Fixed) -> Result<Origin, SubscribeError> {
        let topics = self.cluster.describe(&scope.topics);
        let topics = topics.map_err(|error| unjoined(scope, "look at its topics", &error))?;
        let topics = scope.topics.iter().zip(topics);
        let topics = topics.map(|(name, found)| {
            // A broker may not have heard of a new one, and one that was deleted may be made anew.
            found.ok_or_else(|| unavailable(scope, format!("there is no topic {name:?} yet")))
        });
        let topics = topics.collect::<Result<_, _>>()?;
        let origin = Origin::found(fixed.clone(), scope, topics);
        if self.delivery == Delivery::AtLeastOnce {
            return Ok(origin);
        }
        let ledger = names::ledger_topic(&scope.group);
        let stored = self.cluster.partitions(&ledger);
        let stored = stored.map_err(|error| unjoined(scope, "look for its ledger", &error))?;
        let stored = stored.ok_or(SubscribeError::UnknownTopic(ledger))?;
        let found = origin.topics.iter().map(|topic| topic.description);
        let sizes = scope.topics.iter().zip(found);
        match sizes.max_by_key(|(_, topic)| topic.partitions) {
            Some((topic, largest)) if largest.partitions != stored => {
                Err(SubscribeError::PartitionCount {
                    group: scope.group.to_string(),
                    topic: topic.to_string(),
                    stored,
                    found: largest.partitions,
                })
            }
            Some(_) | None => Ok(origin),
        }
    }
}
