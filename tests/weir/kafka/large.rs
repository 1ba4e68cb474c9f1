//! Records that are larger than what is to take them.

use std::collections::BTreeMap;

use serde_json::json;
use weir_tests::host::Host;
use weir_tests::scripted::{Deed, deeds_in, order};
use weir_tests::wait;

use super::letters::{produce, read, take};
use super::{Fleet, SETTLE, alarm, broker};

/// More than a dead letter may have by default; a broker that gets it compressed sees some hundred bytes.
const HUGE: usize = 3 << 20;
/// Of the keys `key-0` to `key-23` those that go to partition 1 of 12.
const BESIDE_HUGE: u64 = 5;
const SMALL: u64 = 24;

fn wait_for_fate(host: &Host, handler: &str, fate: &str, count: u64) {
    wait::until(&format!("{count} of fate {fate}"), SETTLE, || {
        let found = host.client().fate(handler, fate)?;
        anyhow::ensure!(found == count, "{found} in {}", host.client().status()?);
        Ok(Some(()))
    })
    .unwrap();
}

#[test]
fn a_record_that_leaves_no_room_for_its_letter_stops_its_partition_alone_until_there_is_room() {
    let Some(broker) = broker("a record that is larger than a letter may be") else {
        return;
    };
    let fleet = Fleet::new(&broker, "huge");
    let place = fleet.place("a", &["billing"]);
    let host = place.start().unwrap();
    let invoices = fleet.topic("public.invoices.v1");
    let letters = format!("dlq.weir.huge.default.billing.{invoices}");
    let value = "x".repeat(HUGE);
    produce(&broker, invoices, &[&format!("h:one\tkey-0\t{value}")]);
    let said = alarm(&host, "dead-letter-stopped");
    let place_of_it = format!("the record at offset 0 of partition 1 of topic {invoices} died");
    for words in [&place_of_it, "event-too-large", "2359296 are allowed"] {
        assert!(said.contains(words), "{said}");
    }

    let small: Vec<_> = (0..SMALL)
        .map(|key| format!("h:one\tkey-{key}\tno event"))
        .collect();
    let lines: Vec<_> = small.iter().map(String::as_str).collect();
    produce(&broker, invoices, &lines);
    wait_for_fate(&host, "billing", "dead", SMALL - BESIDE_HUGE);
    assert_eq!(host.client().get("/readyz").unwrap().status, 503);
    assert!(host.drain().unwrap().success());

    // As the alarm says.
    take(&fleet, &letters, 4 << 20);
    let config = std::fs::read_to_string(place.config()).unwrap();
    std::fs::write(place.config(), config + "letter_bytes = 4_194_304\n").unwrap();
    let host = place.start().unwrap();
    wait_for_fate(&host, "billing", "dead", 1 + BESIDE_HUGE);
    let dead = read(&broker, &letters, 25);
    let end = format!("\tkey-0\t{value}");
    let found: Vec<_> = dead
        .iter()
        .filter(|letter| letter.ends_with(&end))
        .collect();
    let [letter] = found[..] else {
        panic!("{} letters of the large record", found.len());
    };
    let (start, _) = letter.split_at(letter.len() - end.len());
    assert!(
        start.starts_with("Partition:1\th:one,__dlq.errors."),
        "{start}"
    );
    for header in ["weir.dlq.stage:decode", "weir.dlq.code:event-too-large"] {
        assert!(start.contains(header), "{start}");
    }
}

/// What each event of the handler `scripted` told, and how often.
fn told(host: &Host, fleet: &Fleet) -> BTreeMap<String, usize> {
    let deeds = deeds_in(host.client(), fleet.topic("public.deeds.v1")).unwrap();
    let mut told = BTreeMap::new();
    for Deed { id, .. } in deeds.into_values().flatten() {
        *told.entry(id).or_default() += 1;
    }
    told
}

#[test]
fn an_event_that_is_too_large_to_be_parked_dies_of_it_and_no_other_does() {
    let Some(broker) = broker("an event that is too large to be parked") else {
        return;
    };
    let fleet = Fleet::new(&broker, "unparked");
    let place = fleet.place("a", &["scripted"]);
    let host = place.start().unwrap();
    let scripts = fleet.topic("public.scripts.v1");
    take(&fleet, "_weir.weir.unparked.default.scripted.park", 2_000);

    let padding = "x".repeat(4_000);
    let large = json!({ "fail": "transient", "cancel": padding });
    // Both of partition 0. A breaker minds neither among forty that succeed.
    let small = json!({ "fail": "transient", "attempts": 7 });
    let mut events = vec![
        order("large", "key-1", &large),
        order("small", "key-17", &small),
    ];
    events.extend((18..58).map(|n| order(&n.to_string(), &format!("key-{n}"), &json!({}))));
    assert_eq!(host.client().publish(scripts, &events).unwrap().status, 202);
    wait_for_fate(&host, "scripted", "dead", 1);
    wait_for_fate(&host, "scripted", "parked", 1);
    wait_for_fate(&host, "scripted", "handled", 40);
    wait::until("what is parked to be handled", SETTLE, || {
        Ok(told(&host, &fleet).contains_key("small").then_some(()))
    })
    .unwrap();
    let told = told(&host, &fleet);
    assert!(
        told.len() == 41 && told.values().all(|times| *times == 1),
        "{told:?}"
    );
    assert!(!told.contains_key("large"));

    let letters = format!("dlq.weir.unparked.default.scripted.{scripts}");
    let dead = read(&broker, &letters, 1);
    let letter = dead.first().unwrap();
    for part in [
        "weir.dlq.stage:output",
        "weir.dlq.code:record-too-large",
        &padding,
    ] {
        assert!(letter.contains(part), "{letter}");
    }
}

/// The second of a sequence emits what its topic does not take. Those behind it have counted on what it wrote, and its writes
/// are gone: they count again, and nobody is told that they had not done so at once.
#[test]
fn what_followed_a_refused_event_in_its_sequence_runs_again_without_what_that_one_wrote() {
    let Some(broker) = broker("an emission that is refused within a sequence") else {
        return;
    };
    let fleet = Fleet::new(&broker, "withdrawn");
    let place = fleet.place("a", &["scripted"]);
    let host = place.start().unwrap();
    let (scripts, deeds) = fleet.scripted();
    take(&fleet, deeds, 2_000);
    let steer = |command: &str| {
        let arguments = [command, "scripted", "--url", &host.client().url()];
        assert!(place.weir(&arguments).status().unwrap().success());
    };
    // So that all are there when the first starts: each follows the one before it before that is committed.
    steer("pause");
    // It stands in the emission three times: as what was done, as its cause and as the first cause of all.
    let large = "x".repeat(1_500);
    let events = ["a", &large, "c", "d"].map(|id| order(id, "key-1", &json!({})));
    assert_eq!(host.client().publish(scripts, &events).unwrap().status, 202);
    wait::until("all to wait", SETTLE, || {
        let handler = &host.client().status()?["handlers"][0];
        let waits = handler["state"] == "paused" && handler["lag"] == events.len();
        Ok(waits.then_some(()))
    })
    .unwrap();
    steer("resume");
    wait_for_fate(&host, "scripted", "dead", 1);
    wait_for_fate(&host, "scripted", "handled", 3);

    let told = deeds_in(host.client(), deeds).unwrap();
    let told: Vec<_> = told["key-1"]
        .iter()
        .map(|deed| (&*deed.id, deed.count, deed.attempt))
        .collect();
    assert_eq!(told, [("a", 1, 1), ("c", 2, 1), ("d", 3, 1)]);
    // Without it nothing was withdrawn: the two behind it have run twice.
    let attempts = &host.client().status().unwrap()["handlers"][0]["attempts"];
    assert!(attempts.as_u64() >= Some(6), "{attempts} attempts");
    let letters = format!("dlq.weir.withdrawn.default.scripted.{scripts}");
    let dead = read(&broker, &letters, 1);
    let letter = dead.first().unwrap();
    for part in [
        "weir.dlq.stage:output",
        "weir.dlq.code:record-too-large",
        &large,
    ] {
        assert!(letter.contains(part), "{letter}");
    }
}

/// A broker refuses batches, and says so of each record that is in one.
#[test]
fn a_batch_that_is_too_large_for_its_topic_costs_no_event_whose_own_record_is_not() {
    let Some(broker) = broker("batches that are larger than their topic takes") else {
        return;
    };
    for (environment, delivery) in [
        ("crowded", ""),
        ("crowded-once", "delivery = \"at-least-once\"\n"),
    ] {
        let handler = if delivery.is_empty() {
            "scripted"
        } else {
            "stateless"
        };
        let fleet = Fleet::new(&broker, environment);
        let place = fleet.place("a", &[handler]);
        let config = std::fs::read_to_string(place.config()).unwrap();
        std::fs::write(place.config(), config + delivery).unwrap();
        let mut command = place.run_command();
        command.env("WEIR_LOG", "info,weir=debug");
        let host = place.start_command(command).unwrap();
        let (scripts, deeds) = fleet.scripted();
        take(&fleet, deeds, 2_000);
        let events: Vec<_> = (0..200)
            .map(|n| order(&n.to_string(), "key-1", &json!({})))
            .collect();
        assert_eq!(host.client().publish(scripts, &events).unwrap().status, 202);
        wait_for_fate(&host, handler, "handled", 200);
        assert_eq!(host.client().fate(handler, "dead").unwrap(), 0);
        let told = told(&host, &fleet);
        assert_eq!(told.len(), 200, "{environment}");
        // At least once some are told again.
        let once = told.values().all(|times| *times == 1);
        assert!(once || !delivery.is_empty(), "{told:?}");
        let log = std::fs::read_to_string(place.log()).unwrap();
        assert!(log.contains("looking for the record that is too large"));
    }
}
