use super::*;
use crate::breaker::Breaker;
use crate::event::{Effects, Emission, Failure, FailureKind, Outcome, StateWrite};
use crate::unit::{CommitResult, OpenAttempts};

const NOW: Millis = Millis(1_790_000_000_000);

fn config() -> Config {
    Config {
        source: dead_letter::Source {
            group: "weir.test.acme.count".into(),
            handler: "count".into(),
            version: "1".into(),
            digest: "blake3:0".into(),
        },
        partition: 0,
        topics: Arc::new(["in".into()]),
        commands: None,
        dead_letter_topics: Arc::new(["dlq.in".into()]),
        emit: emission::Rules {
            handler: "count".into(),
            source: "/weir/count".into(),
            topics: vec![("out".into(), "out".into())],
            timers: false,
        },
        on_dead: OnDead::Release,
        fallback: None,
        parks: true,
        keyed_only: false,
        retry: retry::Config::default(),
        inbox: Some(inbox::Config::default()),
        limits: Limits::default(),
    }
}

fn machine() -> Partition {
    Partition::new(config(), 1, Restore::default())
}

fn at(offset: u64) -> Position {
    Position { topic: 0, offset }
}

fn feed(machine: &mut Partition, offset: u64, key: Option<&'static str>, id: &str) {
    let record = Record {
        key: key.map(|key| key.as_bytes().into()),
        timestamp_ms: NOW.0,
        ..Record::default()
    };
    let event = Event {
        id: id.into(),
        source: "/till".into(),
        ty: "Sold".into(),
        ..Event::default()
    };
    machine.handle_record(
        NOW,
        at(offset),
        Arc::new(record),
        Decoded::Event(Arc::new(event)),
    );
}

fn attempt(machine: &mut Partition) -> Attempt {
    match machine.poll_action(NOW) {
        Some(Action::Attempt(attempt)) => attempt,
        other => panic!("no attempt but {other:?}"),
    }
}

fn unit(machine: &mut Partition) -> Unit {
    match machine.poll_action(NOW + Duration::from_millis(10)) {
        Some(Action::Commit(unit)) => unit,
        other => panic!("no unit but {other:?}"),
    }
}

fn fates(unit: &Unit) -> Vec<(u64, Fate)> {
    let completions = unit.completions.iter();
    completions
        .map(|done| (done.position.offset, done.fate))
        .collect()
}

fn done(value: &'static str) -> Outcome {
    let write = StateWrite {
        name: "n".into(),
        value: Some(value.into()),
        ttl_ms: None,
    };
    Outcome::Done(Effects {
        emissions: vec![Emission {
            ty: "Counted".into(),
            ..Emission::default()
        }],
        state: vec![write],
        ..Effects::default()
    })
}

fn refused(offset: u64) -> CommitResult {
    CommitResult::Refused {
        position: at(offset),
        code: "too-large".into(),
        message: String::new(),
    }
}

#[test]
fn a_later_event_of_a_sequence_starts_when_the_earlier_is_staged_and_reads_its_writes() {
    let mut machine = machine();
    feed(&mut machine, 0, Some("k"), "a");
    feed(&mut machine, 1, Some("k"), "b");
    let first = attempt(&mut machine);
    assert!(machine.poll_action(NOW).is_none());
    machine.handle_outcome(NOW, first.id, done("1"));
    let second = attempt(&mut machine);
    assert_eq!(second.id.position, at(1));
    assert_eq!(second.staged.get("n"), Some(Some("1".into())));
}

#[test]
fn a_refused_event_dies_and_what_followed_it_in_its_sequence_runs_again() {
    let mut machine = machine();
    for (offset, id) in [(0, "a"), (1, "b"), (2, "c")] {
        feed(&mut machine, offset, Some("k"), id);
    }
    for value in ["1", "2"] {
        let id = attempt(&mut machine).id;
        machine.handle_outcome(NOW, id, done(value));
    }
    let third = attempt(&mut machine).id;
    let first_unit = unit(&mut machine);
    assert_eq!(fates(&first_unit), [(0, Fate::Handled), (1, Fate::Handled)]);
    machine.handle_commit(NOW, 1, refused(0));
    machine.handle_outcome(NOW, third, done("3"));
    let again = attempt(&mut machine);
    assert_eq!((again.id.position, again.number), (at(1), 1));
    assert_eq!(again.staged.get("n"), None);
}

#[test]
fn an_outcome_of_another_assignment_is_not_taken_for_the_running_attempt() {
    let mut old = machine();
    feed(&mut old, 0, Some("k"), "a");
    let stale = attempt(&mut old).id;
    let mut new = Partition::new(config(), 2, Restore::default());
    feed(&mut new, 0, Some("k"), "a");
    let current = attempt(&mut new).id;
    new.handle_outcome(NOW, stale, done("1"));
    assert!(new.poll_action(NOW + Duration::from_secs(1)).is_none());
    new.handle_outcome(NOW, current, done("1"));
    assert_eq!(fates(&unit(&mut new)), [(0, Fate::Handled)]);
}

#[test]
fn an_event_without_a_key_does_not_take_the_id_of_a_running_one() {
    let keyed_only = Config {
        keyed_only: true,
        ..config()
    };
    let mut machine = Partition::new(keyed_only, 1, Restore::default());
    feed(&mut machine, 0, Some("k"), "a");
    let running = attempt(&mut machine).id;
    feed(&mut machine, 1, None, "a");
    feed(&mut machine, 2, Some("l"), "a");
    assert!(machine.poll_action(NOW + Duration::from_secs(1)).is_none());
    machine.handle_outcome(NOW, running, done("1"));
    assert_eq!(
        fates(&unit(&mut machine)),
        [
            (0, Fate::Handled),
            (1, Fate::Duplicate),
            (2, Fate::Duplicate)
        ]
    );
}

#[test]
fn attempts_of_a_record_that_was_compacted_away_are_forgotten() {
    let restore = Restore {
        open: vec![OpenAttempts {
            position: at(0),
            attempts: 2,
            traps: 0,
            first_failed: NOW,
        }],
        ..Restore::default()
    };
    let mut machine = Partition::new(config(), 2, restore);
    feed(&mut machine, 1, Some("k"), "b");
    let id = attempt(&mut machine).id;
    machine.handle_outcome(NOW, id, done("1"));
    let unit = unit(&mut machine);
    assert_eq!(unit.open, []);
    assert_eq!(unit.cursors[0].frontier, 2);
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
    let mut machine = Partition::new(config, 2, restore);
    for (offset, id) in [(0, "a"), (1, "b"), (2, "c")] {
        assert!(machine.has_capacity());
        feed(&mut machine, offset, Some("k"), id);
    }
    assert!(!machine.has_capacity());
    assert_eq!(machine.counters().redelivered, 2);
}

#[test]
fn an_unavailable_outcome_costs_no_attempt() {
    let mut machine = machine();
    feed(&mut machine, 0, Some("k"), "a");
    let id = attempt(&mut machine).id;
    let failure = Failure {
        kind: FailureKind::Unavailable,
        code: "down".into(),
        message: String::new(),
        retry_after_ms: None,
        backtrace: None,
    };
    machine.handle_outcome(NOW, id, Outcome::Failed(failure));
    let due = machine.poll_timeout().expect("a retry waits");
    machine.handle_timeout(due);
    assert_eq!(attempt(&mut machine).number, 1);
}

#[test]
fn one_unit_is_out_at_a_time_and_an_absent_one_keeps_its_number() {
    let mut machine = machine();
    feed(&mut machine, 0, None, "a");
    let id = attempt(&mut machine).id;
    machine.handle_outcome(NOW, id, done("1"));
    assert_eq!(unit(&mut machine).number, 1);
    feed(&mut machine, 1, None, "b");
    let id = attempt(&mut machine).id;
    machine.handle_outcome(NOW, id, done("1"));
    assert!(machine.poll_action(NOW + Duration::from_secs(1)).is_none());
    let message = String::new();
    machine.handle_commit(NOW, 1, CommitResult::Unavailable { message });
    let due = machine.poll_timeout().expect("the unit is due again");
    assert_eq!(due, NOW + Duration::from_millis(100));
    let Some(Action::Commit(again)) = machine.poll_action(due) else {
        panic!("no unit");
    };
    assert_eq!(again.number, 1);
    assert_eq!(fates(&again), [(0, Fate::Handled), (1, Fate::Handled)]);
}

#[test]
fn a_revoked_partition_starts_nothing_and_commits_what_is_staged() {
    let mut machine = machine();
    feed(&mut machine, 0, Some("k"), "a");
    feed(&mut machine, 1, Some("k"), "b");
    let id = attempt(&mut machine).id;
    machine.handle_revoke();
    assert!(!machine.has_capacity() && !machine.is_drained());
    machine.handle_outcome(NOW, id, done("1"));
    let unit = unit(&mut machine);
    assert_eq!(fates(&unit), [(0, Fate::Handled)]);
    assert!(!machine.is_drained());
    machine.handle_commit(NOW, unit.number, CommitResult::Committed);
    assert!(machine.is_drained());
    assert_eq!(machine.frontiers().collect::<Vec<_>>(), [1]);
}
