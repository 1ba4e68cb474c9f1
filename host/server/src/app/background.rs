//! What runs beside the partitions for as long as a host does: the beat of its runtime, the watchdog, retention.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock;
use crate::draining::Draining;
use crate::fleet::SAY_EVERY;
use crate::handlers::chain;
use crate::jobs::Jobs;
use crate::kafka::Control;
use crate::ledger::Ledger;
use crate::pipeline::Subscription;
use crate::status::{BEAT_EVERY, HostStatus, LOOK_EVERY, Watchdog};

/// Between two looks whether a host has something new to say.
const CHANGED_EVERY: Duration = Duration::from_millis(500);
/// The rest of the time for a stop is the store's.
const LEAVE_WITHIN: Duration = Duration::from_secs(2);
/// Between sweeps by retention.
const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// Between looks for what is left of partitions that others own: it counts in days.
const FORGET_EVERY: Duration = Duration::from_hours(1);

/// Runs a task without which the host would look alive and do nothing: its panic ends the process, which loses nothing
/// that was acknowledged.
pub(super) async fn essential(task: impl Future<Output = ()>) {
    if AssertUnwindSafe(task).catch_unwind().await.is_err() {
        std::process::abort();
    }
}

/// Shows that the runtime it runs on works.
pub(super) async fn beat(status: Arc<HostStatus>, stop: CancellationToken) {
    while !stop.is_cancelled() {
        status.beat();
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(BEAT_EVERY) => {}
        }
    }
}

/// What handles events: the partitions that are served, and the replays of letters, which need them.
#[derive(Clone)]
pub(super) struct Pipelines {
    pub(super) jobs: Arc<Jobs>,
    pub(super) stop: CancellationToken,
    pub(super) tasks: TaskTracker,
}

impl Pipelines {
    /// Lets what has begun come to its end, and no more begin.
    pub(super) async fn end(&self) {
        self.jobs.close().await;
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Gives all partitions to others when an operator asks for it; until the host stops.
pub(super) async fn drain(
    status: Arc<HostStatus>,
    subscriptions: Vec<Arc<Subscription>>,
    draining: Arc<Draining>,
    pipelines: Pipelines,
    stop: CancellationToken,
) {
    tokio::select! {
        () = stop.cancelled() => return,
        () = draining.asked() => {}
    }
    status.drained.store(true, Ordering::Release);
    pipelines.end().await;
    for subscription in subscriptions {
        subscription.status.drain();
    }
    draining.finish();
}

pub(super) async fn watch(status: Arc<HostStatus>, stop: CancellationToken) {
    let mut watchdog = Watchdog::new(status);
    while !stop.is_cancelled() {
        clock::follow();
        watchdog.look(Instant::now());
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

/// Tells the other hosts what this one is, often enough that none takes it for dead, and soon when its partitions have
/// changed; and at its end that it has stopped.
pub(super) async fn announce(
    status: Arc<HostStatus>,
    control: Arc<Control>,
    stop: CancellationToken,
) {
    let mut said: Option<(Instant, Vec<Vec<u32>>)> = None;
    while !stop.is_cancelled() {
        let given = status.given();
        let is_said = said
            .as_ref()
            .is_some_and(|(at, before)| at.elapsed() < SAY_EVERY && *before == given);
        if !is_said {
            match control.say(status.record(control.secret())).await {
                Ok(()) => said = Some((Instant::now(), given)),
                Err(error) => {
                    tracing::warn!(
                        error = chain(&error),
                        "the other hosts are not told that this one is there"
                    );
                }
            }
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(CHANGED_EVERY) => {}
        }
    }
    match tokio::time::timeout(LEAVE_WITHIN, control.leave()).await {
        Ok(Ok(())) => {}
        // They see it by its silence.
        Ok(Err(error)) => tracing::warn!(
            error = chain(&error),
            "the other hosts are not told that this one stops"
        ),
        Err(_elapsed) => tracing::warn!("the other hosts could not be told that this one stops"),
    }
}

/// Has each handler do what operators have commanded on whichever host.
pub(super) async fn obey(
    control: Arc<Control>,
    subscriptions: Vec<Arc<Subscription>>,
    stop: CancellationToken,
) {
    let mut changes = control.changes();
    loop {
        for subscription in &subscriptions {
            let wanted = control.wanted(&subscription.deployment.scope.group);
            if wanted != subscription.status.steering() {
                subscription.steer(wanted);
                let handler = &subscription.deployment.manifest.name;
                tracing::info!(
                    %handler, paused = wanted.paused, breaker = wanted.breaker.name(),
                    "handler steered, as an operator has commanded the fleet"
                );
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            // The sender lives in what is held here.
            changed = changes.changed() => drop(changed),
        }
    }
}

/// Deletes what retention no longer keeps, now and then.
pub(super) async fn sweep(status: Arc<HostStatus>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(SWEEP_EVERY) => {}
        }
        status.sweep().await;
    }
}

/// Deletes what the ledger keeps on this machine and nobody can use any more, now and then.
pub(super) async fn forget(ledger: Arc<dyn Ledger>, stop: CancellationToken) {
    loop {
        let swept = Arc::clone(&ledger);
        match tokio::task::spawn_blocking(move || swept.sweep()).await {
            Ok(Ok(0)) => {}
            Ok(Ok(partitions)) => tracing::info!(partitions, "old copies of ledgers deleted"),
            Ok(Err(error)) => {
                tracing::warn!(error = chain(&error), "old copies of ledgers stay");
            }
            Err(error) => tracing::warn!(%error, "old copies of ledgers stay"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(FORGET_EVERY) => {}
        }
    }
}
