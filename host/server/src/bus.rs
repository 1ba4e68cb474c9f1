//! The seam to where events come from and go to.
//!
//! | operation | embedded log | Kafka |
//! |---|---|---|
//! | [`Bus::topics`], [`Bus::topic`] | the catalog in memory | the cluster's metadata as a thread asks for it |
//! | [`Bus::find_topic`] | the same | asks the cluster for one that is not known |
//! | [`Bus::ensure_topic`] | written and synced before it answers | `CreateTopics`, then metadata until every partition has a leader |
//! | [`Bus::ensure_kept`] | the same: what is held back is kept by itself | the same, with settings that delete nothing |
//! | [`Bus::publish`] | one atomic batch, one sync | idempotent, `acks=all`, answered when all are acknowledged |
//! | [`Bus::subscribe`] | every partition at once, epoch 1 | joins the consumer group; each assignment has an epoch of its own |
//! | [`Bus::reader`] | reads the log | assigns the partition to a consumer outside of any group, `read_committed` |
//! | [`Bus::bounds`] | the extent in memory | log start and high watermark, by `ListOffsets` |
//! | [`Bus::extent`] | the same | what a thread asks for every second |
//! | [`Bus::end`] | the same, now | the same, when that was asked, unless a transaction is open |
//! | [`Bus::is_shared`] | no | yes |
//! | [`Bus::renew`] | nothing | leaves with the consumer and joins with another |
//! | [`Bus::depart`], [`Bus::departed`] | nothing | leaves groups as a host that is not expected back |
//! | [`Membership::next`] | never revokes | rebalance callbacks, answered within the drain deadline |
//! | [`Reader::seek`] | moves the cursor | assigns the partition from there with the first fetch, once the restore is done |
//! | [`Reader::only`] | leaves the others unread | the same: their queues fill up and are no longer fetched |
//! | [`Reader::fetch`] | reads the log, waits at its end | takes from the partition's queue; not calling it pauses the partition |
//!
//! What is not a future does not wait for a broker, but for [`Bus::ensure_topic`], [`Bus::ensure_kept`],
//! [`Bus::subscribe`] and [`Bus::departed`], which are called where nobody else waits.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{self, BoxFuture, FutureExt as _};
use weir_core::event::Record;
use weir_core::time::Millis;
use weir_core::unit::Position;

use crate::clock;
use crate::ledger::{Fixed, LedgerError, Scope};

/// The only header of a record whose own could not be read; its value says why. It stays with the record, or that would pass
/// for one that never had any wherever it comes back from.
pub const UNREAD_HEADERS: &str = "weir.unread-headers";

/// A topic of the bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Full name.
    pub name: Arc<str>,
    /// Number of partitions.
    pub partitions: u32,
}

/// A record on its way into a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    /// `weir_core::identity::partition_hash`; modulo the number of partitions it chooses one.
    pub partition_hash: u32,
    /// What is appended.
    pub record: Record,
}

/// The cluster did not answer, which says nothing of what it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the cluster did not answer: {what}: {why}")]
pub struct Unanswered {
    /// What was asked, and of which topic and partition.
    pub what: String,
    /// What became of it.
    pub why: String,
}

/// Why nothing of a call to [`Bus::publish`] was accepted.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// There is no such topic.
    #[error("unknown topic {0:?}")]
    UnknownTopic(String),
    /// Too much is waiting to be made durable: try again after a second.
    #[error("the commit queue is full")]
    Busy,
    /// Intake is stopped, for example because the disk is nearly full; says what to do.
    #[error("{0}")]
    Stopped(String),
}

/// Who joins, and what the bus has to know of him.
#[derive(Clone, Copy, Debug)]
pub struct Joining<'a> {
    /// The subscription.
    pub scope: &'a Scope,
    /// What its marks and sequences are made under.
    pub fixed: &'a Fixed,
    /// Whether people have to come to its dead letters whatever their age: where their topics are kept otherwise, it is
    /// refused.
    pub holds_letters: bool,
}

/// A bus: topics with partitions.
pub trait Bus: Send + Sync + 'static {
    /// All topics that are known, by name.
    fn topics(&self) -> Vec<Topic>;

    /// One topic, if it is known.
    fn topic(&self, name: &str) -> Option<Topic>;

    /// One topic; none where there is none.
    fn find_topic(&self, name: &str) -> BoxFuture<'static, Result<Option<Topic>, Unanswered>> {
        future::ready(Ok(self.topic(name))).boxed()
    }

    /// Makes a topic, or finds it with this number of partitions; another number is an error that says both.
    fn ensure_topic(&self, name: &str, partitions: u32) -> Result<(), EnsureTopicError>;

    /// The same of a topic whose records people have to come to, whatever their age. Of one that is there, who subscribes finds
    /// out whether it is kept so.
    fn ensure_kept(&self, name: &str, partitions: u32) -> Result<(), EnsureTopicError> {
        self.ensure_topic(name, partitions)
    }

    /// Appends all records or none; answers when they are durable.
    fn publish(
        &self,
        topic: &str,
        records: Vec<Publish>,
    ) -> BoxFuture<'static, Result<(), PublishError>>;

    /// Joins as a subscription; partitions arrive by [`Membership::next`]. A topic that has another number of partitions than
    /// when the subscription first started refuses it.
    fn subscribe(&self, joining: Joining<'_>) -> Result<Box<dyn Membership>, SubscribeError>;

    /// Reads one partition of one topic without a subscription, for `weir tail`; positions carry topic 0.
    fn reader(
        &self,
        topic: &str,
        partition: u32,
        from: u64,
    ) -> BoxFuture<'static, Result<Box<dyn Reader>, ReaderError>>;

    /// The first kept offset and the one after the last, of one partition; none where there is no such partition.
    fn bounds(
        &self,
        topic: &str,
        partition: u32,
    ) -> BoxFuture<'static, Result<Option<(u64, u64)>, Unanswered>> {
        future::ready(Ok(self.extent(topic, partition))).boxed()
    }

    /// The same as it was a moment ago, for those who ask all the time; none where that is not known.
    fn extent(&self, topic: &str, partition: u32) -> Option<(u64, u64)>;

    /// Where a partition ended at an instant that has passed: whatever was written since stands behind it. None where that is
    /// not known, and where something stands before it that cannot be read yet.
    fn end(&self, topic: &str, partition: u32) -> Option<(u64, Millis)> {
        let now = clock::now();
        let (_, end) = self.extent(topic, partition)?;
        Some((end, now))
    }

    /// The offset of a transaction of others that has lost its end, and for how long it has been seen: nothing behind it can
    /// be read.
    fn left_open(&self, _topic: &str, _partition: u32) -> Option<(u64, Duration)> {
        None
    }

    /// Whether others than this host use it: then most of its topics are theirs.
    fn is_shared(&self) -> bool {
        false
    }

    /// Records wait for this subscription and none comes: makes its membership anew.
    fn renew(&self, _group: &str) {}

    /// This host is not expected back: memberships that end from here on give their partitions to others at once, which
    /// otherwise wait for a host that starts again.
    fn depart(&self) {}

    /// What became of that, of each subscription: waits so long for memberships to end and for what the bus says of it. Blocks.
    fn departed(&self, _within: Duration) -> Vec<Departure> {
        Vec::new()
    }
}

/// How a subscription was left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Departure {
    /// Which one.
    pub group: Arc<str>,
    /// Whether the others have what was this host's; else they have it when the group has waited for this host in vain.
    pub left: bool,
}

/// Why a topic could not be made.
#[derive(Debug, thiserror::Error)]
pub enum EnsureTopicError {
    /// It exists with another number of partitions.
    #[error(
        "topic {name:?} has {found} partitions, {wanted} are asked for; the number is fixed when a topic is made"
    )]
    PartitionCount {
        /// The topic.
        name: String,
        /// What it has.
        found: u32,
        /// What was asked.
        wanted: u32,
    },
    /// The name or number is not allowed; says what is.
    #[error("{0}")]
    Invalid(String),
    /// The store failed.
    #[error("make topic {name:?}")]
    Store {
        /// The topic.
        name: String,
        /// Cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Why a partition cannot be read outside of any subscription.
#[derive(Debug, thiserror::Error)]
pub enum ReaderError {
    /// There is no such topic.
    #[error("unknown topic {0:?}")]
    UnknownTopic(String),
    /// There is no such partition.
    #[error("topic {topic:?} has {partitions} partitions, {partition} is beyond them")]
    UnknownPartition {
        /// The topic.
        topic: String,
        /// Its number of partitions.
        partitions: u32,
        /// What was asked.
        partition: u32,
    },
    /// The cluster does not answer: to be tried again.
    #[error(transparent)]
    Unanswered(#[from] Unanswered),
}

/// Why a subscription could not start.
#[derive(Debug, thiserror::Error)]
pub enum SubscribeError {
    /// There is no such topic.
    #[error("unknown topic {0:?}")]
    UnknownTopic(String),
    /// Keys would move: the subscription's sequences stand in the partitions that the topic had.
    #[error(
        "topic {topic:?} has {found} partitions, and had {stored} when subscription {group:?} first started"
    )]
    PartitionCount {
        /// Which subscription.
        group: String,
        /// The topic.
        topic: String,
        /// What it had.
        stored: u32,
        /// What it has.
        found: u32,
    },
    /// Its marks and sequences were made under another setting.
    #[error(
        "{setting} of subscription {group:?} differs from what it was when it first started: it is fixed, so write it \
         back, or give the handler another name"
    )]
    Fixed {
        /// Which subscription.
        group: String,
        /// In the manifest's words, with what it is and was.
        setting: String,
    },
    /// What is fixed for it could not be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The cluster does not have this host as a member, or no longer.
    #[error("{group}: {message}")]
    Refused {
        /// Which subscription.
        group: String,
        /// Why, and what to do.
        message: String,
    },
    /// The cluster does not answer: to be tried again.
    #[error("{group}: {message}")]
    Unavailable {
        /// Which subscription.
        group: String,
        /// What was asked, and what came of it.
        message: String,
    },
}

/// A change of what this member owns.
pub enum Assignment {
    /// This member owns partition number `partition` of every topic of the subscription that has one.
    Assigned {
        /// Partition number.
        partition: u32,
        /// Greater than every epoch before it of this partition on this member.
        epoch: u64,
        /// Positions carry the topic's index in the subscription's order.
        reader: Box<dyn Reader>,
    },
    /// The partition moves elsewhere: finish or abort within the drain deadline.
    Revoked {
        /// Partition number.
        partition: u32,
    },
    /// All that this member has at present was told; others have the rest. Never told by a bus that has one member.
    Settled,
    /// This member has no place in the group for this reason, and asks again; over with [`Self::Settled`].
    Hindered(String),
    /// The membership is over, and with it all that was assigned: to be made anew, or with an error for people to mend.
    Ended(Option<SubscribeError>),
}

/// Membership in a subscription.
pub trait Membership: Send {
    /// The next change; none when the bus is closed.
    fn next(&mut self) -> BoxFuture<'_, Option<Assignment>>;
}

/// Why a fetch failed; the reader stays usable.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The position is not kept: it was deleted, or the topic was made anew.
    #[error(
        "offset {offset} of topic {topic:?} partition {partition} is gone; the first kept one is {first}"
    )]
    OutOfRange {
        /// The topic.
        topic: Arc<str>,
        /// Partition number.
        partition: u32,
        /// What was asked.
        offset: u64,
        /// The first that is kept.
        first: u64,
    },
    /// The store or the connection failed.
    #[error("read topic {topic:?} partition {partition}")]
    Store {
        /// The topic.
        topic: Arc<str>,
        /// Partition number.
        partition: u32,
        /// Cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Reads one partition number of the topics of a subscription.
pub trait Reader: Send {
    /// The next fetch of this topic starts at this offset.
    fn seek(&mut self, position: Position);

    /// Fetches read this topic alone from here on, as if the others were paused; none: all of them.
    fn only(&mut self, topic: Option<u16>);

    /// The next records, in order per topic, about `bytes_max` at most. Waits for the first; none where offsets without
    /// records were passed over, which [`Self::passed`] tells. Cancel safe: a dropped call loses nothing.
    fn fetch(
        &mut self,
        bytes_max: usize,
    ) -> BoxFuture<'_, Result<Vec<(Position, Record)>, FetchError>>;

    /// Everything of this topic before this offset was fetched, or holds no record (a transaction's marker at the end of a
    /// partition is never followed by a record that would show it).
    fn passed(&mut self, _topic: u16) -> u64 {
        0
    }

    /// Whether a topic could not be read, and it is not known yet that it can be again.
    fn is_failing(&self) -> bool {
        false
    }
}

#[cfg(test)]
pub(crate) mod mute;
