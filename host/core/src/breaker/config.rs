//! The numbers of a breaker, and what follows from them alone.

use std::time::Duration;

use crate::time::Millis;

/// The numbers of a breaker; defaults are those of the specification, or say why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// What happens to events while it is open.
    pub while_open: WhileOpen,
    /// How long an outcome is remembered.
    pub window: Duration,
    /// Sequences whose latest outcome is remembered, at most; those heard of longest ago are forgotten first. 1,024
    /// tell a share of 25 % to within 3 points 19 times out of 20, in some 60 KiB for each handler: on a busy one,
    /// older outcomes would only dilute what is true of this second.
    pub window_sequences_max: u16,
    /// Outcomes without which no share is computed.
    pub outcomes_min: usize,
    /// It opens when failures are at least this share of the outcomes.
    pub failure_percent: usize,
    /// It opens after this many failures in a row.
    pub row: usize,
    /// It opens after this many `unavailable` ..
    pub unavailable: usize,
    /// .. within this time.
    pub unavailable_within: Duration,
    /// Sequences from which failures must come in every rule, so that one bad key opens nothing.
    pub sequences_min: usize,
    /// How long it opens.
    pub open_for: Duration,
    /// How long it opens at most: each failure on the way back doubles the time.
    pub open_max: Duration,
    /// How long it must have been closed for the doubling to be forgotten. As long as the longest time open: an outage
    /// that is back sooner is the same outage, and a dependency that flaps must not be tried every ten seconds.
    pub forget_after: Duration,
    /// A flood: more than this share of the outcomes trap ..
    pub trap_percent: usize,
    /// .. or the events of more than this share of the outcomes die, and at least `deaths` of them.
    pub death_percent: usize,
    /// Deaths without which their share does not matter.
    pub deaths: usize,
    /// How long a flood opens it.
    pub flood_open_for: Duration,
    /// Successful probes that lead from half-open to recovering.
    pub probes: usize,
    /// How long a probe is kept for a sequence that has not been one. After it any sequence may go, because a
    /// subscription may have events of a single one.
    pub probe_patience: Duration,
    /// A probe that has run for this long is taken for lost and another may run. An attempt has 10 s, but they stand
    /// still while the host is short of CPU.
    pub probe_max: Duration,
    /// While recovering, the attempts that may run at a time double after each such step, from one ..
    pub recovery_step: Duration,
    /// .. and it closes when they would be this many. 64 is what a single partition runs.
    pub recovery_concurrency: usize,
}

impl Default for Config {
    fn default() -> Self {
        let minutes = |n: u64| Duration::from_secs(60 * n);
        Self {
            while_open: WhileOpen::Pause,
            window: minutes(1),
            window_sequences_max: 1_024,
            outcomes_min: 20,
            failure_percent: 25,
            row: 10,
            unavailable: 3,
            unavailable_within: Duration::from_secs(5),
            sequences_min: 3,
            open_for: Duration::from_secs(10),
            open_max: minutes(5),
            forget_after: minutes(5),
            trap_percent: 50,
            death_percent: 10,
            deaths: 100,
            flood_open_for: minutes(5),
            probes: 3,
            probe_patience: Duration::from_secs(2),
            probe_max: minutes(1),
            recovery_step: Duration::from_secs(2),
            recovery_concurrency: 64,
        }
    }
}

/// What happens to events while the breaker is open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum WhileOpen {
    /// Partitions pause and lag grows.
    #[default]
    Pause,
    /// Sequences are parked.
    Park,
    /// Another handler takes the events.
    Fallback,
}

impl Config {
    /// Doublings of the concurrency until it closes.
    fn recovery_steps(&self) -> u32 {
        self.recovery_concurrency
            .max(1)
            .checked_next_power_of_two()
            .map_or(usize::BITS - 1, usize::trailing_zeros)
    }

    /// Whole steps from `since` to `now`.
    fn steps(&self, since: Millis, now: Millis) -> u32 {
        let step = self.recovery_step.as_millis().max(1);
        u32::try_from(now.since(since).as_millis() / step).unwrap_or(u32::MAX)
    }

    /// Attempts that may run at a time, `since` the recovery began.
    pub(super) fn concurrency(&self, since: Millis, now: Millis) -> usize {
        let doublings = self.steps(since, now).min(self.recovery_steps());
        (1 << doublings).min(self.recovery_concurrency.max(1))
    }

    /// When the next step after `now` begins.
    pub(super) fn next_step(&self, since: Millis, now: Millis) -> Millis {
        since
            + self
                .recovery_step
                .saturating_mul(self.steps(since, now).saturating_add(1))
    }

    /// When a recovery that nothing disturbs is over.
    pub(super) fn recovered(&self, since: Millis) -> Millis {
        since + self.recovery_step.saturating_mul(self.recovery_steps())
    }
}
