//! How the rate changes with what grows: handlers, keys, the size of events, the inbox and the data. Takes half an hour.

use std::path::Path;

use super::Figure;
use super::host::Bench;
use super::load::Shape;

/// Before the clock starts.
const WARM_UP: usize = 20_000;
const EVENTS: usize = 200_000;
/// Ten partitions' worth of the inbox's bound.
const INBOX: usize = 10_000_000;
/// Bytes that the largest rows write, about.
const BYTES: usize = 4 << 30;
const DATA: u64 = 10 << 30;

pub(super) fn measure(root: &Path) -> anyhow::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for handlers in [1, 4, 16] {
        let rate = rate(root, Shape::USUAL, handlers, EVENTS)?;
        let handled = rate * handlers as f64;
        figures.push(row(&format!("growth_handlers_{handlers}"), handled));
    }
    for keys in [1, 1_000, 1_000_000] {
        let shape = Shape {
            keys,
            ..Shape::USUAL
        };
        figures.push(row(
            &format!("growth_keys_{keys}"),
            rate(root, shape, 1, EVENTS)?,
        ));
    }
    for bytes in [100, 1 << 10, 16 << 10, 256 << 10] {
        let shape = Shape {
            bytes,
            ..Shape::USUAL
        };
        let events = EVENTS.min(BYTES / bytes);
        figures.push(row(
            &format!("growth_bytes_{bytes}"),
            rate(root, shape, 1, events)?,
        ));
    }
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
    Ok(vec![
        row("growth_inbox_0", first.events_per_s),
        row(&format!("growth_inbox_{INBOX}"), last.events_per_s),
        Figure::limit("inbox_host_mib", memory as f64 / 1024.0, "MiB"),
        Figure::limit("start_inbox_0_ms", empty.as_secs_f64() * 1e3, "ms"),
        Figure::limit("start_inbox_full_ms", full.as_secs_f64() * 1e3, "ms"),
    ])
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
    Ok(vec![
        row("growth_data_0", first.events_per_s),
        row(
            &format!("growth_data_{}_gib", DATA >> 30),
            last.events_per_s,
        ),
        Figure::limit("start_data_ms", start.as_secs_f64() * 1e3, "ms"),
    ])
}

fn row(name: &str, events_per_s: f64) -> Figure {
    Figure::limit(name, events_per_s, "events/s")
}
