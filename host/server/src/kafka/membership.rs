//! A place in a consumer group: a thread that polls whatever else happens, and what the group gave to this host.
//!
//! The group divides the partitions of the command topic, or of its largest topic where there is none. What is read is assigned by [`super::reader`] once the
//! partition's ledger is restored, so the rebalance callback itself assigns nothing and only says who owns what.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use rdkafka::client::ClientContext;
use rdkafka::config::{FromClientConfigAndContext as _, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext, ConsumerGroupMetadata};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use rdkafka::statistics::Statistics;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaRespErr;
use tokio::sync::mpsc;

use super::clients::{self, Clients};
use super::cluster::{ANSWER, Cluster};
use super::native::member_id;
use super::origin::Origin;
use super::reader::GroupReader;
use super::records::{number, offset};
use crate::bus::{Assignment, Membership, SubscribeError};
use crate::ledger::Scope;

/// Between two looks at what librdkafka has to tell; it wakes the thread when there is something.
const POLL: Duration = Duration::from_millis(100);
/// An orderly revoke waits so long for running attempts and their commit.
const REVOKE: Duration = Duration::from_secs(5);
/// Of the next assignment. Counted for all groups together and over their memberships, so that what is left of one
/// is never taken for the work of the next.
static EPOCH: AtomicU64 = AtomicU64::new(1);
/// Between two looks whether topics have grown.
const CHECK_EVERY: Duration = Duration::from_secs(10);

pub(super) type GroupConsumer = BaseConsumer<Context>;

/// A topic, and the first offset that is read of it.
pub(super) type Place = (Arc<str>, u64);

/// Why a membership ends before its host does.
pub(super) enum Leave {
    /// Another in its place may do better.
    Renew(String),
    /// People have to mend something.
    Refuse(SubscribeError),
}

/// What this host has of a group; the membership, its readers and the committers share it.
pub(super) struct Share {
    pub(super) scope: Scope,
    /// The topics as they were when this host joined, and what is fixed for the subscription.
    pub(super) origin: Origin,
    /// Why the membership is to end.
    leaving: Mutex<Option<Leave>>,
    consumer: OnceLock<Weak<GroupConsumer>>,
    /// Under which name the group gave this host what it has.
    member: Mutex<String>,
    owned: Mutex<Owned>,
    /// Told when a reader is gone.
    released: Condvar,
    cluster: Arc<Cluster>,
    loading: Mutex<HashMap<u32, Arc<Mutex<Option<u64>>>>>,
    /// The epoch whose work a partition's local copy takes.
    copies: Mutex<HashMap<u32, u64>>,
    /// What is assigned to the consumer, by partition number.
    ///
    /// Invariant: only a rebalance takes anything away, all at once and last of all. librdkafka takes the first call
    /// for its answer, and the group gives the partitions to others from then on.
    assigned: Mutex<HashMap<u32, Vec<Place>>>,
    /// One past the last record that was read, by topic and partition: librdkafka's own position counts markers.
    read: Mutex<HashMap<(Arc<str>, u32), u64>>,
}

#[derive(Default)]
struct Owned {
    /// By partition number; what was revoked is not there.
    epochs: HashMap<u32, u64>,
    /// Readers that are not dropped yet, by partition number and epoch.
    readers: HashMap<(u32, u64), ()>,
}

impl Share {
    /// Whether work of this epoch may still be committed.
    pub(super) fn owns(&self, partition: u32, epoch: u64) -> bool {
        self.owned().epochs.get(&partition) == Some(&epoch)
    }

    /// The epoch in which this host owns the partition.
    pub(super) fn epoch(&self, partition: u32) -> Option<u64> {
        self.owned().epochs.get(&partition).copied()
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
        let metadata = consumer.group_metadata()?;
        let named = member_id(&consumer);
        let is_same = !named.is_empty() && named == *self.lock_member();
        (is_same && !consumer.assignment_lost()).then_some(metadata)
    }

    /// The group has given something to this host under the name that it has now; false when what it had before was
    /// given to another name, and may be anyone's.
    fn rename(&self, consumer: &BaseConsumer<Context>) -> bool {
        let named = member_id(consumer);
        let mut member = self.lock_member();
        if *member == named {
            return true;
        }
        // Ended before the new name is known: under that name nothing of theirs may be committed.
        let before = std::mem::take(&mut self.owned().epochs);
        *member = named;
        before.is_empty()
    }

    fn lock_member(&self) -> MutexGuard<'_, String> {
        self.member.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the membership soon; what is said first counts.
    pub(super) fn leave(&self, why: Leave) {
        let mut leaving = self.leaving.lock().unwrap_or_else(PoisonError::into_inner);
        leaving.get_or_insert(why);
    }

    fn leaving(&self) -> Option<Leave> {
        let mut leaving = self.leaving.lock().unwrap_or_else(PoisonError::into_inner);
        leaving.take()
    }

    /// Has these partitions fetched from here on, unless another host owns them by now.
    pub(super) fn fetch(
        &self,
        consumer: &GroupConsumer,
        partition: u32,
        epoch: u64,
        places: Vec<Place>,
    ) -> Result<(), KafkaError> {
        let mut assigned = self.assigned.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.owns(partition, epoch) {
            return Err(KafkaError::Canceled);
        }
        let fetched = assigned.entry(partition).or_default();
        let is_fetched = |(topic, _): &Place| fetched.iter().any(|(known, _)| known == topic);
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

    /// Has nothing of these partitions fetched any more: the answer to a revocation.
    fn unfetch(&self, consumer: &GroupConsumer, partitions: &[u32]) -> Result<(), KafkaError> {
        let mut assigned = self.assigned.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = TopicPartitionList::new();
        for &partition in partitions {
            for (topic, _) in assigned.remove(&partition).unwrap_or_default() {
                all.add_partition(&topic, number(partition));
            }
        }
        consumer.incremental_unassign(&all)
    }

    /// All records of the topic partition before this offset were read.
    pub(super) fn note_read(&self, topic: &Arc<str>, partition: u32, offset: u64) {
        self.lock_read()
            .insert((Arc::clone(topic), partition), offset);
    }

    /// What librdkafka has fetched and handed over shows where a partition ends without records: a marker is passed over
    /// and counts as nothing that waits.
    fn note_ends(&self, statistics: &Statistics) {
        let read = self.lock_read();
        for ((topic, partition), &read) in &*read {
            let found = statistics.topics.get(&**topic);
            let found = found.and_then(|topic| topic.partitions.get(&number(*partition)));
            let Some(found) = found.filter(|found| found.fetchq_cnt == 0) else {
                continue;
            };
            if let Ok(next) = u64::try_from(found.next_offset) {
                self.cluster.extents.note_end(topic, *partition, read, next);
            }
        }
    }

    fn lock_read(&self) -> MutexGuard<'_, HashMap<(Arc<str>, u32), u64>> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The reader of this partition and epoch is gone, and with it all that ran.
    pub(super) fn release(&self, partition: u32, epoch: u64) {
        self.owned().readers.remove(&(partition, epoch));
        self.released.notify_all();
    }

    /// Held by whoever fills the local copy of this partition's ledger: the epoch for which it was filled.
    pub(super) fn loading(&self, partition: u32) -> Arc<Mutex<Option<u64>>> {
        let mut loading = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(loading.entry(partition).or_default())
    }

    /// Begins the partition's local copy anew, for the epoch in which this host owns it; none when it does not.
    ///
    /// Invariant: from here on the copy takes no change of an earlier epoch. A host that was frozen between a commit and
    /// its copy would else write it over what was loaded since.
    pub(super) fn replace_copy<T>(&self, partition: u32, clear: impl FnOnce() -> T) -> Option<T> {
        let mut copies = self.copies.lock().unwrap_or_else(PoisonError::into_inner);
        let epoch = self.epoch(partition)?;
        copies.insert(partition, epoch);
        Some(clear())
    }

    /// Changes the partition's local copy by what was committed in this epoch, unless it is another's by now.
    pub(super) fn change_copy(&self, partition: u32, epoch: u64, change: impl FnOnce()) {
        let copies = self.copies.lock().unwrap_or_else(PoisonError::into_inner);
        if copies.get(&partition) == Some(&epoch) {
            change();
        }
    }

    /// The partitions of all topics that have this number, by index of the topic.
    pub(super) fn topics_of(&self, partition: u32) -> impl Iterator<Item = (u16, &Arc<str>)> {
        let topics = (0..).zip(self.scope.topics.iter()).zip(&self.origin.topics);
        topics
            .filter(move |(_, topic)| partition < topic.partitions)
            .map(|(topic, _)| topic)
    }

    /// The topic whose partitions the group divides: the first of the largest, seen from the commands, which are last and as
    /// many as the largest has.
    fn divided_topic(&self) -> &str {
        let topics = self.scope.topics.iter().zip(&self.origin.topics);
        let largest = topics.max_by_key(|(_, topic)| topic.partitions);
        largest.map_or("", |(name, _)| name)
    }

    fn assign(&self, partition: u32) -> u64 {
        let epoch = EPOCH.fetch_add(1, Ordering::Relaxed);
        let mut owned = self.owned();
        owned.epochs.insert(partition, epoch);
        owned.readers.insert((partition, epoch), ());
        epoch
    }

    /// From here on nothing of these partitions is committed.
    fn end(&self, partitions: &[u32]) {
        let mut owned = self.owned();
        for partition in partitions {
            owned.epochs.remove(partition);
        }
    }

    /// From here on nothing is committed.
    fn end_all(&self) {
        self.owned().epochs.clear();
    }

    /// Waits until nothing of these partitions runs; false at the deadline.
    fn wait_released(&self, partitions: &[u32], deadline: Duration) -> bool {
        let busy = |owned: &mut Owned| {
            owned
                .readers
                .keys()
                .any(|(partition, _)| partitions.contains(partition))
        };
        let (_owned, timeout) = self
            .released
            .wait_timeout_while(self.owned(), deadline, busy)
            .unwrap_or_else(PoisonError::into_inner);
        !timeout.timed_out()
    }

    /// Looks whether the topics are what they were, on a thread of its own: the poll does not wait for the answer.
    fn check_topics(self: Arc<Self>) {
        let check = move || {
            let Ok(topics) = self.cluster.describe(&self.scope.topics) else {
                return;
            };
            let found = Origin {
                topics,
                ..self.origin.clone()
            };
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

    /// Waits until nothing runs; it drains within its deadline.
    fn wait_idle(&self) {
        let busy = |owned: &mut Owned| !owned.readers.is_empty();
        let idle = self.released.wait_while(self.owned(), busy);
        drop(idle.unwrap_or_else(PoisonError::into_inner));
    }

    fn is_idle(&self) -> bool {
        self.owned().readers.is_empty()
    }

    fn owned(&self) -> MutexGuard<'_, Owned> {
        self.owned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn list(partition: u32, places: &[Place]) -> Result<TopicPartitionList, KafkaError> {
    let mut list = TopicPartitionList::new();
    for (topic, from) in places {
        list.add_partition_offset(topic, number(partition), Offset::Offset(offset(*from)))?;
    }
    Ok(list)
}

/// What librdkafka calls on the polling thread.
pub(super) struct Context {
    share: Arc<Share>,
    assignments: mpsc::UnboundedSender<Assignment>,
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        clients::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "librdkafka");
    }

    fn stats(&self, statistics: Statistics) {
        self.share.note_ends(&statistics);
    }
}

impl ConsumerContext for Context {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        what: RDKafkaRespErr,
        list: &mut TopicPartitionList,
    ) {
        let elements = list.elements();
        let partitions: Vec<u32> = elements
            .iter()
            .filter_map(|one| u32::try_from(one.partition()).ok())
            .collect();
        let nothing = TopicPartitionList::new();
        let told = if what == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            if !self.share.rename(consumer) {
                let why = "the group had forgotten this host".to_owned();
                self.share.leave(Leave::Renew(why));
            }
            self.assigned(&partitions);
            consumer.incremental_assign(&nothing)
        } else {
            self.revoked(&partitions, consumer.assignment_lost());
            self.share.unfetch(consumer, &partitions)
        };
        if let Err(error) = told {
            let why = format!("cannot answer a rebalance: {error}");
            self.share.leave(Leave::Renew(why));
        }
    }
}

impl Context {
    fn assigned(&self, partitions: &[u32]) {
        tracing::info!(
            group = &*self.share.scope.group,
            ?partitions,
            "partitions assigned"
        );
        for &partition in partitions {
            let epoch = self.share.assign(partition);
            let reader = GroupReader::new(Arc::clone(&self.share), partition, epoch);
            // Nobody listens any more: the reader is dropped with what carries it.
            drop(self.assignments.send(Assignment::Assigned {
                partition,
                epoch,
                reader: Box::new(reader),
            }));
        }
        drop(self.assignments.send(Assignment::Settled));
    }

    fn revoked(&self, partitions: &[u32], lost: bool) {
        tracing::info!(
            group = &*self.share.scope.group,
            ?partitions,
            lost,
            "partitions revoked"
        );
        if lost {
            // They may be another host's already.
            self.share.end(partitions);
        }
        for &partition in partitions {
            drop(self.assignments.send(Assignment::Revoked { partition }));
        }
        if !lost && !self.share.wait_released(partitions, REVOKE) {
            tracing::warn!(
                group = &*self.share.scope.group,
                ?partitions,
                "partitions move before their work was finished: what is not committed runs again on their next owner"
            );
        }
        self.share.end(partitions);
    }
}

/// Membership in the group of a subscription. Dropped, it leaves when its readers are gone.
pub(super) struct GroupMembership {
    share: Arc<Share>,
    assignments: mpsc::UnboundedReceiver<Assignment>,
    closing: Arc<AtomicBool>,
}

impl GroupMembership {
    /// Joins.
    pub(super) fn join(
        clients: &Clients,
        cluster: &Arc<Cluster>,
        scope: Scope,
        origin: Origin,
    ) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let share = Arc::new(Share {
            scope,
            origin,
            leaving: Mutex::default(),
            consumer: OnceLock::new(),
            member: Mutex::default(),
            owned: Mutex::default(),
            released: Condvar::new(),
            cluster: Arc::clone(cluster),
            loading: Mutex::default(),
            copies: Mutex::default(),
            assigned: Mutex::default(),
            read: Mutex::default(),
        });
        let (sender, assignments) = mpsc::unbounded_channel();
        let context = Context {
            share: Arc::clone(&share),
            assignments: sender.clone(),
        };
        let group = Arc::clone(&share.scope.group);
        let config = clients.member(&group);
        let consumer = Arc::new(GroupConsumer::from_config_and_context(&config, context)?);
        share
            .consumer
            .set(Arc::downgrade(&consumer))
            .map_err(|_again| "a share has one consumer")?;
        consumer.subscribe(&[share.divided_topic()])?;
        let closing = Arc::new(AtomicBool::new(false));
        let poller = Poller {
            share: Arc::clone(&share),
            consumer,
            assignments: sender,
            closing: Arc::clone(&closing),
        };
        std::thread::Builder::new()
            .name("weir-member".to_owned())
            .spawn(move || poller.run())?;
        Ok(Self {
            share,
            assignments,
            closing,
        })
    }

    pub(super) fn share(&self) -> Arc<Share> {
        Arc::clone(&self.share)
    }
}

impl Membership for GroupMembership {
    fn next(&mut self) -> BoxFuture<'_, Option<Assignment>> {
        Box::pin(self.assignments.recv())
    }
}

impl Drop for GroupMembership {
    fn drop(&mut self) {
        // What was assigned and never taken has no reader to wait for.
        self.assignments.close();
        while self.assignments.try_recv().is_ok() {}
        self.closing.store(true, Ordering::Release);
    }
}

/// The thread's own.
struct Poller {
    share: Arc<Share>,
    consumer: Arc<GroupConsumer>,
    assignments: mpsc::UnboundedSender<Assignment>,
    closing: Arc<AtomicBool>,
}

impl Drop for Poller {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(
                group = &*self.share.scope.group,
                "a fault of the host, report it: a member's thread panicked"
            );
            self.share.end_all();
            drop(self.assignments.send(Assignment::Ended(None)));
        }
    }
}

impl Poller {
    fn run(self) {
        let mut checked = Instant::now();
        // A host that stops stays a member until its last unit is committed.
        while !(self.closing.load(Ordering::Acquire) && self.share.is_idle()) {
            match self.consumer.poll(POLL) {
                None => {}
                Some(Ok(message)) => {
                    // Its queue would have been split before it was assigned.
                    tracing::error!(
                        topic = message.topic(),
                        partition = message.partition(),
                        "a record nobody asked for"
                    );
                }
                Some(Err(error)) if self.is_fatal(&error) => return self.refuse(error.to_string()),
                Some(Err(error)) => {
                    tracing::debug!(%error, group = &*self.share.scope.group, "poll")
                }
            }
            if checked.elapsed() > CHECK_EVERY {
                checked = Instant::now();
                Arc::clone(&self.share).check_topics();
            }
            match self.share.leaving() {
                None => {}
                Some(Leave::Refuse(error)) => return self.stop(Some(error)),
                Some(Leave::Renew(why)) => {
                    let group = &*self.share.scope.group;
                    tracing::warn!(group, why, "the membership is made anew");
                    return self.stop(None);
                }
            }
        }
    }

    fn is_fatal(&self, error: &KafkaError) -> bool {
        matches!(error, KafkaError::MessageConsumptionFatal(_))
            || self.consumer.client().fatal_error().is_some()
    }

    fn refuse(&self, error: String) {
        let fatal = self.consumer.client().fatal_error();
        let message = match fatal {
            Some((RDKafkaErrorCode::FencedInstanceId, _)) => {
                "another live host has this host's id: give each host_id to one host".to_owned()
            }
            Some((_, message)) => message,
            None => error,
        };
        self.stop(Some(SubscribeError::Refused {
            group: self.share.scope.group.as_ref().to_owned(),
            message,
        }));
    }

    /// Nothing is committed from here on; says why.
    fn stop(&self, error: Option<SubscribeError>) {
        self.share.end_all();
        drop(self.assignments.send(Assignment::Ended(error)));
        // Whoever holds the consumer last closes it: that is this thread, and not one that others need.
        self.share.wait_idle();
    }
}
