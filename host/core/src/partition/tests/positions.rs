use super::*;

#[test]
fn the_end_of_a_topic_that_holds_no_records_is_committed_and_a_record_before_it_keeps_its_place() {
    let mut bench = bench();
    bench.feed(0, Some("k"), "a");
    let running = bench.attempt().id;
    // Behind it is the marker of a transaction.
    bench.machine.handle_passed(bench.now, at(2));
    let unit = bench.unit();
    assert_eq!(unit.cursors[0].frontier, 0);
    assert_eq!(unit.cursors[0].completed, [(1, 2)]);
    bench.committed(&unit);
    bench.outcome(running, done("1"));
    let unit = bench.unit();
    assert_eq!(unit.cursors[0].frontier, 2);
    bench.committed(&unit);
    assert!(bench.poll().is_none());

    // A position that was told before is no news.
    bench.machine.handle_passed(bench.now, at(2));
    assert!(bench.poll().is_none());
    bench.machine.handle_passed(bench.now, at(5));
    let unit = bench.unit();
    assert_eq!(unit.cursors[0].frontier, 5);
    assert_eq!(fates(&unit), []);
}

#[test]
fn attempts_of_a_record_that_was_compacted_away_are_forgotten() {
    let attempts = Attempts {
        counted: 2,
        ..Attempts::default()
    };
    let restore = Restore {
        open: vec![OpenAttempts {
            item: record(0),
            attempts,
        }],
        ..Restore::default()
    };
    let mut bench = Bench::restored(config(), restore);
    bench.feed(1, Some("k"), "b");
    bench.run(done("1"));
    let unit = bench.unit();
    assert_eq!(unit.open, []);
    assert_eq!(unit.cursors[0].frontier, 2);
}
