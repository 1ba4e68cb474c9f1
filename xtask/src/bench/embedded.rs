//! The whole host on the embedded store: events of 1 kB over HTTP through `billing` until its last emission is durable.

use std::path::Path;
use std::time::Instant;

use anyhow::Context as _;
use weir_tests::host::{self, Host, Place};
use weir_tests::purchases::PAYMENTS;

use super::load::{self, Load, SETTLE, Shape};
use super::{Budget, Figure, figures_of, limits};
use crate::cargo;

/// Customers: more keys than attempts can run at once, few enough that keys repeat.
const SHAPE: Shape = Shape {
    bytes: 1000,
    keys: 10_000,
};
/// Before the clock starts: compilation, caches and the store's first files.
const WARM_UP: usize = 40_000;
/// Enough for some seconds of work at the rate of the budget.
const EVENTS: usize = 400_000;
/// Seconds at half of the rate that was reached.
const HALF_LOAD_S: f64 = 8.0;
/// One request at a time each.
const CONNECTIONS: usize = 64;
/// Some seconds at the rate of the budget.
const SINGLES: usize = 100_000;

/// Throughput in batches and one by one, and latency at half load, beside what the store and the disk do alone.
pub(super) fn measure(root: &Path) -> anyhow::Result<Vec<Figure>> {
    let syncs = limits::syncs_per_s(&root.join("target"))?;
    let store = store_rate(root)?;
    let mut bench = Bench::start(root, SHAPE)?;
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
        Figure::limit("fsync_per_s", syncs, "fsyncs/s"),
    ])
}

/// What the store does for the same writes without a host around it.
fn store_rate(root: &Path) -> anyhow::Result<f64> {
    let arguments = ["run", "--package", "weir", "--example", "store_rate"];
    let figures = figures_of(cargo::command(root, arguments)).context("the store's own rate")?;
    let rate = figures.get("store_events_per_s").copied();
    rate.context("the store's example printed no store_events_per_s")
}

/// How fast events went through.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    pub(super) events_per_s: f64,
    /// CPU of the host for each of them, over all threads.
    pub(super) cpu_us: f64,
}

/// A host with `billing`, and the events that it was given.
pub(super) struct Bench {
    place: Place,
    running: Host,
    shape: Shape,
    events: usize,
}

impl Bench {
    pub(super) fn start(root: &Path, shape: Shape) -> anyhow::Result<Self> {
        let folder = root.join("target/bench-host");
        if folder.exists() {
            std::fs::remove_dir_all(&folder)
                .with_context(|| format!("remove {}", folder.display()))?;
        }
        let handlers = host::handlers(root, &["billing"])?;
        let place = Place::new(&host::binary()?, &folder, &handlers, "")?;
        let running = place.start()?;
        Ok(Self {
            place,
            running,
            shape,
            events: 0,
        })
    }

    fn numbers(&mut self, events: usize) -> std::ops::Range<usize> {
        let first = self.events;
        self.events += events;
        first..self.events
    }

    /// From the first request until the last emission is durable.
    pub(super) fn batches(&mut self, events: usize) -> anyhow::Result<Rate> {
        let load = Load::new(self.shape, self.numbers(events));
        self.timed(events, |place| load.send(place))
    }

    /// The same, one event a request.
    fn singles(&mut self, events: usize) -> anyhow::Result<Rate> {
        let (shape, numbers) = (self.shape, self.numbers(events));
        self.timed(events, |place| {
            load::singles(place, shape, numbers, CONNECTIONS)
        })
    }

    fn timed(
        &self,
        events: usize,
        send: impl FnOnce(&Place) -> anyhow::Result<()>,
    ) -> anyhow::Result<Rate> {
        let cpu = || limits::cpu_time(self.running.pid()).unwrap_or_default();
        let (started, before) = (Instant::now(), cpu());
        send(&self.place)?;
        self.running.client().settle(SETTLE)?;
        let (time, cpu) = (started.elapsed(), cpu() - before);
        let emitted = self.running.client().records(PAYMENTS)?;
        anyhow::ensure!(
            emitted == self.events as u64,
            "{emitted} emissions for {} events",
            self.events
        );
        Ok(Rate {
            events_per_s: events as f64 / time.as_secs_f64(),
            cpu_us: cpu.as_secs_f64() * 1e6 / events as f64,
        })
    }

    fn latencies(&mut self, events_per_s: f64) -> anyhow::Result<Vec<f64>> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rate is positive and far below 2^52"
        )]
        let events = (events_per_s * HALF_LOAD_S) as usize;
        let numbers = self.numbers(events);
        let latencies = load::latencies(&self.place, self.shape, numbers, events_per_s)?;
        anyhow::ensure!(!latencies.is_empty(), "no emission was read");
        Ok(latencies)
    }

    pub(super) fn finish(self) -> anyhow::Result<()> {
        let folder = self.place.data();
        self.running.drain()?;
        std::fs::remove_dir_all(&folder).with_context(|| format!("remove {}", folder.display()))
    }
}
