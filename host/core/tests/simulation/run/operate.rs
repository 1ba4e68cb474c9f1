//! What an operator does: to the gate, and with dead letters.

use bytes::Bytes;
use weir_core::binding;
use weir_core::command::{Command, Kind};
use weir_core::event::Event;
use weir_core::identity::{Hash128, hash_128};
use weir_core::unit::{LetterStatus, Origin};

use super::Simulation;
use crate::ledger::Letter;
use crate::plan::START_MS;

/// Commands of a run: each is a record.
const COMMANDS_MAX: usize = 40;

impl Simulation {
    /// An operator pauses and resumes, forces the breaker, and lets it go.
    pub(super) fn operate(&mut self) {
        let now = self.now;
        let what = match self.rng.below(8) {
            0 => {
                self.gate.pause(true);
                "pause"
            }
            1..4 => {
                self.gate.pause(false);
                "resume"
            }
            4 => {
                self.gate.breaker.force_open(now);
                "force open"
            }
            5 => {
                self.gate.breaker.disable(now);
                "disable the breaker"
            }
            _ => {
                self.gate.breaker.enforce(now);
                "enforce the breaker"
            }
        };
        self.note(|| format!("operator: {what}"));
    }

    pub(super) fn calm_down(&mut self) {
        self.gate.pause(false);
        self.gate.breaker.enforce(self.now);
        self.append();
    }

    /// An operator says something about a letter, which may have changed since, or about one that nobody knows.
    pub(super) fn command(&mut self) {
        let commands = self
            .plan
            .log
            .last()
            .map_or(0, std::collections::BTreeMap::len);
        if self.calm && !self.machine.has_capacity() {
            return self.make_room();
        }
        if commands >= COMMANDS_MAX || (self.calm && self.rng.percent(90)) {
            return;
        }
        let kind = self
            .rng
            .any(vec![Kind::Replay, Kind::Replay, Kind::Drop, Kind::Release]);
        let Some(kind) = kind else { return };
        let dead = self.rng.percent(60);
        let letters = self.ledger.letters.iter();
        let letters = letters.filter(|(_, letter)| !dead || letter.status == LetterStatus::Dead);
        let known = letters.map(|(id, letter)| (*id, letter.clone())).collect();
        if self.rng.percent(4) && !self.calm {
            return self.unknown_command(kind, commands);
        }
        let Some((letter, known)) = self.rng.any(known) else {
            return;
        };
        self.send(kind, letter, known);
    }

    fn send(&mut self, kind: Kind, letter: Hash128, known: Letter) {
        let command = Command {
            kind,
            letter,
            replays: known.replays,
            origin: known.origin,
        };
        self.note(|| format!("operator: {kind:?} {letter:?}, {:?}", known.status));
        let position = self.plan.command(command, known.record);
        self.ends[usize::from(position.topic)] = position.offset + 1;
    }

    /// Sequences that are held have spent the storage of parked events: one of them is let go.
    fn make_room(&mut self) {
        let letters = self.ledger.letters.iter();
        let holding = letters.filter(|(_, letter)| letter.holds.is_some());
        let holding = holding.map(|(id, letter)| (*id, letter.clone())).collect();
        if let Some((letter, known)) = self.rng.any(holding) {
            self.send(Kind::Drop, letter, known);
        }
    }

    fn unknown_command(&mut self, kind: Kind, number: usize) {
        let id = format!("unknown-{number}");
        let letter = hash_128("simulated", &[id.as_bytes()]).as_uuid();
        let event = Event {
            id,
            source: "/till".into(),
            ty: "Sold".into(),
            ..Event::default()
        };
        let key = Some(Bytes::from_static(b"key-1"));
        let command = Command {
            kind,
            letter,
            replays: 0,
            origin: Origin {
                topic: "in-0".into(),
                partition: self.plan.config.partition,
                offset: 1_000_000 + number as u64,
            },
        };
        self.note(|| format!("operator: {kind:?} {letter:?}, unknown"));
        let record = binding::to_record(&event, key, START_MS);
        let position = self.plan.command(command, record);
        self.ends[usize::from(position.topic)] = position.offset + 1;
    }
}
