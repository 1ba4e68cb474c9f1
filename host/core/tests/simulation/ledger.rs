//! The simulated ledger. It keeps everything that was ever committed, so that each unit can be judged when it comes.

mod heads;
mod judge;
mod letters;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use weir_core::identity::Hash128;
use weir_core::inbox::Inbox;
use weir_core::partition::{Load, Loaded, StagedState};
use weir_core::time::Millis;
use weir_core::unit::{
    Active, Completion, Cursor, Fate, Head, InboxBlock, ItemId, Marked, OpenAttempts, ParkedEvent,
    ParkedSequence, Position, Restore, SequenceKey, Timer, TimerKey, TimerPage, TimerPlace,
    TimerSlot, Unit,
};

use crate::bug::Bug;
use crate::handler::next_digest;
use crate::plan::{Identity, Plan, decode};
use crate::told::Told;

pub(crate) use self::letters::Letter;

/// An invariant that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) invariant: &'static str,
    pub(crate) message: String,
}

/// The rule of a handler that is replaced: an attempt ends on the version that it began with, and no sequence meets an
/// earlier one after a later one.
pub(crate) const REPLACING: &str = "replacing";

pub(crate) type Judged<T = ()> = Result<T, Violation>;

pub(crate) fn check(
    invariant: &'static str,
    holds: bool,
    message: impl FnOnce() -> String,
) -> Judged {
    if holds {
        return Ok(());
    }
    Err(Violation {
        invariant,
        message: message(),
    })
}

/// What a handler that runs each sequence alone, in order and once, would have left behind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Sequential {
    count: u64,
    digest: u64,
}

impl Sequential {
    fn handle(&mut self, event: &weir_core::event::Event) {
        self.count += 1;
        self.digest = next_digest(self.digest, event);
    }
}

#[derive(Default)]
pub(crate) struct Ledger {
    number: u64,
    epoch: u64,
    cursors: Vec<Cursor>,
    open: Vec<OpenAttempts>,
    inbox: BTreeMap<u64, InboxBlock>,
    pub(crate) stream_time: Millis,
    /// By topic, where a machine was told that it ended, and when.
    pub(crate) ends: BTreeMap<u16, Vec<(u64, Millis)>>,
    state: BTreeMap<SequenceKey, BTreeMap<String, Bytes>>,
    /// When the value `brief` of a sequence expires.
    brief: BTreeMap<SequenceKey, Millis>,
    pub(crate) timers: BTreeMap<TimerKey, Timer>,
    pub(crate) park: BTreeMap<SequenceKey, BTreeMap<u64, ParkedEvent>>,
    pub(crate) heads: BTreeMap<SequenceKey, ParkedSequence>,
    pub(crate) letters: BTreeMap<Hash128, Letter>,
    pub(crate) lease: Vec<u64>,
    pub(crate) marked: Vec<ItemId>,
    marked_epoch: u64,
    pub(crate) active: Active,
    next_parked: u64,
    pub(crate) fates: BTreeMap<Position, Fate>,
    /// Crashes by the rules: each mark that a new owner found, by the epoch that set it.
    found: BTreeSet<(ItemId, u64)>,
    /// Stream time and wall clock of the unit that gave an identity its first fate.
    effects: BTreeMap<Identity, (Millis, Millis)>,
    sequential: BTreeMap<SequenceKey, Sequential>,
    /// Timers that were removed: a ledger that brings them back is planted.
    removed_timers: BTreeMap<TimerKey, Timer>,
    /// Numbers that parked events were given.
    numbers: BTreeSet<u64>,
}

impl Ledger {
    /// What a new owner is given; of the inbox, the blocks that `kept` keeps.
    pub(crate) fn restore(
        &self,
        plan: &Plan,
        ends: Vec<u64>,
        kept: impl Fn(&InboxBlock) -> bool,
    ) -> Restore {
        let mut inbox = Inbox::new(plan.config.inbox.unwrap_or_default());
        let blocks = self.inbox.values().filter(|block| kept(block));
        blocks.for_each(|block| inbox.insert(block.clone()));
        Restore {
            unit: self.number,
            cursors: self.cursors.clone(),
            open: self.open.clone(),
            parked: self.heads.iter().map(|(k, v)| (k.clone(), *v)).collect(),
            timers: self.timers_after(None, plan.config.limits.timers_resident_max),
            lease: self.lease.clone(),
            marked: self.marked.clone(),
            witnessed: false,
            active: self.active,
            next_parked: self.next_parked,
            ends,
            inbox,
            stream_time: self.stream_time,
        }
    }

    fn timers_after(&self, after: Option<TimerPlace>, count: usize) -> TimerPage {
        let mut timers: Vec<_> = self.timers.iter().collect();
        timers.retain(|(_, timer)| after.is_none_or(|after| (timer.due, timer.id) > after));
        timers.sort_by_key(|(_, timer)| (timer.due, timer.id));
        TimerPage {
            more: timers.len() > count,
            timers: timers
                .into_iter()
                .take(count)
                .map(|(key, timer)| (key.clone(), timer.due, timer.id))
                .collect(),
        }
    }

    fn timers_of(&self, sequence: &SequenceKey) -> TimerPage {
        let timers = self.timers.iter();
        let own = timers.filter(|(key, _)| key.sequence == *sequence);
        let named = own.filter(|(key, _)| matches!(key.slot, TimerSlot::Named(_)));
        TimerPage {
            more: false,
            timers: named
                .map(|(key, timer)| (key.clone(), timer.due, timer.id))
                .collect(),
        }
    }

    /// Whether this identity has an effect.
    pub(crate) fn has_seen(&self, who: &Identity) -> bool {
        self.effects.contains_key(who)
    }

    /// The epoch that committed last.
    pub(crate) fn number_of_epoch(&self) -> u64 {
        self.epoch
    }

    pub(crate) fn open(&self) -> &[OpenAttempts] {
        &self.open
    }

    /// The first event of a parked sequence.
    pub(crate) fn first(&self, sequence: &SequenceKey) -> Option<&ParkedEvent> {
        self.park.get(sequence)?.values().next()
    }

    /// Whether this letter waits in its sequence.
    pub(crate) fn is_parked_letter(&self, id: Hash128) -> bool {
        let heads = self.heads.values().filter_map(|parked| parked.head.letter);
        let events = self.park.values().flat_map(BTreeMap::values);
        heads
            .chain(events.filter_map(|event| event.letter))
            .any(|letter| letter == id)
    }

    pub(crate) fn timer(&self, id: Hash128) -> Option<(&TimerKey, &Timer)> {
        self.timers.iter().find(|(_, timer)| timer.id == id)
    }

    /// The marks are found by a new owner: one counts, of several each is to run alone.
    pub(crate) fn find_marks(&mut self) -> BTreeSet<ItemId> {
        match &self.marked[..] {
            [item] => {
                self.found.insert((*item, self.marked_epoch));
                BTreeSet::new()
            }
            several => several.iter().copied().collect(),
        }
    }

    /// How often the host ended while this ran alone, as far as anybody may know.
    pub(crate) fn crashes(&self, item: ItemId) -> usize {
        self.found
            .iter()
            .filter(|(found, _)| *found == item)
            .count()
    }

    /// What the ledger holds.
    pub(crate) fn load(&self, load: &Load, bug: Bug) -> Loaded {
        match load {
            Load::Parked(sequence) => {
                let first = match bug {
                    Bug::ReplayOutOfOrder => {
                        let events = self.park.get(sequence);
                        events.and_then(|events| events.values().next_back())
                    }
                    _ => self.first(sequence),
                };
                Loaded::Parked(first.map(|event| (event.clone(), decode(&event.record))))
            }
            Load::Timer(item, key) => {
                let mut timer = self.timers.get(key);
                if bug == Bug::CancelledTimer {
                    let removed = self.removed_timers.get(key);
                    timer = removed
                        .filter(|timer| ItemId::Timer(timer.id) == *item)
                        .or(timer);
                }
                let mut timer = timer.cloned();
                if let (Bug::EarlyTimer, Some(timer)) = (bug, &mut timer) {
                    timer.due.0 -= 1_000;
                }
                Loaded::Timer(timer.map(|timer| (timer.clone(), decode(&timer.out.record))))
            }
            Load::Timers(after, count) => Loaded::Timers(self.timers_after(Some(*after), *count)),
            Load::TimersOf(sequence) => Loaded::Timers(self.timers_of(sequence)),
            Load::Mark(_, id, units) => {
                let within = |block: &&InboxBlock| {
                    units.iter().any(|units| units.contains(&block.unit)) && block.ids.contains(id)
                };
                let found = self.inbox.values().rev().find(within);
                Loaded::Mark(found.filter(|_| bug != Bug::DeafLedger).map(Marked::from))
            }
            Load::Letter(_, letter, sequence) => {
                let letter = self.letters.get(letter);
                let status = letter.map(|letter| letter.status);
                let status = status.filter(|_| bug != Bug::ForgottenLetter);
                Loaded::Letter(status, self.first(sequence).cloned())
            }
        }
    }

    /// What a handler reads: staged writes over durable ones.
    pub(crate) fn read(
        &self,
        staged: &StagedState,
        sequence: &SequenceKey,
        name: &str,
        now: Millis,
        bug: Bug,
    ) -> Option<Bytes> {
        staged.get(name).unwrap_or_else(|| {
            let expires = self.brief_until(sequence).filter(|_| name == "brief");
            if expires.is_some_and(|expires| expires <= now) && bug != Bug::EternalState {
                return None;
            }
            let state = self.state.get(sequence)?;
            state.get(name).cloned()
        })
    }

    /// When the value `brief` of a sequence expires.
    pub(crate) fn brief_until(&self, sequence: &SequenceKey) -> Option<Millis> {
        self.brief.get(sequence).copied()
    }

    /// A unit is absent; a planted ledger removes its timers all the same.
    pub(crate) fn abort(&mut self, unit: &Unit, bug: Bug) {
        if bug != Bug::LostTimer {
            return;
        }
        let outputs = unit.completions.iter().map(|done| &done.output);
        for change in outputs.flat_map(|output| &output.timers) {
            self.timers.remove(&change.key);
        }
    }

    /// Judges a unit, then makes it durable.
    pub(crate) fn commit(&mut self, plan: &Plan, told: &mut Told, unit: &Unit, bug: Bug) -> Judged {
        check("I5", unit.number == self.number + 1, || {
            format!("unit {} after unit {}", unit.number, self.number)
        })?;
        check("I4", unit.epoch == told.epoch, || {
            format!("unit of epoch {} in {}", unit.epoch, told.epoch)
        })?;
        let whole = unit.completions.len();
        let applied = if bug == Bug::HalfUnit {
            whole.div_ceil(2)
        } else {
            whole
        };
        for completion in &unit.completions[..applied] {
            self.complete(plan, told, unit, completion, bug)?;
            self.apply(plan, told, completion);
        }
        self.number = unit.number;
        self.epoch = unit.epoch;
        self.cursors.clone_from(&unit.cursors);
        if bug == Bug::PassedRunning {
            for cursor in &mut self.cursors {
                if let Some((_, end)) = cursor.completed.pop() {
                    (cursor.frontier, cursor.completed) = (end, Vec::new());
                }
            }
        }
        self.open.clone_from(&unit.open);
        self.lease.clone_from(&unit.lease);
        if unit.marked != self.marked || !unit.marked.is_empty() {
            self.marked_epoch = unit.epoch;
        }
        self.marked.clone_from(&unit.marked);
        check("I7", unit.active >= self.active, || {
            format!("the active clock goes back to {:?}", unit.active)
        })?;
        self.active = unit.active;
        self.next_parked = unit.next_parked;
        self.stream_time = unit.stream_time;
        self.commit_inbox(unit);
        for (sequence, head) in &unit.heads {
            match head {
                Some(head) => self.heads.insert(sequence.clone(), *head),
                None => self.heads.remove(sequence),
            };
        }
        self.judge_heads(unit)?;
        self.judge_cursors(plan)
    }

    fn commit_inbox(&mut self, unit: &Unit) {
        for expired in &unit.expired_blocks {
            self.inbox.remove(expired);
        }
        let ids: Box<[_]> = unit
            .completions
            .iter()
            .filter_map(|completion| completion.mark)
            .collect();
        if !ids.is_empty() {
            let block = InboxBlock {
                unit: unit.number,
                stream_time: unit.stream_time,
                staged_at: unit.staged_at,
                ids,
            };
            self.inbox.insert(unit.number, block);
        }
    }

    /// Writes what a completion writes.
    fn apply(&mut self, plan: &Plan, told: &mut Told, completion: &Completion) {
        let Completion {
            item,
            sequence,
            output,
            ..
        } = completion;
        for change in &output.timers {
            if let Some(old) = self.timers.remove(&change.key) {
                self.removed_timers.insert(change.key.clone(), old);
            }
            if let Some(timer) = &change.timer {
                self.timers.insert(change.key.clone(), timer.clone());
            }
        }
        let counted = told.counted.remove(item);
        if let Some(parking) = &output.parking {
            let park = self.park.entry(sequence.clone()).or_default();
            if let Some((number, _)) = parking.leave {
                park.remove(&number);
                told.counted.remove(&ItemId::Parked(number));
            }
            if let Some(event) = &parking.join {
                let parked = ItemId::Parked(event.number);
                if park.is_empty() && completion.fate == Fate::Parked && parking.head.is_some() {
                    told.counted
                        .extend(counted.map(|counted| (parked, counted)));
                    let found: Vec<_> = self
                        .found
                        .iter()
                        .filter(|(found, _)| found == item)
                        .copied()
                        .collect();
                    self.found
                        .extend(found.into_iter().map(|(_, epoch)| (parked, epoch)));
                }
                self.numbers.insert(event.number);
                park.insert(event.number, event.clone());
            }
            if park.is_empty() {
                self.park.remove(sequence);
            }
        }
        told.forget(*item, &plan.lane(sequence));
    }

    /// What a cursor calls completed has a fate, or never held a record.
    fn judge_cursors(&self, plan: &Plan) -> Judged {
        for item in plan.items() {
            let Position { topic, offset } = item.position;
            let cursor = &self.cursors[usize::from(topic)];
            let passed = offset < cursor.frontier
                || cursor
                    .completed
                    .iter()
                    .any(|range| (range.0..range.1).contains(&offset));
            let has_fate = self.fates.contains_key(&item.position);
            check("I1", has_fate || !passed, || {
                format!("the cursor passes {:?}, which has no fate", item.position)
            })?;
            check("I5", passed || !has_fate, || {
                format!("{:?} has a fate, and the cursor is open", item.position)
            })?;
        }
        Ok(())
    }

    /// Whether nothing waits any more but what is held.
    pub(crate) fn is_settled(&self, plan: &Plan) -> bool {
        let held = |sequence: &SequenceKey| self.heads.get(sequence).is_some_and(|p| p.head.held);
        plan.items()
            .all(|item| self.fates.contains_key(&item.position))
            && self.park.keys().all(held)
            && self.timers.keys().all(|key| held(&key.sequence))
    }

    /// The heads that a sequence may have: none that is due before it may be.
    pub(crate) fn head(&self, sequence: &SequenceKey) -> Option<Head> {
        self.heads.get(sequence).map(|parked| parked.head)
    }
}
