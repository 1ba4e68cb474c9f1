//! `[kafka]`: the cluster in whose place the embedded store would otherwise be bus and ledger.

pub(crate) mod ours;
mod settings;

use std::net::Ipv6Addr;

pub use self::settings::Settings;
use super::document::Section;

/// The largest record of a ledger, of commands and of what hosts say: an event, with what goes with it when it is set
/// aside, and twice as much for what a unit says of all that is open.
pub const RECORD_BYTES: u64 = (2 << 20) + (256 << 10);
/// Larger letters would be larger than what brokers take in one request (`socket.request.max.bytes`, 100 MiB).
const LETTER_BYTES_MAX: u64 = 64 << 20;
/// What is committed together is no more than this: what waits behind it should not wait long.
const TRANSACTION_EVENTS: u64 = 20_000;
/// The same in bytes: well within the 10 s that a transaction may take, of a broker that takes some MiB a second.
const TRANSACTION_BYTES: u64 = 16 << 20;

/// Who makes the topics that are missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CreateTopics {
    /// The host, with the settings that it needs.
    #[default]
    Auto,
    /// Somebody else: the host looks at its start that they are there.
    Check,
    /// Somebody else: what is missing is told by whoever needs it.
    Off,
}

/// What is promised of emissions and positions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Delivery {
    /// They are committed together, in a transaction.
    #[default]
    ExactlyOnce,
    /// Positions follow emissions that were acknowledged; the host keeps nothing else.
    AtLeastOnce,
}

impl Delivery {
    /// As the configuration has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ExactlyOnce => "exactly-once",
            Self::AtLeastOnce => "at-least-once",
        }
    }
}

/// How much is committed in one transaction, unless a single unit of work is more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// Events.
    pub events: usize,
    /// Bytes that their units write.
    pub bytes: usize,
}

/// A cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kafka {
    /// Addresses of brokers, `host:port`, with commas.
    pub bootstrap: String,
    /// What is promised.
    pub delivery: Delivery,
    /// Who makes missing topics.
    pub create_topics: CreateTopics,
    /// Replicas of the topics that the host makes; none: the cluster's default.
    pub replication: Option<u32>,
    /// The largest dead letter, and the largest record that the host writes.
    pub letter_bytes: usize,
    /// What is committed in one transaction.
    pub transaction: Transaction,
    /// More settings of librdkafka.
    pub settings: Settings,
}

/// The section, where the file has one.
pub(super) fn read(mut section: Section<'_>) -> Option<Kafka> {
    if !section.is_present() {
        return None;
    }
    let bootstrap = section.required("bootstrap", "\"127.0.0.1:9092\"");
    if let Some(wrong) = bootstrap.and_then(no_address) {
        let message = format!(
            "{wrong:?} is no address of a broker: write host:port, as in \"127.0.0.1:9092\", several with commas"
        );
        section.fault("bootstrap", message);
    }
    let delivery = match section.text("delivery") {
        None | Some("exactly-once") => Delivery::ExactlyOnce,
        Some("at-least-once") => Delivery::AtLeastOnce,
        Some(other) => {
            let message = format!("is {other:?}: must be \"exactly-once\" or \"at-least-once\"");
            section.fault("delivery", message);
            Delivery::ExactlyOnce
        }
    };
    let create_topics = match section.text("create_topics") {
        None | Some("auto") => CreateTopics::Auto,
        Some("check") => CreateTopics::Check,
        Some("off") if delivery == Delivery::AtLeastOnce => CreateTopics::Off,
        Some("off") => {
            let message = "is \"off\": exactly-once needs its internal topics; write \"check\" and make them \
                before the start, or \"auto\"";
            section.fault("create_topics", message);
            CreateTopics::Check
        }
        Some(other) => {
            section.fault(
                "create_topics",
                format!("is {other:?}: must be \"auto\", \"check\" or \"off\""),
            );
            CreateTopics::Auto
        }
    };
    let replication = section
        .number("replication", 1..=64)
        .and_then(|n| u32::try_from(n).ok());
    let mut bytes = |key, range, default| {
        let number = section.number(key, range).unwrap_or(default);
        usize::try_from(number).unwrap_or(usize::MAX)
    };
    let letter_bytes = bytes(
        "letter_bytes",
        RECORD_BYTES..=LETTER_BYTES_MAX,
        RECORD_BYTES,
    );
    let transaction = Transaction {
        events: bytes("transaction_events", 1..=1_000_000, TRANSACTION_EVENTS),
        // More than that a broker would have to take in half of the time that a transaction may be open.
        bytes: bytes("transaction_bytes", 64 << 10..=64 << 20, TRANSACTION_BYTES),
    };
    let password = settings::read_password(&mut section);
    let settings = settings::read(&section.section("settings"), letter_bytes, password);
    section.close();
    Some(Kafka {
        bootstrap: bootstrap.unwrap_or_default().to_owned(),
        delivery,
        create_topics,
        replication,
        letter_bytes,
        transaction,
        settings,
    })
}

/// The first of these addresses that is none. How it is reached is said by `security.protocol` alone.
fn no_address(bootstrap: &str) -> Option<&str> {
    let is_address = |address: &&str| {
        let Some((host, port)) = address.rsplit_once(':') else {
            return false;
        };
        let is_host = match host.strip_prefix('[') {
            Some(v6) => v6
                .strip_suffix(']')
                .is_some_and(|v6| v6.parse::<Ipv6Addr>().is_ok()),
            None => {
                !host.is_empty()
                    && !host.contains(|c: char| c == ':' || c == '/' || c.is_whitespace())
            }
        };
        is_host && port.parse::<u16>().is_ok_and(|port| port != 0)
    };
    bootstrap
        .split(',')
        .map(str::trim)
        .find(|address| !is_address(address))
}
