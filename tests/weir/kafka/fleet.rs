//! Hosts join, die and are frozen: each event's effect is there exactly once.

use std::sync::Arc;

use weir_tests::publisher::Publisher;
use weir_tests::purchases;
use weir_tests::wait;

use super::{Fleet, SETTLE, assert_totals, broker};
use crate::fixture::root;

const HANDLERS: [&str; 2] = ["billing", "notification"];

#[test]
fn purchases_published_twice_come_to_the_right_totals_when_one_of_two_hosts_is_killed() {
    let Some(broker) = broker("the kill of one of two hosts") else {
        return;
    };
    let fleet = Fleet::new(&broker, "killed");
    let mut lines = purchases::lines(&purchases::sample(root())).unwrap();
    let right = purchases::totals(&lines).unwrap();
    lines.extend_from_within(..);
    let half = lines.len() / 2;

    let (first, second) = (fleet.place("a", &HANDLERS), fleet.place("b", &HANDLERS));
    let stays = first.start().unwrap();
    let dies = second.start().unwrap();
    let invoices = fleet.topic("public.invoices.v1");
    let publisher = Publisher::spawn(first.client(), invoices, Arc::new(lines), 64);
    publisher.wait_for(half).unwrap();
    dies.kill().unwrap();
    publisher.finish().unwrap();
    fleet.settle(&[&stays]);
    assert_totals(&stays, &fleet, &right);
    let ended = stays.drain().unwrap();
    assert!(ended.success(), "{ended}: {}", first.end_of_log());
}

/// A frozen host believes that it owns its partitions when it goes on; another owns them meanwhile.
#[test]
fn a_host_that_was_frozen_past_its_session_commits_nothing_that_others_have_done() {
    let Some(broker) = broker("a host that was frozen") else {
        return;
    };
    let fleet = Fleet::new(&broker, "frozen");
    let lines = purchases::lines(&purchases::sample(root())).unwrap();
    let right = purchases::totals(&lines).unwrap();
    let half = lines.len() / 2;

    let (first, second) = (fleet.place("a", &HANDLERS), fleet.place("b", &HANDLERS));
    let stays = first.start().unwrap();
    let frozen = second.start().unwrap();
    let invoices = fleet.topic("public.invoices.v1");
    let publisher = Publisher::spawn(first.client(), invoices, Arc::new(lines), 64);
    publisher.wait_for(half).unwrap();
    frozen.freeze().unwrap();
    publisher.finish().unwrap();
    // All is done without it.
    fleet.settle(&[&stays]);
    assert_totals(&stays, &fleet, &right);

    frozen.resume().unwrap();
    wait::until("the frozen host to be a member again", SETTLE, || {
        Ok((frozen.client().get("/readyz")?.status == 200).then_some(()))
    })
    .unwrap();
    fleet.settle(&[&stays, &frozen]);
    assert_totals(&stays, &fleet, &right);
}
