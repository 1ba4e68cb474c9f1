//! Many subscriptions on one host: what each takes while nothing comes, and their rate together.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use weir_tests::host::{self, Host, Place};
use weir_tests::http::Client;
use weir_tests::wait;

use super::super::host::copies;
use super::super::{Figure, limits};
use super::Bench;

const HANDLERS: usize = 50;
/// Each handler has all of them.
const EVENTS: usize = 4_000;
const INPUT: &str = "many.local.public.invoices.v1";
const OUTPUT: &str = "many.local.public.payments.v1";
/// For all groups to have their partitions, and for all to be handled.
const PATIENCE: Duration = Duration::from_secs(600);
/// Of each group.
const PARTITIONS: u64 = 12;

pub(super) fn measure(bench: &Bench<'_>, folder: &Path) -> anyhow::Result<Vec<Figure>> {
    crate::cargo::run(bench.command(&["fill", "0", INPUT, OUTPUT]))?;
    let handlers = copies(bench.root, HANDLERS)?;
    let (binary, home) = (host::binary()?, folder.join("many"));
    let place = Place::in_environment(&binary, &home, &handlers, "many", &bench.config())?;
    let running = place.spawn()?;
    let client = running.client();
    wait::until("all groups to have their partitions", PATIENCE, || {
        let ready = |handler: &serde_json::Value| handler["state"] == "ready";
        let served = sum(client, |handler| {
            ready(handler).then(|| handler["partitions"].as_u64())?
        })?;
        Ok((served == PARTITIONS * HANDLERS as u64).then_some(()))
    })?;
    let (threads, connections) = (threads(&running)?, connections(&running)?);
    let memory = limits::resident_kib(running.pid())?;

    let started = Instant::now();
    let events = EVENTS.to_string();
    crate::cargo::run(bench.command(&["append", &events, INPUT]))?;
    let all = (EVENTS * HANDLERS) as u64;
    wait::until("all events to be handled", PATIENCE, || {
        let handled = sum(client, |handler| handler["fates"]["handled"].as_u64())?;
        anyhow::ensure!(handled == all, "{handled} of {all}");
        Ok(Some(()))
    })?;
    let rate = all as f64 / started.elapsed().as_secs_f64();
    running.drain()?;
    Ok(vec![
        Figure::limit("kafka_50_events_per_s", rate, "events/s"),
        Figure::limit("kafka_50_threads", threads as f64, "threads"),
        Figure::limit("kafka_50_connections", connections as f64, "sockets"),
        Figure::limit("kafka_50_memory_mib", memory as f64 / 1024.0, "MiB"),
    ])
}

/// Adds up what a host tells of each handler.
fn sum(client: &Client, of: impl Fn(&serde_json::Value) -> Option<u64>) -> anyhow::Result<u64> {
    let status = client.status()?;
    let handlers = status["handlers"].as_array().context("no handlers")?;
    Ok(handlers.iter().filter_map(of).sum())
}

/// Source: `/proc/PID/task` has a folder for each (proc_pid_task(5)).
fn threads(host: &Host) -> anyhow::Result<usize> {
    Ok(std::fs::read_dir(format!("/proc/{}/task", host.pid()))?.count())
}

/// Sockets of the process. Source: `/proc/PID/fd` has a link for each descriptor (proc_pid_fd(5)).
fn connections(host: &Host) -> anyhow::Result<usize> {
    let links = std::fs::read_dir(format!("/proc/{}/fd", host.pid()))?.flatten();
    let targets = links.filter_map(|link| std::fs::read_link(link.path()).ok());
    Ok(targets
        .filter(|target| target.to_string_lossy().starts_with("socket:"))
        .count())
}
