//! What comes out of the ledger: what is due there becomes an item, and what is asked of it is answered.

use std::sync::Arc;
use std::time::Duration;

use super::{DEFAULT_TENANT, Decoded, Entry, Load, Loaded, Partition, Stage, Work};
use crate::dead_letter;
use crate::event::Record;
use crate::time::Millis;
use crate::unit::{Fate, ItemId, Output, SequenceKey, TimerSlot};

/// Before the ledger is read again after a failed read.
const LOAD_BACK_OFF: Duration = Duration::from_secs(1);

impl Partition {
    /// Makes items of what is due in the ledger, as far as there is room, and says what must be read.
    pub(super) fn wake(&mut self, now: Millis) -> Option<Load> {
        if !self.may_wake() {
            return None;
        }
        if let Some(sequence) = self.park.pop_due(now) {
            return Some(Load::Parked(sequence));
        }
        self.forget_timers(now);
        while self.may_wake() {
            if let Some(load) = self.timers.load(now) {
                return Some(load);
            }
            let (due, key, id) = self.timers.pop_due(now)?;
            let item = ItemId::Timer(id);
            if matches!(key.slot, TimerSlot::Named(_)) && self.park.contains(&key.sequence) {
                self.timers.sleep(&key.sequence);
                continue;
            }
            if self.entries.contains_key(&item) {
                continue;
            }
            let (tenant, bytes) = match &key.sequence {
                SequenceKey::Keyed { tenant, key } => (Arc::clone(tenant), Some(key.clone())),
                SequenceKey::Alone(_) => (DEFAULT_TENANT.into(), None),
            };
            let record = Record {
                key: bytes,
                ..Record::default()
            };
            let emission = matches!(key.slot, TimerSlot::Emission(_));
            let entry = Entry {
                sequence: if emission {
                    SequenceKey::Alone(item)
                } else {
                    key.sequence.clone()
                },
                tenant,
                bytes: record.bytes(),
                written: 0,
                record: Arc::new(record),
                event: None,
                mark: None,
                admitted: due,
                work: if emission {
                    Work::Emission(key)
                } else {
                    Work::Timer(key)
                },
                stage: Stage::Queued,
            };
            self.admit(item, entry, true);
        }
        None
    }

    /// Takes in what the ledger holds; `load` is what was asked.
    pub fn handle_loaded(&mut self, now: Millis, load: Load, loaded: Loaded) {
        match (load, loaded) {
            (Load::Parked(sequence), Loaded::Parked(Some((event, decoded)))) => {
                self.park.found(&sequence);
                self.unpark(now, sequence, event, decoded);
            }
            (Load::Parked(sequence), Loaded::Parked(None)) => {
                if let Some(events) = self.park.missed(&sequence, now + LOAD_BACK_OFF) {
                    // To go on would be to pass over them in silence.
                    self.halted.get_or_insert(format!(
                        "the ledger tells of {events} parked event(s) of a sequence and has none of them"
                    ));
                }
            }
            (Load::Parked(sequence), _) => self.park.postpone(&sequence, now + LOAD_BACK_OFF),
            (Load::Timer(item, key), Loaded::Timer(timer)) => match timer {
                Some((timer, decoded)) if ItemId::Timer(timer.id) == item && timer.due <= now => {
                    self.fire(now, item, timer, decoded);
                }
                // The same setting was made again, for later.
                Some((timer, _)) if ItemId::Timer(timer.id) == item => {
                    self.forget_unfated(item);
                    self.timers.admit(key, timer.due, timer.id);
                }
                Some(_) | None => {
                    self.tallies.remove(&item);
                    self.forget_unfated(item);
                }
            },
            (Load::Letter(item, ..), Loaded::Letter(status, head)) => {
                self.obey(now, item, status, head);
            }
            (Load::Mark(item, mark, _), Loaded::Mark(found)) => self.marked(now, item, mark, found),
            (Load::Timer(item, _) | Load::Letter(item, ..) | Load::Mark(item, ..), _) => {
                if let Some(entry) = self.entries.get_mut(&item) {
                    let at = now + LOAD_BACK_OFF;
                    entry.stage = Stage::RetryWait(at);
                    self.retries.insert((at, item));
                }
            }
            (Load::Timers(..), Loaded::Timers(page)) => self.timers.take(page),
            (Load::TimersOf(_), Loaded::Timers(page)) => self.timers.take_awake(page),
            (load @ (Load::Timers(..) | Load::TimersOf(_)), _) => {
                self.timers.postpone(load, now + LOAD_BACK_OFF);
            }
        }
    }

    /// What an item carries is here: it goes on to its attempt, or gets its fate without one.
    pub(super) fn begin(&mut self, now: Millis, item: ItemId, decoded: Decoded) {
        match decoded {
            Decoded::Event(event) => {
                if let Some(entry) = self.entries.get_mut(&item) {
                    entry.event = Some(event);
                }
                self.make_ready(item);
            }
            Decoded::Poison { code, message } => {
                let cause = dead_letter::Cause::poison(code, message);
                self.die(now, item, cause);
            }
            // No handler wants it any more.
            Decoded::Filtered | Decoded::Skipped | Decoded::Command { .. } => {
                let mut output = Output::default();
                self.leave_source(now, item, &mut output);
                self.stage(now, item, Fate::Skipped, output);
            }
        }
    }
}
