//! What an operator has commanded of a handler: kept with its subscription, so that it outlives the host.

use clap::ValueEnum;
use serde::Deserialize;
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ValueEnum)]
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
