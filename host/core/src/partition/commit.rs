//! From staged events to units of work and back.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::suspects::LEASE;
use super::{Entry, Limits, Partition, Stage, Work};
use crate::gate::Pass;
use crate::time::Millis;
use crate::unit::{
    CommitResult, Completion, Fate, InboxBlock, ItemId, OpenAttempts, ParkedSequence, SequenceKey,
    Unit,
};

/// The first pause after a unit that the ledger could not commit.
pub(super) const BACK_OFF_MIN: Duration = Duration::from_millis(100);
/// For the ledger to say what became of a unit: whoever has all others wait for that does so for no longer.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// The longest one: an outage is noticed as over within this time.
pub(super) const BACK_OFF_MAX: Duration = Duration::from_secs(30);
/// Inbox blocks that a unit deletes: of an idle partition a million may leave at once, and no transaction takes so many before
/// it times out. A unit makes one, so they do not gather.
pub(super) const EXPIRED_MAX: usize = 4_096;
/// What the deletion of one takes, about: its key, and what a client keeps for each message.
const EXPIRED_BYTES: usize = 256;

/// Which unit is out, and when the next is due.
#[derive(Debug)]
pub(super) struct Commits {
    /// Number of the last unit that was handed out and not refused.
    number: u64,
    /// At most one is out, or a later commit would cover an earlier abort.
    out: Option<Out>,
    /// Inbox blocks that left the window and are not deleted yet, those of the unit that is out before the others.
    expired: VecDeque<u64>,
    /// When the oldest change that no unit holds was made.
    dirty_since: Option<Millis>,
    /// Counted attempts changed, or records turned out to be absent, and no unit holds that.
    changed: bool,
    /// Something waits for the next unit, whatever is in it.
    urgent: bool,
    /// How far attempts may start, durably; empty: nowhere.
    lease: Vec<u64>,
    /// The suspects that want to run with nothing beside them.
    marks: Vec<ItemId>,
    /// Those that may, durably.
    durable_marks: Vec<ItemId>,
    back_off: Duration,
    not_before: Millis,
    /// Why nothing is committed, when that is a dead letter which nobody takes.
    pub(super) letter_refused: Option<String>,
}

/// What the unit that is out holds, besides its completions.
#[derive(Debug)]
struct Out {
    since: Millis,
    items: Vec<ItemId>,
    heads: Vec<(SequenceKey, Option<ParkedSequence>)>,
    block: InboxBlock,
    /// How many that have left the window it deletes.
    expired: usize,
    lease: Vec<u64>,
    marked: Vec<ItemId>,
}

impl Commits {
    /// After unit `number`; `crashed` when a mark of a crash is to be taken away and counted.
    pub(super) fn new(number: u64, crashed: bool) -> Self {
        Self {
            number,
            out: None,
            expired: VecDeque::new(),
            dirty_since: crashed.then_some(Millis(0)),
            changed: crashed,
            urgent: false,
            lease: Vec::new(),
            marks: Vec::new(),
            durable_marks: Vec::new(),
            back_off: BACK_OFF_MIN,
            not_before: Millis(0),
            letter_refused: None,
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.out.is_none() && !self.changed
    }

    /// Whether the ledger says that nothing may have been running.
    pub(super) fn is_clean(&self) -> bool {
        self.lease.is_empty() && self.durable_marks.is_empty()
    }

    /// Whether the ledger did not take the last unit, and the next one waits for that.
    pub(super) fn backs_off(&self, now: Millis) -> bool {
        now < self.not_before
    }

    /// When it has not answered for so long that nobody else waits for it.
    pub(super) fn late_at(&self) -> Option<Millis> {
        self.out.as_ref().map(|out| out.since + ANSWER_MAX)
    }

    /// Whether the host may stand still for what the ledger is to take.
    pub(super) fn is_prompt(&self, now: Millis) -> bool {
        !self.backs_off(now) && self.late_at().is_none_or(|at| now < at)
    }

    pub(super) fn staged(&mut self, now: Millis) {
        self.dirty_since.get_or_insert(now);
    }

    pub(super) fn changed(&mut self, now: Millis) {
        self.changed = true;
        self.dirty_since.get_or_insert(now);
    }

    /// Whether the ledger is ready for the end of the host during an attempt of this item.
    pub(super) fn allows(&self, item: ItemId) -> bool {
        match item {
            ItemId::Record(position) => {
                let lease = self.lease.get(usize::from(position.topic));
                lease.is_some_and(|lease| position.offset < *lease)
            }
            ItemId::Parked(_) | ItemId::Timer(_) => !self.lease.is_empty(),
        }
    }

    pub(super) fn ask_for_lease(&mut self, now: Millis) {
        self.urgent = true;
        self.dirty_since.get_or_insert(now);
    }

    /// Whether the marks that were asked for are durable.
    pub(super) fn has_marks(&self) -> bool {
        let out = self.out.as_ref();
        let stay = out.is_none_or(|out| out.marked == self.marks);
        !self.marks.is_empty() && self.durable_marks == self.marks && stay
    }

    pub(super) fn ask_for_marks(&mut self, now: Millis, items: Vec<ItemId>) {
        self.marks = items;
        self.ask_for_lease(now);
    }

    /// Whether the ledger has a mark, or is about to.
    pub(super) fn is_marked(&self) -> bool {
        let out = self.out.as_ref().map_or(&[][..], |out| &out.marked);
        [out, &self.durable_marks, &self.marks]
            .iter()
            .any(|marks| !marks.is_empty())
    }

    /// Whether suspects are to run, or run.
    pub(super) fn wants_marks(&self) -> bool {
        !self.marks.is_empty()
    }

    /// The suspects have ended or were given up: their marks go with the next unit.
    pub(super) fn drop_marks(&mut self, now: Millis) {
        self.marks.clear();
        self.changed(now);
    }

    /// When a unit is due though attempts are running; none while one is out or nothing changed.
    pub(super) fn due_at(&self, limits: &Limits, staged: bool) -> Option<Millis> {
        if self.out.is_some() || !(staged || self.changed || self.urgent) {
            return None;
        }
        let linger = if self.urgent {
            Duration::ZERO
        } else {
            limits.unit_linger
        };
        let due = self.dirty_since.map(|since| since + linger);
        due.map(|due| due.max(self.not_before))
    }
}

impl Partition {
    /// Hands out the next unit when none is out and there is no reason to wait for company.
    pub(super) fn poll_unit(&mut self, now: Millis) -> Option<Unit> {
        if self.is_over() && !self.commits.is_clean() {
            // The last one: it says that nothing was running.
            self.commits.ask_for_lease(now);
        }
        if self.moved {
            return None;
        }
        let limits = self.config.limits;
        let due_at = self.commits.due_at(&limits, !self.staged.is_empty())?;
        let idle = self.running == 0;
        let full = self.staged.len() >= limits.unit_events_max;
        if now < self.commits.not_before || !(idle || full || now >= due_at) {
            return None;
        }
        let (items, completions, bytes) = self.take_staged();
        self.commits.number += 1;
        let mut progress = self.progress.clone();
        for position in items.iter().filter_map(|item| item.position()) {
            progress[usize::from(position.topic)].complete(position.offset);
        }
        let heads = self.park.heads_after(completions.iter().map(Arc::as_ref));
        let expired_blocks = self.next_expired(now);
        let unit = Unit {
            number: self.commits.number,
            epoch: self.epoch,
            cursors: progress.iter().map(super::Progress::cursor).collect(),
            open: self.open_attempts(&items),
            heads: heads.clone(),
            lease: self.next_lease(),
            marked: self.commits.marks.clone(),
            active: self.clock.active,
            next_parked: self.park.next_number(),
            stream_time: self.stream_time,
            staged_at: now,
            completions,
            bytes: bytes + expired_blocks.len() * EXPIRED_BYTES,
            expired_blocks,
        };
        let marks = unit.completions.iter().filter_map(|done| done.mark);
        self.commits.out = Some(Out {
            since: now,
            items,
            heads,
            block: InboxBlock {
                unit: unit.number,
                stream_time: unit.stream_time,
                staged_at: now,
                ids: marks.collect(),
            },
            expired: unit.expired_blocks.len(),
            lease: unit.lease.clone(),
            marked: unit.marked.clone(),
        });
        self.commits.changed = false;
        self.commits.urgent = false;
        self.commits.dirty_since = (!self.staged.is_empty()).then_some(now);
        Some(unit)
    }

    /// The inbox blocks that the next unit deletes.
    fn next_expired(&mut self, now: Millis) -> Vec<u64> {
        let reached = self.stream_reached();
        let expired = &mut self.commits.expired;
        // One more than fits says that there are others.
        let wanted = (EXPIRED_MAX + 1).saturating_sub(expired.len());
        expired.extend(self.inbox.expire(reached, now, wanted));
        expired.iter().copied().take(EXPIRED_MAX).collect()
    }

    /// True when a revoked partition has nothing left to stage.
    fn is_over(&self) -> bool {
        self.draining && self.running == 0 && self.staged.is_empty() && self.commits.out.is_none()
    }

    /// How far attempts may start until the next unit.
    fn next_lease(&self) -> Vec<u64> {
        if self.is_over() {
            return Vec::new();
        }
        let next = self.progress.iter().map(super::Progress::next);
        next.map(|next| next + LEASE).collect()
    }

    /// The longest prefix of what is staged that fits a unit; at least one event, so that a large one cannot block.
    /// Answers its bytes too.
    fn take_staged(&mut self) -> (Vec<ItemId>, Vec<Arc<Completion>>, usize) {
        let limits = &self.config.limits;
        let (mut items, mut completions, mut bytes) = (Vec::new(), Vec::new(), 0);
        while let Some(item) = self.staged.front().copied() {
            let Some(Entry {
                stage: Stage::Staged(completion),
                written,
                ..
            }) = self.entries.get(&item)
            else {
                self.staged.pop_front();
                continue;
            };
            let fits =
                items.len() < limits.unit_events_max && bytes + written <= limits.unit_bytes_max;
            if !(items.is_empty() || fits) {
                break;
            }
            bytes += written;
            completions.push(Arc::clone(completion));
            items.push(item);
            self.staged.pop_front();
        }
        (items, completions, bytes)
    }

    fn open_attempts(&self, completing: &[ItemId]) -> Vec<OpenAttempts> {
        if self.tallies.is_empty() {
            return Vec::new();
        }
        let completing: std::collections::HashSet<_> = completing.iter().collect();
        let open = self.tallies.iter();
        open.filter(|(item, attempts)| {
            (attempts.counted > 0 || attempts.crashes > 0) && !completing.contains(item)
        })
        .map(|(item, attempts)| OpenAttempts {
            item: *item,
            attempts: *attempts,
        })
        .collect()
    }

    /// Takes in the ledger's answer to the unit that is out.
    pub fn handle_commit(
        &mut self,
        now: Millis,
        gate: &mut dyn Pass,
        number: u64,
        result: CommitResult,
    ) {
        if number != self.commits.number {
            return;
        }
        let Some(out) = self.commits.out.take() else {
            return;
        };
        match result {
            CommitResult::Committed => {
                self.commits.back_off = BACK_OFF_MIN;
                self.commits.letter_refused = None;
                self.commits.expired.drain(..out.expired);
                if !self.commits.expired.is_empty() && !self.draining {
                    self.commits.changed(now);
                }
                self.commits.lease = out.lease;
                self.commits.durable_marks = out.marked;
                self.inbox.insert(out.block);
                for item in out.items {
                    self.forget(item);
                }
                for (sequence, durable) in out.heads {
                    self.park.settle_durable(&sequence, durable);
                    self.wake_waiting(&sequence);
                    self.wake_timers(&sequence);
                }
            }
            CommitResult::Refused {
                item,
                code,
                message,
            } => {
                self.unstage(now, out);
                self.refuse(now, gate, item, code, message);
            }
            CommitResult::Moved => self.moved = true,
            CommitResult::Unavailable { .. } => {
                let first = out.items.first().and_then(|item| self.entries.get(item));
                gate.ledger_failed(now, first.map_or(0, super::admission::voice));
                self.unstage(now, out);
                self.back_off(now);
            }
        }
    }

    /// The unit is absent: its events are staged again, before those that were staged since.
    fn unstage(&mut self, now: Millis, out: Out) {
        self.commits.number -= 1;
        self.commits.changed = true;
        self.commits.dirty_since = Some(now);
        self.park.not_durable(&out.heads);
        for item in out.items.into_iter().rev() {
            self.staged.push_front(item);
        }
    }

    pub(super) fn back_off(&mut self, now: Millis) {
        self.break_silence();
        self.commits.not_before = now + self.commits.back_off;
        self.commits.back_off = (self.commits.back_off * 2).min(BACK_OFF_MAX);
    }

    /// Lets others run while the ledger does not take what this partition waits for.
    pub(super) fn break_silence(&self) {
        // Whoever runs in silence keeps it: what ended the host beside it would be held against it.
        if !self.suspects.run_apart() {
            self.quiet.end_silence();
        }
    }

    /// A committed item leaves the machine.
    fn forget(&mut self, item: ItemId) {
        let Some(entry) = self.entries.remove(&item) else {
            return;
        };
        let Stage::Staged(completion) = &entry.stage else {
            return;
        };
        self.count(&entry, completion.fate, item);
        if let Some(position) = item.position() {
            self.progress[usize::from(position.topic)].complete(position.offset);
        }
        self.memory.give_back(entry.bytes + entry.written);
        self.tallies.remove(&item);
        if let Some(mark) = completion.mark {
            self.ids.remove(&mark);
        }
        let output = &completion.output;
        for change in &output.timers {
            if let Some(gone) = self.timers.changed(change) {
                self.tallies.remove(&ItemId::Timer(gone));
            }
        }
        if let Some(parking) = &output.parking {
            self.park.committed(&entry.sequence, parking);
        }
        if !entry.has_lane() {
            return;
        }
        if let Some(lane) = self.lanes.get_mut(&entry.sequence) {
            lane.commit(item, &entry.sequence, output);
            if lane.is_empty() {
                self.lanes.remove(&entry.sequence);
            } else {
                self.wake_waiting(&entry.sequence);
            }
        }
    }

    fn count(&mut self, entry: &Entry, fate: Fate, item: ItemId) {
        match (&entry.work, item.position()) {
            (Work::Command(..), _) => self.counters.commands += 1,
            (Work::Replay(_), _) => self.counters.later[fate as usize] += 1,
            (_, Some(_)) => self.counters.fates[fate as usize] += 1,
            (_, None) => self.counters.later[fate as usize] += 1,
        }
    }

    /// Timers wait while their sequence is parked.
    pub(super) fn wake_timers(&mut self, sequence: &SequenceKey) {
        if !self.park.contains(sequence) {
            self.timers.wake(sequence);
        }
    }

    /// A command or a timer at the head of a lane may have waited for the commit.
    fn wake_waiting(&mut self, sequence: &SequenceKey) {
        let head = self.lanes.get(sequence).and_then(super::Lane::head);
        let entry = head.and_then(|head| self.entries.get(&head));
        if entry.is_some_and(|entry| matches!(entry.work, Work::Command(..) | Work::Timer(_))) {
            self.wake_head(sequence);
        }
    }
}

pub(super) fn completion_bytes(completion: &Completion) -> usize {
    // Each entry of a sequence is kept under its key.
    let key = match &completion.sequence {
        SequenceKey::Keyed { tenant, key } => tenant.len() + key.len(),
        SequenceKey::Alone(_) => 0,
    };
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
        .map(|write| key + write.name.len() + write.value.as_ref().map_or(0, bytes::Bytes::len))
        .sum();
    let timers: usize = completion
        .output
        .timers
        .iter()
        .map(|change| {
            let timer = change.timer.as_ref();
            key + timer.map_or(0, |timer| timer.out.record.bytes())
        })
        .sum();
    let parked = completion.output.parking.as_ref();
    let parked = parked
        .and_then(|parking| parking.join.as_ref())
        .map_or(0, |event| event.record.bytes());
    records + state + timers + parked
}
