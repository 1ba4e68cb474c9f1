//! What an operator asks of dead letters and the sequences they hold.

use std::sync::Arc;

use super::outcome::fresh_head;
use super::{Decoded, Entry, Partition, Stage, Work};
use crate::command::{Command, Kind};
use crate::event::Record;
use crate::time::Millis;
use crate::unit::{
    Fate, ItemId, LetterStatus, Output, ParkedEvent, Parking, Position, SequenceKey,
};

impl Partition {
    /// A command stands in the lane of the sequence that it is about, so that it and the sequence's events follow one
    /// another.
    pub(super) fn admit_command(
        &mut self,
        now: Millis,
        item: ItemId,
        record: Arc<Record>,
        command: Box<Command>,
        letter: Box<Decoded>,
    ) {
        let tenant = super::admission::tenant(letter.event());
        let held = self.park.held_by(&command.letter).cloned();
        let sequence = held.unwrap_or_else(|| {
            // One for all commands of a letter, or two of them would not see one another.
            let stood_at = self.stood_at(&command).unwrap_or(item);
            let mapped = letter.event().map(|event| event.key(&record));
            let key = mapped.unwrap_or(record.key.as_ref());
            self.sequence(&tenant, key, stood_at)
        });
        let entry = Entry {
            sequence,
            tenant,
            bytes: record.bytes(),
            written: 0,
            record,
            event: None,
            mark: None,
            admitted: now,
            work: Work::Command(command, letter),
            stage: Stage::Queued,
        };
        self.admit(item, entry, true);
    }

    /// The record that died, if its topic is known here.
    fn stood_at(&self, command: &Command) -> Option<ItemId> {
        let mut topics = (0..).zip(self.config.topics.iter());
        let (topic, _) = topics.find(|(_, name)| **name == command.origin.topic)?;
        let offset = command.origin.offset;
        Some(ItemId::Record(Position { topic, offset }))
    }

    /// Does what a command asks, if the letter is still what the operator saw. One that is done or dropped never runs
    /// again, and one that is on its way is not sent twice.
    pub(super) fn obey(
        &mut self,
        now: Millis,
        item: ItemId,
        status: Option<LetterStatus>,
        head: Option<ParkedEvent>,
    ) {
        let Some(entry) = self.entries.get_mut(&item) else {
            return;
        };
        entry.stage = Stage::Ready;
        let Work::Command(command, _) = &entry.work else {
            return;
        };
        let (kind, letter) = (command.kind, command.letter);
        let sequence = entry.sequence.clone();
        let holds = self.park.held_by(&letter) == Some(&sequence);
        let mut output = Output::default();
        let is_dead = status.unwrap_or(LetterStatus::Dead) == LetterStatus::Dead;
        if is_dead && kind == Kind::Replay && !holds && !self.sets_aside() {
            return self.replay_here(now, item);
        }
        if is_dead {
            match kind {
                Kind::Replay if holds => {
                    output.letter = Some((letter, LetterStatus::Replaying));
                    let mut next = fresh_head(now);
                    next.letter = Some(letter);
                    output.parking = Some(Box::new(Parking {
                        leave: head.as_ref().map(|head| (head.number, head.bytes())),
                        // In its own place, and one replay older.
                        join: head.map(|head| ParkedEvent {
                            letter: Some(letter),
                            replays: head.replays.saturating_add(1),
                            ..head
                        }),
                        head: Some(next),
                    }));
                }
                Kind::Replay => {
                    output.letter = Some((letter, LetterStatus::Replaying));
                    output.parking = Some(Box::new(self.join(now, item, &sequence)));
                }
                Kind::Drop | Kind::Release if holds => {
                    output.letter = (kind == Kind::Drop).then_some((letter, LetterStatus::Dropped));
                    output.parking = Some(Box::new(Parking {
                        join: None,
                        leave: head.map(|head| (head.number, head.bytes())),
                        head: Some(fresh_head(now)),
                    }));
                }
                Kind::Drop => output.letter = Some((letter, LetterStatus::Dropped)),
                Kind::Release => {}
            }
        }
        self.stage(now, item, Fate::Skipped, output);
    }

    /// The letter runs where its command stands, which has its fate when the letter has one.
    fn replay_here(&mut self, now: Millis, item: ItemId) {
        let Some(entry) = self.entries.get_mut(&item) else {
            return;
        };
        if let Work::Command(command, letter) = std::mem::replace(&mut entry.work, Work::Record) {
            entry.work = Work::Replay(command);
            self.begin(now, item, *letter);
        }
    }

    /// The letter joins its sequence at the end, with all its attempts before it.
    fn join(&mut self, now: Millis, item: ItemId, sequence: &SequenceKey) -> Parking {
        let head = self.begin_park(sequence, Some(fresh_head(now)));
        let mut event = self.parked_event(now, item, None);
        if let Some(Entry {
            work: Work::Command(command, _),
            ..
        }) = self.entries.get(&item)
        {
            event.origin = command.origin.clone();
            event.letter = Some(command.letter);
            event.replays = command.replays.saturating_add(1);
        }
        Parking {
            join: Some(event),
            leave: None,
            head,
        }
    }
}
