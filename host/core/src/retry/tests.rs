use super::*;

fn failed(kind: FailureKind) -> Failure {
    Failure {
        kind,
        code: "x".into(),
        message: String::new(),
        retry_after_ms: None,
        backtrace: None,
    }
}

#[test]
fn the_schedule_goes_through_immediate_short_and_long_delays() {
    let config = Config::default();
    let check = |failures, elapsed_s, wanted_ms| {
        let got = config.delay(failures, Duration::from_secs(elapsed_s));
        assert_eq!(
            got,
            Duration::from_millis(wanted_ms),
            "failure {failures} after {elapsed_s} s"
        );
    };
    check(1, 0, 50);
    check(2, 0, 250);
    check(3, 1, 1_000);
    check(4, 2, 2_000);
    check(5, 4, 4_000);
    check(6, 8, 4_000);
    check(6, 12, 30_000);
    check(7, 60, 120_000);
    check(99, 90_000, 12 * 3_600_000);
}

#[test]
fn jitter_only_extends_a_delay_by_at_most_half() {
    let config = Config::default();
    for failures in 1..200 {
        let position = Position {
            topic: 0,
            offset: u64::from(failures),
        };
        let delay = Duration::from_secs(10);
        assert!(config.jitter(delay, position, failures) <= delay / 2);
    }
}

#[test]
fn unavailable_consumes_no_attempt_and_never_kills() {
    let position = Position {
        topic: 0,
        offset: 1,
    };
    let mut tally = Tally::new(position, Millis(0));
    for hour in 0..100 {
        let verdict = tally.count(
            &Config::default(),
            Millis(hour * 3_600_000),
            &failed(FailureKind::Unavailable),
        );
        assert!(matches!(verdict, Verdict::RetryAt(_)));
    }
    assert_eq!(tally.open.attempts, 0);
}

#[test]
fn an_outage_does_not_age_an_event() {
    let position = Position {
        topic: 0,
        offset: 1,
    };
    let mut tally = Tally::new(position, Millis(0));
    tally.count(
        &Config::default(),
        Millis(0),
        &failed(FailureKind::Unavailable),
    );
    let two_days = Millis(0) + 2 * Config::default().age_max;
    let verdict = tally.count(
        &Config::default(),
        two_days,
        &failed(FailureKind::Transient),
    );
    assert!(matches!(verdict, Verdict::RetryAt(_)));
}

#[test]
fn a_trap_gets_three_attempts() {
    let mut tally = Tally::new(
        Position {
            topic: 0,
            offset: 1,
        },
        Millis(0),
    );
    let verdicts: Vec<bool> = (0..3)
        .map(|_| {
            tally.count(&Config::default(), Millis(1), &failed(FailureKind::Trap)) == Verdict::Die
        })
        .collect();
    assert_eq!(verdicts, [false, false, true]);
}

#[test]
fn a_hint_delays_but_is_capped() {
    let mut tally = Tally::new(
        Position {
            topic: 0,
            offset: 1,
        },
        Millis(0),
    );
    let failure = Failure {
        retry_after_ms: Some(u64::MAX),
        ..failed(FailureKind::Transient)
    };
    let Verdict::RetryAt(at) = tally.count(&Config::default(), Millis(0), &failure) else {
        panic!("dies at once")
    };
    assert_eq!(at, Millis(0) + RETRY_AFTER_MAX);
}
