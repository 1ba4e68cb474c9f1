use super::*;

#[test]
fn an_unavailable_outcome_costs_no_attempt() {
    let mut bench = bench();
    bench.feed(0, Some("k"), "a");
    bench.run(failed(FailureKind::Unavailable));
    bench.now = bench.machine.poll_timeout().expect("a retry waits");
    assert_eq!(bench.attempt().number, 1);
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

/// As at the end of a load of which some keys are bad: nothing is left to run but what fails.
#[test]
fn the_retries_of_bad_keys_do_not_open_the_breaker_though_nothing_else_runs() {
    const KEYS: [&str; 12] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];
    let mut bench = bench();
    let next = |bench: &mut Bench| loop {
        match bench.poll() {
            Some(Action::Attempt(attempt)) => break attempt,
            Some(Action::Commit(unit)) => bench.committed(&unit),
            Some(other) => panic!("{other:?}"),
            None => bench.now = bench.machine.poll_timeout().expect("a retry waits"),
        }
    };
    for (offset, key) in (0..).zip(KEYS) {
        bench.feed(offset, Some(key), key);
    }
    bench.feed(12, None, "fine");
    // Six fail, one is handled, six fail: no row is long enough.
    let mut first: Vec<_> = (0..13).map(|_| next(&mut bench)).collect();
    first.swap(6, 12);
    for attempt in first {
        let is_fine = attempt.event.id == "fine";
        let end = if is_fine {
            done("fine")
        } else {
            failed(FailureKind::Transient)
        };
        bench.outcome(attempt.id, end);
    }
    for number in 2..=3 {
        for _ in KEYS {
            let attempt = next(&mut bench);
            assert_eq!(attempt.number, number);
            bench.outcome(attempt.id, failed(FailureKind::Transient));
            let state = bench.gate.breaker.state(bench.now);
            assert_eq!(state, breaker::State::Closed);
        }
    }
}
