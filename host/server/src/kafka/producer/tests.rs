use std::sync::{Arc, Barrier};
use std::time::Duration;

use super::*;
use crate::kafka::waiting::pause;

const LONG: Duration = Duration::from_secs(60);

/// Of a cluster that is not there.
fn start(clientele: &Clientele) -> Result<Producer, StartError> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", "127.0.0.1:1");
    Producer::start(&config, clientele, false)
}

fn producer() -> Producer {
    start(&Clientele::default()).unwrap()
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

#[test]
fn no_more_are_started_than_may_be_there_until_one_has_ended() {
    let clientele = Clientele::default();
    let (returns, wait) = mpsc::channel::<()>();
    let stuck = start(&clientele).unwrap();
    let answer = stuck.within(Duration::from_millis(1), move |_client| {
        wait.recv().is_err()
    });
    assert_eq!(answer, None);
    let client = Arc::downgrade(&stuck.client);
    drop(stuck);
    let others: Vec<_> = (1..CLIENTS_MAX)
        .map(|_| start(&clientele).unwrap())
        .collect();
    assert!(matches!(start(&clientele), Err(StartError::Crowded)));
    drop(returns);
    wait_gone(&client);
    let deadline = std::time::Instant::now() + LONG;
    while start(&clientele).is_err() {
        assert!(std::time::Instant::now() < deadline);
        pause(Duration::from_millis(1));
    }
    for one in others {
        assert!(one.end(LONG));
    }
}

#[test]
fn a_producer_is_made_once_and_anew_for_records_that_go_apart() {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", "127.0.0.1:1");
    let mut supply = Supply::new(config, Clientele::default());
    let first = supply.take().unwrap();
    assert!(!first.context().apart);
    let client = Arc::downgrade(&first.client);
    supply.give_back(first);
    let same = supply.take().unwrap();
    assert!(Arc::ptr_eq(&same.client, &client.upgrade().unwrap()));
    supply.give_back(same);
    supply.set_apart(true);
    wait_gone(&client);
    let apart = supply.take().unwrap();
    assert!(apart.context().apart && supply.is_apart());
    assert!(supply.into_producer().is_none(), "it was taken");
}
