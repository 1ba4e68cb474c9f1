use std::num::NonZeroU32;
use std::time::Duration;

use crate::breaker::{Config, State, Trial, WhileOpen};

use super::*;

const NOW: Millis = Millis(1_000_000);

fn gate(while_open: WhileOpen, burst: u32) -> Gate {
    let config = Config {
        while_open,
        ..Config::default()
    };
    let some = |n| NonZeroU32::new(n).unwrap();
    let rate = Rate::new(some(1), some(burst));
    Gate::new(Breaker::new(config, NOW), Some(rate))
}

fn open(gate: &mut Gate) {
    for sequence in 0..3 {
        gate.breaker.ledger_failed(NOW, sequence);
    }
    for sequence in 0..7 {
        gate.breaker.ledger_failed(NOW, 10 + sequence);
    }
    assert!(gate.breaker.is_open(NOW));
}

#[test]
fn a_pause_comes_before_everything_else() {
    let mut gate = gate(WhileOpen::Park, 1);
    open(&mut gate);
    assert_eq!(gate.permit(NOW, Trial::first(1)), Permit::Park);
    gate.paused = true;
    assert_eq!(gate.permit(NOW, Trial::first(1)), Permit::Wait(None));
}

#[test]
fn what_the_breaker_refuses_costs_no_token() {
    let mut gate = gate(WhileOpen::Fallback, 1);
    open(&mut gate);
    for _ in 0..10 {
        assert_eq!(gate.permit(NOW, Trial::first(1)), Permit::Fallback);
    }
    gate.breaker.disable(NOW);
    assert!(matches!(gate.permit(NOW, Trial::first(1)), Permit::Go(_)));
    assert_eq!(
        gate.permit(NOW, Trial::first(1)),
        Permit::Wait(Some(NOW + Duration::from_secs(1)))
    );
}

#[test]
fn a_probe_that_the_rate_refuses_is_given_back() {
    let mut gate = gate(WhileOpen::Pause, 1);
    open(&mut gate);
    let now = NOW + Duration::from_secs(10);
    let Permit::Go(first) = gate.permit(now, Trial::first(1)) else {
        panic!("no probe")
    };
    let turns = gate.turns();
    gate.record(now, first, Sample::Success);
    assert!(gate.turns() > turns);
    let at = now + Duration::from_secs(1);
    assert_eq!(gate.permit(now, Trial::first(2)), Permit::Wait(Some(at)));
    assert_eq!(gate.breaker.state(now), State::HalfOpen);
    let Permit::Go(second) = gate.permit(at, Trial::first(3)) else {
        panic!("the refused probe still runs")
    };
    let turns = gate.turns();
    gate.abandoned(at, second);
    assert!(gate.turns() > turns);
}

#[test]
fn without_a_rate_nothing_but_the_breaker_refuses() {
    let mut gate = Gate {
        rate: None,
        ..gate(WhileOpen::Pause, 1)
    };
    for sequence in 0..10_000 {
        assert!(matches!(
            gate.permit(NOW, Trial::first(sequence)),
            Permit::Go(_)
        ));
    }
}

#[test]
fn a_crowded_component_holds_back_its_own_attempts_and_is_not_open() {
    let mut gate = gate(WhileOpen::Fallback, 1);
    gate.crowded.own = true;
    for _ in 0..10 {
        assert_eq!(gate.permit(NOW, Trial::first(1)), Permit::Wait(None));
    }
    assert!(!gate.is_open(NOW), "events age");
    gate.crowded.own = false;
    assert!(
        matches!(gate.permit(NOW, Trial::first(1)), Permit::Go(_)),
        "no token was taken"
    );

    gate.crowded.own = true;
    open(&mut gate);
    assert_eq!(gate.permit(NOW, Trial::first(1)), Permit::Fallback);
    gate.crowded.fallback = true;
    assert_eq!(gate.permit(NOW, Trial::first(1)), Permit::Wait(None));
}

#[test]
fn a_probe_of_a_crowded_component_is_given_back() {
    let mut gate = gate(WhileOpen::Pause, 1);
    open(&mut gate);
    let now = NOW + Duration::from_secs(10);
    gate.crowded.own = true;
    assert_eq!(gate.permit(now, Trial::first(1)), Permit::Wait(None));
    gate.crowded.own = false;
    assert!(matches!(gate.permit(now, Trial::first(2)), Permit::Go(_)));
}
