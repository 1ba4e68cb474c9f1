//! `cargo xtask bench`: the speed budget beside what was measured, and beside the limits of this machine in the same run.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::Context as _;
use clap::ValueEnum;
use serde::Serialize;
use serde_json::Value;
use weir_tests::host::binary as host_binary;
use weir_tests::purchases::grouped;

use crate::{cargo, guests, machine};

mod dev;
mod embedded;
mod growth;
mod handlers;
mod host;
mod kafka;
mod limits;
mod load;

/// How much longer than its limit an attempt may live: two ticks of the sandbox.
const KILL_OVERSHOOT_MS: f64 = 20.0;

/// Whether this program is that of the profile that demo and tests share.
const IS_DEV: bool = cfg!(debug_assertions);
/// What that profile compiles otherwise for a benchmark.
const AS_RELEASED: [&str; 2] = ["--config", "xtask/src/bench/as-released.toml"];
/// The whole workspace, as [`cargo::build_host`] says; the programs that measure are examples.
const EVERYTHING: [&str; 4] = ["build", "--workspace", "--bins", "--examples"];

/// What can be measured by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// The sandbox, beside a bare component call.
    Calls,
    /// The whole host on the embedded store, beside the store alone.
    Embedded,
    /// A hundred idle handlers.
    Handlers,
    /// From the command `weir dev` to the first event that is handled.
    Dev,
    /// The whole host on a Kafka cluster, beside bare loops and Kafka Streams on the same one; only when it is named.
    Kafka,
    /// The rate beside what grows; only when it is named, because it takes half an hour and 20 GiB of disk.
    Growth,
}

/// What runs when nothing is named.
const USUAL: [Part; 4] = [Part::Calls, Part::Embedded, Part::Handlers, Part::Dev];

/// One row; the names are kept, so that figures can be followed over the years.
#[derive(Clone, Debug, Serialize)]
struct Figure {
    name: String,
    value: f64,
    unit: &'static str,
    /// None: a limit of the machine, which has no budget.
    budget: Option<f64>,
    within: Option<bool>,
    /// What this machine can do at best, where that was measured.
    limit: Option<f64>,
}

/// What a budget asks for.
enum Budget {
    AtMost(f64),
    AtLeast(f64),
    None,
}

impl Figure {
    fn new(
        name: &str,
        value: f64,
        unit: &'static str,
        budget: &Budget,
        limit: Option<f64>,
    ) -> Self {
        let (budget, within) = match *budget {
            Budget::AtMost(most) => (Some(most), Some(value <= most)),
            Budget::AtLeast(least) => (Some(least), Some(value >= least)),
            Budget::None => (None, None),
        };
        Self {
            name: name.to_owned(),
            value,
            unit,
            budget,
            within,
            limit,
        }
    }

    /// What the machine can do.
    fn limit(name: &str, value: f64, unit: &'static str) -> Self {
        Self::new(name, value, unit, &Budget::None, None)
    }
}

/// Measures `parts`, the usual ones if there are none; always true, since a figure out of its budget is a result and no failure of
/// the command.
pub(crate) fn run(root: &Path, parts: &[Part], release: bool) -> anyhow::Result<bool> {
    machine::prepare()?;
    if release && IS_DEV {
        return run_released(root, parts);
    }
    let guests = guests::build(root)?;
    if IS_DEV {
        eprintln!(
            "building our own crates as they are released; the first time takes some minutes"
        );
        let mut build = cargo::command(root, EVERYTHING);
        build.args(AS_RELEASED);
        cargo::run(build)?;
    }
    let parts = if parts.is_empty() { &USUAL } else { parts };
    let mut figures = Vec::new();
    for part in parts {
        figures.extend(match part {
            Part::Calls => calls(root, &guests)?,
            Part::Embedded => embedded::measure(root)?,
            Part::Handlers => handlers::measure(root)?,
            Part::Dev => dev::measure(root)?,
            Part::Kafka => kafka::measure(root)?,
            Part::Growth => growth::measure(root)?,
        });
    }
    print(&figures);
    let file = root.join("target/bench.json");
    std::fs::write(&file, serde_json::to_string_pretty(&figures)?)
        .with_context(|| format!("write {}", file.display()))?;
    println!("\nwritten to target/bench.json");
    if IS_DEV {
        println!(
            "target/debug/weir is the measured one, without fail points, until the next build"
        );
    }
    Ok(true)
}

/// Builds everything as it is released, this program too, and measures with that.
fn run_released(root: &Path, parts: &[Part]) -> anyhow::Result<bool> {
    eprintln!("building the release; the first time takes most of an hour on two cores");
    let mut build = cargo::command(root, EVERYTHING);
    build.arg("--release");
    cargo::run(build)?;
    let host = host_binary()?;
    let profiles = host.ancestors().nth(2);
    let profiles = profiles.with_context(|| format!("{} has no folder", host.display()))?;
    let mut released = Command::new(profiles.join("release").join("xtask"));
    released.arg("bench");
    for part in parts.iter().filter_map(Part::to_possible_value) {
        released.arg(part.get_name());
    }
    Ok(released.status().context("start the release")?.success())
}

/// The benchmark of `weir-wasm`: it prints one JSON object of names and figures.
fn calls(root: &Path, guests: &[guests::Guest]) -> anyhow::Result<Vec<Figure>> {
    let billing = guests.iter().find(|guest| guest.name == "billing");
    let billing = billing.context("there is no handler `billing` to call")?;
    let profile = if IS_DEV { "dev" } else { "release" };
    let bench = ["bench", "--profile", profile, "--workspace"];
    let fixtures = guests::build_fixtures(root)?;
    let hostile = fixtures.iter().find(|guest| guest.name == "hostile");
    let hostile = hostile.context("there is no handler `hostile` to kill")?;
    let mut command = cargo::command(root, bench);
    if IS_DEV {
        command.args(AS_RELEASED);
    }
    command.args(["--bench", "overhead", "--"]);
    command.args([&billing.component, &hostile.component]);
    let measured = figures_of(command).context("the benchmark of the sandbox")?;
    let figure = |name: &str| {
        let value = measured.get(name).copied();
        value.with_context(|| format!("the benchmark of the sandbox printed no {name}"))
    };
    let bare = figure("bare_us")?;
    let within = |name, most| {
        let budget = Budget::AtMost(most);
        anyhow::Ok(Figure::new(name, figure(name)?, "us", &budget, Some(bare)))
    };
    Ok(vec![
        within("host_overhead_us", 1.5)?,
        within("fresh_instance_us", 15.0)?,
        Figure::new(
            "kill_overshoot_ms",
            figure("kill_overshoot_ms")?,
            "ms",
            &Budget::AtMost(KILL_OVERSHOOT_MS),
            None,
        ),
        Figure::limit("bare_call_us", bare, "us"),
    ])
}

/// Runs a program that prints its figures as JSON objects.
fn figures_of(command: std::process::Command) -> anyhow::Result<BTreeMap<String, f64>> {
    let mut figures = BTreeMap::new();
    let succeeded = cargo::lines(command, |line| {
        println!("{line}");
        let Ok(Value::Object(object)) = serde_json::from_str(line) else {
            return;
        };
        figures.extend(
            object
                .into_iter()
                .filter_map(|(name, value)| Some((name, value.as_f64()?))),
        );
    })?;
    anyhow::ensure!(succeeded, "it failed");
    Ok(figures)
}

fn print(figures: &[Figure]) {
    println!(
        "\n{:<24} {:>12} {:<9} {:>12} {:>8} {:>12}",
        "name", "value", "unit", "budget", "within", "limit"
    );
    for figure in figures {
        let within = figure
            .within
            .map_or("", |within| if within { "yes" } else { "NO" });
        println!(
            "{:<24} {:>12} {:<9} {:>12} {within:>8} {:>12}",
            figure.name,
            number(figure.value),
            figure.unit,
            figure.budget.map(number).unwrap_or_default(),
            figure.limit.map(number).unwrap_or_default()
        );
    }
}

/// Three places for small figures, none and commas for large ones.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "figures are positive and far below 2^63"
)]
fn number(value: f64) -> String {
    if value < 1000.0 {
        format!("{value:.3}")
    } else {
        grouped(value.round() as u64)
    }
}
