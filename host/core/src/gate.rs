//! What an attempt must pass before it starts: the operator's pause, the breaker, a crowded component, the rate limit.
//! And what the partitions of a subscription share besides: the storage of its parked events.
//!
//! One for each subscription on a host, shared by its partitions.

use std::collections::BTreeMap;

use crate::breaker::{Breaker, Permit, Sample, Standing, State, Ticket, Trial};
use crate::rate::Rate;
use crate::time::Millis;

/// The gate, as one partition passes it: a [`Gate`] of its own, or one that it shares and locks for each question.
pub trait Pass {
    /// Asks for an attempt; see [`Breaker::permit`].
    fn permit(&mut self, now: Millis, trial: Trial) -> Permit;

    /// Whether an attempt that was let pass earlier, with this ticket or to the fallback, may start yet.
    #[must_use]
    fn stands(&self, now: Millis, ticket: Option<Ticket>) -> bool;

    /// Takes what an attempt ended with.
    fn record(&mut self, now: Millis, ticket: Ticket, sample: Sample);

    /// Takes back the ticket of an attempt that ended without an outcome.
    fn abandoned(&mut self, now: Millis, ticket: Ticket);

    /// Notes that an event died of an attempt that ended with `sample`; see [`Breaker::died`].
    fn died(&mut self, now: Millis, sequence: u64, sample: Sample);

    /// Notes that the ledger refused a unit; see [`Breaker::ledger_failed`].
    fn ledger_failed(&mut self, now: Millis, sequence: u64);

    /// Whether events are held back, so that they do not age.
    #[must_use]
    fn is_open(&self, now: Millis) -> bool;

    /// Takes over what a partition has parked, and says the sum over all.
    fn park(&mut self, partition: u32, bytes: u64) -> u64;
}

/// The gate of a subscription.
#[derive(Debug)]
pub struct Gate {
    /// Stops feeding what is down. Operators command it here.
    pub breaker: Breaker,
    /// None: as fast as it goes.
    pub rate: Option<Rate>,
    /// An operator's pause: events wait, whatever the breaker would do with them.
    pub paused: bool,
    /// Whose attempts would wait for the host. Who sets it tells the partitions when it is over.
    pub crowded: Crowded,
    /// Grows when whoever waits should ask again.
    turns: u64,
    /// Bytes of parked events by partition.
    parked: BTreeMap<u32, u64>,
}

/// Components with as much at work as the host gives them. It passes by itself and soon, so events age meanwhile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Crowded {
    /// That of the handler.
    pub own: bool,
    /// That of its fallback.
    pub fallback: bool,
}

impl Gate {
    /// A gate that lets all pass.
    #[must_use]
    pub fn new(breaker: Breaker, rate: Option<Rate>) -> Self {
        Self {
            breaker,
            rate,
            paused: false,
            crowded: Crowded::default(),
            turns: 0,
            parked: BTreeMap::new(),
        }
    }

    /// An operator lets events wait, or go on.
    pub fn pause(&mut self, paused: bool) {
        self.paused = paused;
        self.turns += 1;
    }

    /// Grows whenever partitions that wait should ask again.
    #[must_use]
    pub fn turns(&self) -> u64 {
        self.turns
    }

    /// That it lets all pass whose component is not crowded, and counts none of them.
    #[must_use]
    pub fn standing(&self) -> Option<Standing> {
        let counts = self.paused || self.rate.is_some();
        self.breaker.standing().filter(|_| !counts)
    }
}

impl Pass for Gate {
    fn permit(&mut self, now: Millis, trial: Trial) -> Permit {
        if self.paused {
            return Permit::Wait(None);
        }
        let permit = self.breaker.permit(now, trial);
        match permit {
            Permit::Go(ticket) if self.crowded.own => {
                self.breaker.abandoned(now, ticket);
                return Permit::Wait(None);
            }
            Permit::Fallback if self.crowded.fallback => return Permit::Wait(None),
            Permit::Go(_) | Permit::Fallback | Permit::Park | Permit::Wait(_) => {}
        }
        // Asked last, because tokens cannot be given back and the breaker's ticket can.
        if let (Permit::Go(ticket), Some(rate)) = (permit, &mut self.rate)
            && let Err(at) = rate.take(now)
        {
            self.breaker.abandoned(now, ticket);
            return Permit::Wait(Some(at));
        }
        permit
    }

    fn stands(&self, now: Millis, ticket: Option<Ticket>) -> bool {
        let state = self.breaker.state(now);
        let passes = match ticket {
            Some(_) => !matches!(state, State::Open { .. } | State::ForcedOpen),
            None => self.breaker.is_open(now),
        };
        passes && !self.paused
    }

    fn record(&mut self, now: Millis, ticket: Ticket, sample: Sample) {
        let turns = self.breaker.record(now, ticket, sample);
        self.turns += u64::from(turns);
    }

    fn abandoned(&mut self, now: Millis, ticket: Ticket) {
        let turns = self.breaker.abandoned(now, ticket);
        self.turns += u64::from(turns);
    }

    fn died(&mut self, now: Millis, sequence: u64, sample: Sample) {
        let turns = self.breaker.died(now, sequence, sample);
        self.turns += u64::from(turns);
    }

    fn ledger_failed(&mut self, now: Millis, sequence: u64) {
        let turns = self.breaker.ledger_failed(now, sequence);
        self.turns += u64::from(turns);
    }

    fn is_open(&self, now: Millis) -> bool {
        self.paused || self.breaker.is_open(now)
    }

    fn park(&mut self, partition: u32, bytes: u64) -> u64 {
        if bytes == 0 {
            self.parked.remove(&partition);
        } else {
            self.parked.insert(partition, bytes);
        }
        self.parked.values().sum()
    }
}

#[cfg(test)]
mod tests;
