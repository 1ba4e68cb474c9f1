use super::*;

#[test]
fn a_later_event_of_a_sequence_starts_when_the_earlier_is_staged_and_reads_its_writes() {
    let mut bench = bench();
    bench.feed(0, Some("k"), "a");
    bench.feed(1, Some("k"), "b");
    let first = bench.attempt();
    assert!(bench.poll().is_none());
    bench.outcome(first.id, done("1"));
    let second = bench.attempt();
    assert_eq!(second.id.item, record(1));
    assert_eq!(second.staged.get("n"), Some(Some("1".into())));
}

#[test]
fn a_refused_event_dies_and_what_followed_it_in_its_sequence_runs_again() {
    let mut bench = bench();
    for (offset, id) in [(0, "a"), (1, "b"), (2, "c")] {
        bench.feed(offset, Some("k"), id);
    }
    bench.run(done("1"));
    bench.run(done("2"));
    let third = bench.attempt().id;
    let unit = bench.unit();
    assert_eq!(
        fates(&unit),
        [(record(0), Fate::Handled), (record(1), Fate::Handled)]
    );
    bench.answer(unit.number, refused(0));
    bench.outcome(third, done("3"));
    let again = bench.attempt();
    assert_eq!((again.id.item, again.number), (record(1), 1));
    assert_eq!(again.staged.get("n"), None);
}

#[test]
fn one_unit_is_out_at_a_time_and_an_absent_one_keeps_its_number() {
    let mut bench = bench();
    bench.feed(0, None, "a");
    bench.run(done("1"));
    let first = bench.unit().number;
    bench.feed(1, None, "b");
    bench.run(done("1"));
    bench.pass(Duration::from_secs(1));
    assert!(bench.poll().is_none());
    let message = String::new();
    bench.answer(first, CommitResult::Unavailable { message });
    let due = bench.machine.poll_timeout().expect("the unit is due again");
    assert_eq!(due, bench.now + Duration::from_millis(100));
    bench.now = due;
    let again = bench.unit();
    assert_eq!(again.number, first);
    assert_eq!(
        fates(&again),
        [(record(0), Fate::Handled), (record(1), Fate::Handled)]
    );
}
