//! What follows when the ledger refuses the output of an event.

use super::{Entry, Partition, Stage, Work};
use crate::gate::Pass;
use crate::time::Millis;
use crate::unit::{Fate, ItemId, Output, SequenceKey};

impl Partition {
    /// The ledger refuses this item's output: it dies, and what its lane staged after it runs again.
    ///
    /// A dead letter that is refused has nowhere to go: the partition waits (the dead-letter topic is missing or too
    /// small, which an operator mends). A command that is refused changes nothing.
    pub(super) fn refuse(
        &mut self,
        now: Millis,
        gate: &mut dyn Pass,
        item: ItemId,
        code: String,
        message: String,
    ) {
        let Some(Entry {
            stage: Stage::Staged(completion),
            sequence,
            work,
            ..
        }) = self.entries.get(&item)
        else {
            return self.back_off(now);
        };
        if completion.fate == Fate::Dead {
            let reason = format!("an event died and its letter is refused ({code}: {message})");
            self.commits.letter_refused = Some(reason);
            return self.back_off(now);
        }
        let (sequence, command) = (sequence.clone(), matches!(work, Work::Command(..)));
        self.withdraw(now, gate, &sequence, item);
        if command {
            self.stage(now, item, Fate::Skipped, Output::default());
        } else {
            self.die_of_output(now, item, "refused", code, message);
        }
    }

    /// Takes the fates of `from` and all later staged events of its lane back, without counting an attempt.
    fn withdraw(&mut self, now: Millis, gate: &mut dyn Pass, sequence: &SequenceKey, from: ItemId) {
        let of_lane = |item: &ItemId| {
            let entry = self.entries.get(item).filter(|entry| entry.has_lane());
            entry.is_some_and(|entry| self.lanes.are_one(&entry.sequence, sequence))
        };
        let mut earlier: Vec<ItemId> = self.staged.iter().copied().filter(of_lane).collect();
        let at = earlier.iter().position(|item| *item == from);
        // The first event of a parked sequence has nothing staged behind it that depends on it.
        let withdrawn = at.map_or_else(|| vec![from], |at| earlier.split_off(at));
        self.send_head_back(now, gate, sequence);
        self.staged.retain(|item| !withdrawn.contains(item));
        for item in &withdrawn {
            let Some(entry) = self.entries.get_mut(item) else {
                continue;
            };
            let stage = std::mem::replace(&mut entry.stage, Stage::Queued);
            if matches!(entry.work, Work::Timer(_)) && *item != from {
                // It is asked of the ledger again: what goes before it may change it.
                entry.event = None;
            }
            let Stage::Staged(completion) = stage else {
                continue;
            };
            self.memory.give_back(std::mem::take(&mut entry.written));
            let parking = completion.output.parking.as_ref();
            if parking.is_some_and(|parking| parking.join.is_some()) {
                self.park.unstaged(&completion.sequence);
            }
        }
        self.wake_timers(sequence);
        if at.is_none() {
            return;
        }
        let kept = earlier
            .iter()
            .filter_map(|item| match self.entries.get(item) {
                Some(Entry {
                    stage: Stage::Staged(completion),
                    ..
                }) => Some(&**completion),
                _ => None,
            });
        if let Some(lane) = self.lanes.get_mut(sequence) {
            lane.withdraw(&withdrawn, kept);
        }
    }

    /// The head of a lane may be running on what is withdrawn: its outcome must commit nothing.
    fn send_head_back(&mut self, now: Millis, gate: &mut dyn Pass, sequence: &SequenceKey) {
        let Some(head) = self.lanes.get(sequence).and_then(super::Lane::head) else {
            return;
        };
        self.abandon(now, gate, head);
        let Some(entry) = self.entries.get_mut(&head) else {
            return;
        };
        match entry.stage {
            Stage::Ready => entry.stage = Stage::Queued,
            Stage::RetryWait(at) => {
                entry.stage = Stage::Queued;
                self.retries.remove(&(at, head));
            }
            Stage::Queued
            | Stage::Loading
            | Stage::AwaitsId
            | Stage::Running(_)
            | Stage::Staged(_) => {}
        }
    }
}
