use std::sync::{Arc, Barrier};
use std::time::Duration;

use super::*;
use crate::kafka::cluster::pause;

const LONG: Duration = Duration::from_secs(60);

/// Of a cluster that is not there.
fn producer() -> Producer {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", "127.0.0.1:1");
    Producer::start(&config).unwrap()
}

/// Waits until nobody has the client.
fn wait_gone(client: &std::sync::Weak<Client>) {
    let deadline = std::time::Instant::now() + LONG;
    while client.strong_count() > 0 {
        assert!(std::time::Instant::now() < deadline);
        pause(Duration::from_millis(1));
    }
}

#[test]
fn a_call_that_returns_in_time_is_answered_and_the_end_is_waited_for() {
    let producer = producer();
    assert_eq!(producer.within(LONG, |_client| 7), Some(7));
    let client = Arc::downgrade(&producer.client);
    assert!(producer.end(LONG));
    assert_eq!(client.strong_count(), 0);
}

#[test]
fn who_commits_waits_neither_for_a_call_that_does_not_return_nor_for_the_end_of_its_producer() {
    let producer = producer();
    let client = Arc::downgrade(&producer.client);
    let (inside, outside) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
    let (own, returns) = (Arc::clone(&inside), Arc::clone(&outside));
    let answer = producer.within(Duration::from_millis(1), move |_client| {
        own.wait();
        returns.wait();
    });
    assert_eq!(answer, None);
    inside.wait();
    assert!(!producer.end(Duration::from_millis(1)));
    assert_eq!(client.strong_count(), 1);
    outside.wait();
    wait_gone(&client);
}
