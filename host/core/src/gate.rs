//! What an attempt must pass before it starts: the operator's pause, the breaker, the rate limit.
//!
//! One for each subscription on a host, shared by its partitions.

use crate::breaker::{Breaker, Permit, Sample, Ticket};
use crate::rate::Rate;
use crate::time::Millis;

/// The gate of a subscription.
#[derive(Debug)]
pub struct Gate {
    /// Stops feeding what is down. Operators command it here.
    pub breaker: Breaker,
    /// None: as fast as it goes.
    pub rate: Option<Rate>,
    /// An operator's pause: events wait, whatever the breaker would do with them.
    pub paused: bool,
}

impl Gate {
    /// Asks for an attempt with an event of `sequence`; see [`Breaker::permit`].
    pub fn permit(&mut self, now: Millis, sequence: u64) -> Permit {
        if self.paused {
            return Permit::Wait(None);
        }
        let permit = self.breaker.permit(now, sequence);
        // Asked last, because tokens cannot be given back and the breaker's ticket can.
        if let (Permit::Go(ticket), Some(rate)) = (permit, &mut self.rate)
            && let Err(at) = rate.take(now)
        {
            self.breaker.abandoned(now, ticket);
            return Permit::Wait(Some(at));
        }
        permit
    }

    /// Takes what an attempt ended with. True: whoever waits should ask again.
    pub fn record(&mut self, now: Millis, ticket: Ticket, sample: Sample) -> bool {
        self.breaker.record(now, ticket, sample)
    }

    /// Takes back the ticket of an attempt that ended without an outcome. True: whoever waits should ask again.
    pub fn abandoned(&mut self, now: Millis, ticket: Ticket) -> bool {
        self.breaker.abandoned(now, ticket)
    }
}

#[cfg(test)]
mod tests;
