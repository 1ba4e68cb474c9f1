//! A host that the group has put out, and that has not heard of it.

use std::fs;

use weir_tests::kafka::proxy::{HEARTBEAT, Loss};
use weir_tests::purchases;
use weir_tests::wait;

use super::kcat::kcat_at;
use super::outcomes::PROXY;
use super::{Fleet, SETTLE, assert_payments, broker, publish, publish_at_once};
use crate::fixture::root;

/// What is published at once until the group refuses something: so few that there is some left when it does.
const FEW: usize = 4;

/// Neither the host nor its client knows that its place is another's: heartbeats are lost, and the session lasts. The
/// partitions are its own as far as it can tell, and what refuses its positions is the group, which is asked with each
/// transaction who commits them.
#[test]
fn a_group_refuses_the_transaction_of_a_host_that_does_not_know_that_it_was_put_out() {
    let test = "a host that was put out of its group";
    let Some(broker) = broker(test) else {
        return;
    };
    let settings = [
        "group.instance.id=host-1",
        // It is there to take the place, and not to commit what it reads.
        "enable.auto.commit=false",
    ];
    let settings = settings.map(str::to_owned).to_vec();
    let Some(kcat) = kcat_at(test, broker.cluster.bootstrap(), settings) else {
        return;
    };
    let _alone = PROXY.lock();
    let proxy = broker.cluster.proxy().unwrap();
    let fleet = Fleet::new(&broker, "putout");
    let lines = purchases::lines(&purchases::sample(root())).unwrap();
    let place = fleet.place_as("host-1", "a", &["billing"]);
    let text = fs::read_to_string(place.config()).unwrap();
    let text = text.replace(&broker.cluster.bootstrap(), &proxy.address());
    fs::write(place.config(), text).unwrap();
    let host = place.start().unwrap();
    let invoices = fleet.topic("public.invoices.v1");
    let (before, after) = lines.split_at(lines.len() / 2);
    publish_at_once(&host, invoices, before);
    fleet.settle(&[&host]);

    proxy.lose(HEARTBEAT, Loss::Requests);
    let mut other = kcat.join(
        "weir.putout.default.billing",
        invoices,
        "cooperative-sticky",
    );
    let mut rest = after.chunks(FEW);
    wait::until("a transaction to be refused", SETTLE, || {
        let few = rest.next();
        let few = few.expect("all was taken by a group that has put its host out");
        publish_at_once(&host, invoices, few);
        let log = fs::read_to_string(place.log())?;
        assert!(!log.contains("lost=true"), "the host has heard of it");
        Ok(log.lines().any(is_refusal).then_some(()))
    })
    .unwrap();
    other.kill().unwrap();
    other.wait().unwrap();
    // It hears of it by the next heartbeat, and takes its place again.
    proxy.lose(HEARTBEAT, Loss::Nothing);
    proxy.cut();
    let rest: Vec<_> = rest.flatten().cloned().collect();
    for batch in rest.chunks(256) {
        publish(&host, invoices, batch);
    }
    fleet.settle(&[&host]);
    assert_payments(&host, &fleet, &purchases::totals(&lines).unwrap());
}

/// A line that tells of positions which the group did not take.
fn is_refusal(line: &str) -> bool {
    let unknown = line.contains("the outcome of a transaction is unknown");
    unknown && line.contains("add the positions: ") && line.contains("Static consumer fenced")
}
