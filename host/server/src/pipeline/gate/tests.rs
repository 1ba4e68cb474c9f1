use std::num::NonZeroU32;

use weir_core::breaker::{self, Trial};

use super::*;

const NOW: Millis = Millis(1_790_000_000_000);

fn gate(rate: Option<Rate>) -> SharedGate {
    SharedGate::new(Breaker::new(breaker::Config::default(), NOW), rate)
}

/// An attempt of each of these sequences that ends so.
fn end(gate: &mut impl Pass, sequences: std::ops::Range<u64>, sample: Sample) {
    for sequence in sequences {
        let Permit::Go(ticket) = gate.permit(NOW, Trial::first(sequence)) else {
            panic!("{sequence} may not start");
        };
        gate.record(NOW, ticket, sample);
    }
}

#[test]
fn failures_are_weighed_against_the_successes_before_them() {
    // Of 20 outcomes a quarter is enough; of these without the successes there are too few to judge.
    let shared = gate(None);
    let mut successes = Successes::default();
    let mut pass = shared.pass(Crowded::default(), &mut successes);
    end(&mut pass, 0..14, Sample::Success);
    end(&mut pass, 14..20, Sample::Transient);
    assert!(pass.is_open(NOW));

    let shared = gate(None);
    let mut successes = Successes::default();
    let mut pass = shared.pass(Crowded::default(), &mut successes);
    end(&mut pass, 0..60, Sample::Success);
    end(&mut pass, 60..69, Sample::Transient);
    assert!(!pass.is_open(NOW));
}

#[test]
fn no_more_than_so_many_successes_are_kept_and_none_after_the_work() {
    let shared = gate(None);
    let mut successes = Successes::default();
    let mut pass = shared.pass(Crowded::default(), &mut successes);
    end(&mut pass, 0..2 * SUCCESSES_MAX as u64 + 3, Sample::Success);
    drop(pass);
    assert_eq!(successes.0.len(), 3);
    shared.take_in(NOW, &mut successes);
    assert!(successes.0.is_empty());
    // It has heard of all: nine failures are a small part of them.
    let mut pass = shared.pass(Crowded::default(), &mut successes);
    end(&mut pass, 200..209, Sample::Transient);
    assert!(!pass.is_open(NOW));
}

#[test]
fn whoever_may_not_pass_is_stopped_whatever_was_said_before() {
    let shared = gate(None);
    let mut successes = Successes::default();
    let mut pass = shared.pass(Crowded::default(), &mut successes);
    assert!(matches!(pass.permit(NOW, Trial::first(1)), Permit::Go(_)));
    drop(pass);

    shared.with(|gate| gate.pause(true));
    let mut pass = shared.pass(Crowded::default(), &mut successes);
    assert!(pass.is_open(NOW));
    assert_eq!(pass.permit(NOW, Trial::first(1)), Permit::Wait(None));
    drop(pass);

    shared.with(|gate| gate.pause(false));
    let crowded = Crowded {
        own: true,
        fallback: false,
    };
    let mut pass = shared.pass(crowded, &mut successes);
    assert_eq!(pass.permit(NOW, Trial::first(1)), Permit::Wait(None));
    drop(pass);

    shared.with(|gate| gate.breaker.force_open(NOW));
    let mut pass = shared.pass(Crowded::default(), &mut successes);
    assert!(pass.is_open(NOW));
    assert_eq!(pass.permit(NOW, Trial::first(1)), Permit::Wait(None));
}

#[test]
fn a_rate_counts_each_attempt() {
    let rate = Rate::new(NonZeroU32::MIN, NonZeroU32::MIN);
    let shared = gate(Some(rate));
    let mut successes = Successes::default();
    let mut pass = shared.pass(Crowded::default(), &mut successes);
    assert!(matches!(pass.permit(NOW, Trial::first(1)), Permit::Go(_)));
    assert!(matches!(
        pass.permit(NOW, Trial::first(2)),
        Permit::Wait(Some(_))
    ));
}
