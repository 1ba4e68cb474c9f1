//! From staged events to units of work and back.

use std::sync::Arc;
use std::time::Duration;

use super::{Entry, Limits, Partition, Stage};
use crate::time::Millis;
use crate::unit::{
    CommitResult, Completion, Fate, InboxBlock, OpenAttempts, Position, SequenceKey, Unit,
};

/// The first pause after a unit that the ledger could not commit.
pub(super) const BACK_OFF_MIN: Duration = Duration::from_millis(100);
/// The longest one: an outage is noticed as over within this time.
pub(super) const BACK_OFF_MAX: Duration = Duration::from_secs(30);

/// Which unit is out, and when the next is due.
#[derive(Debug)]
pub(super) struct Commits {
    /// Number of the last unit that was handed out and not refused.
    number: u64,
    /// Events of the unit that is out, in its order; at most one is out, or a later commit would cover an earlier abort.
    out: Option<Vec<Position>>,
    block: Option<InboxBlock>,
    /// Inbox blocks that left the window and are not deleted yet.
    expired: Vec<u64>,
    /// When the oldest change that no unit holds was made.
    dirty_since: Option<Millis>,
    /// Counted attempts changed and no unit holds them.
    attempts_changed: bool,
    back_off: Duration,
    not_before: Millis,
}

impl Commits {
    pub(super) fn new(number: u64) -> Self {
        Self {
            number,
            out: None,
            block: None,
            expired: Vec::new(),
            dirty_since: None,
            attempts_changed: false,
            back_off: BACK_OFF_MIN,
            not_before: Millis(0),
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.out.is_none() && !self.attempts_changed
    }

    pub(super) fn staged(&mut self, now: Millis) {
        self.dirty_since.get_or_insert(now);
    }

    pub(super) fn attempts_changed(&mut self, now: Millis) {
        self.attempts_changed = true;
        self.dirty_since.get_or_insert(now);
    }

    /// When a unit is due though attempts are running; none while one is out or nothing changed.
    pub(super) fn due_at(&self, limits: &Limits, staged: bool) -> Option<Millis> {
        if self.out.is_some() || !(staged || self.attempts_changed) {
            return None;
        }
        self.dirty_since
            .map(|since| (since + limits.unit_linger).max(self.not_before))
    }
}

impl Partition {
    /// Hands out the next unit when none is out and there is no reason to wait for company.
    pub(super) fn poll_unit(&mut self, now: Millis) -> Option<Unit> {
        let limits = self.config.limits;
        let due_at = self.commits.due_at(&limits, !self.staged.is_empty())?;
        let idle = self.running == 0 && self.waiting == 0;
        let full = self.staged.len() >= limits.unit_events_max;
        if now < self.commits.not_before || !(idle || full || now >= due_at) {
            return None;
        }
        let (positions, completions) = self.take_staged();
        self.commits.number += 1;
        let mut progress = self.progress.clone();
        for position in &positions {
            progress[usize::from(position.topic)].complete(position.offset);
        }
        let unit = Unit {
            number: self.commits.number,
            epoch: self.epoch,
            cursors: progress.iter().map(super::Progress::cursor).collect(),
            open: self.open_attempts(&positions),
            stream_time: self.stream_time,
            staged_at: now,
            expired_blocks: {
                let expired = self.inbox.expire(self.stream_time, now);
                self.commits.expired.extend(expired);
                self.commits.expired.clone()
            },
            completions,
        };
        self.commits.block = Some(InboxBlock {
            unit: unit.number,
            stream_time: unit.stream_time,
            staged_at: now,
            ids: unit
                .completions
                .iter()
                .filter_map(|completion| completion.mark)
                .collect(),
        });
        self.commits.out = Some(positions);
        self.commits.attempts_changed = false;
        self.commits.dirty_since = (!self.staged.is_empty()).then_some(now);
        Some(unit)
    }

    /// The longest prefix of what is staged that fits a unit; at least one event, so that a large one cannot block.
    fn take_staged(&mut self) -> (Vec<Position>, Vec<Arc<Completion>>) {
        let limits = &self.config.limits;
        let (mut positions, mut completions, mut bytes) = (Vec::new(), Vec::new(), 0);
        while let Some(position) = self.staged.front().copied() {
            let Some(Entry {
                stage: Stage::Staged(completion),
                ..
            }) = self.entries.get(&position)
            else {
                self.staged.pop_front();
                continue;
            };
            bytes += completion_bytes(completion);
            let fits = positions.len() < limits.unit_events_max && bytes <= limits.unit_bytes_max;
            if !(positions.is_empty() || fits) {
                break;
            }
            completions.push(Arc::clone(completion));
            positions.push(position);
            self.staged.pop_front();
        }
        (positions, completions)
    }

    fn open_attempts(&self, completing: &[Position]) -> Vec<OpenAttempts> {
        if self.tallies.is_empty() {
            return Vec::new();
        }
        let completing: std::collections::HashSet<_> = completing.iter().collect();
        let open = self.tallies.values().map(|tally| tally.open);
        open.filter(|open| open.attempts > 0 && !completing.contains(&open.position))
            .collect()
    }

    /// Takes in the ledger's answer to the unit that is out.
    pub fn handle_commit(&mut self, now: Millis, number: u64, result: CommitResult) {
        if number != self.commits.number {
            return;
        }
        let Some(positions) = self.commits.out.take() else {
            return;
        };
        let block = self.commits.block.take();
        match result {
            CommitResult::Committed => {
                self.commits.back_off = BACK_OFF_MIN;
                self.commits.expired.clear();
                if let Some(block) = block {
                    self.inbox.insert(block);
                }
                positions
                    .into_iter()
                    .for_each(|position| self.forget(position));
            }
            CommitResult::Refused {
                position,
                code,
                message,
            } => {
                self.unstage(now, positions);
                self.refuse(now, position, code, message);
            }
            CommitResult::Unavailable { .. } => {
                self.unstage(now, positions);
                self.back_off(now);
            }
        }
    }

    /// The unit is absent: its events are staged again, before those that were staged since.
    fn unstage(&mut self, now: Millis, positions: Vec<Position>) {
        self.commits.number -= 1;
        self.commits.attempts_changed = true;
        self.commits.dirty_since = Some(now);
        for position in positions.into_iter().rev() {
            self.staged.push_front(position);
        }
    }

    fn back_off(&mut self, now: Millis) {
        self.commits.not_before = now + self.commits.back_off;
        self.commits.back_off = (self.commits.back_off * 2).min(BACK_OFF_MAX);
    }

    /// A committed event leaves the machine.
    fn forget(&mut self, position: Position) {
        let Some(entry) = self.entries.remove(&position) else {
            return;
        };
        let Stage::Staged(completion) = entry.stage else {
            return;
        };
        self.progress[usize::from(position.topic)].complete(position.offset);
        self.counters.fates[completion.fate as usize] += 1;
        self.bytes -= entry.bytes;
        self.tallies.remove(&position);
        if let Some(mark) = completion.mark {
            self.ids.remove(&mark);
        }
        if let Some(lane) = self.lanes.get_mut(&entry.sequence) {
            lane.commit(position, &completion.output.state);
            if lane.is_empty() {
                self.lanes.remove(&entry.sequence);
            }
        }
    }

    /// The ledger refuses this event's output: it dies, and what its sequence staged after it runs again.
    ///
    /// A dead letter that is refused has nowhere to go: the partition waits (the dead-letter topic is missing or too
    /// small, which an operator mends).
    fn refuse(&mut self, now: Millis, position: Position, code: String, message: String) {
        let Some(Entry {
            stage: Stage::Staged(completion),
            sequence,
            ..
        }) = self.entries.get(&position)
        else {
            return self.back_off(now);
        };
        if completion.fate == Fate::Dead {
            return self.back_off(now);
        }
        let sequence = sequence.clone();
        self.withdraw(&sequence, position);
        self.die_of_output(now, position, "refused", code, message);
    }

    /// Takes the fates of `from` and all later staged events of its sequence back, without counting an attempt.
    fn withdraw(&mut self, sequence: &SequenceKey, from: Position) {
        let of_sequence = |position: &Position| {
            self.entries
                .get(position)
                .is_some_and(|entry| entry.sequence == *sequence)
        };
        let mut earlier: Vec<Position> = self.staged.iter().copied().filter(of_sequence).collect();
        let at = earlier
            .iter()
            .position(|position| *position == from)
            .unwrap_or(earlier.len());
        let withdrawn = earlier.split_off(at);
        // The head of the lane may be running on what is withdrawn: its outcome must commit nothing.
        let head = self.lanes.get(sequence).and_then(super::Lane::head);
        if let Some(entry) = head.and_then(|head| self.entries.get_mut(&head)) {
            match entry.stage {
                Stage::Running(_) => {
                    self.running -= 1;
                    entry.stage = Stage::Queued;
                }
                Stage::Ready => entry.stage = Stage::Queued,
                Stage::RetryWait(at) => {
                    self.retries.remove(&(at, head.unwrap_or(from)));
                    entry.stage = Stage::Queued;
                }
                Stage::Queued | Stage::AwaitsId | Stage::Staged(_) => {}
            }
        }
        self.staged.retain(|position| !withdrawn.contains(position));
        for position in &withdrawn {
            if let Some(entry) = self.entries.get_mut(position) {
                entry.stage = Stage::Queued;
            }
        }
        let kept = earlier
            .iter()
            .filter_map(|position| match self.entries.get(position) {
                Some(Entry {
                    stage: Stage::Staged(completion),
                    ..
                }) => Some((*position, completion.output.state.as_slice())),
                _ => None,
            });
        if let Some(lane) = self.lanes.get_mut(sequence) {
            lane.withdraw(&withdrawn, kept);
        }
    }
}

fn completion_bytes(completion: &Completion) -> usize {
    let records: usize = completion
        .output
        .records
        .iter()
        .map(|out| out.record.bytes())
        .sum();
    let state: usize = completion
        .output
        .state
        .iter()
        .map(|write| write.name.len() + write.value.as_ref().map_or(0, bytes::Bytes::len))
        .sum();
    records + state
}
