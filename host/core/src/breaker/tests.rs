mod model;

use super::*;
use crate::event::{FailureKind, Outcome};

const START: Millis = Millis(1_000_000_000);

/// A breaker and a clock; sequences are small numbers.
struct Bench {
    breaker: Breaker,
    now: Millis,
}

impl Bench {
    fn new(config: Config) -> Self {
        Self {
            breaker: Breaker::new(config, START),
            now: START,
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
    }

    fn permit(&mut self, sequence: u64) -> Permit {
        self.breaker.permit(self.now, sequence)
    }

    #[track_caller]
    fn go(&mut self, sequence: u64) -> Ticket {
        match self.permit(sequence) {
            Permit::Go(ticket) => ticket,
            refused @ (Permit::Wait(_) | Permit::Park | Permit::Fallback) => {
                panic!("{refused:?} for {sequence}")
            }
        }
    }

    /// One attempt from permit to outcome.
    #[track_caller]
    fn attempt(&mut self, sequence: u64, sample: Sample) -> bool {
        let ticket = self.go(sequence);
        self.breaker.record(self.now, ticket, sample)
    }

    fn each(&mut self, sequences: impl IntoIterator<Item = u64>, sample: Sample) {
        for sequence in sequences {
            self.attempt(sequence, sample);
        }
    }

    fn state(&self) -> State {
        self.breaker.state(self.now)
    }

    fn cause(&self) -> Option<Cause> {
        self.breaker.cause(self.now)
    }

    /// How long it will be open.
    #[track_caller]
    fn open_for(&self) -> Duration {
        match self.state() {
            State::Open { until } => until.since(self.now),
            other @ (State::Closed
            | State::HalfOpen
            | State::Recovering { .. }
            | State::ForcedOpen
            | State::Disabled) => panic!("{other:?}"),
        }
    }

    /// Opens it by the shortest way and waits until it is half-open.
    fn half_open(config: Config) -> Self {
        let mut bench = Self::new(config);
        bench.each(0..3, Sample::Unavailable);
        let time = bench.open_for();
        bench.pass(time);
        assert_eq!(bench.state(), State::HalfOpen);
        bench
    }

    fn recovering(config: Config) -> Self {
        let mut bench = Self::half_open(config);
        bench.each(100..103, Sample::Success);
        assert_eq!(bench.state(), State::Recovering { concurrency: 1 });
        bench
    }

    /// As when the outage is over: three probes and the time of a recovery.
    #[track_caller]
    fn recover(&mut self) {
        self.each(100..103, Sample::Success);
        self.pass(seconds(12));
        assert_eq!(self.state(), State::Closed);
    }
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

// The rules that open it.

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

// Open.

#[test]
fn while_open_events_wait_or_park_or_go_to_the_fallback() {
    let check = |while_open, wanted: fn(Millis) -> Permit| {
        let mut bench = Bench::new(Config {
            while_open,
            ..Config::default()
        });
        bench.each(0..3, Sample::Unavailable);
        let until = bench.now + seconds(10);
        assert_eq!(bench.permit(7), wanted(until));
        assert_eq!(bench.breaker.next_change(bench.now), Some(until));
        assert!(bench.breaker.is_open(bench.now));
        bench.now = until;
        bench.go(7);
        let others = bench.permit(8);
        assert_eq!(others, wanted(until + Config::default().probe_max));
    };
    check(WhileOpen::Pause, |until| Permit::Wait(Some(until)));
    check(WhileOpen::Park, |_| Permit::Park);
    check(WhileOpen::Fallback, |_| Permit::Fallback);
}

#[test]
fn outcomes_of_attempts_started_before_it_opened_are_no_probes() {
    let mut bench = Bench::new(Config::default());
    let old: Vec<Ticket> = (10..30).map(|sequence| bench.go(sequence)).collect();
    bench.each(0..3, Sample::Unavailable);
    bench.pass(seconds(10));
    for ticket in &old[..5] {
        assert!(!bench.breaker.record(bench.now, *ticket, Sample::Success));
    }
    for ticket in &old[5..10] {
        assert!(
            !bench
                .breaker
                .record(bench.now, *ticket, Sample::Unavailable)
        );
    }
    assert_eq!(bench.state(), State::HalfOpen);
    bench.recover();
    for ticket in &old[10..] {
        assert!(
            !bench
                .breaker
                .record(bench.now, *ticket, Sample::Unavailable)
        );
    }
    assert_eq!(bench.state(), State::Closed);
}

// Half-open.

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

// Recovering.

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

// The operator.

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

// Time, memory and words.

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
            .permit(bench.now + Duration::from_millis(3), 7);
        let _ = bench.breaker.permit(bench.now, 7);
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
