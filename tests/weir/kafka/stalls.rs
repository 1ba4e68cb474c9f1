//! A consumer that gives nothing although records wait is replaced.

use weir_tests::host::Start;
use weir_tests::purchases;
use weir_tests::wait;

use super::{Fleet, SETTLE, assert_payments, broker};
use crate::fixture::root;

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
    for batch in lines.chunks(256) {
        let invoices = fleet.topic("public.invoices.v1");
        assert_eq!(host.client().publish(invoices, batch).unwrap().status, 202);
    }
    // It is not ready before, and while it takes its partitions again: which of them is seen is chance.
    let mut is_ready = true;
    let log = wait::until("the consumer to be replaced", SETTLE, || {
        is_ready = is_ready && host.client().get("/readyz")?.status == 200;
        let log = std::fs::read_to_string(place.log())?;
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
