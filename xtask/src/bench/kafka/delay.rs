//! How long an event takes from when it is due until what came of it is read by who reads what is committed; and how long it
//! takes while another host joins.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use weir_tests::host::{self, Place};
use weir_tests::wait;

use super::super::host::copies;
use super::super::{Figure, figures_of};
use super::{AT_LEAST_ONCE, Bench};

/// At full load, at half load, and while a host joins.
const FULL_LOAD_S: u64 = 5;
const HALF_LOAD_S: u64 = 10;
const JOIN_S: u64 = 20;
/// Another host is started so long after the load.
const JOIN_AFTER: Duration = Duration::from_secs(5);

/// A host with topics of its own.
struct Subject<'a> {
    bench: &'a Bench<'a>,
    environment: &'static str,
    config: String,
    handlers: Vec<PathBuf>,
    input: String,
    output: String,
}

/// Events a second of hosts whose events are there before, and that nobody else takes a part of the machine from.
pub(super) struct Rates {
    pub(super) exactly: f64,
    pub(super) with_state: f64,
    pub(super) at_least: f64,
}

/// Figures of one handler under both deliveries, and of one with state, at half of the rate that each reaches beside who
/// writes the events and reads what comes of them.
pub(super) fn measure(
    bench: &Bench<'_>,
    folder: &Path,
    rates: &Rates,
) -> anyhow::Result<Vec<Figure>> {
    let stateless = |environment, config: &str| -> anyhow::Result<Subject<'_>> {
        Ok(Subject {
            bench,
            environment,
            config: bench.config() + config,
            handlers: host::handlers(bench.root, &["stateless"])?,
            input: format!("{environment}.local.public.scripts.v1"),
            output: format!("{environment}.local.public.deeds.v1"),
        })
    };
    let exactly_once = stateless("delay", "")?;
    let at_least_once = stateless("leastdelay", AT_LEAST_ONCE)?;
    let with_state = Subject {
        bench,
        environment: "statedelay",
        config: bench.config(),
        handlers: copies(bench.root, 1)?,
        input: "statedelay.local.public.invoices.v1".to_owned(),
        output: "statedelay.local.public.payments.v1".to_owned(),
    };
    let (half, mut figures) = exactly_once.half_load("kafka", folder, rates.exactly)?;
    for (subject, name, rate) in [
        (&with_state, "kafka_state", rates.with_state),
        (&at_least_once, "kafka_alo", rates.at_least),
    ] {
        figures.extend(subject.half_load(name, folder, rate)?.1);
    }
    figures.extend(exactly_once.join(folder, half)?);
    Ok(figures)
}

impl Subject<'_> {
    fn place(&self, folder: &Path, name: &str) -> anyhow::Result<Place> {
        let home = folder.join(format!("{}-{name}", self.environment));
        let binary = host::binary()?;
        Place::in_environment(
            &binary,
            &home,
            &self.handlers,
            self.environment,
            &self.config,
        )
    }

    /// Sends for so long, with events that nobody had yet.
    fn delays(
        &self,
        first: u64,
        events_per_s: u64,
        seconds: u64,
    ) -> anyhow::Result<BTreeMap<String, f64>> {
        let [first, rate, seconds] = [first, events_per_s, seconds].map(|one| one.to_string());
        let arguments = ["delay", &self.input, &self.output, &first, &rate, &seconds];
        figures_of(self.bench.command(&arguments)).context(self.environment)
    }

    /// The rate of half load, and the figures at it.
    fn half_load(
        &self,
        name: &str,
        folder: &Path,
        rate: f64,
    ) -> anyhow::Result<(f64, Vec<Figure>)> {
        let topics = ["fill", "0", &self.input, &self.output];
        crate::cargo::run(self.bench.command(&topics))?;
        let running = self.place(folder, "a")?.start()?;
        let full = whole(rate);
        let reached = self.delays(0, full, FULL_LOAD_S)?;
        let reached = reached.get("reached_per_s").context("no rate")?;
        let half = reached / 2.0;
        let delays = self.delays(full * FULL_LOAD_S, whole(half), HALF_LOAD_S)?;
        running.drain()?;
        let limit = |what: &str, value, unit| Figure::limit(&format!("{name}_{what}"), value, unit);
        let mut figures = vec![limit("half_load_per_s", half, "events/s")];
        for percentile in ["p50_ms", "p99_ms"] {
            let value = delays.get(percentile).copied().context("no percentile")?;
            figures.push(limit(percentile, value, "ms"));
        }
        Ok((half, figures))
    }

    /// The longest that an event took while a second host joined: in partitions that stayed where they were, and in those
    /// that it took over.
    fn join(&self, folder: &Path, rate: f64) -> anyhow::Result<Vec<Figure>> {
        let first = self.place(folder, "a")?;
        let running = first.start()?;
        // Its log is that of an earlier life too.
        let before = std::fs::read_to_string(first.log())?.len();
        // No number was in use: the first part of the day had some millions.
        let (from, rate) = (u64::from(u32::MAX) / 8, whole(rate));
        let delays = std::thread::scope(|scope| {
            let delays = scope.spawn(|| self.delays(from, rate, JOIN_S));
            wait::pause(JOIN_AFTER);
            let joined = self.place(folder, "b")?.start()?;
            let delays = delays.join().expect("it does not panic")?;
            joined.drain()?;
            anyhow::Ok(delays)
        })?;
        let log = std::fs::read_to_string(first.log())?;
        let moved = revoked(&log[before..]);
        running.drain()?;
        anyhow::ensure!(!moved.is_empty(), "the second host was given nothing");
        let longest = |of_moved: bool| {
            let of = |(name, delay): (&String, &f64)| {
                let partition: u32 = name.strip_prefix("max_ms_")?.parse().ok()?;
                (moved.contains(&partition) == of_moved).then_some(*delay)
            };
            delays.iter().filter_map(of).fold(0.0, f64::max)
        };
        Ok(vec![
            Figure::limit("kafka_join_kept_max_ms", longest(false), "ms"),
            Figure::limit("kafka_join_moved_max_ms", longest(true), "ms"),
        ])
    }
}

/// The partitions that a host gave away, by its log.
fn revoked(log: &str) -> Vec<u32> {
    let lines = log
        .lines()
        .filter(|line| line.contains("partitions revoked"));
    let lists = lines.filter_map(|line| line.split_once("partitions=[")?.1.split_once(']'));
    let numbers = lists.flat_map(|(list, _)| list.split(", "));
    numbers.filter_map(|number| number.parse().ok()).collect()
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate is positive and far below 2^52"
)]
fn whole(rate: f64) -> u64 {
    rate as u64
}
