//! Records that wait and do not come: a consumer that gives nothing is replaced, and one that can have nothing is not.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::json;
use weir_tests::host::Start;
use weir_tests::purchases;
use weir_tests::wait;

use super::{
    Fleet, SETTLE, assert_payments, broker, orders, publish, publish_at_once, reading,
    wait_for_fates,
};
use crate::fixture::root;

/// Longer than a partition may stand still.
const STILL: Duration = Duration::from_secs(45);

#[test]
fn a_partition_whose_records_do_not_come_is_read_by_another_consumer() {
    let Some(broker) = broker("a consumer that gives nothing") else {
        return;
    };
    let fleet = Fleet::new(&broker, "starved");
    let place = fleet.place("a", &["billing"]);
    let Start::Ready(host) = place.start_to_fail("reader-starves:1").unwrap() else {
        panic!("{}", place.end_of_log());
    };
    let lines = purchases::lines(&purchases::sample(root())).unwrap();
    let right = purchases::totals(&lines).unwrap();
    publish_at_once(&host, fleet.topic("public.invoices.v1"), &lines);
    // It is not ready before, and while it takes its partitions again: which of them is seen is chance.
    let mut is_ready = true;
    let log = wait::until("the consumer to be replaced", SETTLE, || {
        is_ready = is_ready && host.client().get("/readyz")?.status == 200;
        let log = fs::read_to_string(place.log())?;
        let said = log.contains("records wait, and none comes");
        Ok((said && !is_ready).then_some(log))
    })
    .unwrap();
    let alarmed = log.find("alarm=\"stalled\"");
    let renewed = log.find("the membership is made anew");
    assert!(alarmed.is_some() && alarmed < renewed, "{log}");
    fleet.settle(&[&host]);
    assert_payments(&host, &fleet, &right);
}

/// What another topic of the same partition has done is no progress of this one.
#[test]
fn a_topic_whose_records_do_not_come_is_found_while_another_flows() {
    let Some(broker) = broker("a topic that is left out") else {
        return;
    };
    let fleet = Fleet::new(&broker, "left-out");
    let handler = fleet.handler("scripted", "scripted", |manifest| {
        reading(&manifest, &["public.scripts.v1", "public.more.v1"])
    });
    let place = fleet.place_with("a", &[handler], "");
    let Start::Ready(host) = place.start_to_fail("reader-starves:1").unwrap() else {
        panic!("{}", place.end_of_log());
    };
    let (scripts, more) = (
        fleet.topic("public.scripts.v1"),
        fleet.topic("public.more.v1"),
    );
    let waits = format!("records wait in {scripts}, and none has come for 30 s");
    publish(&host, scripts, &orders("first", 120));
    let mut handled = 120;
    let mut was_told = false;
    wait::until("the consumer to be replaced", SETTLE, || {
        publish(&host, more, &orders(&format!("more-{handled}"), 60));
        handled += 60;
        let alarms = host.client().status()?["alarms"].to_string();
        was_told |= alarms.contains("read-failing") && alarms.contains(&waits);
        let log = fs::read_to_string(place.log())?;
        let renewed = format!("why=\"{waits}");
        Ok(log.contains(&renewed).then_some(()))
    })
    .unwrap();
    assert!(was_told, "{}", place.end_of_log());
    wait_for_fates(&host, "scripted", &json!({ "handled": handled }));
}

/// Who reads what is committed alone sees nothing behind an open transaction: nobody is late with that, and no new
/// membership would have it sooner.
#[test]
fn a_transaction_of_others_that_is_open_in_an_event_topic_is_waited_for() {
    let Some(broker) = broker("a transaction of others in an event topic") else {
        return;
    };
    let fleet = Fleet::new(&broker, "patient");
    let lines = purchases::lines(&purchases::sample(root())).unwrap();
    let right = purchases::totals(&lines).unwrap();
    let place = fleet.place("a", &["billing"]);
    let host = place.start().unwrap();
    let invoices = fleet.topic("public.invoices.v1");
    let (before, after) = lines.split_at(lines.len() / 2);
    publish_at_once(&host, invoices, before);
    fleet.settle(&[&host]);
    fleet.leave_open(invoices);
    publish_at_once(&host, invoices, after);
    let since = Instant::now();
    wait::until("the transaction to stay open", SETTLE, || {
        let status = host.client().status()?;
        assert_eq!(status["alarms"], json!([]), "{status}");
        assert_eq!(host.client().get("/readyz")?.status, 200);
        Ok((since.elapsed() > STILL).then_some(()))
    })
    .unwrap();
    let log = fs::read_to_string(place.log()).unwrap();
    assert!(!log.contains("the membership is made anew"), "{log}");
    let fates = host.client().status().unwrap()["handlers"][0]["fates"]["handled"].clone();
    assert!(
        fates.as_u64().unwrap() < lines.len() as u64,
        "{fates}: some of them are behind what is open"
    );
    fleet.end_open(invoices);
    // How far the topic reaches is known a moment later.
    wait_for_fates(&host, "billing", &json!({ "handled": lines.len() }));
    fleet.settle(&[&host]);
    assert_payments(&host, &fleet, &right);
}
