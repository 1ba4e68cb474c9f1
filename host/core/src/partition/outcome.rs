//! From the end of an attempt to a fate or another attempt.

use std::sync::Arc;
use std::time::Duration;

use super::{AttemptId, Entry, OnDead, Partition, Stage, Work};
use crate::breaker::Sample;
use crate::dead_letter::{self, Deceased, TooLarge};
use crate::emission::{self, Emitted};
use crate::event::{Effects, Failure, FailureKind, Outcome};
use crate::gate::Pass;
use crate::identity::Hash128;
use crate::retry::{self, Verdict};
use crate::time::Millis;
use crate::unit::{
    Attempts, Fate, Head, ItemId, LetterStatus, OutRecord, Output, ParkedEvent, Parking,
    SequenceKey, Timer, TimerChange, TimerKey, TimerSlot,
};

impl Partition {
    /// Takes in what an attempt ended with. The outcome of an attempt that is not running here commits nothing (I4).
    pub fn handle_outcome(
        &mut self,
        now: Millis,
        gate: &mut dyn Pass,
        id: AttemptId,
        outcome: Outcome,
    ) {
        let item = id.item;
        let Some(entry) = self.entries.get_mut(&item) else {
            return;
        };
        let Stage::Running(runner) = entry.stage else {
            return;
        };
        if id.epoch != self.epoch || id.serial != runner.serial {
            return;
        }
        entry.stage = Stage::Ready;
        self.running -= 1;
        self.quiet.end();
        if self.suspects.finished(item) {
            self.commits.drop_marks(now);
        }
        let sample = match &outcome {
            Outcome::Done(_) => Sample::Success,
            Outcome::Failed(failure) => failure.kind.into(),
        };
        if let Some(ticket) = runner.ticket {
            gate.record(now, ticket, sample);
        }
        match outcome {
            Outcome::Done(effects) if runner.ticket.is_none() => {
                self.handle_fallback(now, item, effects);
            }
            Outcome::Done(effects) => self.handle_effects(now, item, effects),
            Outcome::Failed(failure) if runner.ticket.is_none() => {
                // It took the handler's place while the breaker is open, and an open breaker costs no attempt.
                let kind = FailureKind::Unavailable;
                self.handle_failure(now, item, Failure { kind, ..failure });
            }
            Outcome::Failed(failure) => {
                if self.handle_failure(now, item, failure) {
                    let voice = self.entries.get(&item).map(super::admission::voice);
                    gate.died(now, voice.unwrap_or(0), sample);
                }
            }
        }
    }

    fn handle_effects(&mut self, now: Millis, item: ItemId, effects: Effects) {
        let rules = &self.config.emit;
        let Some(emitted) = self.complete(now, item, rules, effects.emissions) else {
            return;
        };
        match emitted {
            Ok(emitted) => {
                let mut output = self.output(now, item, emitted);
                output.state = effects.state;
                self.set_timers(now, item, effects.timers, &mut output);
                self.succeed(now, item, output);
            }
            Err(invalid) => self.die_of_emission(now, item, invalid),
        }
    }

    /// The fallback's emissions are the event's own; it has neither state nor timers.
    fn handle_fallback(&mut self, now: Millis, item: ItemId, effects: Effects) {
        let Some(rules) = &self.config.fallback else {
            return;
        };
        match self.complete(now, item, rules, effects.emissions) {
            Some(Ok(emitted)) => {
                let output = self.output(now, item, emitted);
                self.counters.fallback += 1;
                self.succeed(now, item, output);
            }
            Some(Err(invalid)) => {
                let failure = Failure {
                    kind: FailureKind::Unavailable,
                    code: invalid.code.into(),
                    message: invalid.to_string(),
                    retry_after_ms: None,
                    backtrace: None,
                };
                self.handle_failure(now, item, failure);
            }
            None => {}
        }
    }

    fn complete(
        &self,
        now: Millis,
        item: ItemId,
        rules: &emission::Rules,
        emissions: Vec<crate::event::Emission>,
    ) -> Option<Result<Vec<Emitted>, emission::InvalidEmission>> {
        let entry = self.entries.get(&item)?;
        let cause = emission::Cause {
            event: entry.event.as_deref()?,
            record: &entry.record,
            tenant: &entry.tenant,
        };
        Some(emission::to_records(rules, cause, now, emissions))
    }

    /// What is emitted with the commit, and timers for what is delayed.
    fn output(&self, now: Millis, item: ItemId, emitted: Vec<Emitted>) -> Output {
        let mut output = Output::default();
        if emitted.iter().all(|one| one.delay.is_none()) {
            output.records = emitted.into_iter().map(|one| one.out).collect();
            return output;
        }
        let sequence = self.entries.get(&item).map(|entry| entry.sequence.clone());
        for Emitted { id, out, delay } in emitted {
            match (delay, &sequence) {
                (Some(delay), Some(sequence)) => {
                    output.timers.push(delayed(sequence, &id, out, now + delay));
                }
                (Some(_) | None, _) => output.records.push(out),
            }
        }
        output
    }

    /// The event is handled; what brought it here goes with it.
    fn succeed(&mut self, now: Millis, item: ItemId, mut output: Output) {
        self.leave_source(now, item, &mut output);
        self.stage(now, item, Fate::Handled, output);
    }

    /// An item that came out of the ledger leaves it with its fate: a timer its name, a parked event the park.
    pub(super) fn leave_source(&self, now: Millis, item: ItemId, output: &mut Output) {
        match self.entries.get(&item).map(|entry| &entry.work) {
            Some(Work::Timer(key) | Work::Emission(key)) => {
                // The handler may have set the same name again: that is a new setting and stays.
                if !output.timers.iter().any(|change| change.key == *key) {
                    output.timers.push(TimerChange {
                        key: key.clone(),
                        timer: None,
                    });
                }
            }
            Some(Work::Parked(parked)) => {
                let letter = self.letter_of(parked, item);
                output.letter = letter.map(|letter| (letter, LetterStatus::Done));
                output.parking = Some(Box::new(Parking {
                    leave: Some((parked.number, parked.bytes())),
                    head: Some(fresh_head(now)),
                    join: None,
                }));
            }
            Some(Work::Replay(command)) => {
                output.letter = Some((command.letter, LetterStatus::Done));
            }
            Some(Work::Record | Work::Command(..)) | None => {}
        }
    }

    /// The dead letter that a parked event is, if it is one.
    fn letter_of(&self, parked: &ParkedEvent, item: ItemId) -> Option<Hash128> {
        let sequence = self.entries.get(&item).map(|entry| &entry.sequence);
        let head = sequence.and_then(|sequence| self.park.head(sequence));
        parked.letter.or(head.and_then(|head| head.letter))
    }

    fn die_of_emission(&mut self, now: Millis, item: ItemId, invalid: emission::InvalidEmission) {
        let message = invalid.to_string();
        self.die_of_output(now, item, "invalid-emission", invalid.code.into(), message);
    }

    /// Counts the attempt whose output nobody can take, and lets its event die of it.
    pub(super) fn die_of_output(
        &mut self,
        now: Millis,
        item: ItemId,
        class: &'static str,
        code: String,
        message: String,
    ) {
        self.counters.fail(FailureKind::Permanent);
        let at = self.at(now);
        let mut attempts = self.attempts(item);
        retry::count_attempt(at, &mut attempts);
        if !self.is_parked_item(item) {
            self.set_attempts(item, attempts);
        }
        let stage = dead_letter::Stage::Output;
        let cause = dead_letter::Cause::new(stage, class, code, message, &attempts);
        self.die(now, item, cause);
    }

    /// Counts a failure and does what follows; true when the event dies of it.
    fn handle_failure(&mut self, now: Millis, item: ItemId, failure: Failure) -> bool {
        self.counters.fail(failure.kind);
        let at = self.at(now);
        let mut attempts = self.attempts(item);
        let counted = attempts.counted;
        let verdict = retry::count(&self.config.retry, at, item, &mut attempts, &failure);
        let parked = self.is_parked_item(item);
        if !parked {
            self.set_attempts(item, attempts);
            if attempts.counted != counted {
                self.commits.changed(now);
            }
        }
        match verdict {
            Verdict::RetryAt(due) | Verdict::ParkUntil(due) if parked => {
                self.repark(now, item, due, attempts);
            }
            Verdict::ParkUntil(due) if self.sets_aside() => {
                let head = Head {
                    due,
                    attempts,
                    letter: None,
                    held: false,
                };
                self.park(now, item, Some(head));
            }
            Verdict::RetryAt(at) | Verdict::ParkUntil(at) => {
                if let Some(entry) = self.entries.get_mut(&item) {
                    entry.stage = Stage::RetryWait(at);
                }
                self.retries.insert((at, item));
            }
            Verdict::Die => {
                let mut cause = dead_letter::Cause::new(
                    dead_letter::Stage::Handler,
                    failure.kind.name(),
                    failure.code,
                    failure.message,
                    &attempts,
                );
                cause.backtrace = failure.backtrace;
                self.die(now, item, cause);
                return true;
            }
        }
        false
    }

    /// Failures of an item so far. Those of a parked event are kept with its sequence.
    pub(super) fn attempts(&self, item: ItemId) -> Attempts {
        let tally = self.tallies.get(&item).copied().unwrap_or_default();
        let Some(entry) = self.entries.get(&item) else {
            return tally;
        };
        let Work::Parked(parked) = &entry.work else {
            return tally;
        };
        let head = self.park.head(&entry.sequence);
        let mut attempts = head.map_or_else(Attempts::default, |head| head.attempts);
        // Those since its head was written.
        attempts.crashes += tally.crashes;
        attempts.aging_since.get_or_insert(parked.parked_active);
        attempts
    }

    fn set_attempts(&mut self, item: ItemId, attempts: Attempts) {
        let work = self.entries.get(&item).map(|entry| &entry.work);
        if let (Some(Work::Timer(key) | Work::Emission(key)), ItemId::Timer(id)) = (work, item) {
            self.timers.fails(key, id);
        }
        self.tallies.insert(item, attempts);
    }

    pub(super) fn is_parked_item(&self, item: ItemId) -> bool {
        let entry = self.entries.get(&item);
        entry.is_some_and(|entry| matches!(entry.work, Work::Parked(_)))
    }

    /// Gives an event the fate of the dead: a letter, and its sequence goes on or is held.
    pub(super) fn die(&mut self, now: Millis, item: ItemId, cause: dead_letter::Cause) {
        let on_dead = self.config.on_dead;
        if on_dead == OnDead::Stop {
            let message = &cause.message;
            let reason = format!(
                "an event died ({}: {message}) and there is no dead-letter topic",
                cause.code
            );
            return self.halt(item, reason);
        }
        let Some(entry) = self.entries.get(&item) else {
            return;
        };
        // What no handler can see blocks no sequence, nor does what was refused behind a parked one: that has a first.
        let is_first = self.is_parked_item(item) || !self.park.contains(&entry.sequence);
        let held =
            on_dead == OnDead::Hold && entry.event.is_some() && self.sets_aside() && is_first;
        let sequence = entry.sequence.clone();
        let (letter, record) = match self.letter(now, item, entry, held, &cause) {
            Ok(letter) => letter,
            Err(TooLarge { bytes, bytes_max }) => {
                let origin = self.origin(item);
                let reason = format!(
                    "the record at offset {} of partition {} of topic {} died ({}), and its dead letter takes {bytes} \
                     bytes, where {bytes_max} are allowed",
                    origin.offset, origin.partition, origin.topic, cause.code
                );
                return self.halt(item, reason);
            }
        };
        let mut output = Output {
            records: vec![record],
            ..Output::default()
        };
        self.leave_source(now, item, &mut output);
        output.letter = Some((letter, LetterStatus::Dead));
        if held {
            let head = Head {
                due: now,
                attempts: Attempts::default(),
                letter: Some(letter),
                held: true,
            };
            // The first event of a parked sequence stays where it is; another one is set aside with those behind it.
            let stays = output.parking.take().is_some();
            let join = (!stays).then(|| {
                self.begin_park(&sequence, Some(head));
                self.parked_event(now, item, Some(letter))
            });
            output.parking = Some(Box::new(Parking {
                join,
                leave: None,
                head: Some(head),
            }));
        }
        self.stage(now, item, Fate::Dead, output);
    }

    /// Nobody takes the letter of this item: the partition stops in front of it, so that nothing is lost.
    fn halt(&mut self, item: ItemId, reason: String) {
        self.halted.get_or_insert(reason);
        if let Some(entry) = self.entries.get_mut(&item) {
            entry.stage = Stage::Queued;
        }
    }

    fn letter(
        &self,
        now: Millis,
        item: ItemId,
        entry: &Entry,
        held: bool,
        cause: &dead_letter::Cause,
    ) -> Result<(Hash128, OutRecord), TooLarge> {
        let origin = self.origin(item);
        let (replays, known) = match &entry.work {
            Work::Parked(parked) => (parked.replays, self.letter_of(parked, item)),
            Work::Replay(command) => (command.replays.saturating_add(1), Some(command.letter)),
            Work::Record | Work::Timer(_) | Work::Emission(_) | Work::Command(..) => (0, None),
        };
        // What stood in no topic of the subscription, a timer, goes with its first one.
        let mut topics = self.config.topics.iter();
        let topic = topics.position(|name| *name == origin.topic).unwrap_or(0);
        let letter = known.unwrap_or_else(|| match item {
            ItemId::Timer(id) => id,
            ItemId::Record(_) | ItemId::Parked(_) => {
                // All timers stood at one place: a parked one is told by its identity.
                let event = entry.event.as_ref();
                let timer = event.filter(|_| *origin.topic == *self.ledger_topic());
                timer
                    .and_then(|event| Hash128::from_uuid(&event.id))
                    .unwrap_or_else(|| {
                        let group = &self.config.source.group;
                        dead_letter::letter_id(group, &origin, entry.record.timestamp_ms)
                    })
            }
        });
        let deceased = Deceased {
            record: &entry.record,
            origin: &origin,
            letter,
            replays,
            held,
            sequence: Some(&entry.sequence),
            traceparent: entry
                .event
                .as_deref()
                .and_then(|event| event.extension("traceparent")),
        };
        let topic = Arc::clone(&self.config.dead_letter_topics[topic]);
        let bytes_max = self.config.limits.letter_bytes_max;
        let source = &self.config.source;
        let record = dead_letter::to_record(topic, bytes_max, source, deceased, cause, now)?;
        Ok((letter, record))
    }
}

/// What is next for a sequence whose first event has left: its next one, at once.
pub(super) const fn fresh_head(now: Millis) -> Head {
    Head {
        due: now,
        attempts: Attempts::NONE,
        letter: None,
        held: false,
    }
}

/// The durable timer that publishes an emission later, under its id.
fn delayed(sequence: &SequenceKey, id: &str, out: OutRecord, due: Millis) -> TimerChange {
    let key = TimerKey {
        sequence: sequence.clone(),
        slot: TimerSlot::Emission(id.into()),
    };
    let whose: [&[u8]; 2] = match sequence {
        SequenceKey::Keyed { tenant, key } => [tenant.as_bytes(), key],
        SequenceKey::Alone(_) => [&[], &[]],
    };
    let fields = [whose[0], whose[1], out.topic.as_bytes(), id.as_bytes()];
    let id = crate::identity::hash_128("weir.delay.v1", &fields);
    TimerChange {
        key,
        timer: Some(Timer { id, due, out }),
    }
}

/// The delay that a sequence waits which is set aside without a failure of its own.
pub(super) fn aside(config: &retry::Config) -> Duration {
    config.parked_delay(0)
}
