//! `cargo xtask bench`: the speed budget beside what was measured, and beside the limits of this machine in the same run.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::Serialize;
use serde_json::Value;
use weir_tests::host::{self, Place};
use weir_tests::publisher::Publisher;
use weir_tests::purchases::{INVOICES, PAYMENTS, grouped};

use crate::{cargo, guests, machine};

mod limits;

/// Enough for some seconds of work at the rate of the budget.
const EVENTS: usize = 400_000;
/// Before the clock starts: compilation, caches and the store's first files.
const WARM_UP: usize = 40_000;
const BATCH: usize = 256;
/// Customers: more keys than attempts can run at once, few enough that keys repeat.
const KEYS: usize = 10_000;
/// Producers: one request at a time each, so that batches wait while others are synced.
const PRODUCERS: usize = 8;
const SETTLE: Duration = Duration::from_secs(300);

/// One row; the names are kept, so that figures can be followed over the years.
#[derive(Debug, Serialize)]
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
}

/// Measures all; always true, since a figure out of its budget is a result and no failure of the command.
pub(crate) fn run(root: &Path) -> anyhow::Result<bool> {
    machine::prepare()?;
    let guests = guests::build(root)?;
    let billing = guests.iter().find(|guest| guest.name == "billing");
    let billing = billing.context("there is no handler `billing` to call")?;
    cargo::build_host(root)?;
    let calls = sandbox(root, &billing.component)?;
    let call = calls.get("bare_us").copied();
    let syncs = limits::syncs_per_s(&root.join("target"))?;
    let store = store_rate(root)?;
    let embedded = embedded(root)?;

    let mut figures = Vec::new();
    for (name, most) in [("host_overhead_us", 1.5), ("fresh_instance_us", 15.0)] {
        let value = *calls
            .get(name)
            .with_context(|| format!("the benchmark of the sandbox printed no {name}"))?;
        figures.push(Figure::new(name, value, "us", &Budget::AtMost(most), call));
    }
    figures.push(Figure::new(
        "embedded_events_per_s",
        embedded,
        "events/s",
        &Budget::AtLeast(100_000.0),
        store,
    ));
    figures.extend(call.map(|call| Figure::new("bare_call_us", call, "us", &Budget::None, None)));
    figures.push(Figure::new(
        "fsync_per_s",
        syncs,
        "fsyncs/s",
        &Budget::None,
        None,
    ));
    figures
        .extend(store.map(|store| {
            Figure::new("store_events_per_s", store, "events/s", &Budget::None, None)
        }));

    print(&figures);
    let file = root.join("target/bench.json");
    std::fs::write(&file, serde_json::to_string_pretty(&figures)?)
        .with_context(|| format!("write {}", file.display()))?;
    println!("\nwritten to target/bench.json");
    Ok(true)
}

/// The benchmark of `weir-wasm`: it prints one JSON object of names and figures.
fn sandbox(root: &Path, guest: &Path) -> anyhow::Result<std::collections::BTreeMap<String, f64>> {
    let arguments = [
        "bench",
        "--profile",
        "dev",
        "--workspace",
        "--bench",
        "overhead",
        "--",
    ];
    let mut command = cargo::command(root, arguments);
    command.arg(guest);
    figures_of(command).context("the benchmark of the sandbox")
}

/// What the store does for the same writes without a host around it; none when it printed no figure.
fn store_rate(root: &Path) -> anyhow::Result<Option<f64>> {
    let command = cargo::command(
        root,
        ["run", "--package", "weir", "--example", "store_rate"],
    );
    let figures = figures_of(command).context("the store's own rate")?;
    Ok(figures.get("store_events_per_s").copied())
}

fn figures_of(
    command: std::process::Command,
) -> anyhow::Result<std::collections::BTreeMap<String, f64>> {
    let mut figures = std::collections::BTreeMap::new();
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

/// Events of 1 kB over HTTP through `billing` until its last emission is durable.
fn embedded(root: &Path) -> anyhow::Result<f64> {
    let folder = root.join("target/bench-host");
    if folder.exists() {
        std::fs::remove_dir_all(&folder).with_context(|| format!("remove {}", folder.display()))?;
    }
    let handlers = host::handlers(root, &["billing"])?;
    let place = Place::new(&host::binary()?, &folder, &handlers, "")?;
    let running = place.start()?;
    let client = running.client();

    publish(&place, 0..WARM_UP)?;
    client.settle(SETTLE)?;
    let measured = WARM_UP..WARM_UP + EVENTS;
    let shares = shares(measured.clone());
    let started = Instant::now();
    send(&place, shares)?;
    client.settle(SETTLE)?;
    let time = started.elapsed();

    let emitted = client.records(PAYMENTS)?;
    anyhow::ensure!(
        emitted == measured.end as u64,
        "{emitted} emissions for {} events",
        measured.end
    );
    running.drain()?;
    std::fs::remove_dir_all(&folder).with_context(|| format!("remove {}", folder.display()))?;
    #[expect(
        clippy::cast_precision_loss,
        reason = "a count of events is far below 2^52"
    )]
    Ok(EVENTS as f64 / time.as_secs_f64())
}

fn publish(place: &Place, events: std::ops::Range<usize>) -> anyhow::Result<()> {
    send(place, shares(events))
}

/// The events, made before the clock starts, one share a producer.
fn shares(events: std::ops::Range<usize>) -> Vec<Vec<String>> {
    let mut shares = vec![Vec::new(); PRODUCERS];
    for number in events {
        shares[number % PRODUCERS].push(event(number));
    }
    shares
}

fn send(place: &Place, shares: Vec<Vec<String>>) -> anyhow::Result<()> {
    let start = |share| Publisher::spawn(place.client(), INVOICES, Arc::new(share), BATCH);
    let publishers: Vec<_> = shares.into_iter().map(start).collect();
    publishers.into_iter().try_for_each(Publisher::finish)
}

/// An invoice of 1 kB.
fn event(number: usize) -> String {
    const SIZE: usize = 1000;
    let customer = number % KEYS;
    let text = |note: &str| {
        format!(
            r#"{{"specversion":"1.0","id":"b-{number:09}","source":"/bench","type":"InvoiceCreated","subject":"customer/{customer:05}","datacontenttype":"application/json","partitionkey":"{customer:05}","data":{{"invoiceId":"i-{number:09}","customerId":"{customer:05}","quantity":1,"amount":"11.77","currency":"USD","note":"{note}"}}}}"#
        )
    };
    let bare = text("").len();
    text(&"n".repeat(SIZE.saturating_sub(bare)))
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
