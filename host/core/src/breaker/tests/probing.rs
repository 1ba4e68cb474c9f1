//! Half-open: probes.

use super::*;

#[test]
fn half_open_runs_one_probe_at_a_time() {
    let mut bench = Bench::half_open(Config::default());
    let probe = bench.go(10);
    assert_eq!(
        bench.permit(11),
        Permit::Wait(Some(bench.now + Config::default().probe_max))
    );
    assert!(bench.breaker.record(bench.now, probe, Sample::Success));
    bench.go(11);
}

#[test]
fn each_probe_is_from_another_sequence() {
    let mut bench = Bench::half_open(Config::default());
    bench.attempt(10, Sample::Success);
    let later = Permit::Wait(Some(bench.now + Config::default().probe_patience));
    assert_eq!(bench.permit(10), later);
    bench.attempt(11, Sample::Success);
    assert_eq!(bench.permit(10), later);
    assert_eq!(bench.permit(11), later);
    bench.attempt(12, Sample::Success);
    assert_eq!(bench.state(), State::Recovering { concurrency: 1 });
}

#[test]
fn a_subscription_with_a_single_sequence_recovers_too() {
    let mut bench = Bench::half_open(Config::default());
    for _ in 0..3 {
        bench.attempt(10, Sample::Success);
        bench.pass(Config::default().probe_patience);
    }
    assert!(matches!(bench.state(), State::Recovering { .. }));
}

#[test]
fn a_failed_probe_opens_for_twice_the_time_up_to_five_minutes() {
    let mut bench = Bench::half_open(Config::default());
    for (sequence, wanted_s) in (10..).zip([20, 40, 80, 160, 300, 300]) {
        bench.attempt(sequence, Sample::Transient);
        assert_eq!(bench.open_for(), seconds(wanted_s));
        bench.pass(seconds(wanted_s));
    }
}

#[test]
fn a_permanent_failure_or_a_trap_of_a_probe_decides_nothing() {
    let mut bench = Bench::half_open(Config::default());
    bench.each([10, 11], Sample::Success);
    assert!(bench.attempt(12, Sample::Permanent));
    assert!(bench.attempt(13, Sample::Trap));
    assert_eq!(bench.state(), State::HalfOpen);
    bench.attempt(14, Sample::Success);
    assert!(matches!(bench.state(), State::Recovering { .. }));
}

#[test]
fn a_trap_of_a_probe_reopens_after_a_flood_of_traps() {
    let mut bench = Bench::new(Config::default());
    bench.each(0..20, Sample::Trap);
    bench.pass(seconds(300));
    bench.attempt(30, Sample::Trap);
    assert_eq!(bench.open_for(), seconds(300));
    assert!(bench.breaker.flood(bench.now));
    bench.pass(seconds(300));
    bench.recover();
    assert!(!bench.breaker.flood(bench.now));
}

#[test]
fn the_alarm_of_a_flood_lasts_until_it_has_closed() {
    let mut bench = Bench::new(Config::default());
    bench.each(0..20, Sample::Trap);
    bench.pass(seconds(300));
    bench.each(100..103, Sample::Success);
    bench.each(200..220, Sample::Success);
    bench.each(300..303, Sample::Unavailable);
    assert_eq!(bench.open_for(), seconds(300));
    assert!(bench.breaker.flood(bench.now));
}

#[test]
fn an_abandoned_probe_makes_room_for_the_next_and_counts_for_nothing() {
    let mut bench = Bench::half_open(Config::default());
    for _ in 0..5 {
        let probe = bench.go(10);
        assert!(bench.breaker.abandoned(bench.now, probe));
        assert!(!bench.breaker.abandoned(bench.now, probe));
    }
    assert_eq!(bench.state(), State::HalfOpen);
    bench.recover();
}

#[test]
fn a_probe_that_never_comes_back_is_given_up() {
    let mut bench = Bench::half_open(Config::default());
    let lost = bench.go(10);
    let at = bench.breaker.next_change(bench.now).unwrap();
    bench.now = at;
    let next = bench.go(11);
    // The lost one is found: it must not end the other's probe.
    assert!(!bench.breaker.record(bench.now, lost, Sample::Success));
    assert!(matches!(bench.permit(12), Permit::Wait(_)));
    assert!(bench.breaker.record(bench.now, next, Sample::Success));
}

#[test]
fn one_bad_key_does_not_keep_it_open_when_the_outage_is_over() {
    let mut bench = Bench::half_open(Config::default());
    // Its retry is the first to come due, each time.
    bench.attempt(666, Sample::Transient);
    bench.pass(seconds(20));
    assert!(matches!(bench.permit(666), Permit::Wait(Some(_))));
    bench.each(100..103, Sample::Success);
    bench.attempt(666, Sample::Transient);
    assert_eq!(bench.state(), State::Recovering { concurrency: 1 });
    bench.pass(seconds(12));
    assert_eq!(bench.state(), State::Closed);
}

#[test]
fn what_has_failed_before_is_a_probe_only_where_nothing_else_comes() {
    let patience = Config::default().probe_patience;
    let mut bench = Bench::half_open(Config::default());
    assert_eq!(
        bench.permit_again(1),
        Permit::Wait(Some(bench.now + patience))
    );
    bench.go(100);
    let mut bench = Bench::half_open(Config::default());
    bench.pass(patience);
    bench.attempt_again(1, Sample::Transient);
    assert_eq!(bench.open_for(), seconds(20), "all there is fails");
}

#[test]
fn retries_of_bad_keys_undo_no_probe_that_succeeded() {
    let mut bench = Bench::half_open(Config::default());
    bench.attempt(100, Sample::Success);
    // One success is enough for them not to wait any more, nor to decide.
    for bad in 0..20 {
        bench.attempt_again(bad, Sample::Transient);
    }
    assert_eq!(bench.state(), State::HalfOpen);
    bench.attempt_again(20, Sample::Success);
    bench.attempt(101, Sample::Success);
    assert_eq!(bench.state(), State::Recovering { concurrency: 1 });
    bench.attempt_again(21, Sample::Transient);
    assert_eq!(bench.state(), State::Recovering { concurrency: 1 });
    bench.attempt_again(22, Sample::Unavailable);
    assert_eq!(bench.open_for(), seconds(20));
}

#[test]
fn in_the_next_outage_every_key_can_reopen_it_again() {
    let mut bench = Bench::half_open(Config::default());
    bench.attempt(666, Sample::Transient);
    bench.pass(seconds(20));
    bench.recover();
    bench.pass(seconds(300));
    bench.each(0..3, Sample::Unavailable);
    bench.pass(seconds(10));
    bench.attempt(666, Sample::Transient);
    assert_eq!(bench.open_for(), seconds(20));
}

#[test]
fn what_opened_it_does_not_count_against_probes() {
    let mut bench = Bench::new(Config::default());
    bench.each(100..115, Sample::Success);
    bench.each(0..5, Sample::Transient);
    assert_eq!(bench.cause(), Some(Cause::Share));
    bench.pass(seconds(10));
    bench.recover();
}
