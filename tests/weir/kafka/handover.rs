//! Partitions that change their owner while nothing new arrives in them, or while their handler is paused.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use weir_tests::host::{Host, Place};
use weir_tests::http::Client;
use weir_tests::purchases;
use weir_tests::scripted::{deeds_in, order};
use weir_tests::wait;

use super::{Fleet, SETTLE, TAKEN, assert_payments, broker, broker_alone};
use crate::fixture::root;

const CONSOLE: &str = "org.apache.kafka.tools.consumer.ConsoleConsumer";
/// After this long a timer is due, and what is parked: nobody owns their partitions then.
const DUE_AFTER: Duration = Duration::from_secs(15);
/// More attempts than there are before an event is set aside.
const PARKS_AFTER: u32 = 5;
const PURCHASES: usize = 300;
/// An event waits so long for its next attempt: longer than all others take.
const LONG: Duration = Duration::from_secs(40);
/// So many that each partition has some.
const KEYS: usize = 60;

/// A place for `scripted` with a manifest by which what is parked is due as late as the timer.
fn patient(fleet: &Fleet, name: &str) -> Place {
    let handler = fleet.handler("scripted", "scripted", |manifest| {
        let due = format!("long_ms = [{}]", DUE_AFTER.as_millis());
        manifest.replace("long_ms = [200]", &due)
    });
    fleet.place_with(name, &[handler], "")
}

fn count(client: &Client, what: &str) -> anyhow::Result<u64> {
    let status = client.status()?;
    Ok(status["handlers"][0][what].as_u64().unwrap_or_default())
}

/// What it does when it takes over is all that happens in these partitions, so its transactions have no new position to
/// commit. They commit the old one: a transaction without positions would be fenced by nobody.
#[test]
fn what_became_due_while_nobody_owned_it_is_done_once_by_the_next_owner_at_unchanged_positions() {
    // Where others commit, the console would never see an end.
    let Some(broker) = broker_alone("a stopped owner with a due timer") else {
        return;
    };
    let fleet = Fleet::new(&broker, "due");
    let [first, second] = ["a", "b"].map(|name| patient(&fleet, name));
    let dies = first.start().unwrap();
    let due_ms = DUE_AFTER.as_millis();
    let orders = [
        order(
            "timer",
            "key-t",
            &json!({ "timer": "t", "afterMs": due_ms }),
        ),
        order(
            "parked",
            "key-p",
            &json!({ "fail": "transient", "attempts": PARKS_AFTER }),
        ),
    ];
    let scripts = fleet.topic("public.scripts.v1");
    let answer = dies.client().publish(scripts, &orders).unwrap();
    assert_eq!(answer.status, 202);
    wait::until("one timer and one parked event", SETTLE, || {
        let client = dies.client();
        let set = [count(client, "timers")?, count(client, "parked_events")?];
        Ok((set == [1, 1] && count(client, "lag")? == 0).then_some(()))
    })
    .unwrap();
    // Kafka's console takes longer than what is due.
    dies.kill().unwrap();
    let before = units(&fleet, scripts);

    let takes_over = second.start().unwrap();
    let told = || {
        let deeds = deeds_in(takes_over.client(), fleet.topic("public.deeds.v1"))?;
        let deeds = deeds.into_iter().map(|(key, deeds)| {
            let told = deeds.into_iter().map(|deed| (deed.ty, deed.count));
            (key, told.collect::<Vec<_>>())
        });
        anyhow::Ok(deeds.collect::<BTreeMap<_, _>>())
    };
    wait::until("what was due to be done", SETTLE, || {
        let done: usize = told()?.values().map(Vec::len).sum();
        Ok((done >= 3).then_some(()))
    })
    .unwrap();
    let back = first.start().unwrap();
    fleet.settle(&[&takes_over, &back]);
    let done = |of: &[(&str, u64)]| of.iter().map(|(ty, n)| ((*ty).to_owned(), *n)).collect();
    let right = [
        ("key-p".to_owned(), done(&[("Done", 1)])),
        ("key-t".to_owned(), done(&[("Done", 1), ("Fired", 2)])),
    ];
    assert_eq!(told().unwrap(), BTreeMap::from(right));

    let after = units(&fleet, scripts);
    let mut moved = 0;
    for (partition, (offset, unit)) in &before {
        let (now, number) = after[partition];
        assert_eq!(now, *offset, "partition {partition}");
        moved += usize::from(number > *unit);
    }
    assert!(moved >= 1, "{before:?} {after:?}");
}

/// The last committed offset of each partition of a topic and the number of the unit that is written beside it, as Kafka's
/// own console tells them.
fn units(fleet: &Fleet, topic: &str) -> BTreeMap<u64, (u64, u64)> {
    let cluster = &fleet.broker.cluster;
    let mut command = cluster.tool(CONSOLE);
    command.args(["--bootstrap-server", &cluster.bootstrap()]);
    command.args(["--topic", "__consumer_offsets", "--from-beginning"]);
    command.args([
        "--timeout-ms",
        "20000",
        "--isolation-level",
        "read_committed",
    ]);
    let formatter = "org.apache.kafka.tools.consumer.OffsetsMessageFormatter";
    let output = command.args(["--formatter", formatter]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut units = BTreeMap::new();
    for entry in serde_json::Deserializer::from_str(&text).into_iter::<Value>() {
        let entry = entry.unwrap();
        let (key, value) = (&entry["key"]["data"], &entry["value"]["data"]);
        if key["topic"] == topic
            && let Some(unit) = value["metadata"].as_str()
        {
            let number = |value: &Value| value.as_u64().unwrap();
            let place = (number(&value["offset"]), unit.parse().unwrap());
            units.insert(number(&key["partition"]), place);
        }
    }
    assert!(!units.is_empty(), "{text}");
    units
}

/// A client that pauses partitions in a consumer has to do it again after each assignment, and to let go what it paused
/// before one.
#[test]
fn a_paused_handler_stays_so_through_restart_and_rebalance_and_goes_on_with_all_when_it_is_resumed()
{
    let Some(broker) = broker("a pause through a rebalance") else {
        return;
    };
    let fleet = Fleet::new(&broker, "paused");
    let (first, second) = (
        fleet.place("a", &["billing"]),
        fleet.place("b", &["billing"]),
    );
    let paused = first.start().unwrap();
    fleet.settle(&[&paused]);
    let steer = |command: &str, host: &Client| {
        let arguments = [command, "billing", "--url", &host.url()];
        assert!(first.weir(&arguments).status().unwrap().success());
    };
    steer("pause", paused.client());
    assert!(paused.drain().unwrap().success());
    let paused = first.start().unwrap();
    let mut lines = purchases::lines(&purchases::sample(root())).unwrap();
    lines.truncate(PURCHASES);
    let answer = paused
        .client()
        .publish(fleet.topic("public.invoices.v1"), &lines);
    assert_eq!(answer.unwrap().status, 202);
    wait::until("all to wait", SETTLE, || {
        Ok((count(paused.client(), "lag")? == PURCHASES as u64).then_some(()))
    })
    .unwrap();

    let joins = second.start().unwrap();
    wait::until(
        "the second host to have its share, and to wait",
        SETTLE,
        || {
            let is_shared = count(joins.client(), "partitions")? == super::PARTITIONS / 2;
            let waits = count(paused.client(), "lag")? + count(joins.client(), "lag")?;
            Ok((is_shared && waits == PURCHASES as u64).then_some(()))
        },
    )
    .unwrap();
    // Where nothing is restored yet, nothing could be fetched either.
    wait::until("both hosts to be paused", SETTLE, || {
        let state =
            |host: &Host| anyhow::Ok(host.client().status()?["handlers"][0]["state"].clone());
        let states = [state(&paused)?, state(&joins)?];
        anyhow::ensure!(states == ["paused", "paused"], "{states:?}");
        Ok(Some(()))
    })
    .unwrap();
    wait::pause(TAKEN);
    for host in [&paused, &joins] {
        assert_eq!(count(host.client(), "attempts").unwrap(), 0);
    }
    steer("resume", paused.client());
    fleet.settle(&[&paused, &joins]);
    assert_payments(&joins, &fleet, &purchases::totals(&lines).unwrap());
}

/// The event is set aside until long after all that follows it, and the host waits for nothing: other keys of its partition go
/// on, what follows it in its own does not, and the group gives and takes nothing.
#[test]
fn an_event_that_is_tried_again_for_long_holds_up_neither_its_partition_nor_its_group() {
    let Some(broker) = broker("an event that is tried again for long") else {
        return;
    };
    let fleet = Fleet::new(&broker, "tried");
    let place = fleet.place("a", &["scripted"]);
    let host = place.start().unwrap();
    fleet.settle(&[&host]);
    let moves = || {
        let log = std::fs::read_to_string(place.log()).unwrap();
        log.matches("partitions assigned").count() + log.matches("partitions revoked").count()
    };
    let before = moves();
    assert!(before > 0, "{}", place.end_of_log());
    let fails = json!({ "fail": "transient", "attempts": 1, "retryAfterMs": LONG.as_millis() });
    let mut orders = vec![
        order("first", "key-f", &fails),
        order("second", "key-f", &json!({})),
    ];
    orders
        .extend((0..KEYS).map(|key| order(&format!("o-{key}"), &format!("key-{key}"), &json!({}))));
    let answer = host
        .client()
        .publish(fleet.topic("public.scripts.v1"), &orders);
    assert_eq!(answer.unwrap().status, 202);
    let told = || deeds_in(host.client(), fleet.topic("public.deeds.v1"));
    let others = wait::until("all other keys to be done", SETTLE, || {
        let told = told()?;
        Ok((told.len() >= KEYS).then_some(told))
    });
    assert!(!others.unwrap().contains_key("key-f"));
    let told = wait::until("the event to be tried again", SETTLE, || {
        let told = told()?;
        Ok((told.len() > KEYS).then_some(told))
    });
    let told: Vec<_> = told.unwrap().remove("key-f").unwrap();
    let ids: Vec<_> = told.iter().map(|deed| (&*deed.id, deed.count)).collect();
    assert_eq!(ids[..1], [("first", 1)], "{told:?}");
    fleet.settle(&[&host]);
    assert_eq!(moves(), before);
}
