//! The handler is replaced while it works: its component in place, as `weir dev` and a deployment do, or by an orderly stop
//! and a start, as for another manifest. Parked events and timers that wait meet the new version.

use std::collections::BTreeMap;

use weir_core::partition::Attempt;
use weir_core::unit::SequenceKey;

use super::{Flight, Simulation};
use crate::bug::Bug;
use crate::ledger::{Judged, REPLACING, check};
use crate::plan::digest;
use crate::told::Runner;

/// The versions of the handler, counted as they come.
#[derive(Default)]
pub(super) struct Deployed {
    /// What was deployed last: a host that crashes comes back with it.
    version: u64,
    /// What the shell starts attempts on.
    pub(super) live: u64,
    /// Another version comes with the next owner.
    on_restart: bool,
    /// The latest that each sequence has met.
    seen: BTreeMap<SequenceKey, u64>,
}

impl Deployed {
    /// A new owner begins with what is deployed.
    pub(super) fn take_over(&mut self, bug: Bug) {
        self.version += u64::from(std::mem::take(&mut self.on_restart));
        self.live = if bug == Bug::ForgottenSwap {
            0
        } else {
            self.version
        };
    }
}

impl Flight {
    pub(super) fn runner(&self) -> Runner {
        Runner {
            epoch: self.attempt.id.epoch,
            serial: self.attempt.id.serial,
            version: self.version,
        }
    }
}

impl Simulation {
    pub(super) fn swap(&mut self) {
        if self.rng.percent(25) {
            self.note(|| "redeploy".into());
            self.deployed.on_restart = true;
            return self.machine_revoke();
        }
        self.deployed.version += 1;
        self.deployed.live = self.deployed.version;
        let (version, running) = (self.deployed.live, self.flights.len());
        self.note(|| match running {
            0 => format!("swap to version {version}, nothing runs"),
            _ => format!("swap to version {version} beside {running} attempts"),
        });
        if self.bug == Bug::DroppedBySwap {
            self.flights.clear();
        }
    }

    /// The version that an attempt starts on: none of its sequence before it met a later one. A fallback is another
    /// handler, which nobody replaces here.
    pub(super) fn judge_version(&mut self, attempt: &Attempt) -> Judged<u64> {
        let live = self.deployed.live;
        if attempt.fallback {
            return Ok(live);
        }
        let sequence = attempt.sequence.clone();
        let seen = self.deployed.seen.entry(sequence).or_insert(live);
        let before = std::mem::replace(seen, live);
        check(REPLACING, before <= live, || {
            format!(
                "{:?} starts on version {live}, its sequence has met {before}",
                attempt.id
            )
        })?;
        Ok(live)
    }

    /// Who the effects of an attempt say that they are from.
    pub(super) fn made_by(&self, flight: &Flight) -> Runner {
        let mut runner = flight.runner();
        if self.bug == Bug::SwappedMidway {
            runner.version = self.deployed.live;
        }
        runner
    }

    /// The shell names the component before it hands over an outcome.
    pub(super) fn tell_component(&mut self, flight: &Flight) {
        if flight.attempt.fallback {
            return;
        }
        let version = match self.bug {
            Bug::LetterOfAnother => self.deployed.live,
            _ => flight.version,
        };
        self.machine.handle_component(&digest(version));
    }

    /// For the trace.
    pub(super) fn told_version(&self, flight: &Flight) -> &'static str {
        if flight.version < self.deployed.live {
            ", of a version that was replaced"
        } else {
            ""
        }
    }
}
