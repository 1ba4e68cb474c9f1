//! The project's own commands, each one step from a bare checkout: `cargo xtask demo | test | bench | guests | kafka |
//! sim | chaos`.
//!
//! This program depends on neither the store nor the runtime, so that it builds in a minute and can prepare the
//! machine before they are compiled.

#![expect(
    clippy::print_stdout,
    reason = "results for people go to standard output"
)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};

mod bench;
mod cargo;
mod chaos;
mod demo;
mod guests;
mod kafka;
mod machine;
mod sample;
mod sim;
mod suite;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The project's own commands")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Feed real purchases through the host, kill it in the middle, feed them again, and check every total.
    Demo,
    /// Everything that CI runs, with the minutes of each part; the last line counts the tests.
    Test,
    /// Measure the speed budget; prints a table and writes target/bench.json.
    Bench {
        /// Only these parts of it; all but `kafka` and `growth` when none is named.
        parts: Vec<bench::Part>,
        /// Build and measure what is released, dependencies too; the first build takes most of an hour.
        #[arg(long)]
        release: bool,
    },
    /// Build the example handlers into target/guests.
    Guests,
    /// Apache Kafka on this machine, to try the host on it.
    Kafka {
        /// What to do with it.
        #[command(subcommand)]
        command: kafka::Kafka,
    },
    /// Write the sample input that ships with the project anew.
    Sample {
        /// Instead, a data directory of the present format, to be kept for the versions to come.
        #[arg(long)]
        format: bool,
    },
    /// Kill a host under load again and again, at random moments and at every step of a commit, and check every effect; or
    /// for some minutes disturb a fleet on Kafka in every way.
    Chaos(chaos::Order),
    /// Say which seed of the simulator notices which planted bug, and run more seeds than every test run takes.
    Sim {
        /// How many.
        #[arg(long, default_value_t = 10_000)]
        seeds: u64,
        /// The first of them, to repeat what broke; then without the planted bugs.
        #[arg(long)]
        seed: Option<u64>,
        /// Print the report as JSON.
        #[arg(long)]
        json: bool,
    },
}

fn main() -> ExitCode {
    match run(&Cli::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all that was asked for is right; what could not be done at all is the error.
fn run(command: &Command) -> anyhow::Result<bool> {
    let root = root()?;
    match command {
        Command::Demo => demo::run(&root),
        Command::Test => suite::run(&root),
        Command::Bench { parts, release } => bench::run(&root, parts, *release),
        Command::Guests => {
            for guest in guests::build(&root)? {
                println!("{:<16} {}", guest.name, guest.component.display());
            }
            Ok(true)
        }
        Command::Sample { format: false } => sample::write(&root).map(|()| true),
        Command::Sample { format: true } => sample::format::write(&root).map(|()| true),
        Command::Chaos(order) => chaos::run(&root, order),
        Command::Kafka { command } => kafka::run(&root, command),
        Command::Sim { seeds, seed, json } => sim::run(&root, *seeds, *seed, *json),
    }
}

/// The root of the workspace: where this package's parent stands.
fn root() -> anyhow::Result<PathBuf> {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = package
        .parent()
        .context("the package xtask has no parent directory")?;
    anyhow::ensure!(
        root.join("Cargo.lock").is_file(),
        "{} is not the checkout any more; build xtask again",
        root.display()
    );
    Ok(root.to_path_buf())
}
