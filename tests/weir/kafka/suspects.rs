//! An event that ends whichever host runs it, on hosts that have nothing of one another but the ledger.

use serde_json::json;
use weir_tests::host::Start;
use weir_tests::http::Client;
use weir_tests::scripted::{deeds_in, order};

use super::{Fleet, broker, orders, publish};
use crate::ends::{assert_guilty, outlives};

const OTHERS: usize = 60;

#[test]
fn an_event_that_ends_each_host_is_a_dead_letter_though_none_has_what_the_one_before_it_had() {
    let Some(broker) = broker("an event that ends its hosts") else {
        return;
    };
    let fleet = Fleet::new(&broker, "suspects");
    let (scripts, deeds) = fleet.scripted();
    let made = "[[topics]]\nname = \"public.scripts.v1\"\npartitions = 12\n";
    let publisher = fleet.place_with("publisher", &[], made).start().unwrap();
    let mut events = orders("other", OTHERS);
    events.insert(0, order("guilty", "guilty", &json!({})));
    publish(&publisher, scripts, &events);

    // Not by offsets, which the ends of transactions have too.
    let told = |client: &Client| {
        let told = deeds_in(client, deeds)?;
        Ok(told.values().map(Vec::len).sum::<usize>() as u64)
    };
    let mut ends = 0;
    let host = loop {
        // It has the id of those before it, and not their disks: their partitions are its own at once.
        let place = fleet.place_as("replaced", &format!("a{ends}"), &["scripted"]);
        if let Start::Ready(mut host) = place.start_to_fail("attempt:guilty").unwrap()
            && outlives(&mut host, OTHERS as u64, told)
        {
            break host;
        }
        ends += 1;
        assert!(ends <= 5, "{}", place.end_of_log());
    };
    // Among all that ran, among those that were marked together, if it was, and three times alone.
    assert!((4..=5).contains(&ends), "{ends}");
    let topic = format!("=dlq.weir.suspects.default.scripted.{scripts}");
    assert_guilty(host.client(), &topic);
    let told = deeds_in(host.client(), deeds).unwrap();
    assert_eq!(told.len(), OTHERS);
    assert!(
        told.values()
            .all(|deeds| deeds.len() == 1 && deeds[0].count == 1)
    );
}
