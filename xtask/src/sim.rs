//! `cargo xtask sim`: the simulator over more seeds than every test run takes, and which seed notices which planted bug.

use std::fmt;
use std::io::Write as _;
use std::path::Path;
use std::process::Output;
use std::time::Instant;

use anyhow::Context as _;
use serde::Serialize;

use crate::cargo;

/// Seeds of one run of the test: some seconds, so that the line moves.
const CHUNK: u64 = 500;
/// Where the report is kept.
const REPORT: &str = "target/sim.json";

/// What the simulator found.
#[derive(Debug, Default, Serialize)]
struct Report {
    first: u64,
    /// That keep the invariants.
    seeds: u64,
    /// Which seed breaks what; the runs end with it.
    broken: Option<String>,
    planted: Vec<Planted>,
}

/// A bug that was planted, and the first seed that notices it.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Planted {
    bug: String,
    invariant: String,
    seed: u64,
}

/// Runs `seeds` seeds from `first` on, and before them, where no first one is named, the planted bugs; false when a seed
/// breaks an invariant, which is then printed with the end of its shortest trace, or a bug is not noticed.
pub(crate) fn run(root: &Path, seeds: u64, first: Option<u64>, json: bool) -> anyhow::Result<bool> {
    let began = Instant::now();
    let mut report = Report {
        first: first.unwrap_or(0),
        ..Report::default()
    };
    let mut right = true;
    if first.is_none() {
        let output = simulate(
            root,
            "every_planted_bug_is_noticed",
            &[("WEIR_SIM_TABLE", 1)],
        )?;
        report.planted = text(&output).lines().filter_map(planted).collect();
        right = succeeded(&output)?;
    }
    while right && report.seeds < seeds {
        let count = CHUNK.min(seeds - report.seeds);
        let at = report.first.saturating_add(report.seeds);
        let chunk = [("WEIR_SIM_SEED", at), ("WEIR_SIM_SEEDS", count)];
        let output = simulate(root, "every_seed_keeps_the_invariants", &chunk)?;
        right = succeeded(&output)?;
        if right {
            report.seeds += count;
            let (done, seconds) = (report.seeds, began.elapsed().as_secs());
            eprintln!("{done} of {seeds} seeds keep the invariants, {seconds} s");
        } else {
            let text = text(&output);
            let told = text.lines().find(|line| line.contains(" breaks "));
            report.broken = told.map(str::to_owned);
        }
    }
    let written = serde_json::to_string_pretty(&report)?;
    std::fs::write(root.join(REPORT), &written).with_context(|| format!("write {REPORT}"))?;
    if json {
        println!("{written}");
    } else {
        print!("{report}");
        println!("\nwritten to {REPORT}");
    }
    Ok(right)
}

/// One test of the simulator with these settings.
fn simulate(root: &Path, test: &str, settings: &[(&str, u64)]) -> anyhow::Result<Output> {
    let package = ["test", "--quiet", "-p", "weir-core", "--test", "simulation"];
    let mut command = cargo::command(root, package);
    command.args(["--", "--exact", test]);
    command.envs(
        settings
            .iter()
            .map(|(name, value)| (name, value.to_string())),
    );
    command.output().context("start the simulator")
}

/// What went wrong is passed on.
fn succeeded(output: &Output) -> anyhow::Result<bool> {
    if !output.status.success() {
        std::io::stderr().write_all(&output.stderr)?;
        std::io::stderr().write_all(&output.stdout)?;
    }
    Ok(output.status.success())
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Reads `planted <bug> <invariant> <seed>`.
fn planted(line: &str) -> Option<Planted> {
    let mut words = line.strip_prefix("planted ")?.split(' ');
    Some(Planted {
        bug: words.next()?.to_owned(),
        invariant: words.next()?.to_owned(),
        seed: words.next()?.parse().ok()?,
    })
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.planted.is_empty() {
            writeln!(
                f,
                "{:<24} {:<12} {:>5}",
                "planted bug", "noticed by", "seed"
            )?;
        }
        for one in &self.planted {
            writeln!(f, "{:<24} {:<12} {:>5}", one.bug, one.invariant, one.seed)?;
        }
        let end = self.first.saturating_add(self.seeds);
        writeln!(
            f,
            "\n{} seeds keep the invariants, {} to before {end}",
            self.seeds, self.first
        )?;
        self.broken
            .iter()
            .try_for_each(|broken| writeln!(f, "{broken}"))
    }
}

#[cfg(test)]
mod tests;
