//! How attempts end: what they read, what comes out, and what that means by the rules.

use std::time::Duration;

use weir_core::event::{FailureKind, Outcome};
use weir_core::identity::{emission_id, timer_id};
use weir_core::partition::Attempt;
use weir_core::unit::{Fate, ItemId, SequenceKey, Unit};

use super::{Flight, Simulation};
use crate::bug::Bug;
use crate::handler::{self, Read, Script, Temper};
use crate::ledger::{Judged, check};
use crate::plan::identity;
use crate::told::{Expected, Runner};

impl Simulation {
    /// Ends one of the running attempts.
    pub(super) fn finish(&mut self) -> Judged {
        if self.flights.is_empty() {
            return Ok(());
        }
        if self.rng.percent(40) {
            // Time passes while attempts run, and nobody looks at the clock before one ends.
            let step = if self.rng.percent(4) {
                50_000_000
            } else {
                self.rng.next() % 200
            };
            self.advance(Duration::from_millis(step));
        }
        let at = self.rng.below(self.flights.len());
        if self.flights[at].read.is_none() {
            // Reads and the end of an attempt are apart, so that commits come between.
            let read = self.read(&self.flights[at].attempt);
            self.judge_brief(&self.flights[at].attempt, read)?;
            self.flights[at].read = Some(read);
            if self.rng.percent(50) {
                return Ok(());
            }
        }
        let flight = self.flights.swap_remove(at);
        let id = flight.attempt.id;
        let live = self.is_live(&flight);
        if self.script(&flight).temper == Temper::Killer && !flight.attempt.fallback {
            self.note(|| format!("outcome {id:?} ends the host, live {live}"));
            self.flights.push(flight);
            return self.crash();
        }
        let outcome = self.outcome(&flight);
        let version = self.told_version(&flight);
        self.note(|| {
            let name = handler::name(&outcome);
            format!("outcome {id:?} {name} live {live}{version}")
        });
        if live {
            self.count(&flight, &outcome);
        }
        if self.rng.percent(20) {
            self.stale.push((id, outcome.clone()));
        }
        self.tell_component(&flight);
        let gate = if self.is_blind() {
            &mut self.blind
        } else {
            &mut self.gate
        };
        self.machine.handle_outcome(self.now, gate, id, outcome);
        Ok(())
    }

    pub(super) fn script(&self, flight: &Flight) -> Script {
        Script::new(self.plan.habits, &flight.attempt.event)
    }

    fn read(&self, attempt: &Attempt) -> Read {
        let nothing = Default::default();
        let staged = match self.bug {
            Bug::ForgottenStagedReads => &nothing,
            Bug::WithdrawnState => self
                .withdrawn
                .get(&attempt.sequence)
                .unwrap_or(&attempt.staged),
            _ => &attempt.staged,
        };
        let ledger = &self.ledger;
        Read::new(|name| ledger.read(staged, &attempt.sequence, name, self.now, self.bug))
    }

    /// A value that expires is there until then, and not after.
    fn judge_brief(&self, attempt: &Attempt, read: Read) -> Judged {
        let Some(expires) = self.ledger.brief_until(&attempt.sequence) else {
            return Ok(());
        };
        let staged = attempt.staged.get("brief").is_some();
        let there = staged || expires > self.now;
        check("I2", read.brief.is_some() == there, || {
            format!(
                "{:?} reads {:?}, kept until {expires:?}",
                attempt.id, read.brief
            )
        })
    }

    pub(super) fn outcome(&mut self, flight: &Flight) -> Outcome {
        let script = self.script(flight);
        let attempt = &flight.attempt;
        let kind = match (script.temper, self.calm, self.rng.below(100)) {
            (Temper::Permanent, _, _) => FailureKind::Permanent,
            (Temper::Traps, _, _) => FailureKind::Trap,
            (Temper::Flaky, false, 0..90) | (_, false, 0..10) => FailureKind::Transient,
            (Temper::Down, false, 0..95) | (_, false, 10..18) => FailureKind::Unavailable,
            (_, false, 18..20) => FailureKind::Limit,
            _ if attempt.fallback => return Outcome::Done(script.fallback_effects()),
            _ => {
                let read = flight.read.unwrap_or_default();
                let runner = self.made_by(flight);
                let mut effects = script.effects(&attempt.event, read, runner, self.now);
                let salt = self.rng.next();
                if let (Bug::UnstableIds, Some(first)) = (self.bug, effects.emissions.first_mut()) {
                    first.id = Some(salt.to_string());
                }
                if let (Bug::ReusedIndex, [_, second, ..]) = (self.bug, &mut effects.emissions[..])
                {
                    let (tenant, source, id) = identity(&attempt.event);
                    second.id = Some(emission_id(&tenant, "ledger", &source, &id, 0));
                    effects.emissions.remove(0);
                }
                return Outcome::Done(effects);
            }
        };
        let hint = self.rng.percent(5).then_some(2_000);
        handler::failure(kind, hint)
    }

    /// What this outcome means for an event, by the rules alone.
    fn count(&mut self, flight: &Flight, outcome: &Outcome) {
        let attempt = &flight.attempt;
        let item = attempt.id.item;
        let script = Script::new(self.plan.habits, &attempt.event);
        let lane = self.plan.lane(&attempt.sequence);
        self.told.suspects.remove(&item);
        self.told.narrowed.remove(&item);
        let before = self.told.counted.get(&item).copied().unwrap_or(0);
        match outcome {
            Outcome::Done(_) if script.temper == Temper::Invalid && !attempt.fallback => {
                self.told.runner.remove(&item);
                *self.told.counted.entry(item).or_default() += 1;
                self.told.settle(item, &lane);
            }
            Outcome::Done(_) => {
                // The result is on its way: it is the one that may commit.
                let expected = self.expected(attempt, &script);
                self.told.expected.insert(item, expected);
                self.told.settle(item, &lane);
            }
            Outcome::Failed(failure) => {
                self.told.runner.remove(&item);
                let costs = failure.kind != FailureKind::Unavailable && !attempt.fallback;
                *self.told.counted.entry(item).or_default() += u32::from(costs);
                if failure.kind == FailureKind::Permanent && !attempt.fallback {
                    self.told.settle(item, &lane);
                }
            }
        }
        self.told.tried.insert(item, flight.version);
        let retry = &self.plan.config.retry;
        let counted = self.told.counted.get(&item).copied().unwrap_or(0);
        let aged = self.now.0 - crate::plan::START_MS >= 86_400_000;
        let spent = counted >= retry.attempts_max.min(retry.traps_max) || aged;
        if counted > before && (spent || self.told.has_settled(item)) {
            self.told.dying.insert(item);
        }
    }

    pub(super) fn expected(&self, attempt: &Attempt, script: &Script) -> Expected {
        let (tenant, source, id) = identity(&attempt.event);
        let config = &self.plan.config;
        let fallback = attempt.fallback;
        let handler = if fallback { "spare" } else { "ledger" };
        let ids = (0..script.emissions).map(|n| emission_id(&tenant, handler, &source, &id, n));
        let mut expected = Expected {
            fallback,
            emitted: ids.collect(),
            ..Expected::default()
        };
        if fallback {
            return expected;
        }
        if let Some(delay) = script.delay {
            let last = expected.emitted.pop();
            expected.delayed = last.into_iter().map(|id| (id, self.now + delay)).collect();
        }
        let SequenceKey::Keyed { key, .. } = &attempt.sequence else {
            return expected;
        };
        let effects = script.effects(&attempt.event, Read::default(), Runner::default(), self.now);
        for write in effects.timers {
            let by = (source.as_str(), id.as_str());
            let group = &config.source.group;
            let setting = timer_id(group, &tenant, key, &write.name, by, write.call);
            let set = write.set.map(|set| (setting, set.due));
            expected.timers.push((write.name, set));
        }
        expected
    }

    /// A refused event has died of this attempt; what its sequence did after it runs again. A refused letter waits.
    pub(super) fn note_refusal(&mut self, unit: &Unit, item: ItemId) {
        let Some(done) = unit.completions.iter().find(|done| done.item == item) else {
            return;
        };
        let command = item.position().is_some_and(|at| {
            let item = self.plan.item(at);
            item.is_some_and(|item| item.command().is_some()) && done.fate == Fate::Skipped
        });
        if done.fate == Fate::Dead {
            return;
        }
        self.told.refused.insert(item);
        self.told.runner.remove(&item);
        self.told.expected.remove(&item);
        if !command {
            *self.told.counted.entry(item).or_default() += 1;
            self.told.dying.insert(item);
        }
        let lane = self.plan.lane(&done.sequence);
        if matches!(item, ItemId::Parked(_)) {
            return;
        }
        if command {
            self.told.withdraw_all(&lane);
        } else {
            self.told.withdraw(item, &lane);
        }
        for Flight { attempt, .. } in &self.flights {
            let in_lane = !matches!(attempt.id.item, ItemId::Parked(_));
            if in_lane && self.plan.lane(&attempt.sequence) == lane {
                self.told.runner.remove(&attempt.id.item);
                let staged = attempt.staged.clone();
                self.withdrawn.insert(attempt.sequence.clone(), staged);
            }
        }
    }
}
