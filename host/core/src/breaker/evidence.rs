//! What is known against a handler, and the rules that open its breaker on it.
//!
//! Each rule counts sequences and not outcomes, a sequence by its latest outcome: a key whose event fails again and
//! again is one bad key, whose retries are no evidence when nothing else runs any more, and a handler of few hot keys that fails one call in a hundred is not failing on all of them.

use std::collections::VecDeque;

use crate::event::{FailureKind, Outcome};
use crate::time::Millis;

use super::Trial;
use super::config::Config;
use super::window::{Mark, Window};

/// The rule that opened a breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The share of failures in the window.
    Share,
    /// Failures in a row.
    Row,
    /// Several `unavailable` within seconds.
    Unavailable,
    /// A flood of traps.
    Traps,
    /// A flood of dead letters.
    Deaths,
}

impl Cause {
    /// The name in logs and in the status.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Share => "failure-share",
            Self::Row => "failures-in-a-row",
            Self::Unavailable => "unavailable",
            Self::Traps => "trap-flood",
            Self::Deaths => "death-flood",
        }
    }

    /// Whether it calls for a person.
    #[must_use]
    pub fn is_flood(self) -> bool {
        match self {
            Self::Traps | Self::Deaths => true,
            Self::Share | Self::Row | Self::Unavailable => false,
        }
    }
}

/// What an attempt says about its handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sample {
    /// It returned effects.
    Success,
    /// It asked to be tried again.
    Transient,
    /// Something that it needs is down.
    Unavailable,
    /// Its unit of work was refused, not for what is in it.
    Ledger,
    /// It trapped or exceeded a limit.
    Trap,
    /// It refused its event. Says nothing about the handler: it never counts, for or against.
    Permanent,
}

impl From<FailureKind> for Sample {
    fn from(kind: FailureKind) -> Self {
        match kind {
            FailureKind::Transient => Self::Transient,
            FailureKind::Unavailable => Self::Unavailable,
            FailureKind::Permanent => Self::Permanent,
            FailureKind::Trap | FailureKind::Limit => Self::Trap,
        }
    }
}

impl From<&Outcome> for Sample {
    fn from(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Done(_) => Self::Success,
            Outcome::Failed(failure) => failure.kind.into(),
        }
    }
}

#[derive(Debug)]
pub(super) struct Evidence {
    window: Window,
    /// Sequences that failed since the last outcome that was no failure.
    row: Vec<u64>,
    /// Sequences that were last `unavailable`, and when; oldest first.
    unavailable: VecDeque<(Millis, u64)>,
}

impl Evidence {
    pub(super) fn new() -> Self {
        Self {
            window: Window::new(),
            row: Vec::new(),
            unavailable: VecDeque::new(),
        }
    }

    /// Sequences with an outcome in the window.
    pub(super) fn outcomes(&self) -> usize {
        self.window.counts().total
    }

    /// Bytes that it holds.
    #[cfg(test)]
    pub(super) fn allocated(&self) -> usize {
        self.window.allocated()
    }

    /// Forgets what has left the window, and its memory.
    pub(super) fn expire(&mut self, config: &Config, now: Millis) {
        self.window.expire(now, config.window);
    }

    /// Takes an outcome in and says which rule it fulfils.
    pub(super) fn count(
        &mut self,
        config: &Config,
        now: Millis,
        trial: Trial,
        sample: Sample,
    ) -> Option<Cause> {
        let Trial { sequence, again } = trial;
        let mark = match sample {
            Sample::Permanent => return None,
            Sample::Success => Mark::Success,
            Sample::Trap => Mark::Trap,
            Sample::Transient | Sample::Unavailable | Sample::Ledger => Mark::Failure,
        };
        self.window.expire(now, config.window);
        // It was counted when it failed first.
        let is_known = again && mark == Mark::Failure;
        if !is_known {
            self.window
                .put(now, sequence, mark, config.window_sequences_max);
        }
        if mark != Mark::Failure {
            self.row.clear();
            // A success can complete a window of failures: it may be the one that makes it large enough.
            return self.rule(config);
        }
        if !is_known && !self.row.contains(&sequence) {
            self.row.push(sequence);
        }
        if sample == Sample::Unavailable {
            self.unavailable.retain(|(_, known)| *known != sequence);
            self.unavailable.push_back((now, sequence));
        }
        while let Some((at, _)) = self.unavailable.front()
            && now.since(*at) > config.unavailable_within
        {
            self.unavailable.pop_front();
        }
        if self.unavailable.len() >= config.unavailable.max(config.sequences_min) {
            return Some(Cause::Unavailable);
        }
        if self.row.len() >= config.row.max(config.sequences_min) {
            return Some(Cause::Row);
        }
        self.rule(config)
    }

    /// Takes a death in, whose attempt was counted, and says which rule it fulfils.
    pub(super) fn count_death(
        &mut self,
        config: &Config,
        now: Millis,
        sequence: u64,
    ) -> Option<Cause> {
        self.window.expire(now, config.window);
        self.window
            .put_death(now, sequence, config.window_sequences_max);
        self.rule(config)
    }

    /// The rules about shares of the window; a flood first, because it opens for longer.
    fn rule(&self, config: &Config) -> Option<Cause> {
        let counts = self.window.counts();
        let enough =
            |bad: usize| bad >= config.sequences_min && counts.total >= config.outcomes_min;
        let percent = |bad: usize| bad * 100;
        if enough(counts.traps) && percent(counts.traps) > counts.total * config.trap_percent {
            return Some(Cause::Traps);
        }
        if counts.deaths >= config.deaths.max(config.sequences_min)
            && percent(counts.deaths) > counts.total * config.death_percent
        {
            return Some(Cause::Deaths);
        }
        let failing = percent(counts.failures) >= counts.total * config.failure_percent;
        (enough(counts.failures) && failing).then_some(Cause::Share)
    }
}
