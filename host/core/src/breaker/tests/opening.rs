//! The rules that open it.

use super::*;

#[test]
fn a_quarter_of_twenty_outcomes_opens_for_ten_seconds() {
    let check = |failures: u64, successes: u64, sample, wanted: Option<Cause>| {
        let mut bench = Bench::new(Config::default());
        bench.each(0..failures, sample);
        assert_eq!(bench.cause(), None);
        bench.each(1_000..1_000 + successes, Sample::Success);
        assert_eq!(bench.cause(), wanted, "{failures} of {sample:?}");
        if wanted.is_some() {
            assert_eq!(bench.open_for(), seconds(10));
        }
    };
    check(5, 15, Sample::Transient, Some(Cause::Share));
    check(5, 15, Sample::Ledger, Some(Cause::Share));
    check(4, 16, Sample::Transient, None);
    check(5, 14, Sample::Transient, None);
    check(5, 16, Sample::Success, None);
}

#[test]
fn what_is_a_minute_old_does_not_count() {
    let mut bench = Bench::new(Config::default());
    bench.each(0..9, Sample::Transient);
    bench.pass(seconds(60));
    bench.each(100..120, Sample::Success);
    assert_eq!(bench.state(), State::Closed);
}

#[test]
fn ten_failures_in_a_row_open_however_long_they_take() {
    let mut bench = Bench::new(Config::default());
    for sequence in 0..9 {
        bench.attempt(sequence, Sample::Transient);
        bench.pass(seconds(90));
    }
    assert_eq!(bench.state(), State::Closed);
    bench.attempt(9, Sample::Ledger);
    assert_eq!(bench.cause(), Some(Cause::Row));
}

#[test]
fn a_success_breaks_a_row() {
    let mut bench = Bench::new(Config::default());
    bench.each(0..9, Sample::Transient);
    bench.attempt(50, Sample::Success);
    bench.each(10..15, Sample::Transient);
    assert_eq!(bench.state(), State::Closed);
}

/// What is left at the end of a load: each retry of a bad key fails, and nothing else runs.
#[test]
fn the_retries_of_any_number_of_bad_keys_open_nothing() {
    let mut bench = Bench::new(Config::default());
    for bad in 0..30 {
        bench.attempt(bad, Sample::Transient);
        bench.each(1_000 + 10 * bad..1_010 + 10 * bad, Sample::Success);
    }
    for _ in 0..10 {
        bench.pass(seconds(30));
        for bad in 0..30 {
            bench.attempt_again(bad, Sample::Transient);
        }
        assert_eq!(bench.state(), State::Closed);
    }
    // Nor do they stand in for what fails first, or keep it from opening.
    bench.each(50..59, Sample::Transient);
    assert_eq!(bench.state(), State::Closed);
    bench.attempt_again(0, Sample::Transient);
    assert_eq!(bench.state(), State::Closed);
    bench.attempt(59, Sample::Transient);
    assert_eq!(bench.cause(), Some(Cause::Row));
}

#[test]
fn what_is_unavailable_again_is_evidence_again() {
    let mut bench = Bench::new(Config::default());
    for sequence in 0..3 {
        bench.attempt_again(sequence, Sample::Unavailable);
    }
    assert_eq!(bench.cause(), Some(Cause::Unavailable));
}

#[test]
fn three_unavailable_within_five_seconds_open() {
    let check = |gap_ms, wanted| {
        let mut bench = Bench::new(Config::default());
        for sequence in 0..3 {
            bench.attempt(10 + sequence, Sample::Success);
            bench.attempt(sequence, Sample::Unavailable);
            if sequence < 2 {
                bench.pass(Duration::from_millis(gap_ms));
            }
        }
        assert_eq!(bench.cause(), wanted, "{gap_ms} ms apart");
    };
    check(2_500, Some(Cause::Unavailable));
    check(2_501, None);
}

#[test]
fn one_or_two_bad_keys_open_nothing() {
    for sample in [Sample::Transient, Sample::Unavailable, Sample::Ledger] {
        for bad_keys in 1..=2 {
            let mut bench = Bench::new(Config::default());
            for attempt in 0..1_000 {
                bench.attempt(attempt % bad_keys, sample);
                bench.pass(Duration::from_millis(10));
            }
            bench.each(100..120, Sample::Success);
            bench.each(0..bad_keys, sample);
            assert_eq!(bench.state(), State::Closed, "{bad_keys} with {sample:?}");
        }
    }
}

#[test]
fn failures_come_from_three_sequences_even_where_a_rule_asks_for_fewer() {
    let mut bench = Bench::new(Config {
        unavailable: 1,
        row: 1,
        outcomes_min: 1,
        ..Config::default()
    });
    bench.each([0, 1, 0, 1], Sample::Unavailable);
    assert_eq!(bench.state(), State::Closed);
    bench.attempt(2, Sample::Unavailable);
    assert_eq!(bench.cause(), Some(Cause::Unavailable));
}

#[test]
fn a_hot_key_that_succeeds_does_not_hide_the_others() {
    let mut bench = Bench::new(Config::default());
    for _ in 0..5_000 {
        bench.attempt(0, Sample::Success);
    }
    // Alternating, so that no row opens it.
    for sequence in 1..=19 {
        bench.attempt(0, Sample::Success);
        bench.attempt(sequence, Sample::Transient);
    }
    assert_eq!(bench.cause(), Some(Cause::Share));
}

#[test]
fn rare_failures_of_hot_keys_are_not_failing_keys() {
    let mut bench = Bench::new(Config::default());
    for round in 0..100 {
        for sequence in 0..30 {
            let fails = (round + sequence) % 10 == 0;
            let sample = if fails {
                Sample::Transient
            } else {
                Sample::Success
            };
            bench.attempt(sequence, sample);
        }
    }
    assert_eq!(bench.state(), State::Closed);
}

#[test]
fn permanent_failures_never_count() {
    let mut bench = Bench::new(Config::default());
    for sequence in 0..1_000 {
        bench.attempt(sequence, Sample::Permanent);
        bench.breaker.died(bench.now, sequence, Sample::Permanent);
    }
    assert_eq!(bench.state(), State::Closed);
    // Nor do they thin out those that count, or break a row.
    for sequence in 0..10 {
        bench.attempt(sequence, Sample::Transient);
        if bench.state() == State::Closed {
            bench.attempt(2_000 + sequence, Sample::Permanent);
        }
    }
    assert_eq!(bench.cause(), Some(Cause::Row));
}

#[test]
fn more_than_half_of_twenty_outcomes_trapping_opens_for_five_minutes_with_an_alarm() {
    let check = |traps: u64, successes: u64, wanted: bool| {
        let mut bench = Bench::new(Config::default());
        bench.each(0..traps, Sample::Trap);
        bench.each(100..100 + successes, Sample::Success);
        assert_eq!(bench.breaker.flood(bench.now), wanted, "{traps} traps");
        if wanted {
            assert_eq!(bench.cause(), Some(Cause::Traps));
            assert_eq!(bench.open_for(), seconds(300));
        }
    };
    check(11, 9, true);
    check(10, 10, false);
    check(11, 8, false);
}

#[test]
fn one_key_that_always_traps_is_no_flood() {
    let mut bench = Bench::new(Config::default());
    for _ in 0..1_000 {
        bench.attempt(0, Sample::Trap);
    }
    assert_eq!(bench.state(), State::Closed);
}

#[test]
fn a_hundred_deaths_and_more_than_a_tenth_open_for_five_minutes_with_an_alarm() {
    let check = |deaths: u64, others: u64, wanted: Option<Cause>| {
        let mut bench = Bench::new(Config::default());
        bench.each(1_000..1_000 + others, Sample::Success);
        for sequence in 0..deaths {
            bench.attempt(sequence, Sample::Trap);
            bench.breaker.died(bench.now, sequence, Sample::Trap);
        }
        assert_eq!(bench.cause(), wanted, "{deaths} deaths and {others} others");
        if wanted.is_some() {
            assert_eq!(bench.open_for(), seconds(300));
        }
    };
    check(100, 800, Some(Cause::Deaths));
    check(99, 800, None);
    // Sequences heard of longest ago make room for the last ones, and the share is one of those remembered.
    check(100, 924, None);
    check(102, 2_000, None);
    check(103, 2_000, Some(Cause::Deaths));
}

#[test]
fn the_deaths_of_one_key_are_no_flood() {
    let mut bench = Bench::new(Config::default());
    for _ in 0..1_000 {
        bench.attempt(0, Sample::Transient);
        bench.breaker.died(bench.now, 0, Sample::Transient);
    }
    assert_eq!(bench.state(), State::Closed);
}
