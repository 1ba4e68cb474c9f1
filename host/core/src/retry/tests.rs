use super::*;
use crate::unit::Position;

fn failed(kind: FailureKind) -> Failure {
    Failure {
        kind,
        code: "x".into(),
        message: String::new(),
        retry_after_ms: None,
        backtrace: None,
    }
}

fn item(offset: u64) -> ItemId {
    ItemId::Record(Position { topic: 0, offset })
}

fn hours(n: u64) -> Instant {
    Instant {
        wall: Millis(n * 3_600_000),
        active: Active(n * 3_600_000),
    }
}

fn fail(at: Instant, attempts: &mut Attempts, kind: FailureKind) -> Verdict {
    count(&Config::default(), at, item(1), attempts, &failed(kind))
}

#[test]
fn the_schedule_goes_through_immediate_short_and_parked_delays() {
    let config = Config::default();
    let check = |failures, elapsed_s, level, wanted_ms| {
        let got = config.delay(failures, Duration::from_secs(elapsed_s));
        let wanted = (level, Duration::from_millis(wanted_ms));
        assert_eq!(got, wanted, "failure {failures} after {elapsed_s} s");
    };
    check(1, 0, Level::Soon, 50);
    check(2, 0, Level::Soon, 250);
    check(3, 1, Level::Soon, 1_000);
    check(4, 2, Level::Soon, 2_000);
    check(5, 4, Level::Soon, 4_000);
    check(6, 8, Level::Soon, 4_000);
    check(6, 12, Level::Parked, 30_000);
    check(7, 60, Level::Parked, 120_000);
    check(99, 90_000, Level::Parked, 12 * 3_600_000);
}

#[test]
fn an_outage_without_a_counted_failure_is_parked_too() {
    let config = Config::default();
    assert_eq!(config.delay(6, Duration::ZERO).0, Level::Soon);
    assert_eq!(config.delay(7, Duration::ZERO).0, Level::Parked);
}

#[test]
fn jitter_only_extends_a_delay_by_at_most_half() {
    let config = Config::default();
    for failures in 1..200 {
        let delay = Duration::from_secs(10);
        assert!(config.jitter(delay, item(failures.into()), failures) <= delay / 2);
    }
}

#[test]
fn unavailable_consumes_no_attempt_and_never_kills() {
    let mut attempts = Attempts::default();
    for hour in 0..100 {
        let verdict = fail(hours(hour), &mut attempts, FailureKind::Unavailable);
        assert_ne!(verdict, Verdict::Die);
    }
    assert_eq!(attempts.counted, 0);
}

#[test]
fn an_outage_does_not_age_an_event() {
    let mut attempts = Attempts::default();
    fail(hours(0), &mut attempts, FailureKind::Unavailable);
    let verdict = fail(hours(48), &mut attempts, FailureKind::Transient);
    assert_ne!(verdict, Verdict::Die);
}

#[test]
fn age_counts_on_the_active_clock_only() {
    let mut attempts = Attempts::default();
    fail(hours(0), &mut attempts, FailureKind::Transient);
    let later = |active| Instant {
        active,
        ..hours(1_000)
    };
    let verdict = fail(
        later(hours(23).active),
        &mut attempts,
        FailureKind::Transient,
    );
    assert_ne!(verdict, Verdict::Die);
    let verdict = fail(
        later(hours(24).active),
        &mut attempts,
        FailureKind::Transient,
    );
    assert_eq!(verdict, Verdict::Die);
}

#[test]
fn a_trap_gets_three_attempts() {
    let mut attempts = Attempts::default();
    let dies = [(); 3].map(|()| fail(hours(0), &mut attempts, FailureKind::Trap) == Verdict::Die);
    assert_eq!(dies, [false, false, true]);
}

#[test]
fn a_hint_delays_but_is_capped() {
    let failure = Failure {
        retry_after_ms: Some(u64::MAX),
        ..failed(FailureKind::Transient)
    };
    let mut attempts = Attempts::default();
    let verdict = count(
        &Config::default(),
        hours(0),
        item(1),
        &mut attempts,
        &failure,
    );
    assert_eq!(verdict, Verdict::RetryAt(Millis(0) + RETRY_AFTER_MAX));
}
