//! How librdkafka is set up: what the operator says, over it what the promises rest on, and below it what is only a matter of
//! speed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::{FromClientConfigAndContext as _, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::KafkaError;

use super::delivery::{self, Reports};
use super::producer::Clientele;
use crate::config::{self, Delivery};
use crate::names;

/// A dead host's open transaction holds up its partitions for so long.
pub(super) const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(10);
/// A host that restarts within this time keeps its partitions; a dead one's events move after it.
pub(super) const SESSION_TIMEOUT: Duration = Duration::from_secs(30);
/// librdkafka waits so long for the answer to a join, which a coordinator that came back may never give; and a group so long
/// for a member in a rebalance, which has to wait for no more than a revoke and the end of a dead member's session.
const JOIN_TIMEOUT: Duration = SESSION_TIMEOUT.saturating_mul(2);
/// Thirty of them are missed before the group takes a host for dead. Who has to give partitions away hears of it by the answer:
/// what moves to a host that joins waits for two of them.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// How often librdkafka says how far it has fetched.
const STATISTICS: Duration = Duration::from_millis(500);
/// What librdkafka has of one partition at most: what waits in its queue, the next fetch of the machine and the one after
/// it, and an answer of a broker that is on its way meanwhile. One batch is fetched however large it is.
const PREFETCH_MAX: Prefetch = Prefetch {
    queued: 1 << 20,
    answer: 2 << 20,
};
/// And at least, for many partitions and little memory.
const PREFETCH_BYTES_MIN: usize = 16 << 10;

/// What librdkafka calls the same by two names.
const OTHER_NAMES: [(&str, &str); 1] = [("linger.ms", "queue.buffering.max.ms")];

/// Makes the configurations of all clients of this host.
pub(super) struct Clients {
    base: ClientConfig,
    host_id: Arc<str>,
    /// What each subscription may fetch ahead.
    prefetch_bytes: u64,
    /// By group and number of the committer.
    clienteles: Mutex<HashMap<(Arc<str>, u32), Clientele>>,
}

/// Bytes that are fetched of a partition before anybody asks for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Prefetch {
    queued: usize,
    answer: usize,
}

impl Prefetch {
    /// One of so many partitions, which share the bytes.
    fn of(bytes: u64, partitions: u32) -> Self {
        let share = bytes / u64::from(partitions.max(1));
        let share = usize::try_from(share).unwrap_or(usize::MAX);
        let share = share.max(PREFETCH_BYTES_MIN);
        // An answer is asked for while the queue is not full.
        let queued = (share / 4).min(PREFETCH_MAX.queued);
        Self {
            queued,
            answer: (share - queued).min(PREFETCH_MAX.answer),
        }
    }
}

impl Clients {
    pub(super) fn new(config: &config::Kafka, host_id: &str, prefetch_bytes: u64) -> Self {
        let mut base = ClientConfig::new();
        for (name, value) in config.settings.iter() {
            base.set(name, value);
        }
        base.set("bootstrap.servers", &config.bootstrap)
            .set("client.id", format!("weir-{host_id}"))
            .set("message.max.bytes", config.letter_bytes.to_string());
        // Nagle's algorithm would delay every commit.
        tune(&mut base, "socket.nagle.disable", "true");
        // What is worth knowing of connections comes with the errors of those who wait for them.
        tune(&mut base, "log.connection.close", "false");
        Self {
            base,
            host_id: host_id.into(),
            prefetch_bytes,
            clienteles: Mutex::default(),
        }
    }

    /// Who has the place of this committer, in whatever membership.
    pub(super) fn clientele(&self, group: &Arc<str>, number: u32) -> Clientele {
        let clienteles = self.clienteles.lock();
        let mut clienteles = clienteles.unwrap_or_else(PoisonError::into_inner);
        let place = (Arc::clone(group), number);
        clienteles.entry(place).or_default().clone()
    }

    /// Makes one of each kind that is made later, so that what librdkafka refuses in one of them is told at the start.
    pub(super) fn check(&self, delivery: Delivery) -> Result<(), KafkaError> {
        let unit = match delivery {
            Delivery::ExactlyOnce => self.committing("weir", 0),
            Delivery::AtLeastOnce => self.delivering(),
        };
        delivery::Client::from_config_and_context(&unit, Reports::default())?;
        for consumer in [self.reading(), self.member("weir", 1)] {
            BaseConsumer::from_config_and_context(&consumer, Logged)?;
        }
        Ok(())
    }

    /// Asks for metadata and high watermarks, open transactions included.
    pub(super) fn asking(&self) -> ClientConfig {
        let mut config = self.base.clone();
        config.set("isolation.level", "read_uncommitted");
        config
    }

    /// Asks how far records can be read.
    pub(super) fn looking(&self) -> ClientConfig {
        let mut config = self.base.clone();
        config.set("isolation.level", "read_committed");
        config
    }

    /// Reads partitions outside of any group; an end is told.
    pub(super) fn reading(&self) -> ClientConfig {
        let mut config = self.base.clone();
        fetching(&mut config, PREFETCH_MAX);
        // librdkafka wants a group's name to assign partitions; nothing is committed under it.
        config
            .set("group.id", format!("weir-reader-{}", self.host_id))
            .set("enable.partition.eof", "true")
            // An end is believed, so it has to be the leader's: that of a replica nearby may lie before what the leader has.
            .remove("client.rack");
        config
    }

    /// A member of a subscription's group, which reads so many partitions at most.
    pub(super) fn member(&self, group: &str, partitions: u32) -> ClientConfig {
        let mut config = self.base.clone();
        fetching(&mut config, Prefetch::of(self.prefetch_bytes, partitions));
        config
            .set("group.id", group)
            .set("group.instance.id", &*self.host_id)
            .set("group.protocol", "classic")
            .set("heartbeat.interval.ms", HEARTBEAT.as_millis().to_string())
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set(
                "session.timeout.ms",
                SESSION_TIMEOUT.as_millis().to_string(),
            )
            .set("max.poll.interval.ms", JOIN_TIMEOUT.as_millis().to_string())
            .set("enable.partition.eof", "false")
            .set("statistics.interval.ms", STATISTICS.as_millis().to_string());
        config
    }

    /// Publishes what is no unit of work.
    pub(super) fn publishing(&self) -> ClientConfig {
        let mut config = self.base.clone();
        producing(&mut config);
        config.set("message.timeout.ms", "30000");
        tune(&mut config, "linger.ms", "2");
        config
    }

    /// Emits what units of work do, at least once.
    pub(super) fn delivering(&self) -> ClientConfig {
        let mut config = self.base.clone();
        producing(&mut config);
        config.set(
            "message.timeout.ms",
            TRANSACTION_TIMEOUT.as_millis().to_string(),
        );
        tune(&mut config, "linger.ms", "1");
        config
    }

    /// Commits units of work.
    pub(super) fn committing(&self, group: &str, number: u32) -> ClientConfig {
        let mut config = self.base.clone();
        let timeout = TRANSACTION_TIMEOUT.as_millis().to_string();
        producing(&mut config);
        config
            .set(
                "transactional.id",
                names::transactional_id(group, &self.host_id, number),
            )
            .set("transaction.timeout.ms", &timeout)
            .set("message.timeout.ms", &timeout);
        // A unit is there as a whole before its first record is produced: only what the queue has not taken is waited
        // for.
        tune(&mut config, "linger.ms", "1");
        config
    }
}

fn producing(config: &mut ClientConfig) {
    config.set("enable.idempotence", "true");
    tune(config, "batch.size", "1000000");
    tune(config, "queue.buffering.max.messages", "500000");
    let kib = (256 << 10).to_string();
    tune(config, "queue.buffering.max.kbytes", &kib);
}

fn fetching(config: &mut ClientConfig, prefetch: Prefetch) {
    config
        .set("isolation.level", "read_committed")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        .set(
            "queued.max.messages.kbytes",
            (prefetch.queued >> 10).to_string(),
        )
        .set("fetch.message.max.bytes", prefetch.answer.to_string());
    tune(config, "queued.min.messages", "10000");
    tune(config, "fetch.wait.max.ms", "100");
    // Its default stops a partition for a second when its queue was full for a moment.
    tune(config, "fetch.queue.backoff.ms", "5");
}

/// Sets what no promise rests on, unless the operator has set it under one of its names.
fn tune(config: &mut ClientConfig, name: &str, value: &str) {
    let other = OTHER_NAMES.iter().find(|(known, _)| *known == name);
    let is_set = |name: &str| config.get(name).is_some();
    if !is_set(name) && !other.is_some_and(|(_, other)| is_set(other)) {
        config.set(name, value);
    }
}

/// What librdkafka has to say goes to the log.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Logged;

impl ClientContext for Logged {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "librdkafka");
    }
}

impl ConsumerContext for Logged {}

pub(super) fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg
        | RDKafkaLogLevel::Alert
        | RDKafkaLogLevel::Critical
        | RDKafkaLogLevel::Error
        | RDKafkaLogLevel::Warning => tracing::warn!(facility, message, "librdkafka"),
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => {
            tracing::debug!(facility, message, "librdkafka");
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
