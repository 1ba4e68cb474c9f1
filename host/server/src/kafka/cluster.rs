//! What is known of the cluster: its topics, how far they reach, and what is set of them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::FutureExt as _;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::config::FromClientConfigAndContext as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;

use super::clients::{Clients, Logged};
use super::extents::Extents;
use super::metadata::Metadata;
use super::native::{self, DescribedTopic, Description};
use super::records::number;
use super::waiting::{ANSWER, block_on};
use crate::bus::EnsureTopicError;
use crate::config;

/// For a broker to answer at the start of the host: after each it is told why none has.
const CONNECT: [Duration; 3] = [
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(15),
];
/// A topic that is not known is asked for again after this time.
const MISS_AGE: Duration = Duration::from_millis(500);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// librdkafka takes no such configuration.
    #[error("{key}: {message}")]
    Settings {
        /// Where it stands in the configuration.
        key: String,
        /// What librdkafka says of it.
        message: String,
    },
    /// The machine has no room for another thread.
    #[error("start a thread of the Kafka client: {0}")]
    Thread(std::io::Error),
    /// Nothing on this machine is random enough for a secret.
    #[error("make the secret by which hosts know one another: {0}")]
    Random(getrandom::Error),
    /// The topic on which hosts tell one another what they are is not what it has to be.
    #[error(transparent)]
    Topic(EnsureTopicError),
    /// It cannot be read to its end, and nothing starts before.
    #[error("read topic {topic}, where operators' commands stand: {source}")]
    Control {
        /// Which one.
        topic: String,
        /// What librdkafka says.
        source: KafkaError,
    },
    /// Groups would put one of the two out again and again.
    #[error(
        "another live host has the id {host_id:?}{place}: write another `host_id` into the configuration of one of them, or stop \
         that one"
    )]
    SameId {
        /// The id.
        host_id: String,
        /// Where the other one answers, as far as it is known.
        place: String,
    },
    /// Each would have the same partitions.
    #[error(
        "host {host_id:?} of the same environment is there with kafka.delivery = {theirs:?}, and this one has {own:?}: two such \
         hosts would both handle every partition; stop all hosts that have the other before one starts with this"
    )]
    OtherDelivery {
        /// The other host.
        host_id: String,
        /// What it promises.
        theirs: String,
        /// What this host does.
        own: &'static str,
    },
    /// The cluster does not say which brokers it has.
    #[error("ask for the brokers of the cluster: {0}")]
    Brokers(KafkaError),
    /// A broker cannot keep transactions apart.
    #[error(
        "broker {broker} is older than Kafka 3.6: without what it lacks nothing is exactly once; update it, or write \
         kafka.delivery = \"at-least-once\""
    )]
    OldBroker {
        /// Which one.
        broker: i32,
    },
    /// A broker could, and does not.
    #[error(
        "broker {broker} has transaction.partition.verification.enable = false: a request of a dead host that comes late \
         could write into another transaction; set it to true, or write kafka.delivery = \"at-least-once\""
    )]
    Unverified {
        /// Which one.
        broker: i32,
    },
    /// Nobody answers.
    #[error(
        "no broker answers at {bootstrap}: {reason}; start it, or correct kafka.bootstrap and the settings of TLS and SASL"
    )]
    Unreachable {
        /// Where was asked.
        bootstrap: String,
        /// What librdkafka says.
        reason: String,
    },
}

impl ConnectError {
    /// Of a client that cannot be made. What a setting was set to is not repeated: it may be a password.
    pub(super) fn untaken(error: KafkaError) -> Self {
        const SETTINGS: &str = "kafka.settings";
        let (key, message) = if let KafkaError::ClientConfig(_, why, name, _) = error {
            (format!("{SETTINGS}.{name}"), why)
        } else {
            (SETTINGS.to_owned(), error.to_string())
        };
        let message = format!("librdkafka does not take it: {message}");
        Self::Settings { key, message }
    }
}

/// The cluster as this host knows it.
pub(super) struct Cluster {
    /// Asks whatever is not told below, and sees what open transactions have written.
    pub(super) asking: BaseConsumer<Logged>,
    /// Asks how far partitions reach, and sees no more than may be read.
    pub(super) looking: BaseConsumer<Logged>,
    pub(super) admin: AdminClient<Logged>,
    pub(super) metadata: Metadata,
    pub(super) extents: Extents,
}

impl Cluster {
    pub(super) fn connect(clients: &Clients, config: &config::Kafka) -> Result<Self, ConnectError> {
        let consumer = |config: ClientConfig| {
            let made = BaseConsumer::from_config_and_context(&config, Logged);
            made.map_err(ConnectError::untaken)
        };
        let admin = AdminClient::from_config_and_context(&clients.asking(), Logged);
        let cluster = Self {
            asking: consumer(clients.asking())?,
            looking: consumer(clients.looking())?,
            admin: admin.map_err(ConnectError::untaken)?,
            metadata: Metadata::default(),
            extents: Extents::default(),
        };
        let bootstrap = config.bootstrap.clone();
        let mut reason = String::new();
        for patience in CONNECT {
            let answer = cluster
                .metadata
                .refresh(&cluster.asking, Duration::ZERO, patience);
            let Err(error) = answer else {
                return Ok(cluster);
            };
            // What stays as it is is not told again.
            if let Some(told) = cluster.reason() {
                reason = told;
            } else if reason.is_empty() {
                reason = error.to_string();
            }
            tracing::warn!(bootstrap, reason, "no broker answers");
        }
        Err(ConnectError::Unreachable { bootstrap, reason })
    }

    /// Why the brokers that were asked last did not answer, as far as librdkafka has said. It keeps that, and all that it
    /// has for the log, until somebody asks.
    pub(super) fn reason(&self) -> Option<String> {
        native::drain(self.admin.inner());
        native::drain(self.looking.client());
        native::drain(self.asking.client())
    }

    /// How many partitions a topic has, none where there is no such topic. Asks a broker only for one that is not known:
    /// a commit may be waiting.
    pub(super) fn partitions(&self, topic: &str) -> Result<Option<u32>, KafkaError> {
        if let Some(count) = self.metadata.partitions(topic) {
            return Ok(Some(count));
        }
        self.metadata.refresh(&self.asking, MISS_AGE, ANSWER)?;
        Ok(self.metadata.partitions(topic))
    }

    /// The first offset and the one after the last record, as a broker says; none where there is no such partition.
    pub(super) fn bounds(
        &self,
        topic: &str,
        partition: u32,
    ) -> Result<Option<(u64, u64)>, KafkaError> {
        match self.partitions(topic)? {
            Some(count) if partition < count => {
                let bounds = self.watermarks(topic, partition)?;
                Ok(Some(self.extents.adjusted(topic, partition, bounds)))
            }
            Some(_) | None => Ok(None),
        }
    }

    /// What topics these names stand for; none for one that there is not. An error of any of them is that of the call.
    pub(super) fn describe(
        &self,
        topics: &[Arc<str>],
    ) -> Result<Vec<Option<Description>>, KafkaError> {
        self.describe_each(topics)?.into_iter().collect()
    }

    /// The same of each by itself.
    pub(super) fn describe_each(
        &self,
        topics: &[Arc<str>],
    ) -> Result<Vec<DescribedTopic>, KafkaError> {
        native::describe(self.asking.client(), topics, ANSWER)
    }

    /// The first offset and the high watermark, open transactions included.
    pub(super) fn watermarks(&self, topic: &str, partition: u32) -> Result<(u64, u64), KafkaError> {
        let (first, end) = self
            .asking
            .fetch_watermarks(topic, number(partition), ANSWER)?;
        Ok((
            u64::try_from(first).unwrap_or_default(),
            u64::try_from(end).unwrap_or_default(),
        ))
    }

    /// The settings of a topic or of a broker: one request may name one broker, so each is asked for its own.
    pub(super) fn settings_of(
        &self,
        asked: ResourceSpecifier<'_>,
    ) -> Result<HashMap<String, Option<String>>, KafkaError> {
        let options = AdminOptions::new().request_timeout(Some(ANSWER));
        let described = block_on(self.admin.describe_configs(&[asked], &options).boxed())?;
        let mut settings = HashMap::new();
        for resource in described {
            let resource = resource.map_err(KafkaError::AdminOp)?;
            let entries = resource.entries.into_iter();
            settings.extend(entries.map(|entry| (entry.name, entry.value)));
        }
        Ok(settings)
    }
}
