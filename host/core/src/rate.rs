//! A rate limit: so many attempts a second, and so many at once after a pause.

use std::num::NonZeroU32;

use crate::time::Millis;

const NANOS_PER_SECOND: u64 = 1_000_000_000;
const NANOS_PER_MILLI: u64 = 1_000_000;

/// A token bucket, full at first.
///
/// Kept as the one instant at which it will be full again (GCRA, ITU-T I.371): taking a token moves it by the time that
/// a token takes to arrive, and the bucket is empty while it is further away than all its tokens take.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// How long one token takes.
    interval_ns: u64,
    /// How long all take.
    burst_ns: u64,
    full_at_ns: u64,
}

impl Rate {
    /// `per_second` tokens a second, at most `burst` of them together.
    ///
    /// As time comes in milliseconds, a burst holds at least the tokens of one: less would lower the rate.
    #[must_use]
    pub fn new(per_second: NonZeroU32, burst: NonZeroU32) -> Self {
        let interval_ns = (NANOS_PER_SECOND / u64::from(per_second.get())).max(1);
        let burst = u64::from(burst.get()).max(NANOS_PER_MILLI.div_ceil(interval_ns));
        Self {
            interval_ns,
            burst_ns: interval_ns * burst,
            full_at_ns: 0,
        }
    }

    /// Takes a token, or says when there will be one.
    pub fn take(&mut self, now: Millis) -> Result<(), Millis> {
        let now_ns = now.0.saturating_mul(NANOS_PER_MILLI);
        // A bucket is never more than empty: a clock that was set back costs its tokens and not the time until then.
        let emptied_ns = now_ns.saturating_add(self.burst_ns);
        let full_at_ns = self.full_at_ns.clamp(now_ns, emptied_ns);
        let after_ns = full_at_ns.saturating_add(self.interval_ns);
        if after_ns > emptied_ns {
            self.full_at_ns = full_at_ns;
            let wait_ns = after_ns - emptied_ns;
            return Err(Millis(
                now.0.saturating_add(wait_ns.div_ceil(NANOS_PER_MILLI)),
            ));
        }
        self.full_at_ns = after_ns;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
