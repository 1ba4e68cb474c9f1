//! Seeded runs of the machine of one partition against everything that can go wrong around it.
//!
//! A seed decides a log, the bounds, a handler's outcomes, the answers of the ledger, crashes, revocations and the
//! clock. After each step the invariants of the specification are checked against a ledger that remembers everything.
//! `WEIR_SIM_SEEDS=5000` runs more seeds than usual, `WEIR_SIM_SEED=17` runs that one and prints its trace.

mod handler;
mod ledger;
mod plan;
mod run;

use run::{Broken, Bug, run};

const SEEDS: u64 = 300;

#[expect(
    clippy::disallowed_methods,
    reason = "which seeds a test runs is no decision of the core"
)]
fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn seeds() -> std::ops::Range<u64> {
    match setting("WEIR_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..setting("WEIR_SIM_SEEDS").unwrap_or(SEEDS),
    }
}

fn describe(broken: &Broken) -> String {
    let from = broken.trace.len().saturating_sub(40);
    let Broken {
        seed, violation, ..
    } = broken;
    let (invariant, message) = (violation.invariant, &violation.message);
    let trace = broken.trace[from..].join("\n");
    format!(
        "{trace}\nseed {seed} breaks {invariant}: {message}\nreplay: WEIR_SIM_SEED={seed} cargo test -p weir-core --test simulation"
    )
}

#[test]
fn every_seed_keeps_the_invariants() {
    let mut reached = std::collections::BTreeMap::new();
    for seed in seeds() {
        match run(seed, Bug::None) {
            Ok(trace) => {
                for (what, count) in run::tally(&trace) {
                    *reached.entry(what).or_insert(0) += count;
                }
            }
            Err(broken) => panic!("{}", describe(&broken)),
        }
    }
    if setting("WEIR_SIM_SEED").is_none() {
        for (what, count) in &reached {
            assert!(
                *count > 0 || *what == "parked",
                "no seed reaches {what}: {reached:?}"
            );
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in 0..20 {
        let once = run(seed, Bug::None).map_err(|broken| describe(&broken));
        let again = run(seed, Bug::None).map_err(|broken| describe(&broken));
        assert_eq!(once, again, "seed {seed}");
    }
}

/// Some default seed notices the bug, and by this invariant first.
fn caught(bug: Bug, invariant: &str) {
    let broken = (0..SEEDS).find_map(|seed| run(seed, bug).err());
    match broken {
        Some(broken) => assert_eq!(
            broken.violation.invariant,
            invariant,
            "{}",
            describe(&broken)
        ),
        None => panic!("no seed notices {bug:?}"),
    }
}

#[test]
fn half_a_unit_is_noticed() {
    caught(Bug::HalfUnit, "I1");
}

#[test]
fn an_acknowledgement_before_the_commit_is_noticed() {
    caught(Bug::EarlyAcknowledgement, "I1");
}

#[test]
fn forgotten_staged_reads_are_noticed() {
    caught(Bug::ForgottenStagedReads, "I2");
}

#[test]
fn a_stale_outcome_under_a_new_name_is_noticed() {
    caught(Bug::StaleOutcome, "I4");
}

#[test]
fn a_forgotten_inbox_is_noticed() {
    caught(Bug::ForgottenInbox, "I2");
}

#[test]
fn a_dropped_record_is_noticed() {
    caught(Bug::DroppedRecord, "I1");
}

#[test]
fn a_changed_dead_letter_is_noticed() {
    caught(Bug::ChangedLetter, "I8");
}

#[test]
fn a_crash_that_counts_as_an_attempt_is_noticed() {
    caught(Bug::CountedCrash, "I7");
}

#[test]
fn ignored_back_pressure_is_noticed() {
    caught(Bug::IgnoredCapacity, "I10");
}

#[test]
fn unstable_emission_ids_are_noticed() {
    caught(Bug::UnstableIds, "I6");
}

#[test]
fn forgotten_attempts_are_noticed() {
    caught(Bug::ForgottenAttempts, "I7");
}

#[test]
fn records_out_of_order_are_noticed() {
    caught(Bug::Reordered, "I1");
}
