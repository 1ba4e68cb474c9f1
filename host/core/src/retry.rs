//! When a failed event is tried again, and when it has been tried enough.

use std::time::Duration;

use crate::event::{Failure, FailureKind};
use crate::identity::{Hash128, hash_128};
use crate::time::Millis;
use crate::unit::{Active, Attempts, ItemId};

/// The longest delay that a handler's own hint can ask for.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(600);

/// The retry schedule of a subscription; defaults are those of the specification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// R1: the first delays.
    pub immediate: Vec<Duration>,
    /// R2: the delays after them, the last one repeated until `short_until`.
    pub short: Vec<Duration>,
    /// How long after the first failure R2 goes on.
    pub short_until: Duration,
    /// R3: the delays after that, the last one repeated.
    pub long: Vec<Duration>,
    /// Counted attempts before an event dies.
    pub attempts_max: u32,
    /// Time since the first failure before an event dies.
    pub age_max: Duration,
    /// Attempts that trapped or exceeded a limit before an event dies.
    pub traps_max: u32,
    /// Spreads the jitter of hosts.
    pub jitter_seed: u64,
}

impl Default for Config {
    fn default() -> Self {
        let minutes = |n: u64| Duration::from_secs(60 * n);
        Self {
            immediate: vec![Duration::from_millis(50), Duration::from_millis(250)],
            short: vec![
                Duration::from_secs(1),
                Duration::from_secs(2),
                Duration::from_secs(4),
            ],
            short_until: Duration::from_secs(10),
            long: vec![
                Duration::from_secs(30),
                minutes(2),
                minutes(10),
                minutes(30),
                minutes(60),
                minutes(180),
                minutes(360),
                minutes(720),
            ],
            attempts_max: 15,
            age_max: Duration::from_secs(24 * 3600),
            traps_max: 3,
            jitter_seed: 0,
        }
    }
}

/// What follows a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// R1 or R2: the event is tried again soon, its key waits.
    RetryAt(Millis),
    /// R3: the event is set aside until then.
    ParkUntil(Millis),
    /// R4.
    Die,
}

/// Now, on the clocks that a failure is judged by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Instant {
    pub(crate) wall: Millis,
    pub(crate) active: Active,
}

/// Counts a failure of `item` and says what follows.
///
/// Death is always the direct result of a counted attempt, and age is counted on the active clock from the first
/// counted failure, or from when a follower was parked: nothing dies because something outside was down.
pub(crate) fn count(
    config: &Config,
    at: Instant,
    item: ItemId,
    attempts: &mut Attempts,
    failure: &Failure,
) -> Verdict {
    attempts.failures = attempts.failures.saturating_add(1);
    let trapped = match failure.kind {
        FailureKind::Permanent => {
            count_attempt(at, attempts);
            return Verdict::Die;
        }
        FailureKind::Unavailable => return next(config, at, item, attempts, failure),
        FailureKind::Transient => false,
        FailureKind::Trap | FailureKind::Limit => true,
    };
    count_attempt(at, attempts);
    attempts.traps += u32::from(trapped);
    let age = attempts
        .aging_since
        .map_or(Duration::ZERO, |since| at.active.since(since));
    let spent = attempts.counted >= config.attempts_max
        || (trapped && attempts.traps >= config.traps_max)
        || age >= config.age_max;
    if spent {
        Verdict::Die
    } else {
        next(config, at, item, attempts, failure)
    }
}

/// Counts an attempt that ended badly.
pub(crate) fn count_attempt(at: Instant, attempts: &mut Attempts) {
    attempts.first_failed.get_or_insert(at.wall);
    attempts.aging_since.get_or_insert(at.active);
    attempts.counted += 1;
}

fn next(
    config: &Config,
    at: Instant,
    item: ItemId,
    attempts: &Attempts,
    failure: &Failure,
) -> Verdict {
    let hint = failure
        .retry_after_ms
        .map_or(Duration::ZERO, Duration::from_millis);
    let since = attempts
        .first_failed
        .map_or(Duration::ZERO, |first| at.wall.since(first));
    let (level, delay) = config.delay(attempts.failures, since);
    let delay = delay + config.jitter(delay, item, attempts.failures);
    let due = at.wall + delay.max(hint.min(RETRY_AFTER_MAX));
    match level {
        Level::Soon => Verdict::RetryAt(due),
        Level::Parked => Verdict::ParkUntil(due),
    }
}

/// Whether the key waits, or is set aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// R1 and R2.
    Soon,
    /// R3.
    Parked,
}

impl Config {
    /// The level and the delay after the `failures`-th failure, `elapsed` after the first counted one, without jitter.
    ///
    /// Without a counted failure nothing elapses, and the number of failures alone leads from R2 to R3: as many repeats
    /// of its last delay as fill `short_until`.
    #[must_use]
    pub fn delay(&self, failures: u32, elapsed: Duration) -> (Level, Duration) {
        let step = (failures as usize).saturating_sub(1);
        if let Some(delay) = self.immediate.get(step) {
            return (Level::Soon, *delay);
        }
        let step = step - self.immediate.len();
        let last_short = self.short.len().saturating_sub(1);
        let short: Duration = self.short.iter().take(step).sum::<Duration>()
            + self.short.last().copied().unwrap_or_default()
                * u32::try_from(step.saturating_sub(self.short.len())).unwrap_or(u32::MAX);
        match self.short.get(step.min(last_short)) {
            Some(delay) if elapsed.max(short) < self.short_until => return (Level::Soon, *delay),
            Some(_) | None => {}
        }
        (
            Level::Parked,
            self.parked_delay(step.saturating_sub(self.short.len())),
        )
    }

    /// The `step`-th delay of R3, from 0, without jitter.
    #[must_use]
    pub fn parked_delay(&self, step: usize) -> Duration {
        let last = self.long.len().saturating_sub(1);
        self.long
            .get(step.min(last))
            .copied()
            .unwrap_or(self.short_until)
    }

    /// Up to half of the delay, the same for the same seed, event and failure.
    fn jitter(&self, delay: Duration, item: ItemId, failures: u32) -> Duration {
        let (kind, place): (u8, [u8; 16]) = match item {
            ItemId::Record(position) => {
                let mut place = [0; 16];
                place[..2].copy_from_slice(&position.topic.to_le_bytes());
                place[8..].copy_from_slice(&position.offset.to_le_bytes());
                (0, place)
            }
            ItemId::Parked(number) => {
                let mut place = [0; 16];
                place[..8].copy_from_slice(&number.to_le_bytes());
                (1, place)
            }
            ItemId::Timer(Hash128(id)) => (2, id),
        };
        let fields: [&[u8]; 4] = [
            &self.jitter_seed.to_le_bytes(),
            &[kind],
            &place,
            &failures.to_le_bytes(),
        ];
        let share = u32::from(hash_128("weir.jitter.v1", &fields).0[0]);
        delay * share / (2 * u32::from(u8::MAX))
    }
}

#[cfg(test)]
mod tests;
