//! Orders other than that of the key.

use super::parking::Stored;
use super::*;
use crate::command::Kind;

fn ordered(ordering: Ordering) -> Bench {
    Bench::new(Config {
        ordering,
        ..config()
    })
}

fn item(attempt: &Attempt) -> ItemId {
    attempt.id.item
}

#[test]
fn in_the_order_of_the_partition_an_event_waits_for_those_of_other_keys() {
    let mut bench = ordered(Ordering::Partition);
    bench.feed(0, Some("a"), "0");
    bench.feed(1, Some("b"), "1");
    bench.feed(2, None, "2");
    let first = bench.attempt();
    assert_eq!(item(&first), record(0));
    assert!(
        bench.poll().is_none(),
        "one of the partition runs at a time"
    );
    bench.outcome(first.id, done("one"));
    let second = bench.attempt();
    assert_eq!(item(&second), record(1));
    assert_eq!(
        second.staged.get("n"),
        None,
        "state is the key's: what another key staged is not read"
    );
    bench.outcome(second.id, done("two"));
    assert_eq!(item(&bench.attempt()), record(2));
}

#[test]
fn in_the_order_of_the_partition_a_key_reads_its_own_staged_writes() {
    let mut bench = ordered(Ordering::Partition);
    for (offset, key) in [(0, "a"), (1, "b"), (2, "a")] {
        bench.feed(offset, Some(key), &offset.to_string());
    }
    bench.run(done("of a"));
    bench.run(done("of b"));
    let third = bench.attempt();
    assert_eq!(third.staged.get("n"), Some(Some("of a".into())));
}

#[test]
fn in_the_order_of_the_partition_what_followed_a_refused_event_runs_again_whatever_its_key() {
    let mut bench = ordered(Ordering::Partition);
    bench.feed(0, Some("a"), "0");
    bench.feed(1, Some("b"), "1");
    bench.run(done("one"));
    bench.run(done("two"));
    let unit = bench.unit();
    bench.answer(unit.number, refused(0));
    assert_eq!(item(&bench.attempt()), record(1), "it was withdrawn");
}

#[test]
fn in_the_order_of_the_partition_nothing_is_set_aside() {
    let mut bench = ordered(Ordering::Partition);
    bench.feed(0, Some("a"), "0");
    bench.feed(1, Some("b"), "1");
    let age = retry::Config::default().short_until + Duration::from_secs(60);
    let end = bench.now + age;
    while bench.now < end {
        let failed_once = bench.attempt();
        assert_eq!(item(&failed_once), record(0), "all wait for it");
        bench.outcome(failed_once.id, failed(FailureKind::Transient));
        let unit = bench.unit();
        assert!(unit.completions.is_empty() && unit.heads.is_empty());
        bench.committed(&unit);
        bench.now = bench.machine.poll_timeout().expect("a retry waits");
    }
    bench.run(done("one"));
    bench.run(done("two"));
    let unit = bench.unit();
    let handled = [(record(0), Fate::Handled), (record(1), Fate::Handled)];
    assert_eq!(fates(&unit), handled);
}

#[test]
fn where_nothing_is_set_aside_a_replayed_letter_runs_in_the_place_of_its_command_and_once() {
    let mut bench = ordered(Ordering::Partition);
    let mut stored = Stored::default();
    bench.feed(0, Some("k"), "0");
    bench.run(failed(FailureKind::Permanent));
    let unit = bench.store(&mut stored);
    let (letter, status) = unit.completions[0].output.letter.expect("a letter");
    assert_eq!(status, LetterStatus::Dead);
    for offset in 0..2 {
        bench.command(offset, Kind::Replay, letter);
    }
    bench.answer_load(&stored);
    let attempt = bench.attempt();
    assert_eq!((attempt.number, &*attempt.event.id), (1, "0"));
    assert_eq!(attempt.origin.offset, 0, "it stood where it died");
    bench.outcome(attempt.id, failed(FailureKind::Permanent));
    let unit = bench.store(&mut stored);
    assert_eq!(unit.completions[0].fate, Fate::Dead);
    assert_eq!(
        unit.completions[0].output.letter,
        Some((letter, LetterStatus::Dead)),
        "it is the same letter"
    );
    bench.answer_load(&stored);
    bench.run(done("at last"));
    let unit = bench.store(&mut stored);
    assert_eq!(unit.completions[0].fate, Fate::Handled);
    assert_eq!(stored.letters[&letter], LetterStatus::Done);
    assert!(stored.events.is_empty(), "nothing was parked");
    bench.command(2, Kind::Replay, letter);
    bench.answer_load(&stored);
    assert_eq!(bench.unit().completions[0].output, Output::default());
}

#[test]
fn without_an_order_events_of_a_key_run_at_the_same_time() {
    let mut bench = ordered(Ordering::None);
    bench.feed(0, Some("k"), "0");
    bench.feed(1, Some("k"), "1");
    let attempts = [bench.attempt(), bench.attempt()];
    assert_eq!(attempts.map(|one| item(&one)), [record(0), record(1)]);
}

#[test]
fn without_an_order_an_event_is_set_aside_alone() {
    let mut bench = ordered(Ordering::None);
    let mut stored = Stored::default();
    bench.feed(0, Some("k"), "0");
    while stored.events.is_empty() {
        bench.run(failed(FailureKind::Transient));
        bench.store(&mut stored);
        bench.now = bench.machine.poll_timeout().expect("a retry waits");
    }
    bench.now = NOW;
    bench.feed(1, Some("k"), "1");
    assert_eq!(item(&bench.attempt()), record(1), "it follows nobody");
}

#[test]
fn without_an_order_one_bad_key_is_still_one_voice_to_the_breaker() {
    let mut bench = ordered(Ordering::None);
    for offset in 0..40 {
        bench.feed(offset, Some("k"), &offset.to_string());
        bench.run(failed(FailureKind::Unavailable));
    }
    assert!(!bench.gate.is_open(bench.now));
}
