//! What happens while it is open.

use super::*;

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
