//! What an operator has commanded of a handler: kept with its subscription, so that it outlives the host.

use std::fmt;
use std::str::FromStr;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use weir_core::time::Millis;

use crate::pipeline::SharedGate;

/// What an operator has commanded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Steering {
    /// Events wait until it is taken back.
    pub paused: bool,
    /// Who decides whether the breaker is open.
    pub breaker: BreakerCommand,
}

/// Who decides whether the breaker is open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum BreakerCommand {
    /// The outcomes of attempts do.
    #[default]
    Auto,
    /// The operator: it is open.
    Open,
    /// The operator: it is closed, whatever fails.
    Close,
}

/// One command: it leaves what another one has commanded as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Events wait, or go on.
    Paused(bool),
    /// Who decides whether the breaker is open.
    Breaker(BreakerCommand),
}

/// Where a subscription goes on whose position is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the first record that is kept.
    Earliest,
    /// At the records that come after it.
    Latest,
    /// At this record.
    Offset(u64),
}

impl FromStr for Start {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "earliest" => Ok(Self::Earliest),
            "latest" => Ok(Self::Latest),
            offset => offset.parse().map(Self::Offset).map_err(|_not_a_number| {
                format!("{text:?} is no place to go on: write earliest, latest or an offset")
            }),
        }
    }
}

impl fmt::Display for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Earliest => f.write_str("earliest"),
            Self::Latest => f.write_str("latest"),
            Self::Offset(offset) => write!(f, "{offset}"),
        }
    }
}

/// An operator's choice where lost positions are replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Where to go on.
    pub start: Start,
    /// In this partition alone.
    pub partition: Option<u32>,
}

impl BreakerCommand {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Auto, Self::Open, Self::Close];

    /// The word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Open => "open",
            Self::Close => "close",
        }
    }
}

impl Steering {
    /// What holds after one more command.
    #[must_use]
    pub fn with(self, change: Change) -> Self {
        match change {
            Change::Paused(paused) => Self { paused, ..self },
            Change::Breaker(breaker) => Self { breaker, ..self },
        }
    }

    /// Makes a gate obey.
    pub fn apply(self, now: Millis, gate: &SharedGate) {
        gate.with(|gate| {
            match self.breaker {
                BreakerCommand::Auto => gate.breaker.enforce(now),
                BreakerCommand::Open => gate.breaker.force_open(now),
                BreakerCommand::Close => gate.breaker.disable(now),
            }
            // Last, because it also lets whoever waits ask again.
            gate.pause(self.paused);
        });
    }
}
