use std::time::Duration;

use super::*;
use crate::breaker::{self, Breaker};
use crate::budget::Budget;
use crate::event::{Effects, Emission, Event, Failure, FailureKind, Outcome, Record, StateWrite};
use crate::gate::Gate;
use crate::unit::{
    Active, CommitResult, LetterStatus, OpenAttempts, Origin, ParkedEvent, Timer, TimerKey,
    TimerPage, Unit,
};
use crate::{dead_letter, emission, inbox, retry};

mod marks;
mod ordering;
mod parking;
mod suspicion;
mod timing;

const NOW: Millis = Millis(1_790_000_000_000);

/// An event that is the first of a parked sequence.
fn parked_event() -> ParkedEvent {
    ParkedEvent {
        number: 0,
        record: Record::default(),
        origin: Origin {
            topic: "in".into(),
            partition: 0,
            offset: 0,
        },
        parked_at: NOW,
        parked_active: Active(0),
        letter: None,
        replays: 0,
    }
}

fn config() -> Config {
    Config {
        source: dead_letter::Source {
            group: "weir.test.acme.count".into(),
            handler: "count".into(),
            version: "1".into(),
            digest: "blake3:0".into(),
        },
        partition: 0,
        topics: Arc::new(["in".into(), "commands".into()]),
        commands: Some(1),
        dead_letter_topics: Arc::new(["dlq.in".into(), "".into()]),
        on_dead: OnDead::Release,
        ordering: Ordering::Key,
        emit: emission::Rules {
            handler: "count".into(),
            source: "/weir/count".into(),
            topics: vec![("out".into(), "out".into())],
            timers: true,
            ..emission::Rules::default()
        },
        fallback: None,
        keyed_only: false,
        parks: true,
        retry: retry::Config::default(),
        inbox: Some(inbox::Config::default()),
        inbox_key: None,
        limits: Limits::default(),
        memory: Arc::new(Budget::new(512 << 20, 1)),
        solitude: Arc::default(),
    }
}

/// A machine, its gate and the time.
struct Bench {
    machine: Partition,
    gate: Gate,
    now: Millis,
    ends: Vec<u64>,
}

impl Bench {
    /// A machine that may start attempts.
    fn new(config: Config) -> Self {
        Self::restored(config, Restore::default())
    }

    fn restored(config: Config, restore: Restore) -> Self {
        Self {
            machine: Partition::new(config, 1, restore),
            gate: Gate::new(Breaker::new(breaker::Config::default(), NOW), None),
            now: NOW,
            ends: vec![0, 0],
        }
    }

    fn feed(&mut self, offset: u64, key: Option<&'static str>, id: &str) {
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
        let (position, event) = (at(offset), Decoded::Event(Arc::new(event)));
        self.machine
            .handle_record(self.now, position, Arc::new(record), event);
        self.ends[0] = self.ends[0].max(offset + 1);
    }

    fn poll(&mut self) -> Option<Action> {
        self.machine.handle_timeout(self.now);
        self.machine.poll_action(self.now, &mut self.gate)
    }

    /// The next attempt; units without completions, which extend the lease, are committed on the way.
    fn attempt(&mut self) -> Box<Attempt> {
        for _ in 0..4 {
            match self.poll() {
                Some(Action::Attempt(attempt)) => return attempt,
                Some(Action::Commit(unit)) if unit.completions.is_empty() => self.committed(&unit),
                other => panic!("no attempt but {other:?}"),
            }
        }
        panic!("only units come");
    }

    fn unit(&mut self) -> Box<Unit> {
        self.now = self.now + Duration::from_millis(10);
        match self.poll() {
            Some(Action::Commit(unit)) => unit,
            other => panic!("no unit but {other:?}"),
        }
    }

    fn load(&mut self) -> Load {
        match self.poll() {
            Some(Action::Load(load)) => load,
            other => panic!("nothing is asked of the ledger but {other:?}"),
        }
    }

    fn outcome(&mut self, id: AttemptId, outcome: Outcome) {
        self.machine
            .handle_outcome(self.now, &mut self.gate, id, outcome);
    }

    fn answer(&mut self, number: u64, result: CommitResult) {
        self.machine
            .handle_commit(self.now, &mut self.gate, number, result);
    }

    fn committed(&mut self, unit: &Unit) {
        self.answer(unit.number, CommitResult::Committed);
    }

    /// Runs the next attempt to this end.
    fn run(&mut self, outcome: Outcome) {
        let id = self.attempt().id;
        self.outcome(id, outcome);
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
    }
}

fn bench() -> Bench {
    Bench::new(config())
}

fn at(offset: u64) -> Position {
    Position { topic: 0, offset }
}

fn record(offset: u64) -> ItemId {
    ItemId::Record(at(offset))
}

fn fates(unit: &Unit) -> Vec<(ItemId, Fate)> {
    let completions = unit.completions.iter();
    completions.map(|done| (done.item, done.fate)).collect()
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

fn failed(kind: FailureKind) -> Outcome {
    Outcome::Failed(Failure {
        kind,
        code: "down".into(),
        message: String::new(),
        retry_after_ms: None,
        backtrace: None,
    })
}

fn refused(offset: u64) -> CommitResult {
    CommitResult::Refused {
        item: record(offset),
        code: "too-large".into(),
        message: String::new(),
    }
}

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
fn a_dead_letter_that_is_refused_is_told_and_tried_again_until_it_is_taken() {
    let mut bench = bench();
    bench.feed(0, Some("k"), "a");
    bench.run(failed(FailureKind::Permanent));
    let unit = bench.unit();
    assert_eq!(fates(&unit), [(record(0), Fate::Dead)]);
    bench.answer(unit.number, refused(0));
    let told = bench.machine.gauges(NOW).letter_refused.unwrap();
    assert!(told.contains("too-large"), "{told}");
    bench.now = NOW + Duration::from_secs(1);
    let unit = bench.unit();
    assert_eq!(fates(&unit), [(record(0), Fate::Dead)]);
    bench.committed(&unit);
    assert_eq!(bench.machine.gauges(NOW).letter_refused, None);
}

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
fn an_event_without_a_key_does_not_take_the_id_of_a_running_one() {
    let mut bench = Bench::new(Config {
        keyed_only: true,
        ..config()
    });
    bench.feed(0, Some("k"), "a");
    let running = bench.attempt().id;
    bench.feed(1, None, "a");
    bench.feed(2, Some("l"), "a");
    bench.pass(Duration::from_secs(1));
    assert!(bench.poll().is_none());
    bench.outcome(running, done("1"));
    assert_eq!(
        fates(&bench.unit()),
        [
            (record(0), Fate::Handled),
            (record(1), Fate::Duplicate),
            (record(2), Fate::Duplicate)
        ]
    );
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
fn a_partition_reads_no_more_when_the_memory_of_the_host_is_spent_but_always_one_event() {
    let mut config = config();
    config.memory = Arc::new(Budget::new(200, 2));
    let mut others = Share::new(Arc::clone(&config.memory));
    others.take(10_000);
    let mut bench = Bench::new(config);
    let key = "a key of more bytes than the partition has for itself";
    bench.feed(0, Some(key), "0");
    assert!(!bench.machine.has_capacity(), "its own part is spent");
    others.give_back(9_980);
    assert!(bench.machine.has_capacity(), "it borrows");
    others.take(9_980);
    bench.run(done("1"));
    let unit = bench.unit();
    bench.committed(&unit);
    assert!(bench.machine.has_capacity(), "it holds nothing");
}

#[test]
fn what_an_event_is_about_to_write_takes_memory_until_it_is_durable() {
    let mut bench = bench();
    bench.feed(0, Some("k"), "0");
    bench.run(done("a value of some size"));
    let held = bench.machine.memory.bytes();
    let unit = bench.unit();
    assert!(held > commit::completion_bytes(&unit.completions[0]));
    bench.answer(unit.number, refused(0));
    let letter = bench.machine.memory.bytes();
    assert_ne!(letter, held, "what was withdrawn is given back");
    let unit = bench.unit();
    bench.committed(&unit);
    assert_eq!(bench.machine.memory.bytes(), 0);
}

#[test]
fn an_unavailable_outcome_costs_no_attempt() {
    let mut bench = bench();
    bench.feed(0, Some("k"), "a");
    bench.run(failed(FailureKind::Unavailable));
    bench.now = bench.machine.poll_timeout().expect("a retry waits");
    assert_eq!(bench.attempt().number, 1);
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

#[test]
fn a_dying_event_without_a_dead_letter_topic_stops_the_partition() {
    let mut bench = Bench::new(Config {
        on_dead: OnDead::Stop,
        ..config()
    });
    bench.feed(0, Some("k"), "a");
    bench.run(failed(FailureKind::Permanent));
    bench.feed(1, Some("l"), "b");
    let unit = bench.unit();
    assert!(
        unit.completions.is_empty(),
        "the attempt is counted, nothing is lost"
    );
    assert!(bench.machine.gauges(NOW).halted.is_some());
    assert!(!bench.machine.has_capacity());
}

#[test]
fn a_record_that_leaves_no_room_for_its_letter_stops_the_partition_and_is_not_lost() {
    let mut bench = bench();
    for (offset, bytes) in [
        (0, 1_000),
        (1, bench.machine.config.limits.letter_bytes_max),
    ] {
        let record = Arc::new(Record {
            value: Some(vec![b'x'; bytes].into()),
            ..Record::default()
        });
        let poison = Decoded::Poison {
            code: "event-too-large".into(),
            message: "m".repeat(1 << 20),
        };
        let position = at(offset);
        bench
            .machine
            .handle_record(bench.now, position, record, poison);
    }
    let unit = bench.unit();
    assert_eq!(fates(&unit), [(record(0), Fate::Dead)]);
    assert!(unit.bytes > 1_000 && unit.bytes < 1_000 + dead_letter::HEADERS_BYTES_MAX + 8_192);
    bench.committed(&unit);
    let halted = bench.machine.gauges(NOW).halted.expect("a reason");
    let place = "the record at offset 1 of partition 0 of topic in died (event-too-large)";
    assert!(halted.starts_with(place), "{halted}");
    assert!(halted.ends_with("where 2097152 are allowed"), "{halted}");
    assert_eq!(bench.machine.frontiers().next(), Some(1));
    assert!(!bench.machine.has_capacity());
}

#[test]
fn a_fallback_takes_the_event_while_the_breaker_is_open_under_its_own_name() {
    let mut bench = Bench::new(Config {
        fallback: Some(emission::Rules {
            handler: "spare".into(),
            source: "/weir/spare".into(),
            topics: vec![("out".into(), "out".into())],
            timers: false,
            ..emission::Rules::default()
        }),
        ..config()
    });
    let config = breaker::Config {
        while_open: breaker::WhileOpen::Fallback,
        ..breaker::Config::default()
    };
    bench.gate = Gate::new(Breaker::new(config, NOW), None);
    bench.gate.breaker.force_open(NOW);
    bench.feed(0, Some("k"), "a");
    let attempt = bench.attempt();
    assert!(attempt.fallback);
    bench.outcome(attempt.id, done("not its to write"));
    let unit = bench.unit();
    assert_eq!(fates(&unit), [(record(0), Fate::Handled)]);
    let output: &Output = &unit.completions[0].output;
    assert_eq!(output.state, []);
    let source = output.records[0].record.header("ce_source");
    assert_eq!(source.map(AsRef::as_ref), Some(&b"/weir/spare"[..]));
    bench.committed(&unit);
    assert_eq!(bench.machine.counters().fallback, 1);
}

#[test]
fn an_open_breaker_costs_no_attempt_no_timer_and_no_letter() {
    let mut bench = bench();
    bench.gate.breaker.force_open(NOW);
    for offset in 0..8 {
        bench.feed(offset, None, &offset.to_string());
    }
    for _ in 0..3 {
        bench.pass(Duration::from_secs(3_600));
        while let Some(action) = bench.poll() {
            let Action::Commit(unit) = action else {
                panic!("{action:?} while the breaker is open");
            };
            assert!(unit.completions.is_empty());
            bench.committed(&unit);
        }
    }
    assert_eq!(bench.machine.counters().attempts, 0);
    bench.gate.breaker.enforce(bench.now);
    assert_eq!(bench.attempt().number, 1);
}

#[test]
fn a_repeat_of_a_dead_event_is_a_duplicate() {
    let mut bench = bench();
    bench.feed(0, Some("k"), "a");
    bench.run(failed(FailureKind::Permanent));
    let unit = bench.unit();
    assert_eq!(fates(&unit), [(record(0), Fate::Dead)]);
    bench.committed(&unit);
    bench.feed(1, Some("k"), "a");
    assert_eq!(fates(&bench.unit()), [(record(1), Fate::Duplicate)]);
}

#[test]
fn an_emission_without_a_key_goes_where_its_repeat_will_go() {
    let mut bench = bench();
    bench.feed(0, None, "a");
    let emissions = vec![Emission {
        ty: "Counted".into(),
        ..Emission::default()
    }];
    bench.run(Outcome::Done(Effects {
        emissions,
        ..Effects::default()
    }));
    let unit = bench.unit();
    let out = &unit.completions[0].output.records[0];
    let id = std::str::from_utf8(out.record.header("ce_id").unwrap()).unwrap();
    let place = crate::identity::partition_hash(None, DEFAULT_TENANT, "/weir/count", id);
    assert_eq!((out.partition, out.partition_hash), (None, place));
    assert_eq!(out.record.key, None, "the record stays without a key");
}
