use std::collections::BTreeMap;

use rdkafka::ClientConfig;

use super::Clients;
use crate::config;

/// Clients of an operator who says this.
fn clients(settings: &[(&str, &str)]) -> Clients {
    let settings = settings
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let config = config::Kafka {
        bootstrap: "b:9092".to_owned(),
        delivery: config::Delivery::default(),
        create_topics: config::CreateTopics::default(),
        replication: None,
        letter_bytes: 3_000_000,
        transaction: config::Transaction {
            events: 1,
            bytes: 1,
        },
        settings: settings.collect::<BTreeMap<_, _>>(),
    };
    Clients::new(&config, "host")
}

/// All that have a setting of their own.
fn all(clients: &Clients) -> [ClientConfig; 6] {
    [
        clients.asking(),
        clients.reading(),
        clients.member("group"),
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

/// The file refuses them; were one to come through, it would not count.
#[test]
fn what_the_promises_rest_on_is_set_over_all() {
    let clients = clients(&[
        ("isolation.level", "read_uncommitted"),
        ("enable.idempotence", "false"),
        ("transactional.id", "mine"),
        ("auto.offset.reset", "latest"),
    ]);
    let (member, committing) = (clients.member("group"), clients.committing("group", 0));
    assert_eq!(member.get("isolation.level"), Some("read_committed"));
    assert_eq!(member.get("auto.offset.reset"), Some("error"));
    assert_eq!(committing.get("enable.idempotence"), Some("true"));
    assert_eq!(committing.get("transactional.id"), Some("group.host.0"));
}
