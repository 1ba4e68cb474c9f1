//! Owners come and go: crashes, revocations, and what the next one starts from.

use std::collections::BTreeSet;

use weir_core::event::Outcome;
use weir_core::partition::Partition;
use weir_core::unit::{InboxBlock, ItemId};

use super::{Simulation, host_gate, machine_config};
use crate::bug::Bug;
use crate::ledger::{Judged, check};
use crate::told::Told;

impl Simulation {
    /// An outcome arrives that the machine has no use for.
    pub(super) fn deliver_stale(&mut self) {
        if self.stale.is_empty() {
            return;
        }
        let at = self.rng.below(self.stale.len());
        let (mut id, outcome) = self.stale.swap_remove(at);
        self.note(|| format!("stale outcome {id:?}"));
        if self.bug == Bug::StaleOutcome {
            let current = self
                .flights
                .iter()
                .find(|flight| flight.attempt.id.item == id.item);
            if let (Some(flight), Outcome::Done(_)) = (current, &outcome) {
                id = flight.attempt.id;
                let expected = self.expected(&flight.attempt, &self.script(flight));
                let lane = self.plan.lane(&flight.attempt.sequence);
                self.told.settle(id.item, &lane);
                self.told.expected.insert(id.item, expected);
            }
        }
        self.machine
            .handle_outcome(self.now, &mut self.gate, id, outcome);
    }

    pub(super) fn crash(&mut self) -> Judged {
        self.note(|| "crash".into());
        if self.rng.percent(20) {
            self.compact();
        }
        if let Some(unit) = self.out.take()
            && self.rng.percent(50)
        {
            self.note(|| format!("unit {} was committed all the same", unit.number));
            self.ledger
                .commit(&self.plan, &mut self.told, &unit, self.bug)?;
        }
        self.take_over(false)
    }

    /// The bus drops a record that nobody has finished, as compaction and retention do.
    fn compact(&mut self) {
        let out = self.out.iter().flat_map(|unit| &unit.completions);
        let out: BTreeSet<_> = out.map(|completion| completion.item).collect();
        let open = self.plan.items().filter(|item| item.command().is_none());
        let open: Vec<_> = open
            .map(|item| item.position)
            .filter(|at| !self.ledger.fates.contains_key(at) && !out.contains(&ItemId::Record(*at)))
            .collect();
        if let Some(position) = self.rng.any(open) {
            self.note(|| format!("compacted {position:?}"));
            self.plan.compact(position);
        }
    }

    /// A new owner starts from what is durable; what runs becomes stale.
    pub(super) fn take_over(&mut self, orderly: bool) -> Judged {
        let flights = std::mem::take(&mut self.flights);
        let mut suspects = std::mem::take(&mut self.told.suspects);
        let live = flights.iter().filter(|flight| self.is_live(flight));
        suspects.extend(live.map(|flight| flight.attempt.id.item));
        if orderly || self.ledger.lease.is_empty() {
            // Nobody knows of them: the owner before has given up whatever ran.
            suspects.clear();
        }
        let lost: Vec<_> = suspects.iter().filter_map(|item| item.position()).collect();
        for position in lost.into_iter().filter(|at| self.plan.item(*at).is_none()) {
            suspects.remove(&ItemId::Record(position));
        }
        for flight in &flights {
            let outcome = self.outcome(flight);
            self.stale.push((flight.attempt.id, outcome));
        }
        let narrowed = self.ledger.find_marks();
        self.deployed.take_over(self.bug);
        let running = flights
            .iter()
            .map(|flight| flight.attempt.id.item)
            .collect();
        self.restore(&running);
        self.told.suspects = suspects;
        self.told.narrowed = narrowed;
        if !orderly {
            self.gate = host_gate(&self.plan, self.bug, self.now);
            self.starts.clear();
            self.blind = self.plan.gate(self.now);
        }
        let starts = self.machine.start_positions();
        self.next = starts.iter().map(|position| position.offset).collect();
        self.admitted.clear();
        self.withdrawn.clear();
        self.out = None;
        self.revoked = false;
        self.acknowledged = 0;
        self.closed_ms = 0;
        self.note(|| format!("restored at {starts:?}, orderly {orderly}"));
        Ok(())
    }

    fn restore(&mut self, running: &BTreeSet<ItemId>) {
        let window = self.plan.config.inbox.map(|inbox| inbox.window);
        let kept = |block: &InboxBlock| match self.bug {
            Bug::ForgottenInbox => false,
            Bug::OneClockInbox => self.now.since(block.staged_at) < window.unwrap_or_default(),
            _ => true,
        };
        let mut restore = self.ledger.restore(&self.plan, self.ends.clone(), kept);
        match self.bug {
            Bug::ForgottenAttempts => restore.open.clear(),
            Bug::CountedCrash if restore.marked.is_empty() => {
                restore.marked = running.first().copied().into_iter().collect();
            }
            Bug::CountedGroup => restore.marked.truncate(1),
            Bug::ForgottenMark => restore.marked.clear(),
            Bug::ForgottenGroup if restore.marked.len() > 1 => restore.marked.clear(),
            Bug::ForgottenLease => restore.lease.clear(),
            Bug::ForgottenPark => drop(restore.parked.pop()),
            Bug::ForgottenHold => {
                restore
                    .parked
                    .iter_mut()
                    .for_each(|(_, parked)| parked.head.held = false);
            }
            Bug::EarlyTimer => {
                let timers = restore.timers.timers.iter_mut();
                timers.for_each(|(_, due, _)| due.0 -= 1_000);
            }
            _ => {}
        }
        let open = self
            .ledger
            .open()
            .iter()
            .map(|open| (open.item, open.attempts.counted));
        let mut counted: std::collections::BTreeMap<_, _> = open
            .filter(|(item, counted)| *counted > 0 && !matches!(item, ItemId::Parked(_)))
            .collect();
        for (sequence, parked) in &self.ledger.heads {
            if let Some(first) = self.ledger.first(sequence) {
                counted.insert(ItemId::Parked(first.number), parked.head.attempts.counted);
            }
        }
        self.told = Told {
            epoch: self.told.epoch + 1,
            active_base: self.ledger.active.0,
            counted,
            ..Told::default()
        };
        let config = machine_config(&self.plan, self.deployed.live, self.bug);
        self.machine = Partition::new(config, self.told.epoch, restore);
    }

    pub(super) fn machine_revoke(&mut self) {
        self.note(|| "revoke".into());
        self.machine.handle_revoke();
        self.revoked = true;
    }

    /// A revoked machine is left when it has drained; now and then its attempts are given up first.
    pub(super) fn finish_revoke(&mut self) -> Judged {
        if self.rng.percent(5) || self.calm {
            self.note(|| "abandon".into());
            self.machine.abandon_running(self.now, &mut self.gate);
            for flight in &self.flights {
                let (item, runner) = (flight.attempt.id.item, flight.runner());
                let runners = &mut self.told.runner;
                runners.retain(|at, latest| (*at, *latest) != (item, runner));
            }
        }
        if !self.machine.is_drained() {
            return Ok(());
        }
        check("I5", self.out.is_none(), || {
            "drained, and a unit is out".into()
        })?;
        let ran = self.ledger.number_of_epoch() == self.told.epoch;
        let clean = self.ledger.lease.is_empty() && self.ledger.marked.is_empty();
        check("I7", clean || !ran, || {
            format!(
                "drained, and the ledger says {:?} may run",
                self.ledger.marked
            )
        })?;
        self.note(|| "drained".into());
        self.take_over(clean)
    }
}
