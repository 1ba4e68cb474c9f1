//! Dead letters and what an operator says about them.

use std::sync::Arc;

use weir_core::command::{Command, Kind};
use weir_core::event::Record;
use weir_core::identity::Hash128;
use weir_core::partition::OnDead;
use weir_core::unit::{Completion, Fate, ItemId, LetterStatus, Origin, Output, SequenceKey};

use super::judge::Original;
use super::{Judged, Ledger, REPLACING, check};
use crate::bug::Bug;
use crate::plan::{Plan, digest};
use crate::told::Told;

/// A dead letter as everybody knows it.
#[derive(Clone, Debug)]
pub(crate) struct Letter {
    pub(crate) status: LetterStatus,
    pub(crate) record: Record,
    pub(crate) origin: Origin,
    pub(crate) replays: u32,
    /// The sequence that waits because of it.
    pub(crate) holds: Option<SequenceKey>,
}

/// Crashes that make a dead letter.
const CRASHES_MAX: usize = 3;

impl Ledger {
    /// A dead letter is the record itself, and died of a counted attempt or before any.
    pub(super) fn dead(
        &mut self,
        plan: &Plan,
        told: &Told,
        original: &Original,
        completion: &Completion,
        bug: Bug,
    ) -> Judged {
        let item = completion.item;
        let [letter] = completion.output.records.as_slice() else {
            return check("I8", false, || format!("{item:?} has no single letter"));
        };
        let mut record = letter.record.clone();
        if bug == Bug::ChangedLetter {
            record.value = record.value.map(|value| value.slice(..value.len() / 2));
        }
        let same = plan.config.dead_letter_topics.contains(&letter.topic)
            && letter.partition == Some(plan.config.partition)
            && record.key == original.record.key
            && record.value == original.record.value
            && record.headers.starts_with(&original.record.headers);
        check("I8", same, || {
            format!(
                "the letter of {item:?} is not its record: {record:?}, {:?}",
                original.record
            )
        })?;
        let ours = &record.headers[original.record.headers.len()..];
        let added = |name: &str| {
            let own = ours.iter().filter(|(n, _)| n == name);
            let text = own.map(|(_, value)| text_of(value.as_deref()));
            text.collect::<Vec<_>>().join(",")
        };
        self.judge_cause(told, original, completion, &added)?;
        let known = self.known_letter(original, completion);
        let Some((id, LetterStatus::Dead)) = completion.output.letter else {
            return check("I8", false, || {
                format!("the letter of {item:?} has no status")
            });
        };
        check("I8", added("weir.dlq.id") == id.to_uuid(), || {
            format!(
                "the letter of {item:?} is {}, not {id:?}",
                added("weir.dlq.id")
            )
        })?;
        check("I8", known.is_none_or(|known| known == id), || {
            format!("{item:?} was letter {known:?} and is {id:?}")
        })?;
        // A timer that is set by an event twice, after the window of the inbox, is the same letter.
        let again = matches!(item, ItemId::Timer(_))
            || original.timer.is_some()
            || original.origin.topic.starts_with('_');
        let new = known.is_some() || again || !self.letters.contains_key(&id);
        check("I8", new, || {
            format!("{item:?} takes the name of another letter, {id:?}")
        })?;
        let holds = self.judge_hold(
            plan,
            told,
            original,
            completion,
            added("weir.dlq.disposition") == "held",
        )?;
        let replays = known
            .and_then(|known| self.letters.get(&known))
            .map_or(0, |letter| letter.replays);
        check_replays(item, replays, &added("weir.dlq.replays"))?;
        // The operator counts the replays of all that died under one name.
        let before = self.letters.get(&id).map_or(0, |letter| letter.replays);
        let letter = Letter {
            status: LetterStatus::Dead,
            record: (*original.record).clone(),
            origin: original.origin.clone(),
            replays: replays.max(before),
            holds: holds.then(|| completion.sequence.clone()),
        };
        self.letters.insert(id, letter);
        // Its replay begins anew.
        self.found.retain(|(found, _)| *found != item);
        Ok(())
    }

    fn judge_cause(
        &self,
        told: &Told,
        original: &Original,
        completion: &Completion,
        added: &dyn Fn(&str) -> String,
    ) -> Judged {
        let item = completion.item;
        let class = added("weir.dlq.class");
        let counted = told.counted.get(&item).copied().unwrap_or(0);
        check(
            "I7",
            added("weir.dlq.attempts") == counted.to_string(),
            || {
                let says = added("weir.dlq.attempts");
                format!("the letter of {item:?} says {says} attempts, counted {counted}")
            },
        )?;
        let before_any = matches!(class.as_str(), "poison" | "unkeyed");
        let crashed = class == "crash";
        check("I7", before_any || crashed || counted > 0, || {
            format!("{item:?} died without an attempt: {class}")
        })?;
        check("I7", !crashed || self.crashes(item) >= CRASHES_MAX, || {
            format!("{item:?} died of {} crashes", self.crashes(item))
        })?;
        let expected = original.event.is_none() || original.refused_at_start;
        let refused = told.refused.contains(&item);
        check(
            "I7",
            class != "unavailable" && (before_any == expected || refused),
            || format!("{item:?} died of {class}"),
        )?;
        let signed = added("weir.dlq.digest");
        let of_attempt = told.tried.get(&item).map(|version| digest(*version));
        check(
            REPLACING,
            before_any || crashed || refused || of_attempt.as_ref() == Some(&signed),
            || format!("the letter of {item:?} is signed by {signed}, not {of_attempt:?}"),
        )
    }

    /// Whether the sequence waits for an operator from here on.
    fn judge_hold(
        &self,
        plan: &Plan,
        told: &Told,
        original: &Original,
        completion: &Completion,
        says: bool,
    ) -> Judged<bool> {
        let item = completion.item;
        let is_parked = matches!(item, ItemId::Parked(_));
        // What was refused behind a parked sequence cannot hold it: another event is its first.
        let follows = !is_parked && self.park.contains_key(&completion.sequence);
        let wants = plan.config.on_dead == OnDead::Hold
            && plan.parks()
            && original.event.is_some()
            && !follows;
        let parking = completion.output.parking.as_deref();
        let head = parking.and_then(|parking| parking.head);
        let holds = head.is_some_and(|head| head.held);
        // What was refused behind a parked sequence may see that end before its own fate is durable.
        let refused = told.refused.contains(&item) && !holds;
        check("I3", (holds == wants || refused) && says == holds, || {
            format!("{item:?} is to hold: {wants}, holds: {holds}, its letter says {says}")
        })?;
        if holds {
            let parking = parking.cloned().unwrap_or_default();
            let joins = parking.join.map(|event| event.record) == Some((*original.record).clone());
            check(
                "I3",
                parking.leave.is_none() && (joins || is_parked),
                || format!("{item:?} does not hold its sequence itself"),
            )?;
        }
        Ok(holds)
    }

    /// The letter that a parked event is.
    pub(super) fn known_letter(
        &self,
        original: &Original,
        completion: &Completion,
    ) -> Option<Hash128> {
        let ItemId::Parked(_) = completion.item else {
            return original.letter;
        };
        let head = self.head(&completion.sequence)?;
        original.letter.or(head.letter)
    }

    /// A replayed letter is handled: it is done, once.
    pub(super) fn finish_letter(&mut self, original: &Original, completion: &Completion) -> Judged {
        let known = self.known_letter(original, completion);
        let expected = known.map(|id| (id, LetterStatus::Done));
        check("I2", completion.output.letter == expected, || {
            format!(
                "{:?} leaves letter {:?}, not {expected:?}",
                completion.item, completion.output.letter
            )
        })?;
        let Some(letter) = known.and_then(|id| self.letters.get_mut(&id)) else {
            return check("I2", known.is_none(), || {
                format!("{known:?} was never dead")
            });
        };
        let in_place = matches!(completion.item, ItemId::Record(_));
        let before = if in_place {
            LetterStatus::Dead
        } else {
            LetterStatus::Replaying
        };
        check("I2", letter.status == before, || {
            format!("{known:?} runs and is {:?}", letter.status)
        })?;
        letter.status = LetterStatus::Done;
        Ok(())
    }

    /// Whether this command runs its letter in its own place.
    pub(super) fn runs(&self, plan: &Plan, command: &Command) -> bool {
        let letter = self.letters.get(&command.letter);
        let is_dead = letter.is_none_or(|letter| letter.status == LetterStatus::Dead);
        !plan.parks() && command.kind == Kind::Replay && is_dead
    }

    /// A letter that ran in the place of its command has the fate of an event.
    pub(super) fn replayed(
        &mut self,
        plan: &Plan,
        command: &Command,
        record: &Arc<Record>,
        completion: &Completion,
    ) -> Judged<Original> {
        check(
            "I1",
            matches!(completion.fate, Fate::Handled | Fate::Dead),
            || format!("{command:?} is {:?} and did not run", completion.fate),
        )?;
        let mut original = Original::stored(plan, record, command.origin.clone());
        original.letter = Some(command.letter);
        let letter = self
            .letters
            .entry(command.letter)
            .or_insert_with(|| Letter {
                status: LetterStatus::Dead,
                record: (**record).clone(),
                origin: command.origin.clone(),
                replays: 0,
                holds: None,
            });
        letter.replays += 1;
        Ok(original)
    }

    /// A command changes what it says, and only of a letter that is dead.
    pub(super) fn obeyed(
        &mut self,
        told: &Told,
        command: &Command,
        record: &Arc<Record>,
        completion: &Completion,
    ) -> Judged {
        let output = &completion.output;
        let id = command.letter;
        let status = self
            .letters
            .get(&id)
            .map_or(LetterStatus::Dead, |letter| letter.status);
        if status != LetterStatus::Dead || told.refused.contains(&completion.item) {
            return check("I2", *output == Output::default(), || {
                format!("{command:?} changes a letter that is {status:?}: {output:?}")
            });
        }
        let holds = self
            .letters
            .get(&id)
            .and_then(|letter| letter.holds.clone());
        let held = holds.is_some();
        let parking = output.parking.as_deref().cloned().unwrap_or_default();
        let (letter, leaves, joins) = match command.kind {
            Kind::Replay => (Some((id, LetterStatus::Replaying)), held, true),
            Kind::Drop => (Some((id, LetterStatus::Dropped)), held, false),
            Kind::Release => (None, held, false),
        };
        let first = holds.as_ref().and_then(|sequence| self.first(sequence));
        let left = first
            .filter(|_| leaves)
            .map(|first| (first.number, first.bytes()));
        let moves = holds.is_some() || joins;
        let agrees = output.letter == letter
            && output.records.is_empty()
            && parking.leave == left
            && parking.join.is_some() == joins
            && parking.head.is_none_or(|head| !head.held)
            && (output.parking.is_some() == moves)
            && holds.is_none_or(|sequence| sequence == completion.sequence);
        check("I2", agrees, || {
            format!("{command:?} held {held} does {output:?}")
        })?;
        if let Some(event) = &parking.join {
            let same = event.letter == Some(id) && event.record == **record;
            check("I8", same, || format!("{command:?} puts {event:?} back"))?;
        }
        let replays = u32::from(command.kind == Kind::Replay);
        let letter = self.letters.entry(id).or_insert_with(|| Letter {
            status,
            record: (**record).clone(),
            origin: command.origin.clone(),
            replays: 0,
            holds: None,
        });
        letter.holds = None;
        letter.replays += replays;
        if let Some((_, status)) = output.letter {
            letter.status = status;
        }
        Ok(())
    }
}

/// What a letter says of its replays; two commands that were sent at once say the same number.
fn check_replays(item: ItemId, replays: u32, says: &str) -> Judged {
    let says: u32 = says.parse().unwrap_or(u32::MAX);
    check("I8", says <= replays && (says > 0) == (replays > 0), || {
        format!("the letter of {item:?} says {says} replays, there were {replays}")
    })
}

fn text_of(value: Option<&[u8]>) -> String {
    String::from_utf8_lossy(value.unwrap_or_default()).into_owned()
}
