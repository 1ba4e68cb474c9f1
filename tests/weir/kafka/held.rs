//! What waits for its time or for an operator, in topics that have times of their own.

use serde_json::{Value, json};
use weir_tests::host::{Host, Place};
use weir_tests::scripted::{deeds_in, order};
use weir_tests::wait;

use super::{Fleet, SETTLE, alarm, broker, publish, wait_for_fates};
use crate::fixture;

/// `weir dlq` of the handler under test.
fn dlq(place: &Place, host: &Host, arguments: &[&str]) -> anyhow::Result<Value> {
    let url = host.client().url();
    let own = ["--json", "--url", &url];
    let mut command = place.weir(&[&["dlq"], arguments, &own].concat());
    fixture::json(&command.output()?)
}

/// Brokers may stamp records themselves, and refuse or delete those with times that are long over: neither hides a letter nor
/// stops what was emitted for later.
#[test]
fn a_held_sequence_goes_on_by_its_letter_and_a_delayed_event_comes_whatever_times_their_topics_have()
 {
    let Some(broker) = broker("letters and delays in topics with times of their own") else {
        return;
    };
    let fleet = Fleet::new(&broker, "held");
    let (scripts, deeds) = fleet.scripted();
    let letters = format!("dlq.weir.held.default.scripted.{scripts}");
    let holding = fleet.handler("scripted", "scripted", |manifest| {
        manifest + "\n[dead_letter]\non_dead = \"hold\"\n"
    });
    let place = fleet.place_with("a", &[holding], "");
    let host = place.start().unwrap();
    fleet.alter(&letters, "message.timestamp.type=LogAppendTime");
    fleet.alter(deeds, "message.timestamp.before.max.ms=1000");

    let bad = order("bad", "key", &json!({"fail": "permanent"}));
    let later = order("later", "other", &json!({"delayMs": 4_000}));
    publish(
        &host,
        scripts,
        &[bad, order("next", "key", &json!({})), later],
    );
    let letter = wait::until("the sequence to be held", SETTLE, || {
        let parked = dlq(&place, &host, &["list", "scripted", "--parked"])?;
        let sequence = &parked["sequences"][0];
        anyhow::ensure!(
            sequence["held"] == true && sequence["events"] == 2,
            "{parked}"
        );
        let listed = dlq(&place, &host, &["list", "scripted"])?;
        let letter = &listed["letters"][0];
        anyhow::ensure!(letter["status"] == "held", "{listed}");
        Ok(letter["id"].as_str().map(str::to_owned))
    })
    .unwrap();
    dlq(&place, &host, &["release", "scripted", &letter]).unwrap();
    wait_for_fates(
        &host,
        "scripted",
        &json!({"handled": 1, "parked": 1, "dead": 1}),
    );
    wait::until("the delayed event", SETTLE, || {
        let told = deeds_in(host.client(), deeds)?;
        let of = |key: &str| told.get(key).into_iter().flatten().map(|deed| &*deed.ty);
        anyhow::ensure!(of("key").eq(["Done"]), "{told:?}");
        Ok(of("other").eq(["Done", "Later"]).then_some(()))
    })
    .unwrap();
    assert!(host.drain().unwrap().success());

    // Where letters go with age, nobody could release what they hold.
    fleet.alter(&letters, "retention.ms=3600000");
    let host = place.spawn().unwrap();
    let said = alarm(&host, "handler-stopped");
    assert!(
        said.contains("has retention.ms 3600000: set it to -1"),
        "{said}"
    );
}
