//! The thread that advances the engine's epoch, and the clock of wall-time limits that follows it.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use wasmtime::Engine;

/// Time between two epochs: how long a guest runs before it yields.
pub(crate) const TICK: Duration = Duration::from_millis(10);

/// A tick this late means that the host is short of CPU or was suspended, which is no fault of a handler.
const LAG_MAX: Duration = Duration::from_millis(100);

/// Time between two sweeps of idle instances.
const SWEEP_TICKS: u64 = 500;

/// Milliseconds in which the host was able to run its ticker on time.
#[derive(Debug, Default)]
pub(crate) struct Clock(AtomicU64);

impl Clock {
    pub(crate) fn now(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }

    /// Advances by what has passed since the last tick; by one tick only when it came too late.
    pub(crate) fn advance(&self, passed: Duration) {
        let counted = if passed > LAG_MAX { TICK } else { passed };
        let millis = u64::try_from(counted.as_millis()).unwrap_or(0);
        self.0.fetch_add(millis, Ordering::Relaxed);
    }
}

/// Something that gives up what it holds when it was idle for long.
pub(crate) trait Sweep: Send + Sync {
    fn sweep(&self, now: Duration);
}

/// The running ticker; it ends when this is dropped.
pub(crate) struct Ticker {
    pub(crate) clock: Arc<Clock>,
    subscribe: mpsc::Sender<Weak<dyn Sweep>>,
}

impl Ticker {
    pub(crate) fn spawn(engine: Engine) -> Result<Self, io::Error> {
        let clock = Arc::new(Clock::default());
        let (subscribe, subscribed) = mpsc::channel();
        let ticking = Arc::clone(&clock);
        thread::Builder::new()
            .name("weir-epoch".to_owned())
            .spawn(move || run(&engine, &ticking, &subscribed))?;
        Ok(Self { clock, subscribe })
    }

    /// Calls `sweep` every few seconds for as long as it lives.
    pub(crate) fn sweep(&self, target: Weak<dyn Sweep>) {
        // The thread ends only after `self`, so the channel is open.
        drop(self.subscribe.send(target));
    }
}

fn run(engine: &Engine, clock: &Clock, subscribed: &mpsc::Receiver<Weak<dyn Sweep>>) {
    let mut targets: Vec<Weak<dyn Sweep>> = Vec::new();
    let mut last = Instant::now();
    let mut ticks = 0_u64;
    loop {
        match subscribed.recv_timeout((last + TICK).saturating_duration_since(Instant::now())) {
            Ok(target) => targets.push(target),
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {
                // First the clock: who is suspended by the new epoch has run until now.
                clock.advance(last.elapsed());
                engine.increment_epoch();
                last = Instant::now();
                ticks += 1;
                if ticks.is_multiple_of(SWEEP_TICKS) {
                    targets.retain(|target| {
                        target
                            .upgrade()
                            .map(|target| target.sweep(clock.now()))
                            .is_some()
                    });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
