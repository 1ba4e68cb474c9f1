//! Time, memory and words.

use super::*;

#[test]
fn a_clock_that_is_set_back_does_not_lengthen_an_outage() {
    let mut bench = Bench::new(Config::default());
    bench.each(0..3, Sample::Unavailable);
    bench.now = bench.now - seconds(3_600);
    assert_eq!(bench.open_for(), seconds(10));
    assert_eq!(bench.permit(7), Permit::Wait(Some(bench.now + seconds(10))));
    bench.pass(seconds(10));
    bench.now = bench.now - seconds(7_200);
    assert_eq!(
        bench.state(),
        State::Open {
            until: bench.now + seconds(10)
        }
    );
    let _ = bench.permit(7);
    bench.pass(seconds(10));
    bench.recover();
}

#[test]
fn callers_that_come_in_disorder_do_not_speed_time_up() {
    let mut bench = Bench::new(Config::default());
    bench.each(0..3, Sample::Unavailable);
    for _ in 0..100_000 {
        let _ = bench
            .breaker
            .permit(bench.now + Duration::from_millis(3), Trial::first(7));
        let _ = bench.breaker.permit(bench.now, Trial::first(7));
    }
    assert_eq!(bench.open_for(), seconds(10));
}

#[test]
fn an_empty_window_gives_its_memory_back() {
    let mut bench = Bench::new(Config::default());
    bench.each(0..100_000, Sample::Success);
    assert_eq!(bench.breaker.evidence.outcomes(), 1_024);
    bench.pass(seconds(60));
    bench.breaker.handle_timeout(bench.now);
    assert_eq!(bench.breaker.evidence.outcomes(), 0);
    assert_eq!(bench.breaker.evidence.allocated(), 0);
}

#[test]
fn an_outcome_is_one_of_the_samples() {
    let check = |kind, wanted| assert_eq!(Sample::from(kind), wanted);
    check(FailureKind::Transient, Sample::Transient);
    check(FailureKind::Unavailable, Sample::Unavailable);
    check(FailureKind::Permanent, Sample::Permanent);
    check(FailureKind::Trap, Sample::Trap);
    check(FailureKind::Limit, Sample::Trap);
    let done = Outcome::Done(crate::event::Effects::default());
    assert_eq!(Sample::from(&done), Sample::Success);
}
