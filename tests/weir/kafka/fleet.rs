//! Hosts join, die and are frozen: each event's effect is there exactly once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use weir_tests::host::{Host, Place};
use weir_tests::publisher::Publisher;
use weir_tests::purchases::{self, Totals};
use weir_tests::scripted::{Deed, deeds_in, order};
use weir_tests::wait;

use super::{Fleet, SETTLE, assert_totals, broker};
use crate::fixture::{cdnow, root};

const HANDLERS: [&str; 2] = ["billing", "notification"];
/// So many that each partition has some.
const KEYS: usize = 60;
/// Timers become due while their owner is frozen, and before it is put out of its group.
const DUE_AFTER: Duration = Duration::from_secs(20);

#[test]
fn purchases_published_twice_come_to_the_right_totals_when_one_of_two_hosts_is_killed() {
    let Some(broker) = broker("the kill of one of two hosts") else {
        return;
    };
    let lines = purchases::lines(&purchases::sample(root())).unwrap();
    let right = purchases::totals(&lines).unwrap();
    survive(&Fleet::new(&broker, "killed"), lines, &right, 64);
}

/// The public CDNOW purchase log; see the embedded log's test of it for where its figures come from.
#[test]
fn cdnow_log_published_twice_comes_to_the_right_totals_when_one_of_two_hosts_is_killed() {
    let Some(file) = cdnow("the full CDNOW log over Kafka") else {
        return;
    };
    let Some(broker) = broker("the full CDNOW log over Kafka") else {
        return;
    };
    let lines = purchases::lines(&file).unwrap();
    let right = purchases::totals(&lines).unwrap();
    assert_eq!(purchases::dollars(right.cents()), "2,500,315.63");
    survive(&Fleet::new(&broker, "cdnow"), lines, &right, 256);
}

/// Publishes `lines` twice to two hosts that share the work, kills one while it does its part, and compares what both
/// handlers emitted.
fn survive(fleet: &Fleet, mut lines: Vec<String>, right: &Totals, batch: usize) {
    let half = lines.len() / 2;
    lines.extend_from_within(..);
    let (first, second) = (fleet.place("a", &HANDLERS), fleet.place("b", &HANDLERS));
    let stays = first.start().unwrap();
    let dies = second.start().unwrap();
    fleet.settle(&[&stays, &dies]);
    let invoices = fleet.topic("public.invoices.v1");
    let publisher = Publisher::spawn(first.client(), invoices, Arc::new(lines), batch);
    publisher.wait_for(half).unwrap();
    let billed = |host: &Host| host.client().fate("billing", "handled");
    wait::until("the other to have handled some", SETTLE, || {
        Ok((billed(&dies)? > 0).then_some(()))
    })
    .unwrap();
    let done = billed(&stays).unwrap() + billed(&dies).unwrap();
    assert!(done < right.events, "all was done before the kill");
    dies.kill().unwrap();
    publisher.finish().unwrap();
    let started = Instant::now();
    fleet.settle(&[&stays]);
    eprintln!(
        "settled {:.1} s after the last event was published",
        started.elapsed().as_secs_f64()
    );
    assert_totals(&stays, fleet, right);
    let ended = stays.drain().unwrap();
    assert!(ended.success(), "{ended}: {}", first.end_of_log());
}

/// A frozen host believes that it owns its partitions when it goes on; another owns them meanwhile, and has fired the
/// timers that became due.
#[test]
fn a_host_that_was_frozen_past_its_session_commits_nothing_that_others_have_done() {
    let Some(broker) = broker("a host that was frozen") else {
        return;
    };
    let fleet = Fleet::new(&broker, "frozen");
    let lines = purchases::lines(&purchases::sample(root())).unwrap();
    let right = purchases::totals(&lines).unwrap();
    let half = lines.len() / 2;

    let handlers = [HANDLERS.as_slice(), &["scripted"]].concat();
    let (first, second) = (fleet.place("a", &handlers), fleet.place("b", &handlers));
    let stays = first.start().unwrap();
    let frozen = second.start().unwrap();
    fleet.settle(&[&stays, &frozen]);
    let invoices = fleet.topic("public.invoices.v1");
    let publisher = Publisher::spawn(first.client(), invoices, Arc::new(lines), 64);
    publisher.wait_for(half).unwrap();
    let keys = (0..KEYS).map(|key| format!("key-{key}"));
    let what = json!({ "timer": "t", "afterMs": DUE_AFTER.as_millis() });
    let orders: Vec<_> = keys.map(|key| order(&key, &key, &what)).collect();
    let taken = stays
        .client()
        .publish(fleet.topic("public.scripts.v1"), &orders);
    assert_eq!(taken.unwrap().status, 202);
    told(&stays, &fleet, KEYS);
    frozen.freeze().unwrap();
    publisher.finish().unwrap();
    // All is done without it.
    fleet.settle(&[&stays]);
    assert_totals(&stays, &fleet, &right);
    told(&stays, &fleet, 2 * KEYS);

    frozen.resume().unwrap();
    wait::until("the frozen host to be a member again", SETTLE, || {
        Ok((frozen.client().get("/readyz")?.status == 200).then_some(()))
    })
    .unwrap();
    fleet.settle(&[&stays, &frozen]);
    assert_totals(&stays, &fleet, &right);
    for (key, deeds) in told(&stays, &fleet, 2 * KEYS) {
        let deeds: Vec<_> = deeds.iter().map(|deed| (&*deed.ty, deed.count)).collect();
        assert_eq!(deeds, [("Done", 1), ("Fired", 2)], "{key}");
    }
}

/// Members are known by their ids, so that an update of all hosts, one after the other, restores nothing anew elsewhere.
#[test]
fn a_restart_within_the_session_moves_no_partition() {
    let Some(broker) = broker("a restart within the session") else {
        return;
    };
    let fleet = Fleet::new(&broker, "restarted");
    let places = [
        fleet.place("a", &["billing"]),
        fleet.place("b", &["billing"]),
    ];
    let [stays, restarts] = places.each_ref().map(|place| place.start().unwrap());
    fleet.settle(&[&stays, &restarts]);
    // The cluster has topics of others, and a status of thousands would take minutes.
    let status = stays.client().status().unwrap();
    let shown = status["topics"].as_array().unwrap();
    let own = |topic: &serde_json::Value| topic["name"].to_string().contains("restarted");
    assert!(!shown.is_empty() && shown.iter().all(own), "{shown:?}");
    let before = moves(&places[0]);
    assert!(!before.is_empty(), "{}", places[0].end_of_log());
    let ended = restarts.drain().unwrap();
    assert!(ended.success(), "{ended}: {}", places[1].end_of_log());
    let back = places[1].start().unwrap();
    fleet.settle(&[&stays, &back]);
    assert_eq!(moves(&places[0]), before, "{}", places[0].end_of_log());
    // And the other way round: who leads the group makes no difference.
    let before = moves(&places[1]);
    assert!(!before.is_empty(), "{}", places[1].end_of_log());
    let ended = stays.drain().unwrap();
    assert!(ended.success(), "{ended}: {}", places[0].end_of_log());
    let again = places[0].start().unwrap();
    fleet.settle(&[&again, &back]);
    assert_eq!(moves(&places[1]), before, "{}", places[1].end_of_log());
}

/// What the group has given to this host or taken from it so far.
fn moves(place: &Place) -> Vec<String> {
    let log = std::fs::read_to_string(place.log()).unwrap();
    let moved =
        |line: &&str| line.contains("partitions assigned") || line.contains("partitions revoked");
    let some = log
        .lines()
        .filter(moved)
        .filter(|line| !line.contains("partitions=[]"));
    some.map(ToOwned::to_owned).collect()
}

/// Waits until all has been told, and gives it.
fn told(host: &Host, fleet: &Fleet, count: usize) -> BTreeMap<String, Vec<Deed>> {
    let topic = fleet.topic("public.deeds.v1");
    wait::until(&format!("{count} deeds"), SETTLE, || {
        let told = deeds_in(host.client(), topic)?;
        let found = told.values().map(Vec::len).sum::<usize>();
        anyhow::ensure!(found >= count, "{found}");
        Ok(Some(told))
    })
    .unwrap()
}
