//! A clock that does not go back, over one that may.

use std::time::Duration;

use crate::time::Millis;

/// Callers read the clock before they get the lock, so that instants arrive in disorder; what goes back further than
/// this is a clock that was set.
const DISORDER_MAX: Duration = Duration::from_secs(1);

/// Steady time: the outside's plus everything that it was ever set back by. A deadline keeps its distance when the
/// clock is set back, so that nothing stays open for the hour by which a wrong clock was corrected.
#[derive(Clone, Copy, Debug)]
pub(super) struct Steady {
    latest: Millis,
    behind: Duration,
}

impl Steady {
    pub(super) fn new(now: Millis) -> Self {
        Self {
            latest: now,
            behind: Duration::ZERO,
        }
    }

    /// This clock when the outside's says `now`.
    #[must_use]
    pub(super) fn at(self, now: Millis) -> Self {
        let steady = now + self.behind;
        let back = self.latest.since(steady);
        if back.is_zero() {
            return Self {
                latest: steady,
                ..self
            };
        }
        let set = if back > DISORDER_MAX {
            back
        } else {
            Duration::ZERO
        };
        Self {
            behind: self.behind + set,
            ..self
        }
    }

    pub(super) fn now(self) -> Millis {
        self.latest
    }

    /// When the outside's clock will say that it is `steady`.
    pub(super) fn outside(self, steady: Millis) -> Millis {
        steady - self.behind
    }
}
