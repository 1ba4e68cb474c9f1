//! A place in a consumer group: a thread that polls whatever else happens, and what the group gave to this host.
//!
//! The group divides the partitions of the command topic, or of its largest topic where there is none. What is read is assigned by [`super::reader`] once the
//! partition's ledger is restored, so the rebalance callback itself assigns nothing and only says who owns what.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use rdkafka::client::ClientContext;
use rdkafka::config::{FromClientConfigAndContext as _, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use rdkafka::statistics::Statistics;
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::RDKafkaRespErr;
use tokio::sync::mpsc;

use super::clients::{self, Clients, SESSION_TIMEOUT};
use super::denied::{is_denied, told};
use super::native::{generation, member_id};
use super::reader::GroupReader;
use super::share::{Context, GroupConsumer, Leave, Share};
use super::twins::Twins;
use super::waiting::{ANSWER, pause};
use crate::bus::{Assignment, Membership, SubscribeError};

/// Between two looks at what librdkafka has to tell; it wakes the thread when there is something.
const POLL: Duration = Duration::from_millis(100);
/// For whoever asks the cluster by a consumer that is about to be closed: two answers.
const HELD: Duration = Duration::from_secs(20);
/// An orderly revoke waits so long for running attempts and their commit.
const REVOKE: Duration = Duration::from_secs(5);
/// A member that is one so long after the group did not want it is wanted again: its session would have ended.
const TAKEN_AGAIN: Duration = SESSION_TIMEOUT.saturating_mul(2);
/// Between two looks whether topics have grown.
const CHECK_EVERY: Duration = Duration::from_secs(10);
/// A host that has had no place in its group for longer than a rebalance takes, which may wait for the session of a dead
/// member, is told of.
const NOBODY: Duration = Duration::from_secs(45);
/// The consumer of a host that has had no name in its group for so long is made anew, as one that reads nothing is: whether
/// it is the brokers or the client that does not find its way back cannot be told from here, and a new one costs a fleet
/// little in an outage.
const ASTRAY: Duration = NOBODY.saturating_mul(3);

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
            self.share.tenure.end(partitions);
        }
        for &partition in partitions {
            drop(self.assignments.send(Assignment::Revoked { partition }));
        }
        if lost {
            let why = "the group has given up this host, whose session ended: it joins again when the broker that coordinates \
                       the group answers";
            drop(self.assignments.send(Assignment::Hindered(why.to_owned())));
        } else if !self.share.tenure.wait_released(partitions, REVOKE) {
            tracing::warn!(
                group = &*self.share.scope.group,
                ?partitions,
                "partitions move before their work was finished: what is not committed runs again on their next owner"
            );
        }
        self.share.tenure.end(partitions);
    }
}

/// Whether the group will not have this host until people have changed something. librdkafka asks again all the same, and
/// of some of it says so once.
fn is_refusal(error: &KafkaError) -> bool {
    let codes = [
        RDKafkaErrorCode::InconsistentGroupProtocol,
        RDKafkaErrorCode::InvalidGroupId,
        RDKafkaErrorCode::InvalidSessionTimeout,
        RDKafkaErrorCode::GroupMaxSizeReached,
    ];
    is_denied(error)
        || error
            .rdkafka_error_code()
            .is_some_and(|code| codes.contains(&code))
}

/// Membership in the group of a subscription. Dropped, it leaves when its readers are gone.
pub(super) struct GroupMembership {
    assignments: mpsc::UnboundedReceiver<Assignment>,
    closing: Arc<AtomicBool>,
}

impl GroupMembership {
    /// Joins for what is to be shared. `departing`: whether memberships end for good.
    pub(super) fn join(
        clients: &Clients,
        share: &Arc<Share>,
        departing: &Arc<AtomicBool>,
        twins: &Arc<Twins>,
    ) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let (sender, assignments) = mpsc::unbounded_channel();
        let context = Context {
            share: Arc::clone(share),
            assignments: sender.clone(),
        };
        let group = Arc::clone(&share.scope.group);
        let fetched = share
            .origin
            .topics
            .iter()
            .map(|topic| topic.description.partitions);
        let config = clients.member(&group, fetched.sum());
        let consumer = Arc::new(GroupConsumer::from_config_and_context(&config, context)?);
        share.set_consumer(Arc::downgrade(&consumer));
        consumer.subscribe(&[share.divided_topic()])?;
        let closing = Arc::new(AtomicBool::new(false));
        let poller = Poller {
            share: Arc::clone(share),
            consumer,
            assignments: sender,
            closing: Arc::clone(&closing),
            departing: Arc::clone(departing),
            twins: Arc::clone(twins),
        };
        std::thread::Builder::new()
            .name("weir-member".to_owned())
            .spawn(move || {
                let share = Arc::clone(&poller.share);
                poller.run();
                share.tenure.note_ended();
            })?;
        Ok(Self {
            assignments,
            closing,
        })
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
    /// Whether the membership ends for good: the host is not expected back.
    departing: Arc<AtomicBool>,
    /// Who has put members of this host out of their groups.
    twins: Arc<Twins>,
}

impl Drop for Poller {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(
                group = &*self.share.scope.group,
                "a fault of the host, report it: a member's thread panicked"
            );
            self.share.tenure.end_all();
            drop(self.assignments.send(Assignment::Ended(None)));
        }
    }
}

impl Poller {
    /// Until the membership is over; the consumer is closed then.
    fn run(self) {
        self.poll();
        if self.departing.load(Ordering::Acquire) {
            self.depart();
        }
        // Who commits or restores may be asking by it, and must not be the one who closes it.
        let deadline = Instant::now() + HELD;
        while Arc::strong_count(&self.consumer) > 1 && Instant::now() < deadline {
            pause(POLL);
        }
    }

    fn poll(&self) {
        let (mut checked, mut refused) = (Instant::now(), None);
        let (mut was_member, mut was_named) = (Instant::now(), Instant::now());
        // A host that stops stays a member until its last unit is committed.
        while !(self.closing.load(Ordering::Acquire) && self.share.tenure.is_idle()) {
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
                Some(Err(error)) if is_refusal(&error) => {
                    let why = format!("the group does not take this host: {}", told(&error));
                    drop(self.assignments.send(Assignment::Hindered(why)));
                    refused = Some(Instant::now());
                }
                Some(Err(error)) => {
                    tracing::debug!(%error, group = &*self.share.scope.group, "poll")
                }
            }
            if checked.elapsed() > CHECK_EVERY {
                checked = Instant::now();
                Arc::clone(&self.share).check_topics();
                if generation(&self.consumer) >= 0 {
                    was_member = checked;
                } else if was_member.elapsed() > NOBODY {
                    let why = "this host has no place in its group: the broker that coordinates the group does not answer, or \
                               another member holds its rebalance up";
                    drop(self.assignments.send(Assignment::Hindered(why.to_owned())));
                }
                // Nameless since its session ended: librdkafka keeps the generation, and asks for another name.
                if !member_id(&self.consumer).is_empty() || refused.is_some() {
                    was_named = checked;
                } else if was_named.elapsed() > ASTRAY {
                    return self.renew("the group has had no name for it for too long");
                }
                let is_over = |since: Instant| since.elapsed() > TAKEN_AGAIN;
                if refused.is_some_and(is_over) && self.share.identity().is_some() {
                    drop(self.assignments.send(Assignment::Settled));
                    refused = None;
                }
            }
            match self.share.take_leave() {
                None => {}
                Some(Leave::Refuse(error)) => return self.stop(Some(error)),
                Some(Leave::Renew(why)) => return self.renew(&why),
            }
        }
    }

    /// Leaves the group for good. To be closed is not enough: a host is expected back, and nobody has its partitions before
    /// its session has ended.
    fn depart(&self) {
        let group = &*self.share.scope.group;
        self.consumer.unsubscribe();
        let deadline = Instant::now() + ANSWER;
        // librdkafka forgets its name when it leaves; what it sends then is answered before it is closed.
        while !member_id(&self.consumer).is_empty() {
            if Instant::now() > deadline {
                tracing::warn!(group, "the group was not left in time");
                return;
            }
            if let Some(Err(error)) = self.consumer.poll(POLL) {
                tracing::debug!(%error, group, "poll");
            }
        }
        tracing::info!(group, "left for good");
    }

    fn is_fatal(&self, error: &KafkaError) -> bool {
        matches!(error, KafkaError::MessageConsumptionFatal(_))
            || self.consumer.client().fatal_error().is_some()
    }

    fn refuse(&self, error: String) {
        let fatal = self.consumer.client().fatal_error();
        let message = match fatal {
            Some((RDKafkaErrorCode::FencedInstanceId, _)) => {
                if !self.twins.put_out(&self.share.scope.group, Instant::now()) {
                    return self.renew("a member of this host's id has put it out");
                }
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

    fn renew(&self, why: &str) {
        let group = &*self.share.scope.group;
        tracing::warn!(group, why, "the membership is made anew");
        self.stop(None);
    }

    /// Nothing is committed from here on; says why.
    fn stop(&self, error: Option<SubscribeError>) {
        self.share.tenure.end_all();
        drop(self.assignments.send(Assignment::Ended(error)));
        // Whoever holds the consumer last closes it: that is this thread, and not one that others need.
        self.share.tenure.wait_idle();
    }
}
