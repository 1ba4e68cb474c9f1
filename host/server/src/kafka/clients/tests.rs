use std::collections::BTreeSet;

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaConfRes;

use super::{Clients, PREFETCH_BYTES_MIN, PREFETCH_MAX, Prefetch};
use crate::config::{self, kafka_ours};

/// Of each subscription.
const PREFETCH: u64 = 12 << 20;

/// Clients of an operator who says this, for a cluster that is not there.
pub(in crate::kafka) fn clients(settings: &[(&str, &str)]) -> Clients {
    let settings = settings
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let config = config::Kafka {
        bootstrap: "127.0.0.1:1".to_owned(),
        delivery: config::Delivery::default(),
        create_topics: config::CreateTopics::default(),
        replication: None,
        letter_bytes: 3_000_000,
        transaction: config::Transaction {
            events: 1,
            bytes: 1,
        },
        settings: settings.collect(),
    };
    Clients::new(&config, "host", PREFETCH)
}

/// All that have a setting of their own.
fn all(clients: &Clients) -> [ClientConfig; 6] {
    [
        clients.asking(),
        clients.reading(),
        clients.member("group", 12),
        clients.publishing(),
        clients.delivering(),
        clients.committing("group", 0),
    ]
}

#[test]
fn what_an_operator_sets_reaches_every_client_and_goes_before_what_is_tuned() {
    let settings = [
        ("compression.type", "zstd"),
        ("linger.ms", "50"),
        ("socket.nagle.disable", "false"),
        ("batch.size", "1000"),
        ("fetch.wait.max.ms", "7"),
    ];
    for client in all(&clients(&settings)) {
        for (name, value) in settings {
            assert_eq!(client.get(name), Some(value), "{client:?}");
        }
    }
}

#[test]
fn what_is_set_under_its_other_name_is_not_tuned() {
    let clients = clients(&[("queue.buffering.max.ms", "50")]);
    let config = clients.committing("group", 0);
    assert_eq!(config.get("linger.ms"), None);
    assert_eq!(config.get("queue.buffering.max.ms"), Some("50"));
}

/// Whatever the host sets over an operator's word is refused by the file, so that nobody is disobeyed in silence.
#[test]
fn what_the_host_sets_over_an_operators_word_cannot_be_set() {
    let names: BTreeSet<String> = all(&clients(&[]))
        .iter()
        .flat_map(|client| client.config_map().into_keys().map(str::to_owned))
        .collect();
    assert!(names.contains("linger.ms") && names.contains("isolation.level"));
    for name in names {
        let asked = clients(&[(&name, "asked")]);
        let obeyed = |client: &ClientConfig| client.get(&name) == Some("asked");
        assert!(
            all(&asked).iter().all(obeyed) != kafka_ours::refusal(&name).is_some(),
            "{name}"
        );
    }
}

#[test]
fn what_cannot_be_set_is_what_librdkafka_knows() {
    let is_known = |name: &str| {
        let made = ClientConfig::new().set(name, "?").create_native_config();
        let unknown = RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN;
        !matches!(made, Err(KafkaError::ClientConfig(found, ..)) if found == unknown)
    };
    assert!(is_known("acks") && !is_known("ack"));
    for name in kafka_ours::names() {
        assert!(is_known(name), "{name}");
    }
}

#[test]
fn what_is_fetched_ahead_stays_within_the_bytes_of_the_subscription() {
    let all = |prefetch: Prefetch| prefetch.queued + prefetch.answer;
    for (bytes, partitions) in [(12 << 20, 12), (1 << 20, 50), (7 << 20, 3)] {
        let each = all(Prefetch::of(bytes, partitions));
        assert!(each as u64 * u64::from(partitions) <= bytes, "{each}");
    }
    assert_eq!(Prefetch::of(1 << 40, 1), PREFETCH_MAX);
    assert_eq!(all(Prefetch::of(0, 0)), PREFETCH_BYTES_MIN);
    let member = clients(&[]).member("group", 24);
    assert_eq!(member.get("queued.max.messages.kbytes"), Some("128"));
    assert_eq!(member.get("fetch.message.max.bytes"), Some("393216"));
}

/// The end of a changelog is that of its leader.
#[test]
fn a_rack_is_for_what_is_read_as_a_member_and_not_for_what_is_read_to_its_end() {
    let clients = clients(&[("client.rack", "a")]);
    assert_eq!(clients.member("group", 1).get("client.rack"), Some("a"));
    assert_eq!(clients.reading().get("client.rack"), None);
}

/// The file refuses them; were one to come through, it would not count.
#[test]
fn what_the_promises_rest_on_is_set_over_all() {
    let clients = clients(&[
        ("isolation.level", "read_uncommitted"),
        ("enable.idempotence", "false"),
        ("transactional.id", "mine"),
        ("auto.offset.reset", "latest"),
    ]);
    let (member, committing) = (clients.member("group", 12), clients.committing("group", 0));
    assert_eq!(member.get("isolation.level"), Some("read_committed"));
    assert_eq!(member.get("auto.offset.reset"), Some("error"));
    assert_eq!(committing.get("enable.idempotence"), Some("true"));
    assert_eq!(committing.get("transactional.id"), Some("group.host.0"));
}

#[test]
fn a_setting_that_librdkafka_refuses_in_one_client_is_told_at_the_start() {
    use crate::config::Delivery::{AtLeastOnce, ExactlyOnce};
    for delivery in [ExactlyOnce, AtLeastOnce] {
        clients(&[]).check(delivery).unwrap();
    }
    // Longer than a transaction: fits all clients but the one that commits.
    let slow = clients(&[("socket.timeout.ms", "60000")]);
    slow.check(AtLeastOnce).unwrap();
    let refused = slow.check(ExactlyOnce).unwrap_err().to_string();
    assert!(refused.contains("socket.timeout.ms"), "{refused}");
}
