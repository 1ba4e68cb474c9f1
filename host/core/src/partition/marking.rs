//! How suspects of a crash come to run: with their permits they wait for marks, a unit makes these durable, they start,
//! and when the last of them has ended the marks go with the next unit.

use std::collections::VecDeque;

use super::admission::Step;
use super::suspects::Waiting;
use super::{Action, Partition, Stage};
use crate::gate::Pass;
use crate::time::Millis;
use crate::unit::ItemId;

impl Partition {
    /// A suspect takes its permit and waits for its mark, with others where it may. It keeps the permit until the mark is
    /// durable: a mark never waits for the gate, nor a token for a mark.
    pub(super) fn join_suspects(&mut self, now: Millis, gate: &mut dyn Pass, item: ItemId) -> Step {
        let in_silence = self.attempts(item).crashes > 0;
        let is_free = self.running == 0
            && !self.commits.wants_marks()
            && self.suspects.may_join(item, in_silence);
        if !is_free {
            return Step::Wait;
        }
        match self.permit(now, gate, item) {
            Ok(ticket) => {
                self.suspects.wait(Waiting {
                    item,
                    ticket,
                    in_silence,
                });
                // It stands in no queue until it starts or is given up.
                self.waiting += 1;
                Step::Next
            }
            Err(step) => step,
        }
    }

    pub(super) fn waits_for_mark(&self, item: ItemId) -> bool {
        self.suspects.waiting().any(|one| one.item == item)
    }

    /// Asks for the marks of those that have come together, unless they stand.
    pub(super) fn mark_waiting(&mut self, now: Millis) {
        self.suspects.close();
        if !self.commits.wants_marks() && self.may_be_marked(now) {
            let items = self.suspects.waiting().map(|one| one.item).collect();
            self.commits.ask_for_marks(now, items);
        }
    }

    /// Whether any wait, and the host lets them. Whoever runs in silence asks for it here, as often as it was ended.
    fn may_be_marked(&self, now: Millis) -> bool {
        self.suspects.waiting().next().is_some_and(|first| {
            if first.in_silence {
                // The host does not stand still for as long as a mark cannot be written.
                self.commits.is_prompt(now) && self.quiet.is_silent()
            } else {
                !self.quiet.is_wanted()
            }
        })
    }

    /// The next of those whose marks are durable.
    pub(super) fn start_marked(&mut self, now: Millis, gate: &mut dyn Pass) -> Option<Action> {
        self.unmark_idle(now, gate);
        while self.may_be_marked(now)
            && self.commits.has_marks()
            && self.running < self.config.limits.running_max
            && self.quiet.start()
        {
            let one = self.suspects.take_waiting()?;
            self.waiting -= 1;
            if let Step::Act(action) = self.start(one.item, one.ticket) {
                return Some(action);
            }
        }
        None
    }

    /// A mark of one that will not run at once is taken back: the end of the host would be held against it.
    pub(super) fn unmark_idle(&mut self, now: Millis, gate: &mut dyn Pass) {
        let stands = !self.draining && self.halted.is_none();
        self.unmark(now, gate, |machine, gate, one| {
            stands && machine.is_next(one.item) && gate.stands(now, one.ticket)
        });
    }

    /// Those that wait and may not give their permits back; when nobody is left, the marks go with the next unit.
    pub(super) fn unmark(
        &mut self,
        now: Millis,
        gate: &mut dyn Pass,
        stays: impl Fn(&Self, &dyn Pass, &Waiting) -> bool,
    ) {
        if self.suspects.waiting().next().is_none() && !self.commits.wants_marks() {
            return;
        }
        let waiting = self.suspects.take_all();
        let (stay, gone): (VecDeque<_>, VecDeque<_>) = waiting
            .into_iter()
            .partition(|one| stays(self, &*gate, one));
        self.suspects.wait_on(stay);
        for one in gone {
            self.waiting -= 1;
            if let Some(ticket) = one.ticket {
                gate.abandoned(now, ticket);
            }
            let entry = self.entries.get(&one.item);
            if entry.is_some_and(|entry| matches!(entry.stage, Stage::Ready)) {
                self.make_ready(one.item);
            }
        }
        if self.commits.wants_marks() && self.suspects.are_over() {
            self.commits.drop_marks(now);
        }
    }

    /// Whether it is its turn as it was when it took its permit: what went before it may have been withdrawn, or parked.
    fn is_next(&self, item: ItemId) -> bool {
        self.entries.get(&item).is_some_and(|entry| {
            let lane = self.lanes.get(&entry.sequence);
            let is_head = lane.is_some_and(|lane| lane.is_head(item));
            let is_turn = if entry.has_lane() {
                is_head && !self.park.contains(&entry.sequence)
            } else {
                true
            };
            matches!(entry.stage, Stage::Ready) && is_turn
        })
    }

    /// Ends the silence once the ledger is without a mark, or does not say whether it has one.
    pub(super) fn end_silence(&self, now: Millis) {
        if !self.commits.is_prompt(now) {
            self.break_silence();
        }
        let waits = self.suspects.waiting().any(|one| one.in_silence);
        if !self.commits.is_marked() && !waits {
            self.quiet.end_silence();
        }
    }
}
