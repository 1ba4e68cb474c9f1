//! The control topic of an environment: what the hosts say of themselves, and what operators have commanded of all of
//! them. Compacted, one partition, so that all records have one order.
//!
//! A host reads it to its end before it joins any group, and follows it from then on. What every host wants to know is
//! in memory ([`table`]); replay jobs are read by the one that runs them ([`jobs`]). Without the topic each host is on
//! its own.

mod entry;
mod jobs;
mod table;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rdkafka::config::FromClientConfigAndContext as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio::sync::watch;
use weir_core::event::Record;
use weir_core::time::Millis;

use self::entry::{Command, Key, What};
use self::table::Table;
use super::Identity;
use super::calls::Calls;
use super::clients::{Clients, Logged};
use super::cluster::{Cluster, ConnectError};
use super::publisher::Publisher;
use super::reading::{is_lost, read_to_end};
use super::records;
use super::waiting::pause;
use crate::bus::{Publish, PublishError, Unanswered};
use crate::clock;
use crate::config::Delivery;
use crate::fail::{self, Point};
use crate::fleet::{self, HostRecord, Member, Peers, SAY_EVERY};
use crate::names;
use crate::steering::{Change, Steering};

/// The topic has one.
const PARTITION: u32 = 0;
/// Between two looks whether the host is still there; a record wakes the thread.
const POLL: Duration = Duration::from_millis(100);
/// A host that is there says so again within this time.
const HEARD_WITHIN: Duration = SAY_EVERY.saturating_add(Duration::from_secs(3));
/// For the next record of a topic that is not at its end.
const SILENCE: Duration = Duration::from_secs(30);
/// A record of one's own is read back within milliseconds.
const READ_BACK: Duration = Duration::from_secs(10);
/// After an error that ends the reading, before it begins anew.
const AGAIN: Duration = Duration::from_secs(1);

/// Why a record was not written, or not read back.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The cluster did not take it.
    #[error("write to topic {topic}")]
    Write {
        /// Which one.
        topic: String,
        /// Cause.
        source: PublishError,
    },
    /// It does not come back.
    #[error(
        "topic {topic} was not read to its end in {} s: look at the connection to the brokers, and see with \
         `weir status` what holds",
        READ_BACK.as_secs()
    )]
    Late {
        /// Which one.
        topic: String,
    },
    /// The topic cannot be read.
    #[error(transparent)]
    Unanswered(#[from] Unanswered),
    /// What stands there is not what a host has written.
    #[error("topic {topic} holds {what} that is none")]
    Malformed {
        /// Which one.
        topic: String,
        /// What it would be.
        what: String,
    },
    /// It is larger than the topic takes.
    #[error("{what} is larger than topic {topic} takes")]
    TooLarge {
        /// Which topic.
        topic: String,
        /// What.
        what: &'static str,
    },
    /// Another command was there first, and is another one.
    #[error(
        "somebody else has changed it meanwhile: see with `weir status` what holds, and ask again if it is not what you want"
    )]
    Overtaken,
}

/// The control topic, followed.
pub struct Control {
    topic: String,
    host_id: Arc<str>,
    delivery: Delivery,
    secret: String,
    clients: Arc<Clients>,
    cluster: Arc<Cluster>,
    publisher: Arc<Publisher>,
    calls: Calls,
    peers: Peers,
    table: Mutex<Table>,
    /// One past the last record that was read.
    read: watch::Sender<u64>,
    skipped: AtomicU64,
}

impl Control {
    /// Reads the topic to its end and follows it from then on; blocks. The topic is there.
    pub(super) fn open(
        identity: Identity<'_>,
        delivery: Delivery,
        (clients, cluster, calls): (&Arc<Clients>, &Arc<Cluster>, &Calls),
        publisher: &Arc<Publisher>,
        peers: Peers,
    ) -> Result<Arc<Self>, ConnectError> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(ConnectError::Random)?;
        let control = Arc::new(Self {
            topic: names::control_topic(identity.environment),
            host_id: identity.host_id.into(),
            delivery,
            secret: blake3::Hash::from(secret).to_hex().to_string(),
            clients: Arc::clone(clients),
            cluster: Arc::clone(cluster),
            publisher: Arc::clone(publisher),
            calls: calls.clone(),
            peers,
            table: Mutex::default(),
            read: watch::Sender::new(0),
            skipped: AtomicU64::new(0),
        });
        let unread = |source| ConnectError::Control {
            topic: control.topic.clone(),
            source,
        };
        let consumer = control.reader().map_err(unread)?;
        control.read_anew(&consumer).map_err(unread)?;
        control.refuse_second(&consumer, identity.last_start)?;
        control.refuse_other_delivery()?;
        let followed = Arc::downgrade(&control);
        std::thread::Builder::new()
            .name("weir-control".to_owned())
            .spawn(move || follow(&followed, &consumer))
            .map_err(ConnectError::Thread)?;
        Ok(control)
    }

    /// Which start of the host this is.
    #[must_use]
    pub fn start(&self) -> String {
        fleet::start_of(&self.secret)
    }

    /// Refuses to be a second host of this id, before any group hears of it: the group would put out the first.
    ///
    /// A host that was killed has said a moment ago that it is there. It does not answer, and where it ran on this data
    /// directory, which one process has at a time, it is this host's own last start. Else it may be one that cannot be
    /// reached from here: whether it lives is seen by what it says next.
    fn refuse_second(
        &self,
        consumer: &BaseConsumer<Logged>,
        last_start: Option<&str>,
    ) -> Result<(), ConnectError> {
        let own = |one: &Member| one.id == *self.host_id;
        let Some(other) = self.members().into_iter().find(own) else {
            return Ok(());
        };
        let refused = |place: String| {
            Err(ConnectError::SameId {
                host_id: self.host_id.to_string(),
                place,
            })
        };
        if self.peers.answers(&other) {
            let url = other.record.url.unwrap_or_default();
            return refused(format!(", and answers at {url}"));
        }
        if other.is_silent() || Some(&*other.record.start()) == last_start {
            return Ok(());
        }
        tracing::info!(
            host_id = &*self.host_id,
            "a host of this id was there a moment ago: looking whether it still is"
        );
        let since = Instant::now();
        let until = since + HEARD_WITHIN.saturating_sub(other.age);
        while Instant::now() < until {
            if let Some(Ok(message)) = consumer.poll(POLL) {
                self.hear(&message);
            }
            match self.table().has_said(&self.host_id, since) {
                None => return Ok(()),
                Some(true) => return refused(", and said so a moment ago".to_owned()),
                Some(false) => {}
            }
        }
        Ok(())
    }

    /// Refuses to be beside hosts that promise something else: their groups have the same names and divide other topics, so
    /// that both hosts would be given the same partition.
    fn refuse_other_delivery(&self) -> Result<(), ConnectError> {
        let own = self.delivery.name();
        for other in self.members() {
            let is_other = other.id != *self.host_id && !other.is_silent();
            if let Some(theirs) = other
                .record
                .delivery
                .filter(|theirs| is_other && theirs != own)
            {
                return Err(ConnectError::OtherDelivery {
                    host_id: other.id,
                    theirs,
                    own,
                });
            }
        }
        Ok(())
    }

    /// What this host has to be sent by those that it answers as hosts of the fleet.
    pub(crate) fn secret(&self) -> &str {
        &self.secret
    }

    /// This host.
    pub(crate) fn host_id(&self) -> &str {
        &self.host_id
    }

    /// The way to the others.
    pub(crate) fn peers(&self) -> &Peers {
        &self.peers
    }

    /// The hosts that are there, or were a moment ago, by name.
    pub(crate) fn members(&self) -> Vec<Member> {
        self.table().members()
    }

    /// Tells each time that something was read.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.read.subscribe()
    }

    /// Tells the others what this host is, and forgets hosts that are long gone, which every host does: their records
    /// would stay for ever.
    pub(crate) async fn say(&self, mut record: HostRecord) -> Result<(), ControlError> {
        let gone = self
            .table()
            .gone(Instant::now())
            .into_iter()
            .filter(|id| *id != *self.host_id);
        let mut records: Vec<_> = gone.map(|id| (Key::Host(id), None)).collect();
        let own = Key::Host(self.host_id.to_string());
        record.delivery = Some(self.delivery.name().to_owned());
        records.push((own, Some(entry::host_to_bytes(&record))));
        self.write(records).await
    }

    /// Tells the others that this host has stopped.
    pub(crate) async fn leave(&self) -> Result<(), ControlError> {
        let own = Key::Host(self.host_id.to_string());
        self.write(vec![(own, None)]).await
    }

    /// What operators have commanded of a group.
    pub(crate) fn wanted(&self, group: &str) -> Steering {
        self.table().steering(group)
    }

    /// Has all hosts obey; answers what holds from then on. Of two commands that were given at the same time the first in
    /// the topic counts, and the other fails, unless it is the same.
    pub(crate) async fn steer(
        &self,
        group: &str,
        change: Change,
    ) -> Result<Steering, ControlError> {
        self.catch_up().await?;
        let what = What::of(change);
        let upon = self.table().holding(group, what).map(|(_, at, _)| at);
        self.wait_for_another(group, what, upon).await;
        let own = random().map_err(|error| self.unwritten(error))?;
        let key = |name| Key::Command {
            group: group.to_owned(),
            what,
            name,
        };
        let value = Command { change, upon }.encode();
        self.write(vec![(key(own), Some(value))]).await?;
        self.catch_up().await?;
        let (holding, wanted, mut over) = {
            let table = self.table();
            let holding = table.holding(group, what).map(|(name, _, _)| name);
            let wanted = table.steering(group);
            (holding, wanted, table.commanded(group, what))
        };
        // What no longer counts would lie there for ever; where this fails, the next command does it.
        over.retain(|name| Some(*name) != holding);
        let over: Vec<_> = over.into_iter().map(|name| (key(name), None)).collect();
        if !over.is_empty()
            && let Err(error) = self.write(over).await
        {
            tracing::warn!(%error, group, "commands that no longer count stay on the control topic");
        }
        if holding != Some(own) && wanted != wanted.with(change) {
            return Err(ControlError::Overtaken);
        }
        Ok(wanted)
    }

    /// In tests: gives this command only when another one has come after the one that it is upon.
    async fn wait_for_another(&self, group: &str, what: What, upon: Option<u64>) {
        if !fail::holds(Point::CommandLate) {
            return;
        }
        tracing::warn!("a test lets a command wait for another one");
        let mut read = self.changes();
        while self.table().holding(group, what).map(|(_, at, _)| at) == upon {
            // The sender lives in what is held here.
            drop(read.changed().await);
        }
    }

    fn unwritten(&self, error: getrandom::Error) -> ControlError {
        ControlError::Write {
            topic: self.topic.clone(),
            source: PublishError::Stopped(error.to_string()),
        }
    }

    /// Takes back all that stands there of a group, and answers how many records that were.
    pub(crate) async fn forget(self: &Arc<Self>, group: &str) -> Result<u64, ControlError> {
        let what = || format!("what topic {:?} has of {group:?}", self.topic);
        let (control, name) = (Arc::clone(self), group.to_owned());
        let keys = self.calls.make(what, move || control.keys_of(&name));
        let keys = keys.await?;
        let count = keys.len() as u64;
        let records = keys.into_iter().map(|key| (key, None));
        self.write(records.collect()).await?;
        self.catch_up().await?;
        Ok(count)
    }

    /// What of a group has a value.
    fn keys_of(&self, group: &str) -> Result<BTreeSet<Key>, KafkaError> {
        let mut keys = BTreeSet::new();
        self.read_all(&self.reader()?, |message| {
            let key = message.key().and_then(Key::decode);
            let Some(key) = key.filter(|key| key.group() == Some(group)) else {
                return;
            };
            if message.payload().is_some_and(|value| !value.is_empty()) {
                keys.insert(key);
            } else {
                keys.remove(&key);
            }
        })?;
        Ok(keys)
    }

    /// Writes records, none for what is taken back; answers when they are durable.
    async fn write(&self, records: Vec<(Key, Option<Vec<u8>>)>) -> Result<(), ControlError> {
        let records = records.into_iter().map(|(key, value)| Publish {
            partition_hash: PARTITION,
            record: Record {
                key: Some(key.encode().into()),
                value: value.map(Bytes::from),
                ..Record::default()
            },
        });
        let written = self.publisher.publish(&self.topic, 1, records.collect());
        written.await.map_err(|source| ControlError::Write {
            topic: self.topic.clone(),
            source,
        })
    }

    /// Waits until everything is read that was there when this was asked.
    async fn catch_up(&self) -> Result<(), ControlError> {
        let what = || format!("how far topic {:?} reaches", self.topic);
        let (cluster, topic) = (Arc::clone(&self.cluster), self.topic.clone());
        let bounds = self
            .calls
            .make(what, move || cluster.watermarks(&topic, PARTITION));
        let (_, end) = bounds.await?;
        let mut read = self.changes();
        let there = tokio::time::timeout(READ_BACK, read.wait_for(|read| *read >= end)).await;
        match there {
            Ok(_read) => Ok(()),
            Err(_elapsed) => Err(ControlError::Late {
                topic: self.topic.clone(),
            }),
        }
    }

    /// A consumer of the topic from its beginning. Nothing is written there in transactions, so none holds it up.
    fn reader(&self) -> Result<BaseConsumer<Logged>, KafkaError> {
        let mut config = self.clients.reading();
        config.set("isolation.level", "read_uncommitted");
        let consumer = BaseConsumer::from_config_and_context(&config, Logged)?;
        self.begin(&consumer)?;
        Ok(consumer)
    }

    fn begin(&self, consumer: &BaseConsumer<Logged>) -> Result<(), KafkaError> {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.topic, records::number(PARTITION), Offset::Beginning)?;
        consumer.assign(&list)
    }

    /// Hands over everything up to the end.
    fn read_all(
        &self,
        consumer: &BaseConsumer<Logged>,
        mut each: impl FnMut(&BorrowedMessage<'_>),
    ) -> Result<(), KafkaError> {
        let failed = |error| error;
        // Nothing is written there in transactions: what the broker tells is the end.
        let ends = (|_told| true, is_lost);
        read_to_end(consumer, SILENCE, ends, failed, |message| {
            each(message);
            Ok(())
        })
    }

    /// Reads everything into a table of its own, which then takes the place of the one that was: a topic that was made anew
    /// says nothing of what stood in the one before it.
    fn read_anew(&self, consumer: &BaseConsumer<Logged>) -> Result<(), KafkaError> {
        let (mut table, mut end) = (Table::default(), 0);
        self.read_all(consumer, |message| {
            let written = message.timestamp().to_millis().unwrap_or_default();
            let written = Millis(u64::try_from(written).unwrap_or_default());
            end = self.take(&mut table, message, clock::now().since(written));
        })?;
        *self.table() = table;
        self.read.send_replace(end);
        Ok(())
    }

    /// Takes a record that has just come. Whose clock says otherwise has said it now all the same.
    fn hear(&self, message: &BorrowedMessage<'_>) {
        let end = self.take(&mut self.table(), message, Duration::ZERO);
        self.read.send_replace(end);
    }

    /// Takes a record over that is so old, and answers the offset behind it.
    fn take(&self, table: &mut Table, message: &BorrowedMessage<'_>, age: Duration) -> u64 {
        let key = message.key().unwrap_or_default();
        let value = message.payload().filter(|value| !value.is_empty());
        let at = u64::try_from(message.offset()).unwrap_or_default();
        if let Err(why) = table.apply((at, age), key, value) {
            let count = self.skipped.fetch_add(1, Ordering::Relaxed) + 1;
            // Each of them would be a line for every record that somebody writes by mistake.
            if count.is_power_of_two() {
                let (topic, offset) = (&self.topic, message.offset());
                tracing::warn!(%topic, offset, %why, count, "a record of the control topic is passed over");
            }
        }
        at + 1
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads for as long as the host is there.
fn follow(control: &Weak<Control>, consumer: &BaseConsumer<Logged>) {
    while let Some(control) = control.upgrade() {
        match consumer.poll(POLL) {
            None | Some(Err(KafkaError::PartitionEOF(_))) => {}
            Some(Ok(message)) => control.hear(&message),
            Some(Err(error)) if is_lost(&error) => {
                tracing::warn!(%error, topic = %control.topic, "the control topic is read anew");
                pause(AGAIN);
                let begun = control.begin(consumer);
                if let Err(error) = begun.and_then(|()| control.read_anew(consumer)) {
                    tracing::error!(%error, topic = %control.topic, "cannot follow the control topic");
                }
            }
            Some(Err(error)) => tracing::debug!(%error, "the control topic"),
        }
    }
}

fn random() -> Result<u64, getrandom::Error> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}
