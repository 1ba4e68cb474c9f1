//! When a failed event is tried again, and when it has been tried enough.

use std::time::Duration;

use crate::event::{Failure, FailureKind};
use crate::identity::hash_128;
use crate::time::Millis;
use crate::unit::{OpenAttempts, Position};

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

/// Failures of an event in this assignment, and those counted before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Counted attempts, durable with the next unit.
    pub(crate) open: OpenAttempts,
    /// Failures of any kind, the uncounted ones included: they choose the delay.
    pub(crate) failures: u32,
}

/// What follows a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    RetryAt(Millis),
    Die,
}

impl Tally {
    /// The tally of an event whose first failure happens at `now`.
    pub(crate) fn new(position: Position, now: Millis) -> Self {
        Self {
            open: OpenAttempts {
                position,
                attempts: 0,
                traps: 0,
                first_failed: now,
            },
            failures: 0,
        }
    }

    /// The tally that an earlier owner left.
    pub(crate) fn restored(open: OpenAttempts) -> Self {
        Self {
            open,
            failures: open.attempts,
        }
    }

    /// Counts a failure and says what follows.
    pub(crate) fn count(&mut self, config: &Config, now: Millis, failure: &Failure) -> Verdict {
        self.failures = self.failures.saturating_add(1);
        let trapped = match failure.kind {
            FailureKind::Permanent => {
                self.open.attempts += 1;
                return Verdict::Die;
            }
            FailureKind::Unavailable => return Verdict::RetryAt(self.next(config, now, failure)),
            FailureKind::Transient => false,
            FailureKind::Trap | FailureKind::Limit => true,
        };
        if self.open.attempts == 0 {
            // An outage before it costs neither attempts nor age: nothing dies because something outside was down.
            self.open.first_failed = now;
        }
        self.open.attempts += 1;
        self.open.traps += u32::from(trapped);
        let spent = self.open.attempts >= config.attempts_max
            || (trapped && self.open.traps >= config.traps_max)
            || now.since(self.open.first_failed) >= config.age_max;
        if spent {
            Verdict::Die
        } else {
            Verdict::RetryAt(self.next(config, now, failure))
        }
    }

    fn next(&self, config: &Config, now: Millis, failure: &Failure) -> Millis {
        let hint = failure
            .retry_after_ms
            .map_or(Duration::ZERO, Duration::from_millis);
        let delay = config.delay(self.failures, now.since(self.open.first_failed));
        let delay = delay + config.jitter(delay, self.open.position, self.failures);
        now + delay.max(hint.min(RETRY_AFTER_MAX))
    }
}

impl Config {
    /// The delay after the `failures`-th failure, `elapsed` after the first one, without jitter.
    #[must_use]
    pub fn delay(&self, failures: u32, elapsed: Duration) -> Duration {
        let step = (failures as usize).saturating_sub(1);
        if let Some(delay) = self.immediate.get(step) {
            return *delay;
        }
        let step = step - self.immediate.len();
        let last_short = self.short.len().saturating_sub(1);
        match self.short.get(step.min(last_short)) {
            Some(delay) if elapsed < self.short_until => return *delay,
            Some(_) | None => {}
        }
        let step = step.saturating_sub(self.short.len());
        let last_long = self.long.len().saturating_sub(1);
        self.long
            .get(step.min(last_long))
            .copied()
            .unwrap_or(self.short_until)
    }

    /// Up to half of the delay, the same for the same seed, event and failure.
    fn jitter(&self, delay: Duration, position: Position, failures: u32) -> Duration {
        let fields: [&[u8]; 4] = [
            &self.jitter_seed.to_le_bytes(),
            &position.topic.to_le_bytes(),
            &position.offset.to_le_bytes(),
            &failures.to_le_bytes(),
        ];
        let share = u32::from(hash_128("weir.jitter.v1", &fields).0[0]);
        delay * share / (2 * u32::from(u8::MAX))
    }
}

#[cfg(test)]
mod tests;
