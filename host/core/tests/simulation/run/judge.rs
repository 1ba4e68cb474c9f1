//! What must hold after each step, and at the end.

use std::collections::{BTreeMap, BTreeSet};

use weir_core::gate::Pass as _;
use weir_core::unit::{Fate, ItemId, LetterStatus, Position};

use super::Simulation;
use crate::ledger::{Judged, check};

impl Simulation {
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
            let of_topic = |at: &&Position| usize::from(at.topic) == topic;
            let admitted = self.admitted.iter().filter(of_topic);
            let last = admitted.map(|at| at.offset + 1).max().unwrap_or(0);
            let span = last.saturating_sub(*frontier);
            check("I10", span <= limits.span_max + self.plan.gap_max, || {
                format!("topic {topic} spans {span} positions")
            })?;
        }
        let fates = &self.ledger.fates;
        let open = self.admitted.iter().filter(|at| !fates.contains_key(*at));
        let bytes: usize = open
            .filter_map(|at| self.plan.item(*at))
            .map(|item| item.record.bytes())
            .sum();
        let bound = limits.bytes_max + self.plan.record_bytes_max;
        check("I10", bytes <= bound, || {
            format!("{bytes} bytes are open, over {bound}")
        })?;
        let gauges = self.machine.gauges(self.now);
        let closed = self.was_closed && !self.gate.is_open(self.now);
        let relieved = self.plan.parks() && !self.revoked && closed;
        let late = gauges.span_age >= limits.span_age_max;
        check("I10", !(relieved && late), || {
            format!("a first open position waits for {:?}", gauges.span_age)
        })?;
        let resident = gauges.timers;
        check("I10", resident <= limits.timers_resident_max, || {
            format!("{resident} timers are in memory")
        })?;
        let inbox = self.plan.config.inbox.unwrap_or_default();
        let bytes = gauges.inbox_bytes;
        check("I10", bytes <= inbox.resident_bytes_max, || {
            format!("ids take {bytes} bytes of memory")
        })?;
        let counters = self.machine.counters();
        let counted = counters.fates.iter().chain(&counters.later).sum::<u64>() + counters.commands;
        check("I12", counted == self.acknowledged, || {
            format!(
                "{counted} fates are counted, {} are acknowledged",
                self.acknowledged
            )
        })
    }

    /// What a partition may hold when nothing is left to borrow: its own part, and the event that passes it.
    pub(super) fn judge_memory(&self, takes: bool) -> Judged {
        let fates = &self.ledger.fates;
        let open = self.admitted.iter().filter(|at| !fates.contains_key(*at));
        let records = open.filter_map(|at| self.plan.item(*at));
        let held: usize = records.map(|item| item.record.bytes()).sum();
        let may = held < self.plan.own_bytes || !self.plan.config.memory.is_spent();
        check("I10", may || !takes, || {
            format!("{held} bytes are held, the memory is spent, and more is read")
        })
    }

    pub(super) fn still_open(&self, gauges: &str) -> String {
        let open = self.plan.items().map(|item| item.position);
        let open: Vec<_> = open
            .filter(|at| !self.ledger.fates.contains_key(at))
            .collect();
        let parked: Vec<_> = self
            .ledger
            .heads
            .iter()
            .filter(|(_, p)| !p.head.held)
            .collect();
        let timers = self
            .ledger
            .timers
            .iter()
            .map(|(key, timer)| (key, timer.id, timer.due));
        let timers: Vec<_> = timers.collect();
        let capacity = self.machine.has_capacity();
        format!(
            "still not drained, {gauges}; open {open:?}, parked {parked:?}, timers {timers:?}, capacity {capacity}, gate {:?} at {:?}, due {:?}",
            self.gate.breaker.state(self.now),
            self.now,
            self.machine.poll_timeout(),
        )
    }

    /// At the end: every record has a fate that fits it, every identity an effect, and every replay an end.
    pub(super) fn judge_end(&self) -> Judged {
        let mut duplicates = BTreeSet::new();
        let mut settled = BTreeSet::new();
        for item in self.plan.items() {
            let position = item.position;
            let Some(fate) = self.ledger.fates.get(&position) else {
                return check("I1", false, || format!("{position:?} has no fate"));
            };
            match fate {
                Fate::Duplicate => duplicates.insert(item.identity.clone()),
                Fate::Handled | Fate::Dead | Fate::Parked => settled.insert(item.identity.clone()),
                Fate::Filtered | Fate::Skipped => false,
            };
        }
        settled.extend(self.plan.compacted.iter().cloned());
        let lost: Vec<_> = duplicates.difference(&settled).collect();
        check("I1", lost.is_empty(), || {
            format!("{lost:?} are duplicates of nothing")
        })?;
        for (id, letter) in &self.ledger.letters {
            let waits = self.ledger.is_parked_letter(*id);
            check(
                "I1",
                letter.status != LetterStatus::Replaying || waits,
                || format!("letter {id:?} was put back and is nowhere"),
            )?;
        }
        for open in self.ledger.open() {
            let is_open = match open.item {
                ItemId::Record(position) => !self.ledger.fates.contains_key(&position),
                ItemId::Parked(number) => self
                    .ledger
                    .park
                    .values()
                    .any(|park| park.contains_key(&number)),
                ItemId::Timer(id) => self.ledger.timer(id).is_some(),
            };
            // Of timers that are not in memory nobody knows that they had attempts.
            let all = self.plan.config.limits.timers_resident_max > 100;
            check("I10", is_open || !all, || {
                format!("{open:?} is kept for ever")
            })?;
        }
        Ok(())
    }
}

/// How often each thing came up, for a look at what the seeds reach.
pub(crate) fn tally(trace: &[String]) -> BTreeMap<&'static str, usize> {
    let names = [
        "crash",
        " forgets [",
        "ends the host",
        "drained",
        "abandon",
        "Refused",
        "Unavailable {",
        "its answer is lost",
        "stale",
        "compacted",
        "cannot be read",
        "operator: Replay",
        "operator: Drop",
        "operator: Release",
        "operator: pause",
        "attempt AttemptId { epoch: 1, item: Parked",
        "item: Timer(",
        "(Timer(",
        "(Parked(",
        "Timers(",
        "by the fallback",
        "operator: force open",
        "restored at",
        "Letter(",
        "Mark(",
        "marked [Record",
        "beside",
        "redeploy",
        "that was replaced",
    ];
    let fates = Fate::ALL.map(|fate| (fate, format!(", {fate:?})")));
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
