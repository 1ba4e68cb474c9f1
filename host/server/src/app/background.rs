//! What runs beside the partitions for as long as a host does: the beat of its runtime, the watchdog, retention.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::status::{BEAT_EVERY, HostStatus, LOOK_EVERY, Watchdog};

/// Between sweeps by retention.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

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
