//! Hosts that keep positions and nothing else, on a cluster where they make no topics.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use weir_tests::host::{self, Place};
use weir_tests::scripted::order;
use weir_tests::wait;

use super::{Broker, Fleet, SETTLE, alarm, broker};
use crate::fixture::root;

const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";
const EVENTS: usize = 3_000;
const KILLS: usize = 3;

fn place(fleet: &Fleet, broker: &Broker) -> Place {
    let bootstrap = broker.cluster.bootstrap();
    let config = format!(
        "[kafka]\nbootstrap = \"{bootstrap}\"\ndelivery = \"at-least-once\"\ncreate_topics = \"off\"\n"
    );
    let handlers = host::handlers(root(), &["stateless"]).unwrap();
    let home = fleet.folder.path().join("a");
    let binary = host::binary().unwrap();
    Place::in_environment(&binary, &home, &handlers, fleet.environment, &config).unwrap()
}

fn create(fleet: &Fleet, topic: &str) {
    let create = ["--create", "--topic", topic, "--partitions", "12"];
    fleet.tool(TOPICS, &create);
}

fn order_of(number: usize, what: &Value) -> String {
    order(&number.to_string(), &format!("key-{}", number % 50), what)
}

/// Repeats are the events that had emitted when the host was killed before their positions were committed: each emission is
/// the same one again, by its id.
#[test]
fn nothing_is_lost_when_a_host_that_keeps_positions_alone_is_killed() {
    let Some(broker) = broker("at least once") else {
        return;
    };
    let fleet = Fleet::new(&broker, "least");
    let (scripts, deeds) = (
        fleet.topic("public.scripts.v1"),
        fleet.topic("public.deeds.v1"),
    );
    create(&fleet, scripts);
    create(&fleet, deeds);
    let place = place(&fleet, &broker);
    let mut host = place.start().unwrap();
    let orders: Vec<_> = (0..EVENTS).map(|n| order_of(n, &json!({}))).collect();
    for batch in orders.chunks(EVENTS / KILLS) {
        assert_eq!(host.client().publish(scripts, batch).unwrap().status, 202);
        // What comes out shows that it is at work.
        wait::until("an emission", SETTLE, || {
            Ok((host.client().records(deeds)? > 0).then_some(()))
        })
        .unwrap();
        host.kill().unwrap();
        host = place.start().unwrap();
    }
    host.client().settle(SETTLE).unwrap();
    let mut by_event = BTreeMap::<String, BTreeSet<String>>::new();
    let mut emitted = 0;
    host.client()
        .each_event(deeds, |record| {
            let event = &record["event"];
            let text = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
            by_event
                .entry(text("causationid"))
                .or_default()
                .insert(text("id"));
            emitted += 1;
            Ok(())
        })
        .unwrap();
    assert_eq!(by_event.len(), EVENTS, "of {emitted} emissions");
    for (event, ids) in by_event {
        assert_eq!(ids.len(), 1, "emissions of {event} have other ids");
    }
    let status = host.client().status().unwrap();
    let topics = status["topics"].as_array().unwrap().iter();
    let names = topics.filter_map(|topic| topic["name"].as_str());
    let made: Vec<_> = names.filter(|name| name.contains("weir.least.")).collect();
    assert!(made.is_empty(), "the host has made {made:?}");
}

#[test]
fn an_event_that_dies_without_a_topic_for_its_letter_holds_its_partition_until_there_is_one() {
    let Some(broker) = broker("no topic for dead letters") else {
        return;
    };
    let fleet = Fleet::new(&broker, "letterless");
    let scripts = fleet.topic("public.scripts.v1");
    create(&fleet, scripts);
    create(&fleet, fleet.topic("public.deeds.v1"));
    let place = place(&fleet, &broker);
    let host = place.start().unwrap();
    // More than it is given.
    let failing = order_of(1, &json!({ "attempts": 1_000 }));
    let after = order_of(51, &json!({}));
    let answer = host.client().publish(scripts, &[failing, after]).unwrap();
    assert_eq!(answer.status, 202);
    let said = alarm(&host, "dead-letter-stopped");
    assert!(said.contains("there is no topic"), "{said}");
    assert_eq!(host.client().fate("stateless", "dead").unwrap(), 0);

    let letters = format!("dlq.weir.letterless.default.stateless.{scripts}");
    create(&fleet, &letters);
    wait::until("the letter to be taken", SETTLE, || {
        Ok((host.client().fate("stateless", "dead")? == 1).then_some(()))
    })
    .unwrap();
    host.client().settle(SETTLE).unwrap();
    assert_eq!(host.client().fate("stateless", "handled").unwrap(), 1);

    let url = host.client().url();
    let replay = ["dlq", "replay", "stateless", "--all", "--url", &url];
    let output = place.weir(&replay).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && said.contains("at-least-once"),
        "{said}"
    );
}
