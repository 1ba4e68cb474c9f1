//! Parks, holds, and what an operator does to letters.

use super::*;
use crate::command::{Command, Kind};
use crate::unit::ParkedSequence;

/// The ledger's side of the park of one sequence.
#[derive(Default)]
pub(super) struct Stored {
    pub(super) events: BTreeMap<u64, ParkedEvent>,
    head: Option<ParkedSequence>,
    pub(super) letters: HashMap<Hash128, LetterStatus>,
}

impl Stored {
    fn apply(&mut self, unit: &Unit) {
        for completion in &unit.completions {
            if let Some((letter, status)) = completion.output.letter {
                self.letters.insert(letter, status);
            }
            let Some(parking) = &completion.output.parking else {
                continue;
            };
            if let Some((number, _)) = parking.leave {
                assert!(self.events.remove(&number).is_some());
            }
            if let Some(event) = &parking.join {
                assert!(self.events.insert(event.number, event.clone()).is_none());
            }
        }
        for (_, head) in &unit.heads {
            self.head = *head;
            assert_eq!(head.map_or(0, |head| head.count), self.events.len() as u64);
        }
    }
}

impl Bench {
    /// Commits the next unit and stores its parks.
    pub(super) fn store(&mut self, stored: &mut Stored) -> Box<Unit> {
        let unit = self.unit();
        stored.apply(&unit);
        self.committed(&unit);
        unit
    }

    /// Answers the next read with what is stored.
    pub(super) fn answer_load(&mut self, stored: &Stored) {
        let load = self.load();
        let first = stored.events.values().next().cloned();
        let loaded = match &load {
            Load::Parked(_) => {
                let event = |parked: &ParkedEvent| Event {
                    id: format!("{}", parked.origin.offset),
                    source: "/till".into(),
                    ty: "Sold".into(),
                    ..Event::default()
                };
                Loaded::Parked(first.map(|parked| {
                    let event = Decoded::Event(Arc::new(event(&parked)));
                    (parked, event)
                }))
            }
            Load::Letter(_, letter, _) => {
                Loaded::Letter(stored.letters.get(letter).copied(), first)
            }
            Load::Timer(..) | Load::Timers(..) | Load::TimersOf(_) | Load::Mark(..) => {
                panic!("{load:?}")
            }
        };
        self.machine.handle_loaded(self.now, load, loaded);
    }

    pub(super) fn command(&mut self, offset: u64, kind: Kind, letter: Hash128) {
        let command = Command {
            kind,
            letter,
            replays: 0,
            origin: Origin {
                topic: "in".into(),
                partition: 0,
                offset: 0,
            },
        };
        let record = Record {
            key: Some("k".into()),
            ..Record::default()
        };
        let position = Position { topic: 1, offset };
        let decoded = Decoded::Command {
            command: Box::new(command),
            letter: Box::new(Decoded::Event(Arc::new(Event {
                id: "0".into(),
                source: "/till".into(),
                ty: "Sold".into(),
                ..Event::default()
            }))),
        };
        self.machine
            .handle_record(self.now, position, Arc::new(record), decoded);
    }
}

/// Fails the head until it is parked.
pub(super) fn park_first(bench: &mut Bench, stored: &mut Stored) -> Box<Unit> {
    bench.feed(0, Some("k"), "0");
    for _ in 0..20 {
        bench.run(failed(FailureKind::Transient));
        let unit = bench.store(stored);
        if !stored.events.is_empty() {
            assert_eq!(fates(&unit), [(record(0), Fate::Parked)]);
            return unit;
        }
        bench.now = bench.machine.poll_timeout().expect("a retry waits");
    }
    panic!("it is never parked");
}

pub(super) fn kill_first(on_dead: OnDead) -> (Bench, Stored, Hash128) {
    let mut bench = Bench::new(Config {
        on_dead,
        ..config()
    });
    let mut stored = Stored::default();
    bench.feed(0, Some("k"), "0");
    bench.run(failed(FailureKind::Permanent));
    let unit = bench.store(&mut stored);
    assert_eq!(fates(&unit), [(record(0), Fate::Dead)]);
    let (letter, status) = unit.completions[0].output.letter.expect("a letter");
    assert_eq!(status, LetterStatus::Dead);
    (bench, stored, letter)
}

#[test]
fn an_event_that_keeps_failing_is_parked_and_its_position_completes() {
    let (mut bench, mut stored) = (bench(), Stored::default());
    park_first(&mut bench, &mut stored);
    assert_eq!(bench.machine.frontiers().next(), Some(1));
    let head = stored.head.expect("a parked sequence").head;
    assert!(head.attempts.counted >= 5);
    assert!(head.due >= bench.now + Duration::from_secs(29));
}

#[test]
fn later_events_of_a_parked_key_join_it_without_running_and_other_keys_go_on() {
    let (mut bench, mut stored) = (bench(), Stored::default());
    park_first(&mut bench, &mut stored);
    bench.feed(1, Some("k"), "1");
    bench.feed(2, Some("l"), "2");
    let attempt = bench.attempt();
    assert_eq!(attempt.id.item, record(2));
    bench.outcome(attempt.id, done("1"));
    let unit = bench.store(&mut stored);
    assert_eq!(
        fates(&unit),
        [(record(1), Fate::Parked), (record(2), Fate::Handled)]
    );
    assert_eq!(stored.events.len(), 2);
}

#[test]
fn a_duplicate_of_a_parked_event_is_a_duplicate_even_before_the_commit() {
    let (mut bench, mut stored) = (bench(), Stored::default());
    park_first(&mut bench, &mut stored);
    bench.feed(1, Some("k"), "1");
    bench.feed(2, Some("k"), "1");
    bench.feed(3, Some("k"), "0");
    let unit = bench.store(&mut stored);
    assert_eq!(
        fates(&unit),
        [
            (record(1), Fate::Parked),
            (record(2), Fate::Duplicate),
            (record(3), Fate::Duplicate)
        ]
    );
}

#[test]
fn when_the_head_succeeds_the_rest_follow_at_once_in_order() {
    let (mut bench, mut stored) = (bench(), Stored::default());
    park_first(&mut bench, &mut stored);
    bench.feed(1, Some("k"), "1");
    bench.feed(2, Some("k"), "2");
    bench.store(&mut stored);
    bench.now = bench.machine.poll_timeout().expect("the head is due");
    let mut order = Vec::new();
    while !stored.events.is_empty() {
        bench.answer_load(&stored);
        let attempt = bench.attempt();
        order.push(attempt.origin.offset);
        bench.outcome(attempt.id, done("1"));
        bench.store(&mut stored);
    }
    assert_eq!(order, [0, 1, 2]);
    assert_eq!(stored.head, None);
    bench.feed(3, Some("k"), "3");
    assert_eq!(bench.attempt().id.item, record(3));
}

#[test]
fn aged_followers_get_one_attempt_each_after_their_head_has_died() {
    let (mut bench, mut stored) = (bench(), Stored::default());
    park_first(&mut bench, &mut stored);
    bench.feed(1, Some("k"), "1");
    bench.feed(2, Some("k"), "2");
    bench.store(&mut stored);
    bench.pass(Duration::from_secs(25 * 3_600));
    let mut attempts = Vec::new();
    for number in 0..3 {
        bench.answer_load(&stored);
        let attempt = bench.attempt();
        attempts.push((attempt.origin.offset, attempt.number));
        bench.outcome(attempt.id, failed(FailureKind::Transient));
        let unit = bench.store(&mut stored);
        assert_eq!(fates(&unit), [(ItemId::Parked(number), Fate::Dead)]);
    }
    let head = attempts.remove(0);
    assert!(head.1 > 1, "{head:?}");
    assert_eq!(attempts, [(1, 1), (2, 1)]);
    assert!(stored.events.is_empty());
}

#[test]
fn a_parked_head_that_fails_again_keeps_its_attempts_over_a_restart() {
    let (mut bench, mut stored) = (bench(), Stored::default());
    park_first(&mut bench, &mut stored);
    let parked = stored.head.expect("a parked sequence");
    let sequence = SequenceKey::Keyed {
        tenant: DEFAULT_TENANT.into(),
        key: "k".into(),
    };
    let restore = Restore {
        parked: vec![(sequence, parked)],
        next_parked: 1,
        ..Restore::default()
    };
    let mut bench = Bench::restored(config(), restore);
    bench.now = parked.head.due;
    bench.answer_load(&stored);
    let attempt = bench.attempt();
    assert_eq!(attempt.number, parked.head.attempts.counted + 1);
    bench.outcome(attempt.id, failed(FailureKind::Transient));
    bench.store(&mut stored);
    let again = stored.head.expect("still parked").head;
    assert_eq!(again.attempts.counted, parked.head.attempts.counted + 1);
    assert!(again.due > bench.now + Duration::from_secs(60));
}

#[test]
fn a_released_sequence_goes_on_when_its_head_has_died() {
    let (mut bench, _, _) = kill_first(OnDead::Release);
    bench.feed(1, Some("k"), "1");
    assert_eq!(bench.attempt().id.item, record(1));
}

#[test]
fn a_held_sequence_waits_until_the_letter_is_dropped() {
    let (mut bench, mut stored, letter) = kill_first(OnDead::Hold);
    bench.feed(1, Some("k"), "1");
    bench.store(&mut stored);
    assert_eq!(stored.events.len(), 2);
    bench.pass(Duration::from_secs(1_000_000));
    assert!(bench.poll().is_none());
    bench.command(0, Kind::Drop, letter);
    bench.answer_load(&stored);
    bench.store(&mut stored);
    assert_eq!(stored.letters[&letter], LetterStatus::Dropped);
    bench.answer_load(&stored);
    assert_eq!(bench.attempt().origin.offset, 1);
}

#[test]
fn a_held_letter_is_replayed_at_the_head_of_its_sequence_with_fresh_attempts() {
    let (mut bench, mut stored, letter) = kill_first(OnDead::Hold);
    bench.command(0, Kind::Replay, letter);
    bench.answer_load(&stored);
    bench.store(&mut stored);
    bench.answer_load(&stored);
    let attempt = bench.attempt();
    assert_eq!((attempt.number, attempt.origin.offset), (1, 0));
    bench.outcome(attempt.id, done("1"));
    bench.store(&mut stored);
    assert_eq!(stored.letters[&letter], LetterStatus::Done);
    assert!(stored.events.is_empty());
}

#[test]
fn a_held_letter_that_dies_again_says_how_often_it_was_replayed() {
    let (mut bench, mut stored, letter) = kill_first(OnDead::Hold);
    for replays in ["1", "2"] {
        bench.command(replays.parse::<u64>().unwrap() - 1, Kind::Replay, letter);
        bench.answer_load(&stored);
        bench.store(&mut stored);
        bench.answer_load(&stored);
        let attempt = bench.attempt();
        bench.outcome(attempt.id, failed(FailureKind::Permanent));
        let unit = bench.store(&mut stored);
        let headers = &unit.completions[0].output.records[0].record.headers;
        let mut said = headers.iter().rev();
        let said = said.find(|(name, _)| &**name == "weir.dlq.replays");
        let said = said.and_then(|(_, value)| value.as_deref());
        assert_eq!(said, Some(replays.as_bytes()));
        assert_eq!(stored.events.len(), 1, "it holds its sequence still");
    }
}

#[test]
fn a_replayed_letter_runs_once_however_often_it_is_asked_for() {
    let (mut bench, mut stored, letter) = kill_first(OnDead::Release);
    bench.command(0, Kind::Replay, letter);
    bench.command(1, Kind::Replay, letter);
    bench.answer_load(&stored);
    bench.store(&mut stored);
    // The second command waits for what the first has begun.
    bench.answer_load(&stored);
    let attempt = bench.attempt();
    bench.outcome(attempt.id, done("1"));
    bench.store(&mut stored);
    assert_eq!(stored.letters[&letter], LetterStatus::Done);
    bench.answer_load(&stored);
    bench.store(&mut stored);
    bench.command(2, Kind::Replay, letter);
    bench.answer_load(&stored);
    bench.store(&mut stored);
    assert!(stored.events.is_empty());
    assert!(bench.poll().is_none());
    assert_eq!(bench.machine.counters().commands, 3);
}

/// A failure whose hint is longer than a span may age.
fn later() -> Outcome {
    Outcome::Failed(Failure {
        kind: FailureKind::Transient,
        code: "later".into(),
        message: String::new(),
        retry_after_ms: Some(600_000),
        backtrace: None,
    })
}

#[test]
fn a_key_that_waits_for_a_long_hint_is_parked_when_the_span_is_old() {
    let (mut bench, mut stored) = (bench(), Stored::default());
    bench.feed(0, Some("k"), "0");
    let id = bench.attempt().id;
    bench.outcome(id, later());
    bench.store(&mut stored);
    let due = bench.machine.poll_timeout().expect("the span ages");
    assert_eq!(due, NOW + Duration::from_secs(30));
    bench.now = due;
    let unit = bench.store(&mut stored);
    assert_eq!(fates(&unit), [(record(0), Fate::Parked)]);
    assert_eq!(stored.head.map(|head| head.head.attempts.counted), Some(1));
}

#[test]
fn a_span_that_is_old_asks_for_nothing_while_the_gate_lets_nothing_pass() {
    let (mut bench, mut stored) = (bench(), Stored::default());
    bench.feed(0, Some("k"), "0");
    let id = bench.attempt().id;
    bench.outcome(id, later());
    bench.store(&mut stored);
    bench.gate.paused = true;
    bench.now = NOW + Duration::from_secs(30);
    assert!(bench.poll().is_none());
    let due = bench.machine.poll_timeout().expect("the hint");
    assert!(
        due > bench.now,
        "{due:?}: whoever sleeps until then would not sleep"
    );
    bench.gate.paused = false;
    let unit = bench.store(&mut stored);
    assert_eq!(fates(&unit), [(record(0), Fate::Parked)]);
}

#[test]
fn a_follower_that_the_ledger_refuses_dies_and_holds_nothing() {
    let mut bench = Bench::new(Config {
        on_dead: OnDead::Hold,
        ..config()
    });
    let mut stored = Stored::default();
    park_first(&mut bench, &mut stored);
    bench.feed(1, Some("k"), "1");
    let unit = bench.unit();
    assert_eq!(fates(&unit), [(record(1), Fate::Parked)]);
    bench.answer(unit.number, refused(1));
    let unit = bench.store(&mut stored);
    assert_eq!(fates(&unit), [(record(1), Fate::Dead)]);
    assert_eq!(unit.completions[0].output.parking, None);
    assert_eq!(bench.machine.gauges(bench.now).parked.held, 0);
}

#[test]
fn commands_are_taken_while_the_storage_of_parked_events_is_spent() {
    let mut config = config();
    config.limits.park_bytes_max = 1;
    let (mut bench, mut stored) = (Bench::new(config), Stored::default());
    park_first(&mut bench, &mut stored);
    assert!(bench.poll().is_none());
    assert!(!bench.machine.takes(0) && !bench.machine.has_capacity());
    assert!(bench.machine.takes(1), "only an operator makes room");
}

#[test]
fn a_parked_event_that_could_not_be_read_runs_once() {
    let (mut bench, mut stored) = (bench(), Stored::default());
    park_first(&mut bench, &mut stored);
    bench.now = bench.machine.poll_timeout().expect("the head is due");
    let load = bench.load();
    bench
        .machine
        .handle_loaded(bench.now, load, Loaded::Unavailable);
    bench.feed(1, Some("k"), "1");
    bench.store(&mut stored);
    assert!(bench.poll().is_none(), "the ledger is not asked at once");
    bench.pass(Duration::from_secs(2));
    bench.answer_load(&stored);
    assert_eq!(bench.attempt().id.item, ItemId::Parked(0));
    bench.pass(Duration::from_secs(3_600));
    assert!(bench.poll().is_none(), "it runs already");
}

#[test]
fn a_parked_event_that_is_not_in_the_ledger_stops_its_partition_and_nothing_follows_it() {
    let (mut bench, mut stored) = (bench(), Stored::default());
    park_first(&mut bench, &mut stored);
    bench.feed(1, Some("k"), "1");
    bench.store(&mut stored);
    bench.now = bench.machine.poll_timeout().expect("the head is due");
    let miss = |bench: &mut Bench| {
        let load = bench.load();
        assert!(matches!(load, Load::Parked(_)), "{load:?}");
        bench
            .machine
            .handle_loaded(bench.now, load, Loaded::Parked(None));
        assert!(bench.poll().is_none());
        bench.pass(Duration::from_secs(1));
    };
    // It was only late.
    miss(&mut bench);
    miss(&mut bench);
    assert!(bench.machine.gauges(bench.now).halted.is_none());
    bench.answer_load(&stored);
    bench.run(failed(FailureKind::Transient));
    bench.store(&mut stored);
    bench.now = bench.machine.poll_timeout().expect("the head is due");

    for _ in 0..3 {
        assert!(bench.machine.gauges(bench.now).halted.is_none());
        miss(&mut bench);
    }
    let gauges = bench.machine.gauges(bench.now);
    let halted = gauges.halted.expect("a reason");
    assert!(halted.contains("2 parked event(s)"), "{halted}");
    assert_eq!(gauges.parked.events, 2);
    bench.pass(Duration::from_secs(3_600));
    bench.feed(2, Some("k"), "2");
    assert!(bench.poll().is_none(), "none of the key starts");
}

#[test]
fn two_replays_of_a_letter_without_a_key_run_it_once() {
    let (mut bench, mut stored) = (bench(), Stored::default());
    let command = Command {
        kind: Kind::Replay,
        letter: Hash128([7; 16]),
        replays: 0,
        origin: Origin {
            topic: "in".into(),
            partition: 0,
            offset: 900,
        },
    };
    for offset in [0, 1] {
        let position = Position { topic: 1, offset };
        let decoded = Decoded::Command {
            command: Box::new(command.clone()),
            letter: Box::new(Decoded::Event(Arc::new(Event {
                id: "0".into(),
                source: "/till".into(),
                ty: "Sold".into(),
                ..Event::default()
            }))),
        };
        bench
            .machine
            .handle_record(bench.now, position, Arc::default(), decoded);
    }
    bench.answer_load(&stored);
    let unit = bench.store(&mut stored);
    assert_eq!(unit.completions.len(), 1, "the second waits for the first");
    assert_eq!(stored.letters[&command.letter], LetterStatus::Replaying);
    bench.answer_load(&stored);
    bench.run(done("1"));
    let unit = bench.store(&mut stored);
    assert_eq!(fates(&unit), [(ItemId::Parked(0), Fate::Handled)]);
    bench.answer_load(&stored);
    let unit = bench.store(&mut stored);
    assert_eq!(unit.completions[0].output, Output::default());
    assert!(stored.events.is_empty());
}

#[test]
fn a_partition_that_leaves_stores_nothing_that_the_others_must_make_room_for() {
    let (mut bench, mut stored) = (bench(), Stored::default());
    park_first(&mut bench, &mut stored);
    bench.poll();
    assert!(bench.gate.park(99, 0) > 0);
    bench.machine.handle_revoke();
    bench.poll();
    assert_eq!(bench.gate.park(99, 0), 0);
}

#[test]
fn whoever_holds_the_first_open_position_is_parked_when_the_span_is_at_its_bound() {
    let mut config = config();
    config.limits.span_max = 3;
    let mut bench = Bench::new(config);
    for (offset, key) in [(0, "k"), (1, "l"), (2, "m")] {
        bench.feed(offset, Some(key), key);
    }
    bench.run(failed(FailureKind::Transient));
    bench.run(done("1"));
    bench.run(done("1"));
    let fates = fates(&bench.unit());
    assert!(fates.contains(&(record(0), Fate::Parked)), "{fates:?}");
}
