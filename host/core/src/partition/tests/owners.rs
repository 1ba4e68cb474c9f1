use super::*;

#[test]
fn an_outcome_of_another_assignment_is_not_taken_for_the_running_attempt() {
    let mut old = bench();
    old.feed(0, Some("k"), "a");
    let stale = old.attempt().id;
    let mut new = bench();
    new.machine = Partition::new(config(), 2, Restore::default());
    new.feed(0, Some("k"), "a");
    let current = new.attempt().id;
    new.outcome(stale, done("1"));
    new.pass(Duration::from_secs(1));
    assert!(new.poll().is_none());
    new.outcome(current, done("1"));
    assert_eq!(fates(&new.unit()), [(record(0), Fate::Handled)]);
}

#[test]
fn completed_positions_of_an_earlier_owner_count_for_the_span() {
    let mut config = config();
    config.limits.span_max = 3;
    let restore = Restore {
        cursors: vec![crate::unit::Cursor {
            frontier: 0,
            completed: vec![(1, 3)],
        }],
        ..Restore::default()
    };
    let mut bench = Bench::restored(config, restore);
    for (offset, id) in [(0, "a"), (1, "b"), (2, "c")] {
        assert!(bench.machine.has_capacity());
        bench.feed(offset, Some("k"), id);
    }
    assert!(!bench.machine.has_capacity());
    assert_eq!(bench.machine.counters().redelivered, 2);
}

#[test]
fn a_revoked_partition_starts_nothing_commits_what_is_staged_and_leaves_a_clean_ledger() {
    let mut bench = bench();
    bench.feed(0, Some("k"), "a");
    bench.feed(1, Some("k"), "b");
    let id = bench.attempt().id;
    bench.machine.handle_revoke();
    assert!(!bench.machine.has_capacity() && !bench.machine.is_drained());
    bench.outcome(id, done("1"));
    let unit = bench.unit();
    assert_eq!(fates(&unit), [(record(0), Fate::Handled)]);
    assert_eq!(unit.lease, [], "nothing may run after it");
    assert!(!bench.machine.is_drained());
    bench.committed(&unit);
    assert!(bench.machine.is_drained());
    assert_eq!(bench.machine.frontiers().next(), Some(1));
}

#[test]
fn a_partition_that_another_owner_has_hands_out_nothing_and_has_nothing_to_drain() {
    let mut bench = bench();
    bench.feed(0, Some("k"), "a");
    bench.run(done("1"));
    let unit = bench.unit().number;
    bench.feed(1, Some("k"), "b");
    bench.attempt();
    bench.answer(unit, CommitResult::Moved);
    assert!(bench.machine.is_moved() && !bench.machine.is_drained());
    bench.pass(Duration::from_secs(60));
    assert!(bench.poll().is_none());
    bench.machine.handle_revoke();
    assert!(bench.machine.is_drained());
}
