//! Bus and ledger on a Kafka cluster: a fleet of hosts shares the work of each subscription, exactly once.
//!
//! A subscription is a consumer group. The group divides the partitions of the subscription's command topic, which has
//! as many as its largest source topic; who owns one owns that partition number of all topics, which is what the
//! subscription's machine is made for. So all groups rebalance cooperatively, whatever topics they read. At least once
//! there is no command topic, and the group divides the largest of its topics.
//!
//! [`membership`] holds a place in a group, [`share`] is what the group gave to this host, [`reader`] reads it. Units wait
//! for the [`committers`], [`transaction`] commits them, and [`delivery`] produces what they write by a [`producer`].
//! [`copies`] says what goes into the local copy of a ledger, [`restore`] brings it up to date by its [`changelog`]. At least
//! once [`acknowledged`] commits units, and [`offsets`] is what is kept of them. [`patience`] is what either has with a
//! cluster that does not answer. [`control`] is the topic on which hosts tell one another what they are. [`clients`] says how
//! librdkafka is set up, [`brokers`] whether the cluster can do what is promised, and [`own_topics`] makes and checks the
//! topics that are the host's own.
//!
//! Whatever waits for a broker does so on a thread that is there for it. [`metadata`] and [`extents`] are what is known of
//! the cluster without asking; who has to ask and may not wait on his own thread does it by [`calls`], and a partition is
//! loaded in [`turns`].

mod acknowledged;
mod brokers;
mod calls;
mod changelog;
mod clients;
mod cluster;
mod committers;
mod control;
mod copies;
mod delivery;
mod denied;
mod extents;
mod headers;
mod ledger;
mod membership;
mod metadata;
mod native;
mod offsets;
mod origin;
mod own_topics;
mod patience;
mod producer;
mod publisher;
mod reader;
mod records;
mod restore;
mod share;
mod transaction;
mod turns;
mod twins;
mod waiting;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;

use self::calls::Calls;
use self::clients::Clients;
use self::cluster::Cluster;
pub use self::cluster::ConnectError;
use self::committers::Committers;
pub use self::control::{Control, ControlError};
use self::copies::Copies;
use self::denied::unjoined;
use self::membership::GroupMembership;
use self::origin::Origin;
use self::own_topics::OwnTopics;
pub use self::own_topics::Purpose;
use self::publisher::Publisher;
use self::reader::TopicReader;
use self::share::{Leave, Share};
use self::turns::Turns;
use self::twins::Twins;
use crate::bus::{
    Bus, Departure, EnsureTopicError, Joining, Membership, Publish, PublishError, Reader,
    ReaderError, SubscribeError, Topic, Unanswered,
};
use crate::config::{self, CreateTopics, Delivery};
use crate::embedded::Embedded;
use crate::fleet::Peers;
use crate::ledger::{Fixed, Scope};
use crate::names;

/// Partitions that are loaded at a time, of all subscriptions.
const LOADS: usize = 8;

/// Who a host is on its cluster.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'a> {
    /// Whose topics and groups it has.
    pub environment: &'a str,
    /// Its name, which no other live host has.
    pub host_id: &'a str,
    /// Its last start on its data directory.
    pub last_start: Option<&'a str>,
}

/// Bus and ledger on a cluster. Clones share it.
#[derive(Clone)]
pub struct Kafka {
    inner: Arc<Inner>,
}

struct Inner {
    delivery: Delivery,
    transaction: config::Transaction,
    clients: Arc<Clients>,
    cluster: Arc<Cluster>,
    /// The topics of this host and its like.
    own: OwnTopics,
    publisher: Arc<Publisher>,
    /// What the hosts say of themselves; none where the cluster has no topic for it.
    control: Option<Arc<Control>>,
    /// What the partitions of this host have in the ledger.
    copies: Arc<Copies>,
    /// Partitions that are loaded at a time: each waits on a thread, and others need threads too.
    loads: Turns,
    /// What those ask who must not wait on their own threads.
    calls: Calls,
    /// What this host has of each group.
    groups: Mutex<HashMap<Arc<str>, Group>>,
    /// The topics of each group as they were when this process first joined it.
    first: Mutex<HashMap<Arc<str>, Origin>>,
    /// Whether groups are left for good.
    departing: Arc<AtomicBool>,
    twins: Arc<Twins>,
}

/// A subscription on this host.
struct Group {
    share: Arc<Share>,
    committers: Committers,
}

/// A cluster that answers, of which nothing is read yet.
pub struct Connection {
    clients: Arc<Clients>,
    cluster: Arc<Cluster>,
    own: OwnTopics,
    publisher: Arc<Publisher>,
    calls: Calls,
}

impl Connection {
    /// Connects to the cluster; blocks until that is over. Each subscription has `prefetch` bytes for what is fetched ahead.
    ///
    /// # Errors
    /// A setting is wrong, no broker answers, or one cannot do what is promised.
    pub fn open(
        config: &config::Kafka,
        host_id: &str,
        prefetch: u64,
    ) -> Result<Self, ConnectError> {
        let clients = Arc::new(Clients::new(config, host_id, prefetch));
        let checked = clients.check(config.delivery);
        checked.map_err(ConnectError::untaken)?;
        let cluster = Arc::new(Cluster::connect(&clients, config)?);
        if config.delivery == Delivery::ExactlyOnce {
            brokers::check(&cluster)?;
        }
        extents::spawn(&cluster).map_err(ConnectError::Thread)?;
        metadata::spawn(&cluster).map_err(ConnectError::Thread)?;
        let calls = Calls::new();
        let publisher = Arc::new(Publisher::new(&clients, &calls)?);
        Ok(Self {
            own: OwnTopics::new(&cluster, config),
            clients,
            cluster,
            publisher,
            calls,
        })
    }

    /// How many partitions a topic has; none where there is no such topic.
    #[must_use]
    pub fn partitions(&self, topic: &str) -> Option<u32> {
        self.cluster.metadata.partitions(topic)
    }

    /// How a topic is to be made that is not there.
    #[must_use]
    pub fn missing(&self, topic: &str, partitions: u32, purpose: Purpose) -> Option<String> {
        self.own.missing(topic, partitions, purpose)
    }
}

impl Kafka {
    /// Reads what the hosts of this environment are told; blocks until that is over.
    ///
    /// # Errors
    /// Another live host has this id, or the topic on which hosts tell one another what they are is not there.
    pub fn open(
        connection: Connection,
        config: &config::Kafka,
        identity: Identity<'_>,
        copy: Embedded,
        peers: Peers,
    ) -> Result<Self, ConnectError> {
        let Connection {
            clients,
            cluster,
            own,
            publisher,
            calls,
        } = connection;
        let Identity {
            environment,
            host_id,
            last_start,
        } = identity;
        let topic = names::control_topic(environment);
        let control = match own.ensure_control(&topic) {
            Ok(true) => {
                let connection = (&clients, &cluster, &calls);
                Some(Control::open(
                    topic, host_id, connection, &publisher, peers, last_start,
                )?)
            }
            Ok(false) => None,
            // Who may make no topics has the positions alone, and needs no other hosts for it.
            Err(error)
                if config.create_topics == CreateTopics::Check
                    && config.delivery == Delivery::AtLeastOnce =>
            {
                tracing::warn!(%error, "this host knows of no other");
                None
            }
            Err(error) => return Err(ConnectError::Topic(error)),
        };
        Ok(Self {
            inner: Arc::new(Inner {
                delivery: config.delivery,
                transaction: config.transaction,
                clients,
                cluster,
                own,
                publisher,
                control,
                copies: Arc::new(Copies::new(copy)),
                loads: Turns::new(LOADS),
                calls,
                groups: Mutex::default(),
                first: Mutex::default(),
                departing: Arc::default(),
                twins: Arc::default(),
            }),
        })
    }

    /// What the hosts say of themselves; none where the cluster has no topic for it.
    #[must_use]
    pub fn control(&self) -> Option<&Arc<Control>> {
        self.inner.control.as_ref()
    }
}

impl Inner {
    fn groups(&self) -> MutexGuard<'_, HashMap<Arc<str>, Group>> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn share(&self, group: &str) -> Option<Arc<Share>> {
        let groups = self.groups();
        groups.get(group).map(|group| Arc::clone(&group.share))
    }

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
            found.ok_or_else(|| SubscribeError::Unavailable {
                group: scope.group.to_string(),
                message: format!("there is no topic {name:?} yet"),
            })
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

    /// The topics of the group as they were when this process first joined it, which is now if it has not.
    fn first(&self, group: &Arc<str>, origin: &Origin) -> Origin {
        let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        let known = first.entry(Arc::clone(group));
        known.or_insert_with(|| origin.clone()).clone()
    }
}

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
        inner.first(group, &origin);
        let refused = |message: String| SubscribeError::Refused {
            group: group.to_string(),
            message,
        };
        let share = Share::new(scope.clone(), origin, Arc::clone(&inner.cluster));
        let (departing, twins) = (&inner.departing, &inner.twins);
        let membership = GroupMembership::join(&inner.clients, share, departing, twins)
            .map_err(|error| refused(error.to_string()))?;
        let share = membership.share();
        let (clients, cluster, bounds) = (&inner.clients, &inner.cluster, inner.transaction);
        let committers = match inner.delivery {
            Delivery::ExactlyOnce => {
                transaction::spawn(clients, cluster, &inner.copies, &share, bounds)
            }
            Delivery::AtLeastOnce => acknowledged::spawn(clients, cluster, &share, bounds),
        };
        let committers = committers
            .map_err(|error| refused(format!("its committer could not be started: {error}")))?;
        let group = Group { share, committers };
        inner.groups().insert(Arc::clone(&scope.group), group);
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
            left: share.wait_ended(remaining()) && share.has_left(remaining()),
            group,
        });
        let mut departures: Vec<_> = departures.collect();
        departures.sort_by(|a, b| a.group.cmp(&b.group));
        departures
    }
}
