//! `cargo xtask sim`: the simulator over more seeds than every test run takes.

use std::io::Write as _;
use std::path::Path;
use std::time::Instant;

use anyhow::Context as _;

use crate::cargo;

/// Seeds of one run of the test: some seconds, so that the line moves.
const CHUNK: u64 = 500;

/// Runs `seeds` seeds from `first` on; false when one of them breaks an invariant, which is then printed with the end of
/// its shortest trace.
pub(crate) fn run(root: &Path, seeds: u64, first: u64) -> anyhow::Result<bool> {
    let began = Instant::now();
    let end = first.saturating_add(seeds);
    let mut at = first;
    while at < end {
        let count = CHUNK.min(end - at);
        let test = [
            "test",
            "--quiet",
            "-p",
            "weir-core",
            "--test",
            "simulation",
            "--",
            "--exact",
            "every_seed_keeps_the_invariants",
        ];
        let mut command = cargo::command(root, test);
        command
            .env("WEIR_SIM_SEED", at.to_string())
            .env("WEIR_SIM_SEEDS", count.to_string());
        let output = command.output().context("start the simulator")?;
        if !output.status.success() {
            std::io::stderr().write_all(&output.stderr)?;
            std::io::stdout().write_all(&output.stdout)?;
            return Ok(false);
        }
        at += count;
        let (done, seconds) = (at - first, began.elapsed().as_secs());
        println!("{done} of {seeds} seeds keep the invariants, {seconds} s");
    }
    Ok(true)
}
