//! Transactions whose end nobody heard of, and transactions that stay open.

use std::time::Duration;

use weir_tests::kafka::proxy::{END_TXN, Loss};
use weir_tests::purchases;
use weir_tests::wait;

use super::{Fleet, SETTLE, assert_totals, broker};
use crate::fixture::root;

const HANDLERS: [&str; 2] = ["billing", "notification"];
/// One proxy stands before the broker at a time.
static PROXY: std::sync::Mutex<()> = std::sync::Mutex::new(());

/// The broker commits, and the host waits for an answer until its time is up. Staged again, each event would have its
/// effect twice.
#[test]
fn a_transaction_that_was_committed_and_not_answered_is_not_staged_again() {
    let Some(broker) = broker("a commit that was not answered") else {
        return;
    };
    let _alone = PROXY.lock();
    let proxy = broker.cluster.proxy().unwrap();
    let fleet = Fleet::new(&broker, "unheard");
    let lines = purchases::lines(&purchases::sample(root())).unwrap();
    let right = purchases::totals(&lines).unwrap();
    let place = fleet.place_at("a", &HANDLERS, &proxy.address());
    let host = place.start().unwrap();
    let invoices = fleet.topic("public.invoices.v1");

    let (before, after) = lines.split_at(lines.len() / 2);
    for batch in before.chunks(256) {
        assert_eq!(host.client().publish(invoices, batch).unwrap().status, 202);
    }
    proxy.lose(END_TXN, Loss::Answers);
    for batch in after.chunks(256) {
        assert_eq!(host.client().publish(invoices, batch).unwrap().status, 202);
    }
    wait::until("an answer to be lost", Duration::from_secs(60), || {
        Ok((proxy.lost() > 0).then_some(()))
    })
    .unwrap();
    wait::until("the host to notice", Duration::from_secs(60), || {
        let log = std::fs::read_to_string(place.log())?;
        Ok(log
            .contains("the outcome of a transaction is unknown")
            .then_some(()))
    })
    .unwrap();
    proxy.lose(END_TXN, Loss::Nothing);
    fleet.settle(&[&host]);
    assert_totals(&host, &fleet, &right);
}

/// A host cannot end its transaction, and another takes its partitions. The ledger of the first is not what it will be:
/// what is open over it is aborted when its time is up, and only then the second may look.
#[test]
fn a_new_owner_waits_for_the_open_transaction_of_the_owner_before_it() {
    let Some(broker) = broker("an open transaction of another host") else {
        return;
    };
    let _alone = PROXY.lock();
    let proxy = broker.cluster.proxy().unwrap();
    let fleet = Fleet::new(&broker, "open");
    let lines = purchases::lines(&purchases::sample(root())).unwrap();
    let right = purchases::totals(&lines).unwrap();
    let (first, second) = (
        fleet.place_at("a", &HANDLERS, &proxy.address()),
        fleet.place("b", &HANDLERS),
    );
    let cut_off = first.start().unwrap();
    let invoices = fleet.topic("public.invoices.v1");
    proxy.lose(END_TXN, Loss::Requests);
    for batch in lines.chunks(256) {
        assert_eq!(
            cut_off.client().publish(invoices, batch).unwrap().status,
            202
        );
    }
    wait::until(
        "a transaction to stay open",
        Duration::from_secs(60),
        || Ok((proxy.lost() > 0).then_some(())),
    )
    .unwrap();
    // It joins, and gets half of the partitions.
    let takes_over = second.start().unwrap();
    wait::until("the second host to own partitions", SETTLE, || {
        let log = std::fs::read_to_string(second.log())?;
        Ok(log.contains("partitions assigned").then_some(()))
    })
    .unwrap();
    proxy.lose(END_TXN, Loss::Nothing);
    fleet.settle(&[&takes_over, &cut_off]);
    assert_totals(&takes_over, &fleet, &right);
}
