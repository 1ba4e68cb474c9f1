//! The one place that reads the wall clock.
//!
//! The host's time begins with the wall clock's and does not jump: it follows a jump at double speed forward, or at half
//! speed until the wall clock has come up to it. So a clock that is a day wrong for an hour makes no timer early, flushes
//! no inbox and lets retention delete nothing, and one that is put back leaves nothing waiting. Sleep of the machine is
//! no jump.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};
use weir_core::time::Millis;

/// Less is how clocks are set right every day, and is followed at once.
const JUMP_MS: i64 = 1_000;

/// The host's time in ms less that since the machine started.
static OFFSET: AtomicI64 = AtomicI64::new(0);
/// When [`follow`] was last asked; [`OFFSET`] means something from then on.
static FOLLOWED: OnceLock<AtomicI64> = OnceLock::new();

/// Unix time.
#[must_use]
pub fn now() -> Millis {
    FOLLOWED.get_or_init(|| {
        let since_boot = since_boot();
        OFFSET.store(wall() - since_boot, Ordering::Relaxed);
        AtomicI64::new(since_boot)
    });
    let now = since_boot() + OFFSET.load(Ordering::Relaxed);
    Millis(u64::try_from(now).unwrap_or_default())
}

/// Follows the wall clock a little; to be called about once a second, by one task.
pub(crate) fn follow() {
    let _begun = now();
    let (wall, since_boot) = (wall(), since_boot());
    let before = FOLLOWED
        .get()
        .map(|at| at.swap(since_boot, Ordering::Relaxed));
    let passed = before.map_or(0, |before| since_boot - before);
    let offset = OFFSET.load(Ordering::Relaxed);
    let off = wall - since_boot - offset;
    if off.abs() > JUMP_MS {
        tracing::warn!(
            off_ms = off,
            "the clock of this machine has jumped: the host follows it slowly"
        );
    }
    OFFSET.store(offset + step(off, passed), Ordering::Relaxed);
}

/// How far time is set after so many ms when the wall clock is off by `off`.
fn step(off: i64, passed: i64) -> i64 {
    if off.abs() <= JUMP_MS {
        off
    } else {
        off.clamp(-(passed / 2), passed)
    }
}

/// How long the machine has slept since it started.
#[must_use]
pub(crate) fn slept() -> Duration {
    // Read in this order, what passes between the two makes it less and never more.
    let all = since_boot();
    let slept = all - millis(ClockId::Monotonic);
    Duration::from_millis(u64::try_from(slept).unwrap_or_default())
}

fn since_boot() -> i64 {
    millis(ClockId::Boottime)
}

fn millis(clock: ClockId) -> i64 {
    let time = clock_gettime(clock);
    time.tv_sec * 1_000 + time.tv_nsec / 1_000_000
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the wall clock; all others are passed it"
)]
fn wall() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
