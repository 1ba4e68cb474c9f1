//! Bus and ledger on a Kafka cluster: a fleet of hosts shares the work of each subscription, exactly once.
//!
//! A subscription is a consumer group. The group divides the partitions of the subscription's command topic, which has
//! as many as its largest source topic; who owns one owns that partition number of all topics, which is what the
//! subscription's machine is made for. So all groups rebalance cooperatively, whatever topics they read. At least once
//! there is no command topic, and the group divides the largest of its topics.
//!
//! [`membership`] holds a place in a group, [`share`] is what the group gave to this host for a [`tenure`], [`reader`] reads
//! it. Units wait for the [`committers`], [`transaction`] commits them, and [`delivery`] produces what they write by a
//! [`producer`]. [`copies`] says what goes into the local copy of a ledger, [`restore`] brings it up to date by its
//! [`changelog`], which [`reading`] reads to its end. At least once [`acknowledged`] commits units, and [`offsets`] is what
//! is kept of them. [`patience`] is what either has with a cluster that does not answer. [`control`] is the topic on which
//! hosts tell one another what they are. [`clients`] says how librdkafka is set up, [`brokers`] whether the cluster can do
//! what is promised, and [`own_topics`] makes and checks the topics that are the host's own.
//!
//! Whatever waits for a broker does so on a thread that is there for it. [`metadata`] and [`extents`] are what is known of
//! the cluster without asking; who has to ask and may not wait on his own thread does it by [`calls`], and a partition is
//! loaded in [`turns`].

mod acknowledged;
mod brokers;
mod bus;
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
mod gap;
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
mod reading;
mod records;
mod restore;
mod share;
mod tenure;
mod transaction;
mod turns;
mod twins;
mod waiting;

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use self::calls::Calls;
use self::clients::Clients;
use self::cluster::Cluster;
pub use self::cluster::ConnectError;
use self::committers::Committers;
pub use self::control::{Control, ControlError};
use self::copies::Copies;
use self::origin::Origin;
use self::own_topics::OwnTopics;
pub use self::own_topics::Purpose;
use self::publisher::Publisher;
use self::share::Share;
use self::turns::Turns;
use self::twins::Twins;
use crate::config::{self, CreateTopics, Delivery};
use crate::embedded::Embedded;
use crate::fleet::Peers;
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

/// Bus and ledger on a cluster, each in a file of its own. Clones share it.
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
        let topic = names::control_topic(identity.environment);
        let control = match own.ensure_control(&topic) {
            Ok(true) => {
                let connection = (&clients, &cluster, &calls);
                Some(Control::open(
                    identity,
                    config.delivery,
                    connection,
                    &publisher,
                    peers,
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

    /// The topics of the group as they were when this process first joined it, which is now if it has not.
    fn first(&self, group: &Arc<str>, origin: &Origin) -> Origin {
        let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        let known = first.entry(Arc::clone(group));
        known.or_insert_with(|| origin.clone()).clone()
    }
}
