//! Hosts that keep positions and nothing else, on a cluster where they make no topics.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use serde_json::{Value, json};
use weir_tests::host::{self, Host, Place};
use weir_tests::kafka::proxy::{Loss, OFFSET_COMMIT};
use weir_tests::publisher::Publisher;
use weir_tests::scripted::order;
use weir_tests::wait;

use super::outcomes::PROXY;
use super::topics::resume_all;
use super::{Fleet, SETTLE, TAKEN, alarm, broker};
use crate::fixture::root;

const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";
const EVENTS: usize = 3_000;
const KILLS: usize = 4;
/// Published in one request: so few that a kill falls between two.
const REQUEST: usize = 8;
/// Of what is published before a kill, who dies has handled more than these: a fourth of its part.
const SOME: u64 = 90;

const AT_LEAST_ONCE: &str = "delivery = \"at-least-once\"\ncreate_topics = \"off\"\n";

fn place(fleet: &Fleet, name: &str, delivery: &str) -> Place {
    let handlers = host::handlers(root(), &["stateless"]).unwrap();
    fleet.place_with(name, &handlers, delivery)
}

fn create(fleet: &Fleet, topic: &str) {
    let create = ["--create", "--topic", topic, "--partitions", "12"];
    fleet.tool(TOPICS, &create);
}

/// The topics that the handler reads and writes, made.
fn create_own(fleet: &Fleet) -> [&'static str; 2] {
    let own = ["public.scripts.v1", "public.deeds.v1"].map(|short| fleet.topic(short));
    own.into_iter().for_each(|topic| create(fleet, topic));
    own
}

fn order_of(number: usize, what: &Value) -> String {
    order(&number.to_string(), &format!("key-{}", number % 50), what)
}

fn publish(host: &Host, topic: &str, numbers: Range<usize>) {
    let orders: Vec<_> = numbers.map(|n| order_of(n, &json!({}))).collect();
    super::publish(host, topic, &orders);
}

/// The ids of all emissions by the event that caused them, and how many emissions there are.
fn emitted(host: &Host, deeds: &str) -> (BTreeMap<String, BTreeSet<String>>, usize) {
    let mut by_event = BTreeMap::<String, BTreeSet<String>>::new();
    let mut emitted = 0;
    let told = host.client().each_event(deeds, |record| {
        let event = &record["event"];
        let text = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
        by_event
            .entry(text("causationid"))
            .or_default()
            .insert(text("id"));
        emitted += 1;
        Ok(())
    });
    told.unwrap();
    (by_event, emitted)
}

/// Repeats are the events that had emitted when their host was killed before their positions were committed: each emission is
/// the same one again, by its id.
#[test]
fn nothing_is_lost_when_one_of_two_hosts_that_keep_positions_alone_is_killed() {
    let Some(broker) = broker("at least once") else {
        return;
    };
    let fleet = Fleet::new(&broker, "least");
    let [scripts, deeds] = create_own(&fleet);
    let places = ["a", "b"].map(|name| place(&fleet, name, AT_LEAST_ONCE));
    let stays = places[0].start().unwrap();
    let handled = |host: &Host| host.client().fate("stateless", "handled");
    let batch = EVENTS / KILLS;
    for kill in 0..KILLS {
        let dies = places[1].start().unwrap();
        fleet.settle(&[&stays, &dies]);
        let before = [&stays, &dies].map(|host| handled(host).unwrap());
        let numbers = kill * batch..(kill + 1) * batch;
        let orders = Arc::new(numbers.map(|n| order_of(n, &json!({}))).collect());
        let publisher = Publisher::spawn(places[0].client(), scripts, orders, REQUEST);
        wait::until("the other to have handled some", SETTLE, || {
            Ok((handled(&dies)? > before[1] + SOME).then_some(()))
        })
        .unwrap();
        let done = [&stays, &dies].map(|host| handled(host).unwrap());
        let done = done.iter().sum::<u64>() - before.iter().sum::<u64>();
        assert!(done < batch as u64, "all was done before the kill");
        dies.kill().unwrap();
        publisher.finish().unwrap();
    }
    // The last time the other has to take over what it had.
    fleet.settle(&[&stays]);
    let (by_event, emitted) = emitted(&stays, deeds);
    assert_eq!(by_event.len(), EVENTS, "of {emitted} emissions");
    for (event, ids) in by_event {
        assert_eq!(ids.len(), 1, "emissions of {event} have other ids");
    }
    // Its status has those alone that handlers read and write.
    let topics = stays.client().get("/v1/topics").unwrap().json().unwrap();
    let names = topics["topics"].as_array().unwrap().iter();
    let names = names.filter_map(|topic| topic["name"].as_str());
    let of_fleet = names.filter(|name| name.contains("least."));
    let of_fleet: BTreeSet<_> = of_fleet.collect();
    assert_eq!(of_fleet, BTreeSet::from([deeds, scripts]));
}

/// Each host that is killed leaves positions uncommitted, but perhaps none behind which something was emitted: here no position
/// is committed at all once something is.
#[test]
fn what_is_emitted_again_after_a_kill_has_the_same_identity() {
    let Some(broker) = broker("positions that are never committed") else {
        return;
    };
    let _alone = PROXY.lock();
    let proxy = broker.cluster.proxy().unwrap();
    let fleet = Fleet::new(&broker, "repeated");
    let [scripts, deeds] = create_own(&fleet);
    let handlers = host::handlers(root(), &["stateless"]).unwrap();
    let place = fleet.place_at("a", &handlers, &proxy.address(), AT_LEAST_ONCE);
    let host = place.start().unwrap();
    publish(&host, scripts, 0..100);
    fleet.settle(&[&host]);

    proxy.lose(OFFSET_COMMIT, Loss::Requests);
    publish(&host, scripts, 100..200);
    wait::until("emissions without a position", SETTLE, || {
        let emitted = host.client().records(deeds)?;
        Ok((emitted > 100 && proxy.lost() > 0).then_some(()))
    })
    .unwrap();
    host.kill().unwrap();
    proxy.lose(OFFSET_COMMIT, Loss::Nothing);
    let host = place.start().unwrap();
    fleet.settle(&[&host]);
    let (by_event, emitted) = emitted(&host, deeds);
    assert!(emitted > 200, "nothing was emitted again");
    assert_eq!(by_event.len(), 200, "of {emitted} emissions");
    for (event, ids) in by_event {
        assert_eq!(ids.len(), 1, "emissions of {event} have other ids");
    }
}

#[test]
fn positions_alone_are_enough_to_stop_at_a_topic_that_was_made_anew_or_has_grown() {
    let Some(broker) = broker("topics that change, at least once") else {
        return;
    };
    let fleet = Fleet::new(&broker, "leastchanged");
    let [scripts, deeds] = create_own(&fleet);
    let place = place(&fleet, "a", AT_LEAST_ONCE);
    let host = place.start().unwrap();
    publish(&host, scripts, 0..100);
    fleet.settle(&[&host]);

    fleet.tool(TOPICS, &["--delete", "--topic", scripts]);
    create(&fleet, scripts);
    // With the topic Kafka forgets where the group stood.
    let said = alarm(&host, "position-lost");
    assert!(said.contains("there is no position any more"), "{said}");
    resume_all(&place, &host, "stateless");
    publish(&host, scripts, 100..200);
    fleet.settle(&[&host]);
    assert_eq!(emitted(&host, deeds).0.len(), 200);

    fleet.tool(
        TOPICS,
        &["--alter", "--topic", scripts, "--partitions", "13"],
    );
    let said = alarm(&host, "topic-grown");
    assert!(said.contains("has 13 partitions, and had 12"), "{said}");
    // Nothing is committed of the new partition, as of all of a new group.
    publish(&host, scripts, 200..300);
    assert!(host.drain().unwrap().success());
    let host = place.spawn().unwrap();
    let said = alarm(&host, "topic-grown");
    assert!(said.contains("has 13 partitions, and had 12"), "{said}");
    assert_eq!(host.client().fate("stateless", "handled").unwrap(), 0);
}

/// There and back: the positions are the same, but the ledger knows nothing of what was done without it.
#[test]
fn a_group_goes_from_exactly_once_to_at_least_once_at_its_positions_and_is_refused_on_its_way_back()
{
    let Some(broker) = broker("a change of delivery") else {
        return;
    };
    let fleet = Fleet::new(&broker, "delivery");
    let (scripts, deeds) = fleet.scripted();
    for (delivery, numbers) in [("", 0..100), (AT_LEAST_ONCE, 100..200)] {
        let host = place(&fleet, "a", delivery).start().unwrap();
        publish(&host, scripts, numbers.clone());
        fleet.settle(&[&host]);
        let (by_event, emitted) = emitted(&host, deeds);
        assert_eq!((by_event.len(), emitted), (numbers.end, numbers.end));
        let other = if delivery.is_empty() {
            AT_LEAST_ONCE
        } else {
            ""
        };
        let refused = place(&fleet, "b", other).run_command().output().unwrap();
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        let is_told = said.contains("two such hosts would both handle every partition");
        assert!(refused.status.code() == Some(1) && is_told, "{said}");
        let ended = host.drain().unwrap();
        assert!(ended.success(), "{ended}");
    }
    let host = place(&fleet, "a", "").spawn().unwrap();
    let said = alarm(&host, "handler-stopped");
    assert!(said.contains("by the positions"), "{said}");
    publish(&host, scripts, 200..201);
    wait::pause(TAKEN);
    assert_eq!(host.client().fate("stateless", "handled").unwrap(), 0);
}

#[test]
fn an_event_that_dies_without_a_topic_for_its_letter_holds_its_partition_until_there_is_one() {
    let Some(broker) = broker("no topic for dead letters") else {
        return;
    };
    let fleet = Fleet::new(&broker, "letterless");
    let [scripts, _] = create_own(&fleet);
    let place = place(&fleet, "a", AT_LEAST_ONCE);
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
