//! The gate of a subscription, shared by the workers of its partitions and its operators.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use weir_core::breaker::{Breaker, Cause, State};
use weir_core::gate::Gate;
use weir_core::rate::Rate;
use weir_core::time::Millis;

/// A [`Gate`] behind a lock that is held for a few decisions at a time, never over an attempt or a commit.
#[derive(Debug)]
pub struct SharedGate {
    gate: Mutex<Gate>,
    turns: watch::Sender<u64>,
}

/// What a gate does at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GateStatus {
    /// An operator lets events wait.
    pub paused: bool,
    /// What the breaker does.
    pub breaker: State,
    /// The rule that opened it; none once it has closed again.
    pub cause: Option<Cause>,
}

impl GateStatus {
    /// Whether a flood of traps or deaths opened the breaker.
    #[must_use]
    pub fn is_flood(&self) -> bool {
        self.cause.is_some_and(Cause::is_flood)
    }

    /// What the breaker does, for people; none while it is closed.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        let cause = self.cause.map_or("no rule", Cause::name);
        match self.breaker {
            State::Closed => None,
            State::Open { until } => Some(format!(
                "the breaker is open until {} because of {cause}",
                until.to_rfc3339()
            )),
            State::HalfOpen => Some(format!(
                "the breaker, open because of {cause}, tries one event at a time"
            )),
            State::Recovering { concurrency } => Some(format!(
                "the breaker, open before because of {cause}, lets {concurrency} attempts run at a time"
            )),
            State::ForcedOpen => Some("an operator opened the breaker".to_owned()),
            State::Disabled => Some("an operator disabled the breaker".to_owned()),
        }
    }
}

impl SharedGate {
    /// A gate that lets all pass but what breaker and rate hold back.
    #[must_use]
    pub fn new(breaker: Breaker, rate: Option<Rate>) -> Self {
        Self {
            gate: Mutex::new(Gate::new(breaker, rate)),
            turns: watch::Sender::new(0),
        }
    }

    /// Decides with the gate; whoever waits for it is told when the answer may be another one now.
    pub fn with<T>(&self, decide: impl FnOnce(&mut Gate) -> T) -> T {
        let mut gate = self.lock();
        let result = decide(&mut gate);
        let turns = gate.turns();
        drop(gate);
        self.turns.send_if_modified(|known| {
            let turned = turns > *known;
            *known = turns.max(*known);
            turned
        });
        result
    }

    /// What it does at `now`.
    pub fn status(&self, now: Millis) -> GateStatus {
        let gate = self.lock();
        GateStatus {
            paused: gate.paused,
            breaker: gate.breaker.state(now),
            cause: gate.breaker.cause(now),
        }
    }

    /// Tells when waiting events should ask again.
    pub fn turns(&self) -> watch::Receiver<u64> {
        self.turns.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
