//! What the shell knows of each event by the rules alone, and what must hold at each start and after each step.

use std::collections::BTreeMap;

use weir_core::event::{FailureKind, Outcome};
use weir_core::partition::Attempt;
use weir_core::time::Millis;
use weir_core::unit::{Fate, Position};

use super::{Flight, Simulation};
use crate::handler;
use crate::ledger::{Judged, check};
use crate::plan::{Item, START_MS, Temper};

impl Simulation {
    /// What this outcome means for an event, by the rules alone.
    pub(super) fn count(&mut self, position: Position, outcome: &Outcome) {
        self.told.runner.remove(&position);
        let invalid = self.plan.item(position).map(|item| item.temper) == Some(Temper::Invalid);
        match outcome {
            Outcome::Done(_) => {
                if invalid {
                    *self.told.counted.entry(position).or_default() += 1;
                } else {
                    // The result is on its way: it is the one that may commit.
                    let serial = handler::runner(outcome);
                    self.told.runner.insert(position, serial);
                }
                self.settled.insert(position);
            }
            Outcome::Failed(failure) => {
                if failure.kind != FailureKind::Unavailable {
                    *self.told.counted.entry(position).or_default() += 1;
                }
                if failure.kind == FailureKind::Permanent {
                    self.settled.insert(position);
                }
            }
        }
    }

    /// A refused event has died of this attempt; what its sequence did after it runs again. A refused letter waits.
    pub(super) fn note_refusal(&mut self, position: Position) {
        let runs = self.told.runner.contains_key(&position);
        let Some(item) = self.plan.item(position).filter(|_| runs) else {
            return;
        };
        *self.told.counted.entry(position).or_default() += 1;
        self.told.runner.remove(&position);
        let arrivals = self.told.arrivals.get(&item.sequence).into_iter().flatten();
        for later in arrivals.skip_while(|earlier| **earlier != position).skip(1) {
            self.settled.remove(later);
            self.told.runner.remove(later);
        }
    }

    pub(super) fn start(&mut self, attempt: Attempt) -> Judged {
        let position = attempt.id.position;
        self.note(|| format!("attempt {:?} number {}", attempt.id, attempt.number));
        check("I4", !self.revoked, || {
            "an attempt starts after the revocation".into()
        })?;
        check("I2", !self.ledger.fates.contains_key(&position), || {
            format!("{position:?} runs after its fate")
        })?;
        let counted = self.told.counted.get(&position).copied().unwrap_or(0);
        check("I7", attempt.number == counted + 1, || {
            format!(
                "{position:?} runs as number {}, counted {counted}",
                attempt.number
            )
        })?;
        let earlier = self.told.arrivals.get(&attempt.sequence);
        for earlier in earlier
            .into_iter()
            .flatten()
            .take_while(|at| **at != position)
        {
            check("I3", self.may_have_settled(*earlier), || {
                format!("{position:?} starts while {earlier:?} is open")
            })?;
        }
        let runner = (self.told.epoch, attempt.id.serial);
        let twice = self.told.runner.insert(position, runner);
        check("I4", twice.is_none(), || {
            format!("{position:?} starts while {twice:?} runs")
        })?;
        self.flights.push(Flight {
            attempt,
            read: None,
        });
        let live = self.told.runner.values();
        let running = live.len() - self.settled_runners();
        check(
            "I10",
            running <= self.plan.config.limits.running_max,
            || format!("{running} attempts are running"),
        )
    }

    pub(super) fn settled_runners(&self) -> usize {
        let runners = self.told.runner.keys();
        runners.filter(|at| self.settled.contains(at)).count()
    }

    /// Whether an event could have a fate by what the shell has seen: it has ended, or has spent what it may spend, or
    /// never ran because another record has its identity.
    pub(super) fn may_have_settled(&self, position: Position) -> bool {
        if self.settled.contains(&position) || self.ledger.fates.contains_key(&position) {
            return true;
        }
        if self.told.runner.contains_key(&position) {
            return false;
        }
        let Some(item) = self.plan.item(position) else {
            return false;
        };
        let counted = self.told.counted.get(&position).copied().unwrap_or(0);
        let retry = &self.plan.config.retry;
        let spent = counted >= retry.attempts_max.min(retry.traps_max);
        let aged = counted > 0 && self.now.since(Millis(START_MS)) >= retry.age_max;
        let twins = |other: &Item| other.position != position && other.identity == item.identity;
        spent || aged || item.refused_at_start || self.plan.items().any(twins)
    }

    /// What must hold after every step.
    pub(super) fn judge(&self) -> Judged {
        let limits = &self.plan.config.limits;
        let frontiers: Vec<u64> = self.machine.frontiers().collect();
        for item in self.plan.items() {
            let Position { topic, offset } = item.position;
            let passed = offset < frontiers[usize::from(topic)];
            let has_fate = self.ledger.fates.contains_key(&item.position);
            check("I1", has_fate || !passed, || {
                format!("the frontier passes {:?}, which has no fate", item.position)
            })?;
        }
        for (topic, frontier) in frontiers.iter().enumerate() {
            let admitted = self
                .admitted
                .iter()
                .filter(|at| usize::from(at.topic) == topic);
            let last = admitted.map(|at| at.offset + 1).max().unwrap_or(0);
            let span = last.saturating_sub(*frontier);
            check("I10", span <= limits.span_max + self.plan.gap_max, || {
                format!("topic {topic} spans {span} positions")
            })?;
        }
        let open = self
            .admitted
            .iter()
            .filter(|at| !self.ledger.fates.contains_key(*at));
        let bytes: usize = open
            .filter_map(|at| self.plan.item(*at))
            .map(|item| item.record.bytes())
            .sum();
        let bound = limits.bytes_max + self.plan.record_bytes_max;
        check("I10", bytes <= bound, || {
            format!("{bytes} bytes are open, over {bound}")
        })?;
        let fates: u64 = self.machine.counters().fates.iter().sum();
        check("I12", fates == self.acknowledged, || {
            format!(
                "{fates} fates are counted, {} are acknowledged",
                self.acknowledged
            )
        })
    }
}

/// How often each fate came up, for a look at what the seeds reach.
pub(crate) fn tally(trace: &[String]) -> BTreeMap<&'static str, usize> {
    let names = [
        "crash",
        "drained",
        "abandon",
        "Refused",
        "Unavailable",
        "its answer is lost",
        "stale",
    ];
    let fates = Fate::ALL.map(|fate| (fate, format!("{fate:?}")));
    let mut tally = BTreeMap::new();
    for line in trace {
        for name in names {
            *tally.entry(name).or_default() += usize::from(line.contains(name));
        }
        for (fate, name) in &fates {
            if line.contains(" [") {
                *tally.entry(fate.name()).or_default() += line.matches(name.as_str()).count();
            }
        }
    }
    tally
}
