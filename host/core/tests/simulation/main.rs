//! Seeded runs of the machine of one partition against everything that can go wrong around it.
//!
//! A seed decides a log, the bounds, a handler's outcomes, the answers of the ledger, crashes, revocations, what an
//! operator does, and the clock. After each step the invariants of the specification are checked against a ledger that
//! remembers everything. `WEIR_SIM_SEEDS=5000` runs more seeds than usual, `WEIR_SIM_SEED=17` the one or, with both, those
//! from there on; `WEIR_SIM_LINES=400` prints more of the trace of a run that breaks an invariant.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "each planted bug changes one thing and leaves the rest"
)]

mod bug;
mod handler;
mod ledger;
mod plan;
mod rng;
mod run;
mod told;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;

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
    let lines = setting("WEIR_SIM_LINES").map_or(60, |lines| usize::try_from(lines).unwrap_or(60));
    let from = broken.trace.len().saturating_sub(lines);
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

/// Each planted bug is noticed by some usual seed, and by an invariant that it breaks. Says so past libtest, which keeps what a
/// test prints to itself; `cargo xtask sim` reads the lines of single bugs.
#[test]
fn every_planted_bug_is_noticed() {
    let mut lines = String::new();
    let (mut missed, mut last) = (Vec::new(), 0);
    for (bug, invariants) in Bug::ALL {
        match (0..SEEDS).find_map(|seed| noticed(bug, invariants, seed)) {
            Some(broken) => {
                let (invariant, seed) = (broken.violation.invariant, broken.seed);
                last = last.max(seed);
                writeln!(lines, "planted {bug:?} {invariant} {seed}").expect("text grows");
            }
            None => missed.push(bug),
        }
    }
    let mut out = std::io::stdout().lock();
    if setting("WEIR_SIM_TABLE").is_some() {
        write!(out, "\n{lines}").expect("standard output is there");
    }
    let (planted, noticed) = (Bug::ALL.len(), Bug::ALL.len() - missed.len());
    writeln!(
        out,
        "\n{noticed} of {planted} planted bugs noticed, the last by seed {last} of 0 to {}",
        SEEDS - 1
    )
    .expect("standard output is there");
    assert!(missed.is_empty(), "no seed notices {missed:?}");
}

fn noticed(bug: Bug, invariants: &[&str], seed: u64) -> Option<Box<Broken>> {
    let broken = run(seed, bug, FAULTY_STEPS).err()?;
    invariants
        .contains(&broken.violation.invariant)
        .then_some(broken)
}

#[test]
fn a_seed_that_breaks_an_invariant_is_told_with_its_shortest_run() {
    for (bug, invariants) in [Bug::ALL[0], Bug::ALL[Bug::ALL.len() - 1]] {
        let noticed = (0..SEEDS).filter_map(|seed| noticed(bug, invariants, seed));
        let mut shrunk = noticed.map(|broken| (shrink(broken.clone(), bug), broken));
        let found = shrunk.find(|(shortest, broken)| shortest.steps < broken.steps);
        let (shortest, broken) = found.expect("some seed breaks it before its last step");
        let (seed, invariant) = (broken.seed, broken.violation.invariant);
        let steps = shortest.steps;
        let shorter = steps.checked_sub(1).map(|steps| run(seed, bug, steps));
        if let Some(Err(shorter)) = shorter {
            assert_ne!(shorter.violation.invariant, invariant, "{steps} steps");
        }
        let told = describe(broken, bug);
        let says = format!("seed {seed} breaks {invariant} after {steps} faulty steps: ");
        assert!(told.contains(&says), "{told}");
        assert!(told.contains(&shortest.violation.message), "{told}");
        assert!(told.ends_with(&format!("cargo xtask sim --seeds 1 --seed {seed}")));
    }
}
