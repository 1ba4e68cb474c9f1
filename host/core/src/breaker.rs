//! The circuit breaker of one handler on one host: it stops feeding what is down instead of burning attempts on it.
//!
//! All partitions of a subscription ask it before an attempt ([`Breaker::permit`]) and give the [`Ticket`] back when
//! the attempt has ended ([`Breaker::record`], [`Breaker::abandoned`]). It decides only; who waits, parks or calls a
//! fallback is the caller's business. Its memory is bounded by [`Config::window_sequences_max`].

mod config;
mod evidence;
mod probing;
mod steady;
mod window;

use std::time::Duration;

use crate::time::Millis;

pub use self::config::{Config, WhileOpen};
use self::evidence::Evidence;
pub use self::evidence::{Cause, Sample};
use self::probing::Probing;
use self::steady::Steady;

/// What a breaker is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Everything runs.
    Closed,
    /// Nothing runs.
    Open {
        /// When probing begins.
        until: Millis,
    },
    /// One attempt at a time finds out whether the outage is over.
    HalfOpen,
    /// A growing number of attempts runs.
    Recovering {
        /// How many may run at a time.
        concurrency: usize,
    },
    /// An operator wants nothing to run.
    ForcedOpen,
    /// An operator wants everything to run, whatever happens.
    Disabled,
}

impl State {
    /// All names, for metrics.
    pub const NAMES: [&str; 6] = [
        "closed",
        "open",
        "half-open",
        "recovering",
        "forced-open",
        "disabled",
    ];

    /// The name in metrics and in the status.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open { .. } => "open",
            Self::HalfOpen => "half-open",
            Self::Recovering { .. } => "recovering",
            Self::ForcedOpen => "forced-open",
            Self::Disabled => "disabled",
        }
    }
}

/// An attempt that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Trial {
    /// A number that names the sequence of the event and is uniform in its bits. An event without a key is a sequence of
    /// its own.
    pub sequence: u64,
    /// Its event has failed before. That it fails again says nothing that is not known: where ten bad keys are all that
    /// is left of a load, their retries fail in a row and nothing is down.
    pub again: bool,
}

impl Trial {
    /// One with an event that has not failed so far.
    #[must_use]
    pub fn first(sequence: u64) -> Self {
        Self {
            sequence,
            again: false,
        }
    }
}

/// The right to one attempt, to be given back with what came of it.
///
/// It remembers between which openings it was handed out: what was started before an opening says nothing about the
/// time after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket {
    generation: u64,
    trial: Trial,
}

/// That every attempt may start, until what comes of one changes that: whoever knows it need not ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing(u64);

impl Standing {
    /// As a number above zero.
    #[must_use]
    pub fn to_number(self) -> u64 {
        self.0 + 1
    }

    /// What this number says; none of zero.
    #[must_use]
    pub fn from_number(number: u64) -> Option<Self> {
        number.checked_sub(1).map(Self)
    }

    /// What [`Breaker::permit`] would say.
    #[must_use]
    pub fn ticket(self, trial: Trial) -> Ticket {
        Ticket {
            generation: self.0,
            trial,
        }
    }

    /// Whether this ticket was handed out under it.
    #[must_use]
    pub fn covers(self, ticket: Ticket) -> bool {
        ticket.generation == self.0
    }
}

/// Whether an attempt may start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use = "a ticket that is not given back holds up a breaker that is half-open"]
pub enum Permit {
    /// It may.
    Go(Ticket),
    /// Not before this instant; none: not before something else changes. Ask again earlier when [`Breaker::record`] or
    /// another call says so. While half-open the answer is for the sequence that asked; another one may go.
    Wait(Option<Millis>),
    /// No: park the sequence.
    Park,
    /// No: give the event to the fallback handler.
    Fallback,
}

/// The breaker.
#[derive(Debug)]
pub struct Breaker {
    config: Config,
    clock: Steady,
    phase: Phase,
    /// Changes with every opening and whatever else makes earlier tickets worthless.
    generation: u64,
    evidence: Evidence,
    /// Why it opened; none once it has closed.
    cause: Option<Cause>,
    /// How long it was open last.
    last_open: Option<Duration>,
    /// Sequences that have re-opened it since it was last closed. Each does so once: the retries of one bad key come
    /// due while it is open, and would otherwise keep it open when the outage is long over.
    reopened_by: Vec<u64>,
}

/// Sequences remembered in [`Breaker::reopened_by`]: more would make an outage cheaper by an attempt at best.
const REOPENED_BY_MAX: usize = 16;

/// Instants are those of the steady clock.
#[derive(Debug)]
enum Phase {
    Closed { since: Millis },
    Open { until: Millis },
    HalfOpen(Probing),
    Recovering { since: Millis, running: usize },
    ForcedOpen,
    Disabled,
}

impl Breaker {
    /// A closed breaker that knows nothing.
    #[must_use]
    pub fn new(config: Config, now: Millis) -> Self {
        Self {
            config,
            clock: Steady::new(now),
            phase: Phase::Closed { since: now },
            generation: 0,
            evidence: Evidence::new(),
            cause: None,
            last_open: None,
            reopened_by: Vec::new(),
        }
    }

    /// Asks for an attempt.
    pub fn permit(&mut self, now: Millis, trial: Trial) -> Permit {
        let now = self.advance(now);
        let wait = match &mut self.phase {
            Phase::Closed { .. } | Phase::Disabled => return self.go(trial),
            Phase::Recovering { since, running } => {
                if *running < self.config.concurrency(*since, now) {
                    *running += 1;
                    return self.go(trial);
                }
                // Whatever `while_open` says: it is open no more, and its turn comes within seconds.
                let next = self.config.next_step(*since, now);
                return Permit::Wait(Some(self.clock.outside(next)));
            }
            Phase::HalfOpen(probing) => {
                let is_known = self.reopened_by.contains(&trial.sequence);
                match probing.start(&self.config, now, trial, is_known) {
                    Ok(()) => {
                        // Of a probe that was lost no outcome is taken once another runs.
                        self.generation += 1;
                        return self.go(trial);
                    }
                    Err(until) => Some(until),
                }
            }
            Phase::Open { until } => Some(*until),
            Phase::ForcedOpen => None,
        };
        match self.config.while_open {
            WhileOpen::Pause => Permit::Wait(wait.map(|until| self.clock.outside(until))),
            WhileOpen::Park => Permit::Park,
            WhileOpen::Fallback => Permit::Fallback,
        }
    }

    /// What it says to everybody, whenever they ask, while it is closed or disabled.
    #[must_use]
    pub fn standing(&self) -> Option<Standing> {
        let passes = matches!(self.phase, Phase::Closed { .. } | Phase::Disabled);
        passes.then_some(Standing(self.generation))
    }

    /// Takes what an attempt ended with. True: whoever waits should ask again.
    pub fn record(&mut self, now: Millis, ticket: Ticket, sample: Sample) -> bool {
        let now = self.advance(now);
        if ticket.generation != self.generation {
            return false;
        }
        let is_freed = self.release(now, Some(sample));
        self.judge(now, ticket.trial, sample) || is_freed
    }

    /// Takes back the ticket of an attempt that ended without an outcome: withdrawn, revoked, shut down, never started.
    /// True: whoever waits should ask again.
    pub fn abandoned(&mut self, now: Millis, ticket: Ticket) -> bool {
        let now = self.advance(now);
        ticket.generation == self.generation && self.release(now, None)
    }

    /// Notes that the ledger refused a unit, not for what is in it; `sequence` is that of its first event, so that a
    /// unit is one outcome. True: whoever waits should ask again.
    ///
    /// No ticket is needed: whenever the attempts were started, it is now that the ledger fails.
    pub fn ledger_failed(&mut self, now: Millis, sequence: u64) -> bool {
        let now = self.advance(now);
        self.judge(now, Trial::first(sequence), Sample::Ledger)
    }

    /// Notes, after [`Breaker::record`], that an event died of an attempt that ended with `sample`, for the flood rule.
    /// Poison is not for here: it had no attempt. True: whoever waits should ask again.
    pub fn died(&mut self, now: Millis, sequence: u64, sample: Sample) -> bool {
        let now = self.advance(now);
        if sample == Sample::Permanent || !self.is_listening() {
            return false;
        }
        let cause = self.evidence.count_death(&self.config, now, sequence);
        cause.is_some_and(|cause| self.open(now, cause))
    }

    /// An operator opens it, until [`Breaker::enforce`].
    pub fn force_open(&mut self, now: Millis) {
        self.command(now, Phase::ForcedOpen);
    }

    /// An operator lets everything run, until [`Breaker::enforce`]; outcomes are not looked at.
    pub fn disable(&mut self, now: Millis) {
        self.command(now, Phase::Disabled);
    }

    /// Ends what an operator commanded: it is closed and knows nothing. A breaker that works by itself stays as it is.
    pub fn enforce(&mut self, now: Millis) {
        if matches!(self.phase, Phase::ForcedOpen | Phase::Disabled) {
            let since = self.advance(now);
            self.command(now, Phase::Closed { since });
        }
    }

    /// Another version of the handler runs: nothing is known of it. What an operator commanded stays.
    pub fn renew(&mut self, now: Millis) {
        if self.is_listening() || matches!(self.phase, Phase::Open { .. }) {
            let since = self.advance(now);
            self.command(now, Phase::Closed { since });
        }
    }

    /// Lets time pass and gives back the memory of what has left the window.
    pub fn handle_timeout(&mut self, now: Millis) {
        let now = self.advance(now);
        self.evidence.expire(&self.config, now);
    }

    /// What it is doing at `now`.
    #[must_use]
    pub fn state(&self, now: Millis) -> State {
        let clock = self.clock.at(now);
        match &self.phase {
            Phase::Open { until } if clock.now() < *until => State::Open {
                until: clock.outside(*until),
            },
            Phase::Recovering { since, .. } if clock.now() < self.config.recovered(*since) => {
                State::Recovering {
                    concurrency: self.config.concurrency(*since, clock.now()),
                }
            }
            Phase::Open { .. } | Phase::HalfOpen(_) => State::HalfOpen,
            Phase::Closed { .. } | Phase::Recovering { .. } => State::Closed,
            Phase::ForcedOpen => State::ForcedOpen,
            Phase::Disabled => State::Disabled,
        }
    }

    /// Whether events are held back, so that they do not age. Probing holds back all but one.
    #[must_use]
    pub fn is_open(&self, now: Millis) -> bool {
        match self.state(now) {
            State::Open { .. } | State::HalfOpen | State::ForcedOpen => true,
            State::Closed | State::Recovering { .. } | State::Disabled => false,
        }
    }

    /// The rule that opened it; none once it has closed again.
    #[must_use]
    pub fn cause(&self, now: Millis) -> Option<Cause> {
        self.cause.filter(|_| self.state(now) != State::Closed)
    }

    /// Whether a flood of traps or deaths opened it and it has not closed since: an alarm.
    #[must_use]
    pub fn flood(&self, now: Millis) -> bool {
        self.cause(now).is_some_and(Cause::is_flood)
    }

    /// When time alone may change an answer.
    #[must_use]
    pub fn next_change(&self, now: Millis) -> Option<Millis> {
        let clock = self.clock.at(now);
        let next = match &self.phase {
            Phase::Open { until } => Some(*until),
            Phase::HalfOpen(probing) => Some(probing.next_change(&self.config)),
            Phase::Recovering { since, .. } => Some(self.config.next_step(*since, clock.now())),
            Phase::Closed { .. } | Phase::ForcedOpen | Phase::Disabled => None,
        };
        next.filter(|next| *next > clock.now())
            .map(|next| clock.outside(next))
    }

    fn go(&self, trial: Trial) -> Permit {
        Permit::Go(Ticket {
            generation: self.generation,
            trial,
        })
    }

    /// Lets the steady clock and the phases that time ends move on.
    fn advance(&mut self, now: Millis) -> Millis {
        self.clock = self.clock.at(now);
        let now = self.clock.now();
        match self.phase {
            Phase::Open { until } if now >= until => {
                self.phase = Phase::HalfOpen(Probing::new(until));
            }
            Phase::Recovering { since, .. } if now >= self.config.recovered(since) => {
                self.phase = Phase::Closed {
                    since: self.config.recovered(since),
                };
                self.cause = None;
                self.reopened_by.clear();
            }
            Phase::Open { .. }
            | Phase::Recovering { .. }
            | Phase::Closed { .. }
            | Phase::HalfOpen(_)
            | Phase::ForcedOpen
            | Phase::Disabled => {}
        }
        now
    }

    /// Takes back what a ticket of this generation holds; `sample` is none when it was not used. True: another one
    /// may have what it held.
    fn release(&mut self, now: Millis, sample: Option<Sample>) -> bool {
        match &mut self.phase {
            Phase::HalfOpen(probing) => probing.end(&self.config, now, sample),
            Phase::Recovering { since, running } => {
                let was_full = *running >= self.config.concurrency(*since, now);
                *running = running.saturating_sub(1);
                was_full
            }
            Phase::Closed { .. } | Phase::Open { .. } | Phase::ForcedOpen | Phase::Disabled => {
                false
            }
        }
    }

    /// Weighs an outcome; true when the breaker moved.
    fn judge(&mut self, now: Millis, trial: Trial, sample: Sample) -> bool {
        if sample == Sample::Permanent || !self.is_listening() {
            return false;
        }
        if let Some(cause) = self.evidence.count(&self.config, now, trial, sample) {
            return self.open(now, cause);
        }
        let is_failure = match sample {
            Sample::Transient | Sample::Unavailable | Sample::Ledger => true,
            // One trap says nothing of an outage, but that a flood is not over.
            Sample::Trap => self.cause.is_some_and(Cause::is_flood),
            Sample::Success | Sample::Permanent => false,
        };
        // `unavailable` is said of what the handler needs, whoever says it.
        let is_news = !trial.again || sample == Sample::Unavailable;
        let is_decisive = match &self.phase {
            // Where nothing but what has failed before is left to ask, it is asked.
            Phase::HalfOpen(probing) => is_news || probing.successes() == 0,
            // As soon as there is a share, it decides, as it does when closed: a handler that fails one call in a
            // thousand on a good day could otherwise never get through the thousands of calls until it closes.
            Phase::Recovering { .. } => {
                is_news && self.evidence.outcomes() < self.config.outcomes_min
            }
            Phase::Closed { .. } | Phase::Open { .. } | Phase::ForcedOpen | Phase::Disabled => {
                false
            }
        };
        if is_failure && is_decisive && !self.reopened_by.contains(&trial.sequence) {
            if self.reopened_by.len() == REOPENED_BY_MAX {
                self.reopened_by.remove(0);
            }
            self.reopened_by.push(trial.sequence);
            return self.open(now, self.cause.unwrap_or(Cause::Share));
        }
        if let Phase::HalfOpen(probing) = &self.phase
            && probing.successes() >= self.config.probes
        {
            self.phase = Phase::Recovering {
                since: now,
                running: 0,
            };
            return true;
        }
        false
    }

    /// Whether outcomes matter.
    fn is_listening(&self) -> bool {
        match self.phase {
            Phase::Closed { .. } | Phase::HalfOpen(_) | Phase::Recovering { .. } => true,
            Phase::Open { .. } | Phase::ForcedOpen | Phase::Disabled => false,
        }
    }

    fn open(&mut self, now: Millis, cause: Cause) -> bool {
        if let Phase::Closed { since } = self.phase
            && now.since(since) >= self.config.forget_after
        {
            self.last_open = None;
        }
        let again = self
            .last_open
            .map(|last| last.saturating_mul(2).min(self.config.open_max));
        let mut time = again.unwrap_or(self.config.open_for);
        if cause.is_flood() {
            time = time.max(self.config.flood_open_for);
        }
        self.last_open = Some(time);
        // A flood stays one until it has closed, whatever opens it again: the alarm must not go out by itself.
        self.cause = self.cause.filter(|known| known.is_flood()).or(Some(cause));
        self.enter(Phase::Open { until: now + time });
        true
    }

    fn command(&mut self, now: Millis, phase: Phase) {
        self.advance(now);
        self.cause = None;
        self.last_open = None;
        self.reopened_by.clear();
        self.enter(phase);
    }

    /// Begins anew: no ticket and no outcome of before matters.
    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.generation += 1;
        self.evidence = Evidence::new();
    }
}

#[cfg(test)]
mod tests;
