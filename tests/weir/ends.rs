//! A host that ends, or cannot, in the middle of its work: what is held against an event, and what is left for the next
//! start.

use std::sync::Arc;

use serde_json::json;
use weir_tests::host::{Host, Place, Start};
use weir_tests::http::Client;
use weir_tests::publisher::Publisher;
use weir_tests::scripted::{DEEDS, ORDERS, deeds, order};
use weir_tests::wait;

use crate::fixture::{SETTLE, Scratch};

/// Events, each of a key of its own.
fn strangers(count: u32) -> Vec<String> {
    (0..count)
        .map(|n| order(&format!("o-{n}"), &format!("k-{n}"), &json!({})))
        .collect()
}

fn start_to_fail(place: &Place, point: &str) -> Host {
    match place.start_to_fail(point).unwrap() {
        Start::Ready(host) => host,
        Start::Ended(status) => panic!("{status}: {}", place.end_of_log()),
    }
}

fn wait_for_log(place: &Place, text: &str) {
    wait::until(text, SETTLE, || {
        let log = std::fs::read_to_string(place.log())?;
        Ok(log.contains(text).then_some(()))
    })
    .unwrap();
}

/// Whether the host lives until its handler has told this many deeds, which `told` counts, and one event is dead.
pub(crate) fn outlives(
    host: &mut Host,
    handled: u64,
    told: impl Fn(&Client) -> anyhow::Result<u64>,
) -> bool {
    wait::until("the host to end, or all to have a fate", SETTLE, || {
        if host.ended()?.is_some() {
            return Ok(Some(false));
        }
        let client = host.client();
        let done = told(client)? == handled && client.fate("scripted", "dead")? == 1;
        Ok(done.then_some(true))
    })
    .unwrap()
}

/// The event that ended its hosts is the only dead letter.
pub(crate) fn assert_guilty(client: &Client, letters: &str) {
    let mut found = Vec::new();
    client
        .each_event(letters, |record| {
            found.push((record["event"]["id"].clone(), record.to_string()));
            Ok(())
        })
        .unwrap();
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].0, "guilty");
    assert!(found[0].1.contains("crash-suspect"), "{found:?}");
}

#[test]
fn an_event_that_ends_the_host_is_a_dead_letter_and_no_other_is_counted_for_it() {
    let scratch = Scratch::new(&["scripted"], "");
    let host = start_to_fail(&scratch.place, "attempt:guilty");
    let mut orders = strangers(300);
    orders.insert(0, order("guilty", "guilty", &json!({})));
    // The host may end before it answers; all of a request is durable by then.
    drop(host.client().publish(ORDERS, &orders));
    let mut ends = 0;
    let mut host = Some(host);
    let host = loop {
        if let Some(mut host) = host.take()
            && outlives(&mut host, 300, |client| client.records(DEEDS))
        {
            break host;
        }
        ends += 1;
        assert!(ends <= 5, "{}", scratch.place.end_of_log());
        if let Start::Ready(next) = scratch.place.start_to_fail("attempt:guilty").unwrap() {
            host = Some(next);
        }
    };
    // Among all that ran, among those that were marked together, if it was, and three times alone.
    assert!((4..=5).contains(&ends), "{ends}");
    let topic = format!("=dlq.weir.dev.default.scripted.{ORDERS}");
    assert_guilty(host.client(), &topic);
}

#[test]
fn a_commit_that_never_answers_does_not_keep_the_host_from_stopping_and_its_effects_stay_single() {
    let scratch = Scratch::new(&["scripted"], "");
    // The first unit says how far attempts may start, the second has the fate of the first event.
    let host = start_to_fail(&scratch.place, "unit-unanswered:2");
    let orders = [0, 1].map(|n| order(&format!("a-{n}"), "a", &json!({})));
    for one in &orders {
        let answer = host.client().publish(ORDERS, &[one]).unwrap();
        assert_eq!(answer.status, 202, "{}", answer.body);
    }
    wait::until("the first deed", SETTLE, || {
        Ok((host.client().records(DEEDS)? >= 1).then_some(()))
    })
    .unwrap();
    let ended = host.drain().unwrap();
    assert!(ended.success(), "{ended}: {}", scratch.place.end_of_log());
    let host = scratch.place.start().unwrap();
    host.client().settle(SETTLE).unwrap();
    let told = deeds(host.client()).unwrap();
    let told: Vec<_> = told["a"]
        .iter()
        .map(|deed| (&*deed.id, deed.count))
        .collect();
    assert_eq!(told, [("a-0", 1), ("a-1", 2)]);
}

#[test]
fn a_disk_that_never_answers_does_not_keep_the_host_from_stopping_and_nothing_is_lost() {
    let scratch = Scratch::new(&["scripted"], "");
    let host = start_to_fail(&scratch.place, "sync-hangs:40");
    let publisher = Publisher::spawn(scratch.place.client(), ORDERS, Arc::new(strangers(500)), 5);
    wait_for_log(&scratch.place, "a test has let a thread hang");
    let ended = host.drain().unwrap();
    assert!(ended.success(), "{ended}: {}", scratch.place.end_of_log());
    let host = scratch.place.start().unwrap();
    publisher.finish().unwrap();
    host.client().settle(SETTLE).unwrap();
    let told = deeds(host.client()).unwrap();
    assert_eq!(told.len(), 500);
    assert!(
        told.values()
            .all(|deeds| deeds.len() == 1 && deeds[0].count == 1)
    );
}
