//! `cargo xtask chaos`: kills a host under load again and again, or a fleet on Kafka and its brokers, and checks every
//! effect.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::Context as _;
use clap::Args;
use clap::builder::ArgPredicate::IsPresent;
use weir_tests::chaos;
use weir_tests::host::{self, Place};

use crate::{cargo, guests, machine};

mod kafka;

/// What is to be disturbed, and how long.
#[derive(Args)]
pub(crate) struct Order {
    /// How often a host on the embedded store is killed.
    #[arg(long, default_value_t = 200, conflicts_with_all = ["kafka", "minutes", "brokers"])]
    kills: usize,
    /// Instead: three hosts on Kafka are killed, frozen and rolled, and its brokers bounced; `--minutes` and `--brokers` say
    /// so too.
    // It stands before them: to the parser a default of theirs that is set already is one that was written.
    #[arg(long, default_value_ifs = [("minutes", IsPresent, "true"), ("brokers", IsPresent, "true")])]
    kafka: bool,
    /// For so long; 200,000 events are published in any case.
    #[arg(long, default_value_t = 5)]
    minutes: u64,
    /// How many brokers; one of them at a time goes away.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=9))]
    brokers: u16,
    /// To repeat an earlier run: it says its seed.
    #[arg(long)]
    seed: Option<u64>,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

/// Does it; what went wrong is the error.
pub(crate) fn run(root: &Path, order: &Order) -> anyhow::Result<bool> {
    machine::prepare()?;
    guests::build(root)?;
    guests::build_fixtures(root)?;
    cargo::build_host(root)?;
    if order.kafka {
        kafka::run(root, order)
    } else {
        embedded(root, order)
    }
}

fn embedded(root: &Path, order: &Order) -> anyhow::Result<bool> {
    let folder = fresh(&root.join("target/chaos"))?;
    let handlers = host::handlers(root, &chaos::HANDLERS)?;
    let place = Place::new(&host::binary()?, &folder, &handlers, "")?;
    let (kills, seed) = (order.kills, order.seed.map_or_else(any_seed, Ok)?);
    eprintln!(
        "{kills} kills, seed {seed}; the host's log is {}",
        place.log().display()
    );
    let report = chaos::run(&place, kills, seed, |done, at, recovery| {
        eprintln!(
            "{done:>5} of {kills}  {at:<16} ready again after {:>5} ms",
            recovery.as_millis()
        );
    })?;
    if order.json {
        println!("{}", serde_json::to_string_pretty(&report.json())?);
    } else {
        println!("\n{report}");
    }
    std::fs::remove_dir_all(&folder).with_context(|| format!("remove {}", folder.display()))?;
    Ok(true)
}

/// The folder without what an earlier run left in it.
fn fresh(folder: &Path) -> anyhow::Result<PathBuf> {
    if folder.exists() {
        std::fs::remove_dir_all(folder).with_context(|| format!("remove {}", folder.display()))?;
    }
    Ok(folder.to_path_buf())
}

/// A seed of its own for each run; it is printed.
fn any_seed() -> anyhow::Result<u64> {
    Ok(SystemTime::UNIX_EPOCH.elapsed()?.subsec_nanos().into())
}

#[cfg(test)]
mod tests;
