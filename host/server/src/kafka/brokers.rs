//! Whether the brokers do what exactly once rests on: Kafka 3.6 or newer.
//!
//! A request of a dead host that a network has kept may come when its transaction is over, and write into the next one.
//! Clients cannot keep it from that before they speak the protocol of KIP-890, which librdkafka does not; brokers can since
//! 3.6: they verify that the partition was added to the transaction that is open. No client is told a broker's version.
//! The setting that says whether it verifies is there since it can, and who may describe the cluster is told it.

use std::collections::HashMap;

use rdkafka::admin::ResourceSpecifier;
use rdkafka::consumer::Consumer as _;

use super::cluster::{Cluster, ConnectError};
use super::waiting::ANSWER;

/// Whether a broker verifies.
const VERIFIES: &str = "transaction.partition.verification.enable";
/// A setting of every Apache Kafka that has transactions: what has not this one is something else.
const HAS_TRANSACTIONS: &str = "transaction.state.log.min.isr";

/// What the settings of a broker say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Verifies,
    /// It is older than 3.6.
    Old,
    /// It could, and is told not to.
    Off,
    /// It is no Apache Kafka.
    Other,
}

/// Refuses a cluster on which exactly once would not be. Where brokers do not say, it is taken on trust, and that is said.
pub(super) fn check(cluster: &Cluster) -> Result<(), ConnectError> {
    let metadata = cluster.asking.fetch_metadata(None, ANSWER);
    let metadata = metadata.map_err(ConnectError::Brokers)?;
    for broker in metadata.brokers().iter().map(|broker| broker.id()) {
        let found = match cluster.settings_of(ResourceSpecifier::Broker(broker)) {
            Ok(settings) => judge(&settings),
            Err(error) => {
                tracing::warn!(
                    broker, %error,
                    "cannot ask whether a broker is of Kafka 3.6 or newer, without which nothing is exactly once: let the host \
                     describe the configuration of the cluster"
                );
                continue;
            }
        };
        match found {
            Found::Verifies => {}
            Found::Old => return Err(ConnectError::OldBroker { broker }),
            Found::Off => return Err(ConnectError::Unverified { broker }),
            Found::Other => tracing::warn!(
                broker,
                "a broker does not say whether it verifies the partitions of transactions, as Kafka 3.6 does: without that \
                 nothing is exactly once"
            ),
        }
    }
    Ok(())
}

fn judge(settings: &HashMap<String, Option<String>>) -> Found {
    match settings.get(VERIFIES) {
        Some(value) if value.as_deref() == Some("false") => Found::Off,
        Some(_) => Found::Verifies,
        None if settings.contains_key(HAS_TRANSACTIONS) => Found::Old,
        None => Found::Other,
    }
}

#[cfg(test)]
mod tests;
