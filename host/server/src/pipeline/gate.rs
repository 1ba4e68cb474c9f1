//! The gate of a subscription, shared by the workers of its partitions and its operators.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use weir_core::breaker::{Breaker, Cause, Permit, Sample, Standing, State, Ticket, Trial};
use weir_core::gate::{Crowded, Gate, Pass};
use weir_core::rate::Rate;
use weir_core::time::Millis;

/// Successes that a partition keeps for itself at most: an outage is seen against what went well before.
const SUCCESSES_MAX: usize = 64;

/// A [`Gate`] behind a lock that is held for one question at a time: the partitions of a subscription run beside one
/// another. While it lets everything pass nobody has to ask.
#[derive(Debug)]
pub struct SharedGate {
    gate: Mutex<Gate>,
    /// By [`Standing::to_number`], else 0. Written under the lock, and only when it changes.
    standing: AtomicU64,
    turns: watch::Sender<u64>,
}

/// What went well in a partition and the gate has not heard of.
#[derive(Debug, Default)]
pub(super) struct Successes(Vec<Ticket>);

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

struct Passing<'a> {
    shared: &'a SharedGate,
    crowded: Crowded,
    successes: &'a mut Successes,
}

impl Passing<'_> {
    /// The gate, which knows all that came before.
    fn tell(&mut self, now: Millis) -> &SharedGate {
        self.shared.take_in(now, self.successes);
        self.shared
    }
}

impl Pass for Passing<'_> {
    fn permit(&mut self, now: Millis, trial: Trial) -> Permit {
        if let Some(standing) = self.shared.standing()
            && !self.crowded.own
        {
            return Permit::Go(standing.ticket(trial));
        }
        self.shared.with(|gate| {
            gate.crowded = self.crowded;
            gate.permit(now, trial)
        })
    }

    fn stands(&self, now: Millis, ticket: Option<Ticket>) -> bool {
        self.shared.with(|gate| gate.stands(now, ticket))
    }

    fn record(&mut self, now: Millis, ticket: Ticket, sample: Sample) {
        let covers = |standing: Standing| standing.covers(ticket);
        if sample == Sample::Success && self.shared.standing().is_some_and(covers) {
            self.successes.0.push(ticket);
            if self.successes.0.len() >= SUCCESSES_MAX {
                self.tell(now);
            }
            return;
        }
        self.tell(now).with(|gate| gate.record(now, ticket, sample));
    }

    fn abandoned(&mut self, now: Millis, ticket: Ticket) {
        self.shared.with(|gate| gate.abandoned(now, ticket));
    }

    fn died(&mut self, now: Millis, sequence: u64, sample: Sample) {
        self.tell(now).with(|gate| gate.died(now, sequence, sample));
    }

    fn ledger_failed(&mut self, now: Millis, sequence: u64) {
        self.tell(now)
            .with(|gate| gate.ledger_failed(now, sequence));
    }

    fn is_open(&self, now: Millis) -> bool {
        self.shared.standing().is_none() && self.shared.with(|gate| gate.is_open(now))
    }

    fn park(&mut self, partition: u32, bytes: u64) -> u64 {
        self.shared.with(|gate| gate.park(partition, bytes))
    }
}

impl SharedGate {
    /// A gate that lets all pass but what breaker and rate hold back.
    #[must_use]
    pub fn new(breaker: Breaker, rate: Option<Rate>) -> Self {
        let gate = Gate::new(breaker, rate);
        Self {
            standing: AtomicU64::new(number(&gate)),
            gate: Mutex::new(gate),
            turns: watch::Sender::new(0),
        }
    }

    /// Decides with the gate; whoever waits for it is told when the answer may be another one now.
    pub fn with<T>(&self, decide: impl FnOnce(&mut Gate) -> T) -> T {
        let mut gate = self.lock();
        let before = gate.turns();
        let result = decide(&mut gate);
        let turns = gate.turns();
        let standing = number(&gate);
        if self.standing.load(Ordering::Relaxed) != standing {
            self.standing.store(standing, Ordering::Release);
        }
        drop(gate);
        // Nearly every attempt leaves it as it was.
        if turns != before {
            self.turns.send_if_modified(|known| {
                let turned = turns > *known;
                *known = turns.max(*known);
                turned
            });
        }
        result
    }

    /// The gate, as a partition passes it whose components are as crowded as this.
    pub(super) fn pass<'a>(
        &'a self,
        crowded: Crowded,
        successes: &'a mut Successes,
    ) -> impl Pass + 'a {
        Passing {
            shared: self,
            crowded,
            successes,
        }
    }

    /// Hears of what went well.
    pub(super) fn take_in(&self, now: Millis, successes: &mut Successes) {
        if successes.0.is_empty() {
            return;
        }
        self.with(|gate| {
            for ticket in successes.0.drain(..) {
                gate.record(now, ticket, Sample::Success);
            }
        });
    }

    /// That all may pass that are not crowded.
    fn standing(&self) -> Option<Standing> {
        Standing::from_number(self.standing.load(Ordering::Acquire))
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

/// What a gate says to everybody, as [`SharedGate`] keeps it.
fn number(gate: &Gate) -> u64 {
    gate.standing().map_or(0, Standing::to_number)
}

#[cfg(test)]
mod tests;
