//! The whole host on the embedded store: events of 1 kB over HTTP through `billing` until its last emission is durable.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::Context as _;
use weir_tests::host;

use super::host::Bench;
use super::load::Shape;
use super::{Budget, Figure, figures_of, limits};

/// Before the clock starts: compilation, caches and the store's first files.
const WARM_UP: usize = 40_000;
/// Enough for some seconds of work at the rate of the budget.
const EVENTS: usize = 400_000;
/// Some seconds at the rate of the budget.
const SINGLES: usize = 100_000;

/// Throughput in batches and one by one, and latency at half load, beside what the store and the disk do alone.
pub(super) fn measure(root: &Path) -> anyhow::Result<Vec<Figure>> {
    let syncs = limits::syncs_per_s(&root.join("target"))?;
    let alone = store_alone()?;
    let of_store = |name: &str| {
        let figure = alone.get(name).copied();
        figure.with_context(|| format!("the store's example printed no {name}"))
    };
    let store = of_store("store_events_per_s")?;
    let (part, look_up) = (of_store("inbox_part_us")?, of_store("inbox_look_up_us")?);
    let mut bench = Bench::start(root, Shape::USUAL, 1)?;
    bench.batches(WARM_UP)?;
    let rate = bench.batches(EVENTS)?;
    let latencies = bench.latencies(rate.events_per_s / 2.0)?;
    let singles = bench.singles(SINGLES)?;
    bench.finish()?;

    let at_least = |name, value, least, limit| {
        let budget = Budget::AtLeast(least);
        Figure::new(name, value, "events/s", &budget, limit)
    };
    let percentile = |percent| latencies[(latencies.len() - 1) * percent / 100];
    let p99 = Budget::AtMost(25.0);
    Ok(vec![
        at_least(
            "embedded_events_per_s",
            rate.events_per_s,
            100_000.0,
            Some(store),
        ),
        Figure::limit("embedded_cpu_us", rate.cpu_us, "us"),
        Figure::new("embedded_p99_ms", percentile(99), "ms", &p99, None),
        Figure::limit("embedded_p50_ms", percentile(50), "ms"),
        at_least(
            "embedded_single_per_s",
            singles.events_per_s,
            30_000.0,
            None,
        ),
        Figure::limit("embedded_single_cpu_us", singles.cpu_us, "us"),
        Figure::limit("store_events_per_s", store, "events/s"),
        Figure::new("inbox_look_up_us", look_up, "us", &Budget::None, Some(part)),
        Figure::limit("fsync_per_s", syncs, "fsyncs/s"),
    ])
}

/// What the store does for the same writes without a host around it.
fn store_alone() -> anyhow::Result<BTreeMap<String, f64>> {
    let alone = host::binary()?.with_file_name("examples/store_rate");
    figures_of(Command::new(alone)).context("the store's own rate")
}
