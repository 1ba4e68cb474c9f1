//! Timers and delayed emissions.

use super::*;
use crate::event::{TimerSet, TimerWrite};
use crate::unit::{TimerChange, TimerSlot};

fn sets(name: &str, after: Duration) -> Outcome {
    Outcome::Done(Effects {
        timers: vec![TimerWrite {
            name: name.into(),
            call: 0,
            set: Some(TimerSet {
                due: NOW + after,
                data: Some("x".into()),
            }),
        }],
        ..Effects::default()
    })
}

fn cancels(name: &str) -> Outcome {
    Outcome::Done(Effects {
        timers: vec![TimerWrite {
            name: name.into(),
            call: 0,
            set: None,
        }],
        ..Effects::default()
    })
}

fn changes(unit: &Unit) -> Vec<&TimerChange> {
    let outputs = unit.completions.iter().map(|done| &done.output);
    outputs.flat_map(|output| &output.timers).collect()
}

/// Sets a timer a minute ahead by an event of `k`.
pub(super) fn with_timer() -> (Bench, Timer) {
    let mut bench = bench();
    bench.feed(0, Some("k"), "0");
    bench.run(sets("expire", Duration::from_secs(60)));
    let unit = bench.unit();
    let timer = changes(&unit)[0].timer.clone().expect("it is set");
    bench.committed(&unit);
    (bench, timer)
}

impl Bench {
    /// Answers this read, lets all that follow fail, and gives what comes then.
    fn read(&mut self, wanted: &Load, mut answer: Loaded) -> Option<Action> {
        let mut load = self.load();
        assert_eq!(load, *wanted);
        loop {
            self.machine.handle_loaded(self.now, load, answer);
            load = match self.poll() {
                Some(Action::Load(load)) => load,
                other => return other,
            };
            answer = Loaded::Unavailable;
        }
    }

    pub(super) fn answer_timer(&mut self, timer: Option<&Timer>) {
        let load = self.load();
        assert!(matches!(load, Load::Timer(..)), "{load:?}");
        let loaded = timer.cloned().map(|timer| {
            let event = crate::binding::from_record(&timer.out.record).expect("an event");
            (timer, Decoded::Event(Arc::new(event)))
        });
        self.machine
            .handle_loaded(self.now, load, Loaded::Timer(loaded));
    }
}

#[test]
fn a_timer_fires_when_it_is_due_and_not_before_into_its_sequence() {
    let (mut bench, timer) = with_timer();
    let due = NOW + Duration::from_secs(60);
    assert_eq!(bench.machine.poll_timeout(), Some(due));
    bench.now = Millis(due.0 - 1);
    assert!(bench.poll().is_none());
    bench.now = due;
    bench.answer_timer(Some(&timer));
    let attempt = bench.attempt();
    assert_eq!(attempt.id.item, ItemId::Timer(timer.id));
    assert_eq!(attempt.event.ty, TIMER_TYPE);
    assert_eq!(attempt.event.id, timer.id.to_uuid());
    assert_eq!(attempt.event.source, "/weir/count/timers");
    assert_eq!(attempt.event.extension(TIMER_NAME), Some("expire"));
    assert_eq!(attempt.event.extension("causationid"), Some("0"));
    bench.outcome(attempt.id, done("1"));
    let unit = bench.unit();
    let change = changes(&unit)[0];
    assert_eq!((change.timer.as_ref(), unit.completions.len()), (None, 1));
}

#[test]
fn a_timer_that_is_cancelled_before_its_attempt_starts_does_not_run() {
    let (mut bench, _) = with_timer();
    bench.feed(1, Some("k"), "1");
    let cancelling = bench.attempt().id;
    bench.now = NOW + Duration::from_secs(61);
    assert!(bench.poll().is_none(), "it waits behind the running event");
    bench.outcome(cancelling, cancels("expire"));
    let unit = bench.unit();
    assert_eq!(fates(&unit), [(record(1), Fate::Handled)]);
    bench.committed(&unit);
    bench.answer_timer(None);
    assert!(bench.poll().is_none());
    assert_eq!(bench.machine.gauges(NOW).open, 0);
}

#[test]
fn a_timer_fires_when_its_cancellation_is_withdrawn() {
    let (mut bench, timer) = with_timer();
    bench.feed(1, Some("k"), "1");
    let cancelling = bench.attempt().id;
    bench.now = NOW + Duration::from_secs(61);
    assert!(bench.poll().is_none(), "it waits behind the running event");
    bench.outcome(cancelling, cancels("expire"));
    let unit = bench.unit();
    let refused = CommitResult::Refused {
        item: record(1),
        code: "too-large".into(),
        message: "no".into(),
    };
    bench.answer(unit.number, refused);
    bench.answer_timer(Some(&timer));
    assert_eq!(bench.attempt().id.item, ItemId::Timer(timer.id));
}

#[test]
fn a_replaced_timer_fires_at_its_new_instant_only() {
    let (mut bench, _) = with_timer();
    bench.feed(1, Some("k"), "1");
    bench.run(sets("expire", Duration::from_secs(120)));
    let unit = bench.unit();
    bench.committed(&unit);
    assert_eq!(
        bench.machine.poll_timeout(),
        Some(NOW + Duration::from_secs(120))
    );
}

#[test]
fn a_timer_that_the_ledger_no_longer_has_is_dropped() {
    let (mut bench, _) = with_timer();
    bench.now = NOW + Duration::from_secs(60);
    bench.answer_timer(None);
    assert!(bench.poll().is_none());
    assert_eq!(bench.machine.gauges(NOW).open, 0);
}

#[test]
fn a_timer_that_sets_itself_again_stays_set() {
    let (mut bench, timer) = with_timer();
    bench.now = NOW + Duration::from_secs(60);
    bench.answer_timer(Some(&timer));
    bench.run(sets("expire", Duration::from_secs(120)));
    let unit = bench.unit();
    let set = changes(&unit);
    assert_eq!(set.len(), 1);
    let again = set[0].timer.as_ref().expect("it is set");
    assert_ne!(
        again.id, timer.id,
        "each setting has an identity of its own"
    );
}

#[test]
fn timers_come_back_after_a_restart() {
    let (_, timer) = with_timer();
    let key = TimerKey {
        sequence: SequenceKey::Keyed {
            tenant: DEFAULT_TENANT.into(),
            key: "k".into(),
        },
        slot: TimerSlot::Named("expire".into()),
    };
    let restore = Restore {
        timers: TimerPage {
            timers: vec![(key, timer.due, timer.id)],
            more: false,
        },
        ..Restore::default()
    };
    let mut bench = Bench::restored(config(), restore);
    bench.now = timer.due;
    bench.answer_timer(Some(&timer));
    assert_eq!(bench.attempt().id.item, ItemId::Timer(timer.id));
}

fn name(name: &str) -> TimerKey {
    TimerKey {
        sequence: SequenceKey::Keyed {
            tenant: DEFAULT_TENANT.into(),
            key: "k".into(),
        },
        slot: TimerSlot::Named(name.into()),
    }
}

fn tried(id: Hash128) -> OpenAttempts {
    OpenAttempts {
        item: ItemId::Timer(id),
        attempts: Attempts {
            counted: 1,
            ..Attempts::default()
        },
    }
}

#[test]
fn attempts_of_a_timer_that_was_cancelled_while_it_was_not_in_memory_are_forgotten() {
    let gone = tried(Hash128([9; 16]));
    let restored = |timers: &[(TimerKey, Millis, Hash128)], more| {
        let mut bench = Bench::restored(
            config(),
            Restore {
                timers: TimerPage {
                    timers: timers.to_vec(),
                    more,
                },
                open: vec![gone],
                ..Restore::default()
            },
        );
        bench.feed(0, Some("other"), "0");
        bench
    };
    let later = (name("b"), NOW + Duration::from_secs(60), Hash128([2; 16]));
    let mut all = restored(&[], false);
    assert_eq!(all.unit().open, [], "nobody could know it");
    let mut first = restored(std::slice::from_ref(&later), true);
    assert_eq!(first.unit().open, [], "what was tried was due by now");

    let (due, id) = (NOW - Duration::from_secs(60), Hash128([1; 16]));
    let mut bench = restored(&[(name("a"), due, id)], true);
    let next = Load::Timers((due, id), 10_000);
    let Some(Action::Commit(unit)) = bench.read(&next, Loaded::Unavailable) else {
        panic!("the lease is asked for");
    };
    assert_eq!(unit.open, [gone], "it may be one that was not read");
    bench.committed(&unit);
    bench.pass(Duration::from_secs(1));
    let page = TimerPage {
        timers: vec![later],
        more: true,
    };
    let Some(Action::Attempt(attempt)) = bench.read(&next, Loaded::Timers(page)) else {
        panic!("the event is attempted");
    };
    bench.outcome(attempt.id, done("1"));
    bench.pass(Duration::from_secs(1));
    bench.answer_timer(None);
    assert_eq!(bench.unit().open, []);
}

#[test]
fn attempts_of_a_timer_end_with_its_setting_however_many_timers_there_are() {
    let mut config = config();
    config.limits.timers_resident_max = 2;
    let (id, later) = (Hash128([1; 16]), NOW + Duration::from_secs(3_600));
    let restore = Restore {
        timers: TimerPage {
            timers: vec![(name("a"), later, id), (name("b"), later, Hash128([2; 16]))],
            more: true,
        },
        open: vec![tried(id)],
        ..Restore::default()
    };
    let mut bench = Bench::restored(config, restore);
    bench.feed(0, Some("k"), "0");
    bench.run(cancels("a"));
    let unit = bench.unit();
    assert_eq!(unit.open, [tried(id)], "it is still set");
    bench.committed(&unit);
    bench.feed(1, Some("k"), "1");
    bench.run(done("1"));
    assert_eq!(bench.unit().open, []);
}

#[test]
fn a_delayed_emission_is_published_under_its_id_when_it_is_due() {
    let mut bench = bench();
    bench.feed(0, Some("k"), "0");
    bench.run(Outcome::Done(Effects {
        emissions: vec![Emission {
            ty: "Reminder".into(),
            delay_ms: Some(5_000),
            ..Emission::default()
        }],
        ..Effects::default()
    }));
    let unit = bench.unit();
    assert_eq!(unit.completions[0].output.records, []);
    let timer = changes(&unit)[0].timer.clone().expect("it is set");
    bench.committed(&unit);
    assert!(bench.poll().is_none());
    bench.now = timer.due;
    bench.answer_timer(Some(&timer));
    let unit = bench.unit();
    let output = &unit.completions[0].output;
    assert_eq!(output.records, [timer.out]);
    assert_eq!(output.timers[0].timer, None);
}

#[test]
fn a_delay_needs_the_grant() {
    let mut config = config();
    config.emit.timers = false;
    let mut bench = Bench::new(config);
    bench.feed(0, Some("k"), "0");
    bench.run(Outcome::Done(Effects {
        emissions: vec![Emission {
            ty: "Reminder".into(),
            delay_ms: Some(5_000),
            ..Emission::default()
        }],
        ..Effects::default()
    }));
    assert_eq!(fates(&bench.unit()), [(record(0), Fate::Dead)]);
}

#[test]
fn the_letter_of_a_delayed_emission_has_its_record() {
    let mut bench = bench();
    bench.feed(0, Some("k"), "0");
    bench.run(Outcome::Done(Effects {
        emissions: vec![Emission {
            ty: "Reminder".into(),
            data: Some("pay".into()),
            delay_ms: Some(5_000),
            ..Emission::default()
        }],
        ..Effects::default()
    }));
    let unit = bench.unit();
    let timer = changes(&unit)[0].timer.clone().expect("it is set");
    bench.committed(&unit);
    bench.now = timer.due;
    bench.answer_timer(Some(&timer));
    let unit = bench.unit();
    let refused = CommitResult::Refused {
        item: ItemId::Timer(timer.id),
        code: "too-large".into(),
        message: String::new(),
    };
    bench.answer(unit.number, refused);
    let unit = bench.unit();
    assert_eq!(fates(&unit), [(ItemId::Timer(timer.id), Fate::Dead)]);
    let letter = &unit.completions[0].output.records[0].record;
    assert_eq!(letter.value, Some("pay".into()));
}

#[test]
fn more_timers_at_one_instant_than_fit_in_memory_are_all_read() {
    let mut config = config();
    config.limits.timers_resident_max = 2;
    let due = NOW + Duration::from_secs(60);
    let timer = |text: &str, id: u8| (name(text), due, Hash128([id; 16]));
    let page = |timers: &[_], more| TimerPage {
        timers: timers.to_vec(),
        more,
    };
    let restore = Restore {
        timers: page(&[timer("a", 1), timer("b", 2)], true),
        ..Restore::default()
    };
    let mut bench = Bench::restored(config, restore);
    bench.now = due;
    let answer = Loaded::Timers(page(&[timer("c", 3)], false));
    let next = Load::Timers((due, Hash128([2; 16])), 2);
    assert!(bench.read(&next, answer).is_none());
    assert_eq!(bench.machine.gauges(bench.now).open, 3);
}

/// A machine whose sequence "k" is parked for a minute.
fn parked() -> (Bench, crate::unit::ParkedSequence) {
    let event = parked_event();
    let sequence = crate::unit::ParkedSequence {
        count: 1,
        bytes: event.bytes(),
        head: crate::unit::Head {
            due: NOW + Duration::from_secs(60),
            attempts: Attempts::NONE,
            letter: None,
            held: false,
        },
    };
    let timers = (0..4).map(|n: u8| (name(&n.to_string()), NOW, Hash128([n; 16])));
    let mut config = config();
    config.limits.timers_resident_max = 4;
    let restore = Restore {
        parked: vec![(name("").sequence, sequence)],
        next_parked: 1,
        timers: TimerPage {
            timers: timers.collect(),
            more: true,
        },
        ..Restore::default()
    };
    let mut bench = Bench::restored(config, restore);
    bench.ends = vec![1, 0];
    (bench, sequence)
}

#[test]
fn timers_of_a_parked_sequence_take_no_memory_and_hide_no_other_timer() {
    let (mut bench, _) = parked();
    let load = bench.load();
    assert_eq!(load, Load::Timers((NOW, Hash128([3; 16])), 4));
    assert_eq!(bench.machine.gauges(bench.now).timers, 0);
    let other = TimerKey {
        sequence: SequenceKey::Keyed {
            tenant: DEFAULT_TENANT.into(),
            key: "other".into(),
        },
        slot: TimerSlot::Named("t".into()),
    };
    let page = TimerPage {
        timers: vec![(other.clone(), NOW, Hash128([7; 16]))],
        more: false,
    };
    bench
        .machine
        .handle_loaded(bench.now, load, Loaded::Timers(page));
    let fires = Load::Timer(ItemId::Timer(Hash128([7; 16])), other);
    assert_eq!(bench.load(), fires);
}

#[test]
fn timers_of_a_parked_sequence_are_read_when_it_is_parked_no_longer() {
    let (mut bench, _) = parked();
    let load = bench.load();
    let none = TimerPage::default();
    bench
        .machine
        .handle_loaded(bench.now, load, Loaded::Timers(none));
    bench.pass(Duration::from_secs(60));
    let load = bench.load();
    assert!(matches!(load, Load::Parked(_)), "{load:?}");
    let loaded = Loaded::Parked(Some((parked_event(), Decoded::Skipped)));
    bench.machine.handle_loaded(bench.now, load, loaded);
    let unit = bench.unit();
    bench.committed(&unit);
    let load = bench.load();
    assert_eq!(load, Load::TimersOf(name("").sequence));
    bench
        .machine
        .handle_loaded(bench.now, load, Loaded::Unavailable);
    bench.pass(Duration::from_secs(1));
    let load = bench.load();
    let page = TimerPage {
        timers: vec![(name("2"), NOW, Hash128([2; 16]))],
        more: false,
    };
    bench
        .machine
        .handle_loaded(bench.now, load, Loaded::Timers(page));
    let fires = Load::Timer(ItemId::Timer(Hash128([2; 16])), name("2"));
    assert_eq!(bench.load(), fires);
}

#[test]
fn time_in_which_the_gate_was_open_ages_nothing() {
    let mut bench = bench();
    assert!(bench.poll().is_none());
    bench.gate.pause(true);
    assert!(bench.poll().is_none());
    bench.pass(Duration::from_secs(36_000));
    bench.gate.pause(false);
    bench.feed(0, Some("k"), "0");
    bench.run(done("1"));
    assert!(bench.unit().active < crate::unit::Active(1_000));
}

#[test]
fn time_in_which_the_machine_slept_ages_nothing() {
    let mut bench = bench();
    let slept = |seconds| Duration::from_secs(seconds);
    bench.machine.handle_sleep(slept(1_000));
    assert!(bench.poll().is_none());
    bench.pass(slept(36_002));
    bench.machine.handle_sleep(slept(37_000));
    bench.feed(0, Some("k"), "0");
    bench.run(done("1"));
    let unit = bench.unit();
    let active = unit.active.0;
    assert!((2_000..3_000).contains(&active), "{active} ms");
    bench.committed(&unit);
    bench.machine.handle_sleep(slept(36_999));
    bench.pass(slept(1));
    bench.feed(1, Some("k"), "1");
    bench.run(done("1"));
    let active = bench.unit().active.0;
    assert!(
        (3_000..4_000).contains(&active),
        "clocks that are read apart differ: {active} ms"
    );
}

#[test]
fn an_event_does_not_die_of_the_night_in_which_the_machine_slept() {
    let mut bench = bench();
    bench.machine.handle_sleep(Duration::ZERO);
    bench.feed(0, Some("k"), "0");
    bench.run(failed(FailureKind::Transient));
    bench.pass(Duration::from_secs(25 * 3_600));
    bench.machine.handle_sleep(Duration::from_secs(25 * 3_600));
    bench.run(failed(FailureKind::Transient));
    let unit = bench.unit();
    assert!(!fates(&unit).contains(&(record(0), Fate::Dead)), "{unit:?}");
}

#[test]
fn a_fallback_has_no_timers() {
    let bench = Bench::new(Config {
        fallback: Some(config().emit),
        ..config()
    });
    let rules = bench.machine.config.fallback.as_ref();
    assert!(rules.is_some_and(|rules| !rules.timers));
}
