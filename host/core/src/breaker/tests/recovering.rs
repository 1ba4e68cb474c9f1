//! Recovering, until it is closed.

use super::*;

#[test]
fn concurrency_doubles_every_two_seconds_and_then_it_closes() {
    let mut bench = Bench::recovering(Config::default());
    let since = bench.now;
    let mut tickets = Vec::new();
    for (step, limit) in (0..).zip([1, 2, 4, 8, 16, 32]) {
        bench.now = since + seconds(2 * step);
        while tickets.len() < limit {
            tickets.push(bench.go(tickets.len() as u64));
        }
        assert_eq!(bench.state(), State::Recovering { concurrency: limit });
        assert_eq!(
            bench.permit(99),
            Permit::Wait(Some(since + seconds(2 * step + 2)))
        );
    }
    bench.now = since + seconds(12);
    assert_eq!(bench.state(), State::Closed);
    bench.go(99);
}

#[test]
fn an_attempt_that_ends_while_recovering_makes_room_for_the_next() {
    let mut bench = Bench::recovering(Config::default());
    let first = bench.go(1);
    assert!(matches!(bench.permit(2), Permit::Wait(_)));
    assert!(bench.breaker.record(bench.now, first, Sample::Success));
    let second = bench.go(2);
    assert!(bench.breaker.abandoned(bench.now, second));
    bench.go(3);
}

#[test]
fn a_failure_while_recovering_opens_for_twice_the_time() {
    for sample in [Sample::Transient, Sample::Unavailable, Sample::Ledger] {
        let mut bench = Bench::recovering(Config::default());
        bench.each(200..210, Sample::Success);
        bench.attempt(10, sample);
        assert_eq!(bench.open_for(), seconds(20), "{sample:?}");
    }
}

#[test]
fn rare_failures_do_not_keep_a_busy_handler_from_closing() {
    let mut bench = Bench::recovering(Config::default());
    let since = bench.now;
    for attempt in 0..12_000 {
        bench.now = since + Duration::from_millis(attempt);
        let sample = if attempt % 100 == 99 {
            Sample::Transient
        } else {
            Sample::Success
        };
        bench.attempt(1_000 + attempt, sample);
    }
    bench.now = since + seconds(12);
    assert_eq!(bench.state(), State::Closed);
}

#[test]
fn a_ledger_failure_without_a_ticket_reopens() {
    let mut bench = Bench::half_open(Config::default());
    assert!(bench.breaker.ledger_failed(bench.now, 10));
    assert_eq!(bench.open_for(), seconds(20));
}

#[test]
fn doubling_is_forgotten_after_five_minutes_closed() {
    let check = |closed_s, wanted_s| {
        let mut bench = Bench::half_open(Config::default());
        bench.recover();
        bench.pass(seconds(closed_s));
        bench.each(0..3, Sample::Unavailable);
        assert_eq!(
            bench.open_for(),
            seconds(wanted_s),
            "after {closed_s} s closed"
        );
    };
    check(0, 20);
    check(299, 20);
    check(300, 10);
}
