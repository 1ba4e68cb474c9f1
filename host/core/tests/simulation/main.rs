//! Seeded runs of the machine of one partition against everything that can go wrong around it.
//!
//! A seed decides a log, the bounds, a handler's outcomes, the answers of the ledger, crashes, revocations, what an
//! operator does, and the clock. After each step the invariants of the specification are checked against a ledger that
//! remembers everything. `WEIR_SIM_SEEDS=5000` runs more seeds than usual, `WEIR_SIM_SEED=17` the ones from there on, or
//! alone and with its trace when it breaks.

mod bug;
mod handler;
mod ledger;
mod plan;
mod rng;
mod run;
mod told;

use std::collections::BTreeMap;

use bug::Bug;
use run::{Broken, FAULTY_STEPS, run, shrink};

const SEEDS: u64 = 1_000;

#[expect(
    clippy::disallowed_methods,
    reason = "which seeds a test runs is no decision of the core"
)]
fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn seeds() -> std::ops::Range<u64> {
    let (first, count) = (setting("WEIR_SIM_SEED"), setting("WEIR_SIM_SEEDS"));
    let from = first.unwrap_or(0);
    let usual = if first.is_some() { 1 } else { SEEDS };
    from..from + count.unwrap_or(usual)
}

/// The end of the shortest run that breaks the same invariant.
fn describe(broken: Box<Broken>, bug: Bug) -> String {
    let broken = shrink(broken, bug);
    let from = broken
        .trace
        .len()
        .saturating_sub(setting("WEIR_SIM_LINES").map_or(60, |n| n as usize));
    let Broken {
        seed,
        steps,
        violation,
        trace,
    } = &*broken;
    let (invariant, message) = (violation.invariant, &violation.message);
    let trace = trace[from..].join("\n");
    format!(
        "{trace}\nseed {seed} breaks {invariant} after {steps} faulty steps: {message}\nreplay: cargo xtask sim --seeds 1 --seed {seed}"
    )
}

#[test]
fn every_seed_keeps_the_invariants() {
    let mut reached = BTreeMap::new();
    for seed in seeds() {
        match run(seed, Bug::None, FAULTY_STEPS) {
            Ok(trace) => {
                for (what, count) in run::tally(&trace) {
                    *reached.entry(what).or_insert(0) += count;
                }
            }
            Err(broken) => panic!("{}", describe(broken, Bug::None)),
        }
    }
    if setting("WEIR_SIM_SEED").is_none() {
        for (what, count) in &reached {
            assert!(*count > 0, "no seed reaches {what}: {reached:?}");
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in 0..20 {
        let once = run(seed, Bug::None, FAULTY_STEPS);
        let again = run(seed, Bug::None, FAULTY_STEPS);
        assert_eq!(once, again, "seed {seed}");
    }
}

#[test]
fn survey() {
    let mut kinds: BTreeMap<String, (usize, u64)> = BTreeMap::new();
    let mut steps = 0;
    for seed in seeds() {
        match run(seed, Bug::None, FAULTY_STEPS) {
            Err(broken) => {
                let m = &broken.violation.message;
                let m: String = m
                    .chars()
                    .filter(|c| !c.is_ascii_digit())
                    .take(110)
                    .collect();
                let e = kinds
                    .entry(format!("{} {m}", broken.violation.invariant))
                    .or_insert((0, seed));
                e.0 += 1;
            }
            Ok(trace) => steps += trace.len(),
        }
    }
    for (k, v) in kinds {
        eprintln!("{} times, first {}: {k}", v.0, v.1);
    }
    eprintln!("trace lines {steps}");
}
