//! The operator.

use super::*;

#[test]
fn forced_open_lets_nothing_through_until_enforced() {
    let mut bench = Bench::new(Config::default());
    let running = bench.go(1);
    bench.breaker.force_open(bench.now);
    bench.pass(seconds(1_000_000));
    assert_eq!(bench.permit(1), Permit::Wait(None));
    assert_eq!(bench.breaker.next_change(bench.now), None);
    assert!(!bench.breaker.record(bench.now, running, Sample::Success));
    assert_eq!(bench.state(), State::ForcedOpen);
    bench.breaker.enforce(bench.now);
    assert_eq!(bench.state(), State::Closed);
}

#[test]
fn disabled_lets_everything_through_whatever_happens() {
    let mut bench = Bench::half_open(Config::default());
    bench.breaker.disable(bench.now);
    bench.each(0..1_000, Sample::Unavailable);
    let running = bench.go(1);
    assert_eq!(bench.state(), State::Disabled);
    bench.breaker.enforce(bench.now);
    assert!(
        !bench
            .breaker
            .record(bench.now, running, Sample::Unavailable)
    );
    bench.each(0..2, Sample::Unavailable);
    assert_eq!(bench.state(), State::Closed);
}

#[test]
fn another_version_starts_with_a_closed_breaker() {
    let mut bench = Bench::new(Config::default());
    bench.each(0..20, Sample::Trap);
    bench.breaker.renew(bench.now);
    assert_eq!(bench.state(), State::Closed);
    assert!(!bench.breaker.flood(bench.now));
    bench.breaker.force_open(bench.now);
    bench.breaker.renew(bench.now);
    assert_eq!(bench.state(), State::ForcedOpen);
}

#[test]
fn enforcing_what_is_enforced_changes_nothing() {
    let mut bench = Bench::half_open(Config::default());
    bench.breaker.enforce(bench.now);
    assert_eq!(bench.state(), State::HalfOpen);
}
