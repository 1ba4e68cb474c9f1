//! Attempts: what must hold when one starts, what it reads, and how it ends.

use std::time::Duration;

use weir_core::breaker::State;
use weir_core::event::{FailureKind, Outcome};
use weir_core::gate::Pass as _;
use weir_core::identity::{emission_id, timer_id};
use weir_core::partition::Attempt;
use weir_core::unit::{Fate, ItemId, LetterStatus, SequenceKey, Unit};

use super::{Flight, Simulation};
use crate::bug::Bug;
use crate::handler::{self, Read, Script, Temper};
use crate::ledger::{Judged, check};
use crate::plan::{BURST, RATE, identity};
use crate::told::Expected;

impl Simulation {
    pub(super) fn start(&mut self, attempt: Attempt) -> Judged {
        let item = attempt.id.item;
        let by = if attempt.fallback {
            " by the fallback"
        } else {
            ""
        };
        self.note(|| format!("attempt {:?} number {}{by}", attempt.id, attempt.number));
        check("I4", !self.revoked, || {
            "an attempt starts after the revocation".into()
        })?;
        let counted = self.told.counted.get(&item).copied().unwrap_or(0);
        check("I7", attempt.number == counted + 1, || {
            format!(
                "{item:?} runs as number {}, counted {counted}",
                attempt.number
            )
        })?;
        self.judge_gate(&attempt)?;
        self.judge_rate(&attempt)?;
        match item {
            ItemId::Record(_) => self.judge_record(&attempt)?,
            ItemId::Parked(number) => self.judge_parked(&attempt, number)?,
            ItemId::Timer(id) => {
                let set = self
                    .ledger
                    .timer(id)
                    .is_some_and(|(_, timer)| timer.due <= self.now);
                check("I2", set, || {
                    format!("{item:?} runs and is not set, or not due")
                })?;
            }
        }
        let parked = self.ledger.park.contains_key(&attempt.sequence);
        check("I3", !parked || matches!(item, ItemId::Parked(_)), || {
            format!("{item:?} runs while {:?} is parked", attempt.sequence)
        })?;
        self.judge_alone(&attempt)?;
        let runner = (self.told.epoch, attempt.id.serial);
        let twice = self.told.runner.insert(item, runner);
        check("I4", twice.is_none(), || {
            format!("{item:?} starts while {twice:?} runs")
        })?;
        self.flights.push(Flight {
            attempt,
            read: None,
        });
        let running = self
            .flights
            .iter()
            .filter(|flight| self.is_live(flight))
            .count();
        check(
            "I10",
            running <= self.plan.config.limits.running_max,
            || format!("{running} attempts are running"),
        )
    }

    fn judge_gate(&self, attempt: &Attempt) -> Judged {
        let state = self.gate.breaker.state(self.now);
        let open = matches!(state, State::Open { .. } | State::ForcedOpen);
        check(
            "I7",
            !self.gate.paused && (!open || attempt.fallback),
            || {
                format!(
                    "{:?} starts, the gate is {state:?}, paused {}",
                    attempt.id, self.gate.paused
                )
            },
        )?;
        check(
            "I7",
            !attempt.fallback || self.gate.is_open(self.now),
            || {
                format!(
                    "{:?} goes to the fallback while the breaker is {state:?}",
                    attempt.id
                )
            },
        )
    }

    /// As many start in any time as the rate and its burst allow, whatever they are. One that runs alone had its token
    /// before its mark, and nothing else started between.
    fn judge_rate(&mut self, attempt: &Attempt) -> Judged {
        if self.plan.rate.is_none() || attempt.fallback {
            return Ok(());
        }
        let marked = self.ledger.alone == Some(attempt.id.item);
        self.starts.push_front((self.now, marked));
        self.starts.truncate(20);
        for (at, (since, marked)) in self.starts.iter().enumerate() {
            let passed = u64::try_from(self.now.since(*since).as_millis()).unwrap_or(0);
            let burst = u64::from(BURST) + u64::from(*marked);
            let allowed = burst + u64::from(RATE) * passed / 1_000;
            check("I10", (at as u64) < allowed, || {
                format!("{} attempts start within {passed} ms", at + 1)
            })?;
        }
        Ok(())
    }

    fn judge_record(&self, attempt: &Attempt) -> Judged {
        let item = attempt.id.item;
        let done = item
            .position()
            .is_some_and(|at| self.ledger.fates.contains_key(&at));
        check("I2", !done, || format!("{item:?} runs after its fate"))?;
        let lane = self.plan.lane(&attempt.sequence);
        let earlier = self.told.arrivals.get(&lane).into_iter().flatten();
        for earlier in earlier.take_while(|at| **at != item) {
            check("I3", self.may_have_settled(*earlier), || {
                format!("{item:?} starts while {earlier:?} is open")
            })?;
        }
        let position = item.position();
        let lease = position.map(|at| (at.offset, self.ledger.lease.get(usize::from(at.topic))));
        let allowed = lease.is_some_and(|(offset, lease)| lease.is_some_and(|end| offset < *end));
        check("I7", allowed, || {
            format!("{item:?} starts beyond the lease {:?}", self.ledger.lease)
        })
    }

    fn judge_parked(&self, attempt: &Attempt, number: u64) -> Judged {
        let sequence = &attempt.sequence;
        let first = self
            .ledger
            .first(sequence)
            .filter(|first| first.number == number);
        check("I3", first.is_some(), || {
            format!("parked {number} starts and is not the first of {sequence:?}")
        })?;
        let head = self.ledger.head(sequence);
        check(
            "I3",
            head.is_some_and(|head| !head.held && head.due <= self.now),
            || format!("parked {number} starts, its head is {head:?}"),
        )?;
        let letter = first
            .and_then(|first| first.letter)
            .or(head.and_then(|head| head.letter));
        let status = letter.map(|id| self.ledger.letters.get(&id).map(|letter| letter.status));
        check(
            "I2",
            status.is_none_or(|status| status == Some(LetterStatus::Replaying)),
            || format!("parked {number} is letter {letter:?}, which is {status:?}"),
        )?;
        check("I7", !self.ledger.lease.is_empty(), || {
            "an attempt without a lease".into()
        })
    }

    /// One of a sequence runs at a time, and nothing beside what may have ended the host.
    fn judge_alone(&self, attempt: &Attempt) -> Judged {
        let item = attempt.id.item;
        let crashes = self.ledger.crashes(item);
        check("I7", crashes < 3, || {
            format!("{item:?} runs after {crashes} crashes")
        })?;
        let suspect = self.told.suspects.contains(&item);
        check("I7", !suspect || self.ledger.alone == Some(item), || {
            format!("{item:?} may have ended the host and runs without a mark")
        })?;
        for flight in self.flights.iter().filter(|flight| self.is_live(flight)) {
            let other = flight.attempt.id.item;
            let lanes = [attempt, &flight.attempt].map(|one| self.plan.lane(&one.sequence));
            check("I3", lanes[0] != lanes[1], || {
                format!("{item:?} starts while {other:?} runs")
            })?;
            check(
                "I7",
                !suspect && !self.told.suspects.contains(&other),
                || format!("{item:?} starts beside {other:?}, one of them may have ended the host"),
            )?;
        }
        Ok(())
    }

    pub(super) fn is_live(&self, flight: &Flight) -> bool {
        let id = flight.attempt.id;
        self.told.runner.get(&id.item) == Some(&(id.epoch, id.serial))
    }

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
        self.note(|| format!("outcome {id:?} {} live {live}", handler::name(&outcome)));
        if live {
            self.count(&flight.attempt, &outcome);
        }
        if self.rng.percent(20) {
            self.stale.push((id, outcome.clone()));
        }
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
                let runner = (attempt.id.epoch, attempt.id.serial);
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
    fn count(&mut self, attempt: &Attempt, outcome: &Outcome) {
        let item = attempt.id.item;
        let script = Script::new(self.plan.habits, &attempt.event);
        let lane = self.plan.lane(&attempt.sequence);
        self.told.suspects.remove(&item);
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
        let effects = script.effects(&attempt.event, Read::default(), (0, 0), self.now);
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

    /// Whether an event could have a fate by what the shell has seen: it has ended, or has spent what it may spend, or
    /// never ran because another record has its identity.
    fn may_have_settled(&self, item: ItemId) -> bool {
        let Some(record) = item.position().and_then(|at| self.plan.item(at)) else {
            return true;
        };
        if self.told.has_settled(item) || self.told.refused.contains(&item) {
            return true;
        }
        if self.ledger.fates.contains_key(&record.position) || self.ledger.crashes(item) >= 3 {
            return true;
        }
        if self.told.runner.contains_key(&item) {
            return false;
        }
        let counted = self.told.counted.get(&item).copied().unwrap_or(0);
        if record.command().is_some() && counted == 0 {
            // What it asks may be moot.
            return true;
        }
        let retry = &self.plan.config.retry;
        let spent = counted >= retry.attempts_max.min(retry.traps_max);
        let aged = counted > 0 && self.now.0 - crate::plan::START_MS >= 86_400_000;
        let twins = |other: &crate::plan::Item| {
            other.position != record.position && other.identity == record.identity
        };
        spent || aged || record.refused_at_start || self.plan.items().any(twins)
    }
}
