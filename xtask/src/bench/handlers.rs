//! Many handlers on one host: what each costs while it is idle, and how long they take to start.

use std::path::Path;
use std::time::Duration;

use weir_tests::wait;

use super::host::Bench;
use super::load::Shape;
use super::{Budget, Figure};

const HANDLERS: usize = 100;
/// Two for each partition: each handler has instances that wait for more, and the store has not much to remember.
const EVENTS: usize = 24;
/// Instances that were idle for a minute are given up, by a sweep that comes a little later.
const COLD: Duration = Duration::from_secs(75);

pub(super) fn measure(root: &Path) -> anyhow::Result<Vec<Figure>> {
    let alone = Bench::start(root, Shape::USUAL, 0)?;
    let host = alone.memory_kib()?;
    alone.finish()?;

    let mut bench = Bench::start(root, Shape::USUAL, HANDLERS)?;
    bench.batches(EVENTS)?;
    let each = |memory: u64| memory.saturating_sub(host) as f64 / HANDLERS as f64;
    let idle = each(bench.memory_kib()?);
    wait::pause(COLD);
    let cold = each(bench.memory_kib()?);
    let (bench, start) = bench.killed()?;
    bench.finish()?;

    let at_most = |name, value, most, unit| {
        let budget = Budget::AtMost(most);
        Figure::new(name, value, unit, &budget, None)
    };
    Ok(vec![
        at_most("idle_handler_kib", idle, 256.0, "KiB"),
        at_most("cold_handler_kib", cold, 16.0, "KiB"),
        at_most("start_100_ms", start.as_secs_f64() * 1e3, 1000.0, "ms"),
        Figure::limit("host_kib", host as f64, "KiB"),
    ])
}
