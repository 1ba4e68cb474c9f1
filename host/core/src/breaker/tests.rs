mod bounds;
mod model;
mod open;
mod opening;
mod operator;
mod probing;
mod recovering;

use super::*;
use crate::event::{FailureKind, Outcome};

const START: Millis = Millis(1_000_000_000);

/// A breaker and a clock; sequences are small numbers.
struct Bench {
    breaker: Breaker,
    now: Millis,
}

impl Bench {
    fn new(config: Config) -> Self {
        Self {
            breaker: Breaker::new(config, START),
            now: START,
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
    }

    fn permit(&mut self, sequence: u64) -> Permit {
        self.breaker.permit(self.now, Trial::first(sequence))
    }

    /// Asks for an event that has failed before.
    fn permit_again(&mut self, sequence: u64) -> Permit {
        let again = true;
        self.breaker.permit(self.now, Trial { sequence, again })
    }

    /// One more attempt of an event that has failed before.
    #[track_caller]
    fn attempt_again(&mut self, sequence: u64, sample: Sample) {
        match self.permit_again(sequence) {
            Permit::Go(ticket) => self.breaker.record(self.now, ticket, sample),
            refused @ (Permit::Wait(_) | Permit::Park | Permit::Fallback) => {
                panic!("{refused:?} for {sequence}")
            }
        };
    }

    #[track_caller]
    fn go(&mut self, sequence: u64) -> Ticket {
        match self.permit(sequence) {
            Permit::Go(ticket) => ticket,
            refused @ (Permit::Wait(_) | Permit::Park | Permit::Fallback) => {
                panic!("{refused:?} for {sequence}")
            }
        }
    }

    /// One attempt from permit to outcome.
    #[track_caller]
    fn attempt(&mut self, sequence: u64, sample: Sample) -> bool {
        let ticket = self.go(sequence);
        self.breaker.record(self.now, ticket, sample)
    }

    fn each(&mut self, sequences: impl IntoIterator<Item = u64>, sample: Sample) {
        for sequence in sequences {
            self.attempt(sequence, sample);
        }
    }

    fn state(&self) -> State {
        self.breaker.state(self.now)
    }

    fn cause(&self) -> Option<Cause> {
        self.breaker.cause(self.now)
    }

    /// How long it will be open.
    #[track_caller]
    fn open_for(&self) -> Duration {
        match self.state() {
            State::Open { until } => until.since(self.now),
            other @ (State::Closed
            | State::HalfOpen
            | State::Recovering { .. }
            | State::ForcedOpen
            | State::Disabled) => panic!("{other:?}"),
        }
    }

    /// Opens it by the shortest way and waits until it is half-open.
    fn half_open(config: Config) -> Self {
        let mut bench = Self::new(config);
        bench.each(0..3, Sample::Unavailable);
        let time = bench.open_for();
        bench.pass(time);
        assert_eq!(bench.state(), State::HalfOpen);
        bench
    }

    fn recovering(config: Config) -> Self {
        let mut bench = Self::half_open(config);
        bench.each(100..103, Sample::Success);
        assert_eq!(bench.state(), State::Recovering { concurrency: 1 });
        bench
    }

    /// As when the outage is over: three probes and the time of a recovery.
    #[track_caller]
    fn recover(&mut self) {
        self.each(100..103, Sample::Success);
        self.pass(seconds(12));
        assert_eq!(self.state(), State::Closed);
    }
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}
