//! Keeps an attempt within its CPU and wall time, and the threads of the host for everybody.
//!
//! Guest code is suspended at every epoch tick (10 ms), so this future regains control at least that often and may drop
//! the attempt there, which unwinds its stack. CPU time is read from the executing thread's clock around each poll:
//! epochs alone are wall clock, and a busy host would stop the innocent. For the same reason wall time counts only while
//! the attempt runs or a host call is pending: the time in which it waits for its turn is the host's.
//!
//! Reading the thread's clock is a system call, dearer than all else the host does for a small event. Most attempts are
//! finished by their first poll and need no reading. What the first poll of another has used is told from the last reading of its
//! thread, which is at most [`STALE`] old, so that much of it may be another's.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use tokio::sync::SemaphorePermit;
use tokio::time::Sleep;
use wasmtime::UpdateDeadline;

use crate::classify::Stop;
use crate::crowd::TURN;
use crate::host::Shared;
use crate::ticker::TICK;

/// How old the reading of a thread's CPU clock may be from which an attempt's first poll is told.
const STALE: Duration = Duration::from_millis(1);

/// What the epoch callback of an instance and the governor of its attempts tell each other.
#[derive(Default)]
pub(crate) struct Turn {
    /// The guest is suspended because its tick was over, not because a host call is pending.
    is_over: AtomicBool,
    /// The guest goes on after a host call: the epoch may have ended long ago.
    has_resumed: AtomicBool,
}

impl Turn {
    /// The epoch has ended while the guest ran: suspends it until it is polled again.
    pub(crate) fn tick(&self) -> UpdateDeadline {
        if self.has_resumed.swap(false, Ordering::Relaxed) {
            return UpdateDeadline::Continue(1);
        }
        self.is_over.store(true, Ordering::Relaxed);
        UpdateDeadline::YieldCustom(1, Box::pin(until_next_poll()))
    }

    fn begin(&self) {
        self.has_resumed.store(false, Ordering::Relaxed);
    }

    fn resume(&self) {
        self.has_resumed.store(true, Ordering::Relaxed);
    }

    fn take_over(&self) -> bool {
        self.is_over.swap(false, Ordering::Relaxed)
    }
}

/// Runs `work`, whose instance ticks `turn`, to its end or to a limit.
pub(crate) async fn govern<F: Future>(
    work: F,
    turn: &Turn,
    shared: &Shared,
) -> Result<F::Output, Stop> {
    let mut work = pin!(work);
    turn.begin();
    let (started, cpu) = (shared.clock.now(), recent_thread_cpu_time());
    if let Poll::Ready(output) = poll_fn(|context| Poll::Ready(work.as_mut().poll(context))).await {
        return Ok(output);
    }
    let mut meter = Meter::new(shared, started, thread_cpu_time().saturating_sub(cpu));
    let _counted = shared.crowd.enter();
    loop {
        meter.check()?;
        if turn.take_over() {
            meter.wait_for_turn().await;
        } else {
            meter.wait_for_host_call().await;
            turn.resume();
        }
        if let Poll::Ready(output) = meter.poll(work.as_mut()).await {
            return Ok(output);
        }
    }
}

/// What an attempt that was not finished by its first poll has used, and holds.
struct Meter<'a> {
    shared: &'a Shared,
    cpu_used: Duration,
    wall_used: Duration,
    /// `cpu_used` at which others go first.
    turn_ends: Duration,
    slot: Option<SemaphorePermit<'a>>,
    /// Wakes the attempt when its wall time may be over, however long a host call waits.
    alarm: Option<Pin<Box<Sleep>>>,
}

impl<'a> Meter<'a> {
    fn new(shared: &'a Shared, started: Duration, cpu_used: Duration) -> Self {
        Self {
            shared,
            cpu_used,
            wall_used: shared.clock.now().saturating_sub(started),
            turn_ends: Duration::ZERO,
            slot: None,
            alarm: None,
        }
    }

    fn check(&self) -> Result<(), Stop> {
        let limits = &self.shared.limits;
        if self.cpu_used > limits.cpu {
            return Err(Stop::Cpu(limits.cpu));
        }
        if self.wall_used >= limits.wall {
            return Err(Stop::Wall(limits.wall));
        }
        Ok(())
    }

    async fn poll<F: Future>(&mut self, mut work: Pin<&mut F>) -> Poll<F::Output> {
        poll_fn(|context| {
            let (cpu, wall) = (thread_cpu_time(), self.shared.clock.now());
            let polled = work.as_mut().poll(context);
            self.cpu_used += thread_cpu_time().saturating_sub(cpu);
            self.wall_used += self.shared.clock.now().saturating_sub(wall);
            Poll::Ready(polled)
        })
        .await
    }

    /// Lets others run; no time passes for the attempt.
    async fn wait_for_turn(&mut self) {
        let crowd = &self.shared.crowd;
        if self.cpu_used >= self.turn_ends {
            self.slot = None;
        }
        if self.slot.is_none() {
            self.turn_ends = self.cpu_used + TURN;
            self.slot = crowd.free_slot();
            if self.slot.is_none() {
                self.slot = crowd.slot().await;
                return;
            }
        }
        tokio::task::yield_now().await;
    }

    /// Waits for whatever wakes the attempt: its host call, or an alarm at the end of its wall time.
    async fn wait_for_host_call(&mut self) {
        self.slot = None;
        let since = self.shared.clock.now();
        let left = self.shared.limits.wall.saturating_sub(self.wall_used);
        let alarm = self
            .alarm
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(left)));
        poll_fn(|context| {
            while alarm.as_mut().poll(context).is_ready() {
                // It was set before the attempt waited for its turn, or the host's clock runs behind because the host is
                // short of CPU; a tick more keeps this from spinning.
                let at = tokio::time::Instant::now() + left + TICK;
                alarm.as_mut().reset(at);
            }
            Poll::Ready(())
        })
        .await;
        until_next_poll().await;
        self.wall_used += self.shared.clock.now().saturating_sub(since);
    }
}

/// Pending once. Whoever awaits it has been promised another poll.
async fn until_next_poll() {
    let mut is_asked = false;
    poll_fn(|_| {
        if std::mem::replace(&mut is_asked, true) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}

/// The CPU time of this thread, at most [`STALE`] ago.
fn recent_thread_cpu_time() -> Duration {
    thread_local! {
        static LAST: Cell<Option<(Instant, Duration)>> = const { Cell::new(None) };
    }
    let now = Instant::now();
    match LAST.get() {
        Some((at, time)) if now.duration_since(at) < STALE => time,
        Some(_) | None => {
            let time = thread_cpu_time();
            LAST.set(Some((now, time)));
            time
        }
    }
}

fn thread_cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

#[cfg(test)]
mod tests;
