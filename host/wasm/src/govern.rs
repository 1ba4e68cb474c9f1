//! Keeps an attempt within its CPU and wall time.
//!
//! Guest code yields at every epoch tick (10 ms), so this future regains control at least that often and may drop the
//! attempt there, which unwinds its stack. CPU time is read from the executing thread's clock around each poll: epochs
//! alone are wall clock, and a busy host would stop the innocent.
//!
//! Reading that clock is a system call, dearer than all else the host does for a small event. An attempt that is
//! finished by its first poll needs no reading: it has run for at most one tick. Measuring starts with the second
//! poll, so an attempt may use one tick more than its limit.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::time::Sleep;

use crate::classify::Stop;
use crate::limits::Limits;
use crate::ticker::{Clock, TICK};

/// Runs `work` to its end or to a limit.
pub(crate) async fn govern<F: Future>(
    work: F,
    clock: &Clock,
    limits: &Limits,
) -> Result<F::Output, Stop> {
    let started = clock.now();
    let mut work = pin!(work);
    let mut watch: Option<Watch> = None;
    poll_fn(|context| match &mut watch {
        None => match work.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Ok(output)),
            Poll::Pending => watch
                .insert(Watch::new(started))
                .poll_wall(context, clock, limits)
                .map(Err),
        },
        Some(watch) => {
            let before = thread_cpu_time();
            let polled = work.as_mut().poll(context);
            watch.cpu_used += thread_cpu_time().saturating_sub(before);
            match polled {
                Poll::Ready(output) => Poll::Ready(Ok(output)),
                Poll::Pending if watch.cpu_used > limits.cpu => {
                    Poll::Ready(Err(Stop::Cpu(limits.cpu)))
                }
                Poll::Pending => watch.poll_wall(context, clock, limits).map(Err),
            }
        }
    })
    .await
}

/// What is known about an attempt that was not finished by its first poll.
struct Watch {
    started: Duration,
    cpu_used: Duration,
    /// Wakes the attempt when its wall time may be over, however long a host call waits.
    alarm: Option<Pin<Box<Sleep>>>,
}

impl Watch {
    fn new(started: Duration) -> Self {
        Self {
            started,
            cpu_used: Duration::ZERO,
            alarm: None,
        }
    }

    /// Ready when the wall time is spent; else sets the alarm.
    fn poll_wall(
        &mut self,
        context: &mut Context<'_>,
        clock: &Clock,
        limits: &Limits,
    ) -> Poll<Stop> {
        loop {
            let left = limits
                .wall
                .saturating_sub(clock.now().saturating_sub(self.started));
            if left.is_zero() {
                return Poll::Ready(Stop::Wall(limits.wall));
            }
            let alarm = self
                .alarm
                .get_or_insert_with(|| Box::pin(tokio::time::sleep(left)));
            if alarm.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            // The host's clock runs behind while the host is short of CPU; a tick more keeps this from spinning.
            alarm
                .as_mut()
                .reset(tokio::time::Instant::now() + left + TICK);
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
