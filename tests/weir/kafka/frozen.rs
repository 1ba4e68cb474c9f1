//! Brokers that are there and do not answer.

use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Context as _;
use serde_json::json;
use weir_tests::host::{Host, Place};
use weir_tests::http::{Answer, Client};
use weir_tests::purchases;
use weir_tests::wait;

use super::{Fleet, SETTLE, alarm, assert_payments, broker_alone, publish_at_once};
use crate::fixture::root;

/// Of each kind, at once: more than the machine has cores, and more than the host makes calls.
const REQUESTS: usize = 12;
/// What no topic has.
const NOTHING: &str = "/v1/topics/public.nothing.v1/events";
/// How often the host is asked meanwhile.
const LOOKS: usize = 20;

/// Asks what only a broker could answer; gives the code of the refusal, and what it says.
fn refused(
    place: &Place,
    request: impl FnOnce(&Client) -> anyhow::Result<Answer>,
) -> (String, String) {
    let answer = request(&place.client()).unwrap();
    assert_eq!(answer.status, 503, "{answer:?}");
    let problem = answer.json().unwrap();
    let text = |name: &str| problem[name].as_str().unwrap_or_default().to_owned();
    (text("type"), text("detail"))
}

/// As [`refused`], because the cluster did not answer; gives what it says.
fn unanswered(place: &Place, path: &str) -> String {
    let (code, detail) = refused(place, |client| client.get(path));
    assert!(code.ends_with(":cluster"), "{code}: {detail}");
    detail
}

/// What a host says at once, many times.
fn look(host: &Host) {
    for _ in 0..LOOKS {
        for path in ["/livez", "/metrics"] {
            assert_eq!(host.client().get(path).unwrap().status, 200);
        }
        let status = host.client().status().unwrap();
        assert_eq!(status["handlers"][0]["name"], "billing");
    }
}

/// Asks for all that only a broker knows, of many at once, and meanwhile for what the host knows.
fn ask_all(host: &Host, place: &Place, invoices: &str, invoice: &String) {
    let published = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..REQUESTS {
            // By the short name, which no topic has.
            scope.spawn(|| {
                let publish = |client: &Client| {
                    client.publish("public.invoices.v1", std::slice::from_ref(invoice))
                };
                let (code, detail) = refused(place, publish);
                published.fetch_add(1, Ordering::AcqRel);
                let known = [":unconfirmed", ":intake-stopped"];
                let is_known = known.iter().any(|known| code.ends_with(known));
                assert!(is_known, "{code}: {detail}");
            });
            scope.spawn(|| drop(unanswered(place, NOTHING)));
            scope.spawn(|| {
                let path = format!("/v1/topics/{invoices}/events?partition=3");
                let said = unanswered(place, &path);
                assert!(
                    said.contains(&format!("{invoices:?} partition 3")),
                    "{said}"
                );
            });
            scope.spawn(|| {
                let said = unanswered(place, "/v1/admin/handlers/billing/letters");
                let named = said.contains("\"dlq.") && said.contains(" partition 0");
                assert!(named, "{said}");
            });
        }
        look(host);
        // A publication waits longer for its broker than all of that may take.
        assert_eq!(published.load(Ordering::Acquire), 0);
        // What no broker has said for a while the host does not say either. Its partitions may be others' by then, and
        // their lag with them; the topic stays.
        wait::until("a topic's records to be unknown", SETTLE, || {
            let status = host.client().status()?;
            let mut topics = status["topics"].as_array().into_iter().flatten();
            let shown = topics.find(|topic| topic["name"] == invoices);
            Ok(shown.context("no topic")?["records"]
                .is_null()
                .then_some(()))
        })
        .unwrap();
    });
}

/// Supervisors end hosts whose `/livez` does not answer: one that waits for a broker there would take all hosts of a
/// fleet with it.
#[test]
fn a_host_whose_brokers_are_frozen_answers_what_it_knows_and_says_what_it_does_not() {
    // All other tests would stand still with it.
    let Some(broker) = broker_alone("a host whose brokers are frozen") else {
        return;
    };
    let fleet = Fleet::new(&broker, "frozen");
    let place = fleet.place("a", &["billing"]);
    let host = place.start().unwrap();
    let invoices = fleet.topic("public.invoices.v1");
    let lines = purchases::lines(&purchases::sample(root())).unwrap();
    let (before, after) = lines.split_at(lines.len() / 2);
    publish_at_once(&host, invoices, before);
    fleet.settle(&[&host]);

    broker.cluster.freeze(1).unwrap();
    // What topics there are is believed for half a second.
    wait::until("the host to ask again", SETTLE, || {
        let answer = host.client().get(NOTHING)?;
        Ok((answer.status == 503).then_some(()))
    })
    .unwrap();
    ask_all(&host, &place, invoices, &after[0]);
    // By now its session is over: whoever serves nothing does not say that all is well.
    let why = alarm(&host, "read-failing");
    assert!(why.contains("whose session ended"), "{why}");
    assert_eq!(host.client().get("/readyz").unwrap().status, 503);

    broker.cluster.thaw(1).unwrap();
    // Whether those that were not confirmed are there nobody knows: repeats are dropped.
    for batch in after.chunks(256) {
        wait::until("the cluster to take events again", SETTLE, || {
            let answer = host.client().publish(invoices, batch)?;
            Ok((answer.status == 202).then_some(()))
        })
        .unwrap();
    }
    fleet.settle(&[&host]);
    assert_eq!(host.client().status().unwrap()["alarms"], json!([]));
    let letters = host.client().get("/v1/admin/handlers/billing/letters");
    assert_eq!(letters.unwrap().status, 200);
    assert_payments(&host, &fleet, &purchases::totals(&lines).unwrap());
}
