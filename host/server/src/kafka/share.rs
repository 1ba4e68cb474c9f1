//! What this host has of a group: its [`tenure`](super::tenure) of partitions, what of them is fetched, and who it is to the
//! group.
//!
//! The membership, its readers and the committers share it. Only the polling thread gives and takes partitions.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerGroupMetadata};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::statistics::Statistics;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio::sync::mpsc;

use super::cluster::Cluster;
use super::native::{DescribedTopic, Description, generation, member_id};
use super::origin::Origin;
use super::records::{number, offset};
use super::tenure::Tenure;
use super::waiting::ANSWER;
use crate::bus::{Assignment, SubscribeError};
use crate::ledger::Scope;

/// A topic that is not there for so long is not about to be made anew.
const ABSENT: Duration = Duration::from_secs(30);

/// A topic, and the first offset that is read of it.
pub(super) type Beginning = (Arc<str>, u64);

pub(super) type GroupConsumer = BaseConsumer<Context>;

/// What librdkafka calls on the polling thread.
pub(super) struct Context {
    pub(super) share: Arc<Share>,
    pub(super) assignments: mpsc::UnboundedSender<Assignment>,
}

/// Why a membership ends before its host does.
pub(super) enum Leave {
    /// Another in its place may do better.
    Renew(String),
    /// People have to mend something.
    Refuse(SubscribeError),
}

/// What this host has of a group.
pub(super) struct Share {
    pub(super) scope: Scope,
    /// The topics as they were when this host joined, and what is fixed for the subscription.
    pub(super) origin: Origin,
    /// The topics as they were when this process first joined the group.
    pub(super) first: Origin,
    /// Why the membership is to end.
    leaving: Mutex<Option<Leave>>,
    consumer: OnceLock<Weak<GroupConsumer>>,
    /// Under which name the group gave this host what it has.
    member: Mutex<String>,
    pub(super) tenure: Tenure,
    cluster: Arc<Cluster>,
    /// What is assigned to the consumer, by partition number.
    ///
    /// Invariant: only a rebalance takes anything away, all at once and last of all. librdkafka takes the first call
    /// for its answer, and the group gives the partitions to others from then on.
    assigned: Mutex<HashMap<u32, Vec<Beginning>>>,
    /// One past the last record that was read, by topic and partition: librdkafka's own position counts markers.
    read: Mutex<HashMap<(Arc<str>, u32), u64>>,
    /// The same of what librdkafka has fetched, aborted records and markers too.
    fetched: Mutex<HashMap<(Arc<str>, u32), u64>>,
    /// By partition, what keeps it from being restored, or its unit from being decided.
    obstacles: Mutex<HashMap<u32, String>>,
    /// Since when a topic is not there.
    absent: Mutex<Option<Instant>>,
}

impl Share {
    pub(super) fn new(scope: Scope, origin: Origin, first: Origin, cluster: Arc<Cluster>) -> Self {
        Self {
            scope,
            origin,
            first,
            leaving: Mutex::default(),
            consumer: OnceLock::new(),
            member: Mutex::default(),
            tenure: Tenure::default(),
            cluster,
            assigned: Mutex::default(),
            read: Mutex::default(),
            fetched: Mutex::default(),
            obstacles: Mutex::default(),
            absent: Mutex::default(),
        }
    }

    /// The consumer of the membership, which is made after what is shared; given once.
    pub(super) fn set_consumer(&self, consumer: Weak<GroupConsumer>) {
        let given = self.consumer.set(consumer);
        given.expect("a share has one consumer");
    }

    pub(super) fn consumer(&self) -> Option<Arc<GroupConsumer>> {
        self.consumer.get()?.upgrade()
    }

    /// Who this host is to the group at this moment, for the offsets of a transaction; none when it is nobody.
    ///
    /// Invariant: asked before the epochs are looked at. librdkafka forgets who it is and says that its assignment is
    /// lost in one step, so that an identity taken after that step never meets an epoch that is still good. Where the
    /// group learns in the middle of a rebalance that it does not know this host, librdkafka takes another name and says
    /// nothing of a loss: only the name tells.
    pub(super) fn identity(&self) -> Option<ConsumerGroupMetadata> {
        let consumer = self.consumer()?;
        let takes_part = generation(&consumer) >= 0;
        let metadata = consumer.group_metadata()?;
        let named = member_id(&consumer);
        let is_same = !named.is_empty() && named == *self.lock_member();
        (takes_part && is_same && !consumer.assignment_lost()).then_some(metadata)
    }

    /// The group has given something to this host under the name that it has now; false when what it had before was
    /// given to another name, and may be anyone's.
    pub(super) fn rename(&self, consumer: &BaseConsumer<Context>) -> bool {
        let named = member_id(consumer);
        let mut member = self.lock_member();
        if *member == named {
            return true;
        }
        // Ended before the new name is known: under that name nothing of theirs may be committed.
        let had_any = self.tenure.end_all();
        *member = named;
        !had_any
    }

    fn lock_member(&self) -> MutexGuard<'_, String> {
        self.member.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the membership soon; what is said first counts.
    pub(super) fn leave(&self, why: Leave) {
        let mut leaving = self.leaving.lock().unwrap_or_else(PoisonError::into_inner);
        leaving.get_or_insert(why);
    }

    /// Why the membership is to end, if it is; told once.
    pub(super) fn take_leave(&self) -> Option<Leave> {
        let mut leaving = self.leaving.lock().unwrap_or_else(PoisonError::into_inner);
        leaving.take()
    }

    /// Has these partitions fetched from here on, unless another host owns them by now.
    pub(super) fn fetch(
        &self,
        consumer: &GroupConsumer,
        partition: u32,
        epoch: u64,
        places: Vec<Beginning>,
    ) -> Result<(), KafkaError> {
        let mut assigned = self.assigned.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.tenure.owns(partition, epoch) {
            return Err(KafkaError::Canceled);
        }
        let fetched = assigned.entry(partition).or_default();
        let is_fetched = |(topic, _): &Beginning| fetched.iter().any(|(known, _)| known == topic);
        let (again, new): (Vec<_>, Vec<_>) = places.into_iter().partition(is_fetched);
        if !again.is_empty() {
            let sought = consumer.seek_partitions(list(partition, &again)?, ANSWER)?;
            for one in sought.elements() {
                one.error()?;
            }
        }
        if !new.is_empty() {
            consumer.incremental_assign(&list(partition, &new)?)?;
            fetched.extend(new);
        }
        Ok(())
    }

    /// Has one of them fetched from here on again, as far as librdkafka takes that at this moment: nobody waits for it.
    pub(super) fn seek_again(
        &self,
        consumer: &GroupConsumer,
        partition: u32,
        place: Beginning,
    ) -> Result<(), KafkaError> {
        let place = list(partition, &[place])?;
        let sought = consumer.seek_partitions(place, Duration::ZERO)?;
        for one in sought.elements() {
            one.error().or_else(|error| {
                let begun = error.rdkafka_error_code() == Some(RDKafkaErrorCode::InProgress);
                if begun { Ok(()) } else { Err(error) }
            })?;
        }
        Ok(())
    }

    /// How far a topic partition can be read, as far as that is known.
    pub(super) fn reaches(&self, topic: &str, partition: u32) -> Option<u64> {
        let (_, end) = self.cluster.extents.get(topic, partition)?;
        Some(end)
    }

    /// Has nothing of these partitions fetched any more: the answer to a revocation.
    pub(super) fn unfetch(
        &self,
        consumer: &GroupConsumer,
        partitions: &[u32],
    ) -> Result<(), KafkaError> {
        let mut assigned = self.assigned.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = TopicPartitionList::new();
        for &partition in partitions {
            for (topic, _) in assigned.remove(&partition).unwrap_or_default() {
                all.add_partition(&topic, number(partition));
            }
        }
        consumer.incremental_unassign(&all)
    }

    /// Notes what keeps a partition from being restored, or its unit from being decided, in this epoch; none: nothing any
    /// more.
    pub(super) fn hinder(&self, (partition, epoch): (u32, u64), obstacle: Option<String>) {
        if !self.tenure.owns(partition, epoch) {
            return;
        }
        let mut obstacles = self.lock_obstacles();
        match obstacle {
            Some(obstacle) => drop(obstacles.insert(partition, obstacle)),
            None => drop(obstacles.remove(&partition)),
        }
    }

    pub(super) fn obstacle(&self, partition: u32) -> Option<String> {
        self.lock_obstacles().get(&partition).cloned()
    }

    fn lock_obstacles(&self) -> MutexGuard<'_, HashMap<u32, String>> {
        self.obstacles
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// All records of the topic partition before this offset were read.
    pub(super) fn note_read(&self, topic: &Arc<str>, partition: u32, offset: u64) {
        self.lock_read()
            .insert((Arc::clone(topic), partition), offset);
    }

    /// What librdkafka has fetched and handed over shows where a partition ends without records: a marker is passed over
    /// and counts as nothing that waits.
    pub(super) fn note_ends(&self, statistics: &Statistics) {
        let (read, mut fetched) = (self.lock_read(), self.lock_fetched());
        for ((topic, partition), &read) in &*read {
            let found = statistics.topics.get(&**topic);
            let found = found.and_then(|topic| topic.partitions.get(&number(*partition)));
            let Some(found) = found else {
                continue;
            };
            let Ok(next) = u64::try_from(found.next_offset) else {
                continue;
            };
            fetched.insert((Arc::clone(topic), *partition), next);
            if found.fetchq_cnt == 0 {
                self.cluster.extents.note_end(topic, *partition, read, next);
            }
        }
    }

    /// How far librdkafka has fetched a topic partition, as it said half a second ago.
    pub(super) fn fetched(&self, topic: &Arc<str>, partition: u32) -> Option<u64> {
        let place = (Arc::clone(topic), partition);
        self.lock_fetched().get(&place).copied()
    }

    fn lock_fetched(&self) -> MutexGuard<'_, HashMap<(Arc<str>, u32), u64>> {
        self.fetched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_read(&self) -> MutexGuard<'_, HashMap<(Arc<str>, u32), u64>> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The partitions of all topics that have this number, by index of the topic.
    pub(super) fn topics_of(&self, partition: u32) -> impl Iterator<Item = (u16, &Arc<str>)> {
        let topics = (0..).zip(self.scope.topics.iter()).zip(&self.origin.topics);
        topics
            .filter(move |(_, topic)| partition < topic.description.partitions)
            .map(|(topic, _)| topic)
    }

    /// The same of several numbers, as what librdkafka is asked for.
    pub(super) fn partitions_of(
        &self,
        numbers: impl IntoIterator<Item = u32>,
    ) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for partition in numbers {
            for (_, topic) in self.topics_of(partition) {
                list.add_partition(topic, number(partition));
            }
        }
        list
    }

    /// The topic whose partitions the group divides: the first of the largest, seen from the commands, which are last and as
    /// many as the largest has.
    pub(super) fn divided_topic(&self) -> &str {
        let topics = self.scope.topics.iter().zip(&self.origin.topics);
        let largest = topics.max_by_key(|(_, topic)| topic.description.partitions);
        largest.map_or("", |(name, _)| name)
    }

    /// The group has given it to this host: from here on the work of this epoch is committed.
    pub(super) fn assign(&self, partition: u32) -> u64 {
        self.lock_obstacles().remove(&partition);
        self.tenure.assign(partition)
    }

    /// Looks whether the topics are what they were, on a thread of its own: the poll does not wait for the answer.
    pub(super) fn check_topics(self: Arc<Self>) {
        let check = move || {
            let Ok(topics) = self.cluster.describe_each(&self.scope.topics) else {
                return;
            };
            let topics = or_as_it_was(&self.origin, topics);
            if self.is_one_missed(&topics) {
                return;
            }
            let topics = topics.into_iter().flatten().collect();
            let found = Origin::found(self.origin.fixed.clone(), &self.scope, topics);
            let mut indexes = 0..self.scope.topics.len();
            if let Err(error) = found.check(&self.origin, &self.scope) {
                self.leave(Leave::Refuse(error));
            } else if let Some(index) = indexes.find(|at| found.is_remade(&self.origin, *at)) {
                let topic = &self.scope.topics[index];
                self.leave(Leave::Renew(format!("topic {topic} was made anew")));
            }
        };
        let thread = std::thread::Builder::new().name("weir-topics".to_owned());
        if let Err(error) = thread.spawn(check) {
            tracing::error!(%error, "cannot look at the topics");
        }
    }

    /// Whether a topic is not there, which may be made anew. For how long that is waited for: of a topic that is gone librdkafka
    /// says nothing, and of the one that the group divides it gives all partitions back.
    fn is_one_missed(&self, topics: &[Option<Description>]) -> bool {
        let mut absent = self.absent.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(at) = topics.iter().position(Option::is_none) else {
            *absent = None;
            return false;
        };
        if absent.get_or_insert_with(Instant::now).elapsed() > ABSENT {
            let why = format!("there is no topic {} any more", self.scope.topics[at]);
            self.leave(Leave::Renew(why));
        }
        true
    }

    /// Whether the group has no member of the name under which it gave this host what it had; asks for no longer than
    /// this, and not at all where no time is left.
    pub(super) fn has_left(&self, within: Duration) -> bool {
        if within.is_zero() {
            return false;
        }
        let named = self.lock_member().clone();
        let group = Some(&*self.scope.group);
        match self
            .cluster
            .asking
            .fetch_group_list(group, within.min(ANSWER))
        {
            Ok(found) => {
                let mut members = found.groups().iter().flat_map(|group| group.members());
                members.all(|member| member.id() != named)
            }
            Err(error) => {
                tracing::warn!(%error, group, "cannot ask who is left in a group");
                false
            }
        }
    }
}

/// What is not told of a topic, for a right that is missing, hides nothing of the others: it counts as it was.
fn or_as_it_was(before: &Origin, topics: Vec<DescribedTopic>) -> Vec<Option<Description>> {
    let topics = before.topics.iter().zip(topics);
    let topics = topics.map(|(before, found)| {
        found.unwrap_or_else(|error| {
            let topic = before.name.as_deref();
            tracing::debug!(%error, topic, "cannot look at a topic");
            Some(before.description)
        })
    });
    topics.collect()
}

fn list(partition: u32, places: &[Beginning]) -> Result<TopicPartitionList, KafkaError> {
    let mut list = TopicPartitionList::new();
    for (topic, from) in places {
        list.add_partition_offset(topic, number(partition), Offset::Offset(offset(*from)))?;
    }
    Ok(list)
}

#[cfg(test)]
mod tests;
