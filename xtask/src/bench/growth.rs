//! How the rate changes with what grows: handlers, keys, the size of events, the inbox and the data. Takes half an hour.
//!
//! Nothing may grow worse than linearly: what one event costs must not grow with what is there. The first figure of each kind
//! is the measure of the others, which have half of it for a budget: a cache that is full, a tree that is deeper.

use std::path::Path;

use super::host::Bench;
use super::load::Shape;
use super::{Budget, Figure};

/// Before the clock starts.
const WARM_UP: usize = 20_000;
const EVENTS: usize = 200_000;
/// Ten partitions' worth of the inbox's bound.
const INBOX: usize = 10_000_000;
/// Bytes that the largest rows write, about.
const BYTES: usize = 2 << 30;
const DATA: u64 = 10 << 30;
/// Of the first figure of a kind, what the others must reach.
const SHARE: f64 = 0.5;

/// Figures of one kind, told as they are measured.
#[derive(Default)]
struct Kind {
    figures: Vec<Figure>,
}

impl Kind {
    fn push(&mut self, name: &str, value: f64, unit: &'static str) {
        let first = self.figures.first();
        let budget = first.map_or(Budget::None, |first| Budget::AtLeast(first.value * SHARE));
        eprintln!("{name}: {value:.1} {unit}");
        self.figures
            .push(Figure::new(name, value, unit, &budget, None));
    }
}

pub(super) fn measure(root: &Path) -> anyhow::Result<Vec<Figure>> {
    let mut handled = Kind::default();
    for handlers in [1, 4, 16] {
        let rate = rate(root, Shape::USUAL, handlers, EVENTS)? * handlers as f64;
        handled.push(&format!("growth_handlers_{handlers}"), rate, "events/s");
    }
    let mut keyed = Kind::default();
    for keys in [1_000, 1, 1_000_000] {
        let shape = Shape {
            keys,
            ..Shape::USUAL
        };
        let rate = rate(root, shape, 1, EVENTS.max(keys))?;
        keyed.push(&format!("growth_keys_{keys}"), rate, "events/s");
    }
    let mut sized = Kind::default();
    for bytes in [100, 1 << 10, 16 << 10, 256 << 10] {
        let shape = Shape {
            bytes,
            ..Shape::USUAL
        };
        let events = EVENTS.min(BYTES / bytes);
        let rate = rate(root, shape, 1, events)? * bytes as f64 / 1e6;
        sized.push(&format!("growth_bytes_{bytes}"), rate, "MB/s");
    }
    let mut figures = [handled, keyed, sized].map(|kind| kind.figures).concat();
    figures.extend(inbox(root)?);
    figures.extend(data(root)?);
    Ok(figures)
}

fn rate(root: &Path, shape: Shape, handlers: usize, events: usize) -> anyhow::Result<f64> {
    let mut bench = Bench::start(root, shape, handlers)?;
    bench.batches(WARM_UP.min(events / 4))?;
    let rate = bench.batches(events)?;
    bench.finish()?;
    Ok(rate.events_per_s)
}

/// From an empty inbox to a full one, and the start of a host that finds it.
fn inbox(root: &Path) -> anyhow::Result<Vec<Figure>> {
    let shape = Shape {
        bytes: 100,
        ..Shape::USUAL
    };
    let (mut bench, empty) = Bench::start(root, shape, 1)?.killed()?;
    let (first, last) = bench.fill(INBOX)?;
    let memory = bench.memory_kib()?;
    let (bench, full) = bench.killed()?;
    bench.finish()?;
    let mut kind = Kind::default();
    kind.push("growth_inbox_0", first.events_per_s, "events/s");
    let name = format!("growth_inbox_{INBOX}");
    kind.push(&name, last.events_per_s, "events/s");
    kind.figures.extend([
        Figure::limit("inbox_host_mib", memory as f64 / 1024.0, "MiB"),
        Figure::limit("start_inbox_0_ms", empty.as_secs_f64() * 1e3, "ms"),
        Figure::limit("start_inbox_full_ms", full.as_secs_f64() * 1e3, "ms"),
    ]);
    Ok(kind.figures)
}

/// The same with large events, until the directory has its size.
fn data(root: &Path) -> anyhow::Result<Vec<Figure>> {
    let shape = Shape {
        bytes: 16 << 10,
        ..Shape::USUAL
    };
    let mut bench = Bench::start(root, shape, 1)?;
    let events = 20_000;
    let first = bench.batches(events)?;
    let mut last = first;
    while bench.data_bytes()? < DATA {
        last = bench.batches(events)?;
        eprintln!("{} MiB of data", bench.data_bytes()? >> 20);
    }
    let (bench, start) = bench.killed()?;
    bench.finish()?;
    let mut kind = Kind::default();
    kind.push("growth_data_0", first.events_per_s, "events/s");
    let name = format!("growth_data_{}_gib", DATA >> 30);
    kind.push(&name, last.events_per_s, "events/s");
    let start = Figure::limit("start_data_ms", start.as_secs_f64() * 1e3, "ms");
    kind.figures.push(start);
    Ok(kind.figures)
}
