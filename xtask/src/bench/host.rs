//! A host under measurement: `billing`, once or several times under other names, and what it was given so far.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use weir_tests::host::{self, Host, Place};
use weir_tests::purchases::PAYMENTS;

use super::limits;
use super::load::{self, Load, SETTLE, Shape};

/// Seconds at half of the rate that was reached.
const HALF_LOAD_S: f64 = 8.0;
/// One request at a time each.
const CONNECTIONS: usize = 64;
/// Events are made before the clock starts, and so many fit in memory.
const SLICE: usize = 200_000;

/// How fast events went through.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    pub(super) events_per_s: f64,
    /// CPU of the host for each of them, over all threads.
    pub(super) cpu_us: f64,
}

/// A running host, and the events that it was given.
pub(super) struct Bench {
    place: Place,
    running: Host,
    shape: Shape,
    handlers: usize,
    events: usize,
}

impl Bench {
    /// A host in a fresh directory with so many handlers of one topic.
    pub(super) fn start(root: &Path, shape: Shape, handlers: usize) -> anyhow::Result<Self> {
        let folder = root.join("target/bench-host");
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| format!("remove {}", folder.display()))?;
        }
        let place = Place::new(&host::binary()?, &folder, &copies(root, handlers)?, "")?;
        let running = place.start()?;
        Ok(Self {
            place,
            running,
            shape,
            handlers,
            events: 0,
        })
    }

    /// Kills the host and starts another one; says how long that takes until it is ready.
    pub(super) fn killed(self) -> anyhow::Result<(Self, Duration)> {
        self.running.kill()?;
        let started = Instant::now();
        let running = self.place.start()?;
        Ok((Self { running, ..self }, started.elapsed()))
    }

    /// Resident memory of the host.
    pub(super) fn memory_kib(&self) -> anyhow::Result<u64> {
        limits::resident_kib(self.running.pid())
    }

    /// Bytes of the data directory.
    pub(super) fn data_bytes(&self) -> anyhow::Result<u64> {
        bytes_of(&self.place.data())
    }

    fn numbers(&mut self, events: usize) -> Range<usize> {
        let first = self.events;
        self.events += events;
        first..self.events
    }

    /// From the first request until the last emission is durable.
    pub(super) fn batches(&mut self, events: usize) -> anyhow::Result<Rate> {
        let load = Load::new(self.shape, self.numbers(events));
        self.timed(events, |place| load.send(place))
    }

    /// Many events; the rate of the first and of the last of them.
    pub(super) fn fill(&mut self, events: usize) -> anyhow::Result<(Rate, Rate)> {
        let first = self.batches(SLICE.min(events))?;
        let mut last = first;
        let mut left = events.saturating_sub(SLICE);
        while left > 0 {
            let slice = SLICE.min(left);
            last = self.batches(slice)?;
            left -= slice;
            eprintln!("{} of {events} events in", events - left);
        }
        Ok((first, last))
    }

    /// As [`Self::batches`], one event a request.
    pub(super) fn singles(&mut self, events: usize) -> anyhow::Result<Rate> {
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
            emitted == (self.events * self.handlers) as u64,
            "{emitted} emissions of {} handlers for {} events",
            self.handlers,
            self.events
        );
        Ok(Rate {
            events_per_s: events as f64 / time.as_secs_f64(),
            cpu_us: cpu.as_secs_f64() * 1e6 / events as f64,
        })
    }

    /// From when an event was due until its emission is read, in milliseconds, sorted.
    pub(super) fn latencies(&mut self, events_per_s: f64) -> anyhow::Result<Vec<f64>> {
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
        fs::remove_dir_all(&folder).with_context(|| format!("remove {}", folder.display()))
    }
}

/// Folders of `billing` under as many names.
pub(super) fn copies(root: &Path, count: usize) -> anyhow::Result<Vec<PathBuf>> {
    const NAME: &str = "name = \"billing\"";
    let billing = root.join("target/guests/billing");
    let manifest = fs::read_to_string(billing.join("handler.toml")).context("read a manifest")?;
    anyhow::ensure!(manifest.contains(NAME), "billing has another name");
    let copy = |number: usize| {
        let folder = root.join(format!("target/bench-handlers/billing-{number}"));
        let named = manifest.replace(NAME, &format!("name = \"billing-{number}\""));
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("handler.toml"), named)?;
        fs::copy(billing.join("billing.wasm"), folder.join("billing.wasm"))?;
        Ok(folder)
    };
    (0..count)
        .map(copy)
        .collect::<std::io::Result<_>>()
        .context("copy billing")
}

fn bytes_of(folder: &Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))? {
        let entry = entry?;
        // A file of the store may be gone by now.
        let Ok(found) = entry.metadata() else {
            continue;
        };
        bytes += if found.is_dir() {
            bytes_of(&entry.path())?
        } else {
            found.len()
        };
    }
    Ok(bytes)
}
