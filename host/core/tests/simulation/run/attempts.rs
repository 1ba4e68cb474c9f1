//! What must hold when an attempt starts.

use weir_core::breaker::State;
use weir_core::gate::Pass as _;
use weir_core::partition::Attempt;
use weir_core::unit::{ItemId, LetterStatus};

use super::{Flight, Simulation};
use crate::ledger::{Judged, check};
use crate::plan::{BURST, RATE};

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
        let version = self.judge_version(&attempt)?;
        let flight = Flight {
            attempt,
            version,
            read: None,
        };
        let twice = self.told.runner.insert(item, flight.runner());
        check("I4", twice.is_none(), || {
            format!("{item:?} starts while {twice:?} runs")
        })?;
        self.flights.push(flight);
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

    /// As many start in any time as the rate and its burst allow, whatever they are. Those that run apart had their tokens
    /// before their marks, at one moment, and nothing else started between.
    fn judge_rate(&mut self, attempt: &Attempt) -> Judged {
        if self.plan.rate.is_none() || attempt.fallback {
            return Ok(());
        }
        let marks = &self.ledger.marked;
        let marked = if marks.contains(&attempt.id.item) {
            marks.len()
        } else {
            0
        };
        check("I10", marked <= BURST as usize, || {
            format!("{marked} hold tokens")
        })?;
        self.starts.push_front((self.now, marked));
        self.starts.truncate(20);
        for (at, (since, marked)) in self.starts.iter().enumerate() {
            let passed = u64::try_from(self.now.since(*since).as_millis()).unwrap_or(0);
            let burst = u64::from(BURST) + *marked as u64;
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
        let marked = &self.ledger.marked;
        check("I7", !suspect || marked.contains(&item), || {
            format!("{item:?} may have ended the host and runs without a mark")
        })?;
        // What was counted before a timer fired and was set again concerns it no more.
        let open = self.ledger.open().iter();
        let counted = open.filter(|open| open.attempts.crashes > 0);
        let mut apart = counted.map(|open| &open.item).chain(&self.told.narrowed);
        let narrowed = apart.any(|one| *one == item);
        check("I7", !(suspect && narrowed) || marked.len() == 1, || {
            format!(
                "{item:?} was marked when the host ended, and is marked with others: {marked:?}"
            )
        })?;
        for flight in self.flights.iter().filter(|flight| self.is_live(flight)) {
            let other = flight.attempt.id.item;
            let lanes = [attempt, &flight.attempt].map(|one| self.plan.lane(&one.sequence));
            check("I3", lanes[0] != lanes[1], || {
                format!("{item:?} starts while {other:?} runs")
            })?;
            let together = marked.contains(&item) && marked.contains(&other);
            let clear = !suspect && !self.told.suspects.contains(&other);
            check("I7", clear || together, || {
                format!("{item:?} starts beside {other:?}, one of them may have ended the host")
            })?;
        }
        Ok(())
    }

    pub(super) fn is_live(&self, flight: &Flight) -> bool {
        self.told.runner.get(&flight.attempt.id.item) == Some(&flight.runner())
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
