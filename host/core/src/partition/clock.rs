//! The time that counts for the age of what waits.

use std::time::Duration;

use crate::time::Millis;
use crate::unit::Active;

/// Time in which the partition was owned, its breaker closed and the machine awake.
#[derive(Clone, Copy, Debug)]
pub(super) struct ActiveClock {
    pub(super) active: Active,
    /// The last look, if the gate was closed then.
    pub(super) last: Option<Millis>,
    /// How long the machine had slept by the last time that somebody said it.
    pub(super) slept: Option<Duration>,
}

impl ActiveClock {
    /// Counts the time since the last call, unless the gate was open then or is open now: a gate that has closed since
    /// may have done so this moment.
    pub(super) fn tick(&mut self, now: Millis, paused: bool) {
        if let Some(last) = self.last.filter(|_| !paused) {
            let passed = u64::try_from(now.since(last).as_millis()).unwrap_or(u64::MAX);
            self.active = Active(self.active.0.saturating_add(passed));
        }
        self.last = (!paused).then_some(now);
    }

    /// The machine has slept for so long in all, which nobody serves a partition in.
    pub(super) fn sleep(&mut self, slept: Duration) {
        // Who says it reads two clocks, one after the other, and may say too little.
        let before = self.slept.unwrap_or(slept);
        self.slept = Some(before.max(slept));
        let more = slept.saturating_sub(before);
        self.last = self.last.map(|last| last + more);
    }
}
