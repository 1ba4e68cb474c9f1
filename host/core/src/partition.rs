//! The state machine of one partition number of one subscription, for the time of one assignment.
//!
//! Records go in by [`Partition::handle_record`], outcomes of attempts by [`Partition::handle_outcome`], answers of the
//! ledger by [`Partition::handle_commit`] and [`Partition::handle_loaded`], the passing of time by
//! [`Partition::handle_timeout`]. Work comes out by [`Partition::poll_action`]: attempts to run, reads of the ledger and
//! units of work to commit. The shell calls `poll_action` until it is empty after each `handle_*`, and `handle_timeout`
//! at [`Partition::poll_timeout`].
//!
//! What gets a fate is an item: a record of the bus, a parked event, or a timer. Life of an item here: queued in the
//! lane of its sequence, at its head ready, perhaps waiting for another event with its id, running, perhaps waiting for
//! a retry, staged with a fate, in the unit that is being committed, gone. A parked event waits in the ledger and is no
//! item until it is the first of its sequence and due.

mod action;
mod admission;
mod claims;
mod clock;
mod commit;
mod config;
mod counters;
mod entry;
mod gauges;
mod lane;
mod loading;
mod marking;
mod operate;
mod outcome;
mod park;
mod parking;
mod progress;
mod span;
mod stream;
mod suspects;
mod timers;
mod withdrawal;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::hash::BuildHasherDefault;
use std::sync::Arc;
use std::time::Duration;

use rustc_hash::FxBuildHasher;

use crate::budget::Share;
use crate::gate::Pass;
use crate::identity::Hash128;
use crate::inbox::{AlreadyHashed, Inbox};
use crate::retry::Instant;
use crate::solitude::Quiet;
use crate::time::Millis;
use crate::unit::{Attempts, Completion, Fate, ItemId, Output, Position, Restore, SequenceKey};

pub use self::action::{Action, Attempt, AttemptId, Decoded, Load, Loaded};
pub use self::admission::{tenant, timers_topic};
use self::clock::ActiveClock;
pub use self::config::{Config, Limits, OnDead, Ordering};
pub use self::counters::Counters;
use self::entry::{Entry, Runner, Stage, Work};
pub use self::gauges::{Counts, Gauges};
pub use self::lane::StagedState;
use self::lane::{Lane, Lanes};
use self::park::Park;
use self::progress::Progress;
use self::stream::Stream;
use self::suspects::Suspects;
use self::timers::Timers;
pub use self::timers::{TIMER_NAME, TIMER_TYPE, TIMERS_RESIDENT_MAX};

/// The tenant of an event that names none.
pub const DEFAULT_TENANT: &str = "default";

/// The machine; see the module.
#[derive(Debug)]
pub struct Partition {
    config: Arc<Config>,
    epoch: u64,
    progress: Vec<Progress>,
    inbox: Inbox,
    /// The highest time of a record of any topic, by which marks are dated.
    stream_time: Millis,
    /// By topic, how far it has come, by which they leave.
    streams: Vec<Stream>,
    clock: ActiveClock,
    entries: HashMap<ItemId, Entry, FxBuildHasher>,
    lanes: Lanes,
    park: Park,
    timers: Timers,
    suspects: Suspects,
    quiet: Quiet,
    /// Items in [`Stage::Ready`]; may hold some that have moved on.
    ready: VecDeque<ItemId>,
    /// Instants of [`Stage::RetryWait`].
    retries: BTreeSet<(Millis, ItemId)>,
    /// Failures of open items; what is counted here is durable with the next unit.
    tallies: BTreeMap<ItemId, Attempts>,
    /// The event that has started under this id, and those that wait for its fate.
    ids: HashMap<Hash128, (ItemId, Vec<ItemId>), BuildHasherDefault<AlreadyHashed>>,
    /// Items in [`Stage::Staged`] that no unit holds, in the order of their staging.
    staged: VecDeque<ItemId>,
    commits: commit::Commits,
    /// When the gate may be asked again; it refused the last time.
    gate_until: Option<Millis>,
    /// Of events that name none: nearly all have one.
    default_tenant: Arc<str>,
    /// The gate refused what wanted to start the last time.
    held_back: bool,
    /// It lets nothing pass, and nothing ages.
    gate_open: bool,
    serial: u64,
    running: usize,
    waiting: usize,
    memory: Share,
    draining: bool,
    /// Another owner has the partition.
    moved: bool,
    /// Why nothing starts any more.
    halted: Option<String>,
    counters: Counters,
}

impl Partition {
    /// Takes over a partition with what its ledger holds.
    #[must_use]
    pub fn new(mut config: Config, epoch: u64, restore: Restore) -> Self {
        // Whoever takes the place of a handler has no timers there, whatever it is granted in its own.
        if let Some(rules) = &mut config.fallback {
            rules.timers = false;
        }
        let suspects = Suspects::new(&restore);
        let resident_max = config.limits.timers_resident_max;
        let mut progress: Vec<Progress> =
            restore.cursors.into_iter().map(Progress::restore).collect();
        progress.resize_with(config.topics.len(), Progress::default);
        let mut tallies: BTreeMap<ItemId, Attempts> = restore
            .open
            .into_iter()
            .map(|open| (open.item, open.attempts))
            .collect();
        if let [alone] = restore.marked[..]
            && !restore.witnessed
        {
            tallies.entry(alone).or_default().crashes += 1;
        }
        let inbox = restore.inbox.within(config.inbox.unwrap_or_default());
        let lanes = Lanes::new(config.ordering);
        let memory = Share::new(Arc::clone(&config.memory));
        let quiet = Quiet::new(Arc::clone(&config.solitude));
        let failing = tallies.keys().filter_map(|item| match item {
            ItemId::Timer(id) => Some(*id),
            ItemId::Record(_) | ItemId::Parked(_) => None,
        });
        let failing: Vec<_> = failing.collect();
        Self {
            config: Arc::new(config),
            epoch,
            streams: vec![Stream::default(); progress.len()],
            progress,
            inbox,
            stream_time: restore.stream_time,
            clock: ActiveClock {
                active: restore.active,
                last: None,
                slept: None,
            },
            entries: HashMap::default(),
            lanes,
            park: Park::restore(restore.parked, restore.next_parked),
            timers: Timers::restore(restore.timers, resident_max, failing.into_iter()),
            suspects,
            quiet,
            ready: VecDeque::new(),
            retries: BTreeSet::new(),
            tallies,
            ids: HashMap::default(),
            staged: VecDeque::new(),
            commits: commit::Commits::new(restore.unit, !restore.marked.is_empty()),
            gate_until: None,
            default_tenant: DEFAULT_TENANT.into(),
            held_back: false,
            gate_open: false,
            serial: 0,
            running: 0,
            waiting: 0,
            memory,
            draining: false,
            moved: false,
            halted: None,
            counters: Counters::default(),
        }
    }

    /// Where the bus must go on reading each topic, to be asked once after [`Partition::new`].
    #[must_use]
    pub fn start_positions(&self) -> Vec<Position> {
        self.progress
            .iter()
            .zip(0..)
            .map(|(progress, topic)| Position {
                topic,
                offset: progress.frontier(),
            })
            .collect()
    }

    /// True while another record may be handed over.
    #[must_use]
    pub fn has_capacity(&self) -> bool {
        self.has_room() && !self.park.is_full()
    }

    fn has_room(&self) -> bool {
        let limits = &self.config.limits;
        !self.draining
            && self.halted.is_none()
            && self.waiting + self.running < limits.in_flight_max
            && self.has_memory()
            && self
                .progress
                .iter()
                .all(|progress| progress.span() < limits.span_max)
    }

    /// Whether another event may be held. A partition that holds none always may take one.
    fn has_memory(&self) -> bool {
        self.memory.bytes() < self.config.limits.bytes_max && self.memory.has_room()
    }

    /// Whether something that is due in the ledger may be taken out of it.
    fn may_wake(&self) -> bool {
        self.waiting + self.running < self.config.limits.in_flight_max && self.has_memory()
    }

    /// Whether a record of this topic may be handed over. Those of an operator may while the storage of parked events
    /// is spent: nothing else makes room where sequences are held.
    #[must_use]
    pub fn takes(&self, topic: u16) -> bool {
        self.has_room() && (!self.park.is_full() || self.config.commands == Some(topic))
    }

    /// The component of this digest made the attempts whose outcomes follow: dead letters name it.
    pub fn handle_component(&mut self, digest: &str) {
        if *self.config.source.digest != *digest {
            Arc::make_mut(&mut self.config).source.digest = digest.into();
        }
    }

    /// The machine that this runs on was asleep for so long, from any moment on that stays the same: nothing ages then.
    pub fn handle_sleep(&mut self, slept: Duration) {
        self.clock.sleep(slept);
    }

    /// Lets what is due by `now` go on.
    pub fn handle_timeout(&mut self, now: Millis) {
        while let Some(&(at, item)) = self.retries.first() {
            if at > now {
                break;
            }
            self.retries.pop_first();
            self.make_ready(item);
        }
    }

    /// True when the partition has stopped by itself: it goes on as another machine, made of what the ledger holds.
    #[must_use]
    pub fn is_halted(&self) -> bool {
        self.halted.is_some()
    }

    /// The next instant at which [`Partition::handle_timeout`] has something to do, or a unit becomes due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Millis> {
        let commit = self
            .commits
            .due_at(&self.config.limits, !self.staged.is_empty());
        if self.draining || self.halted.is_some() {
            return commit;
        }
        let retry = self.retries.first().map(|&(at, _)| at);
        let room = self.may_wake();
        let wakes = [self.park.due_at(), self.timers.due_at()].map(|at| at.filter(|_| room));
        let span = self.span_due_at().filter(|_| !self.gate_open);
        let late = self.commits.late_at().filter(|_| self.quiet.has_silence());
        [retry, commit, self.gate_until, span, late]
            .into_iter()
            .chain(wakes)
            .flatten()
            .min()
    }

    /// Starts nothing more; what runs may finish and what is staged is committed until [`Partition::is_drained`].
    pub fn handle_revoke(&mut self) {
        self.draining = true;
    }

    /// Gives up the running attempts of a revoked partition: their outcomes will commit nothing and count nothing.
    pub fn abandon_running(&mut self, now: Millis, gate: &mut dyn Pass) {
        let running: Vec<ItemId> = self
            .entries
            .iter()
            .filter(|(_, entry)| matches!(entry.stage, Stage::Running(_)))
            .map(|(item, _)| *item)
            .collect();
        for item in running {
            self.abandon(now, gate, item);
        }
        self.unmark(now, gate, |_, _, _| false);
        let (partition, bytes_max) = (self.config.partition, self.config.limits.park_bytes_max);
        self.park.tell(gate, partition, bytes_max, true);
    }

    /// Takes one running attempt back, without counting it.
    fn abandon(&mut self, now: Millis, gate: &mut dyn Pass, item: ItemId) {
        let Some(entry) = self.entries.get_mut(&item) else {
            return;
        };
        let Stage::Running(runner) = entry.stage else {
            return;
        };
        entry.stage = Stage::Queued;
        self.running -= 1;
        self.quiet.end();
        if self.suspects.stopped(item) {
            self.commits.drop_marks(now);
        }
        if let Some(ticket) = runner.ticket {
            gate.abandoned(now, ticket);
        }
    }

    /// True when a revoked partition has nothing running, nothing to commit, and left its ledger clean; or when all that
    /// is another owner's to do.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        let is_done = self.running == 0
            && self.staged.is_empty()
            && self.commits.is_idle()
            && self.commits.is_clean();
        self.draining && (self.moved || is_done)
    }

    /// True when another owner has the partition: nothing that is done here counts.
    #[must_use]
    pub fn is_moved(&self) -> bool {
        self.moved
    }

    /// The next piece of work: reads and attempts first, so that units grow while there is something to run.
    pub fn poll_action(&mut self, now: Millis, gate: &mut dyn Pass) -> Option<Action> {
        self.gate_open = gate.is_open(now);
        self.clock.tick(now, self.gate_open);
        self.suspects.tell(now);
        self.park.tell(
            gate,
            self.config.partition,
            self.config.limits.park_bytes_max,
            self.draining,
        );
        self.end_silence(now);
        let starts = !self.draining && self.halted.is_none();
        if starts && let Some(load) = self.wake(now) {
            return Some(Action::Load(load));
        }
        loop {
            if let Some(action) = self.poll_start(now, gate) {
                return Some(action);
            }
            // What is set aside makes room for others to start.
            if !(starts && self.relieve_span(now, gate)) {
                break;
            }
        }
        self.unmark_idle(now, gate);
        self.end_silence(now);
        self.poll_unit(now)
            .map(|unit| Action::Commit(Box::new(unit)))
    }

    /// Counters since the start of this assignment.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// The first open offset of each topic; everything before it is durable.
    pub fn frontiers(&self) -> impl Iterator<Item = u64> + '_ {
        self.progress.iter().map(Progress::frontier)
    }

    /// Whether a sequence may be set aside. Where all of the partition waits for one event, it stays where it is.
    fn sets_aside(&self) -> bool {
        self.config.parks && self.config.ordering != Ordering::Partition
    }

    /// Now, on the clocks that failures are judged by.
    fn at(&self, now: Millis) -> Instant {
        Instant {
            wall: now,
            active: self.clock.active,
        }
    }

    fn make_ready(&mut self, item: ItemId) {
        if let Some(entry) = self.entries.get_mut(&item) {
            entry.stage = Stage::Ready;
            self.ready.push_back(item);
            self.waiting += 1;
        }
    }

    /// The head of a lane may go on, if it only waited for that.
    fn wake_head(&mut self, sequence: &SequenceKey) {
        let head = self.lanes.get(sequence).and_then(Lane::head);
        if let Some(head) = head
            && matches!(
                self.entries.get(&head).map(|entry| &entry.stage),
                Some(Stage::Queued)
            )
        {
            self.make_ready(head);
        }
    }

    /// Removes an item that gets no fate: its reason to exist is gone.
    fn forget_unfated(&mut self, item: ItemId) {
        let Some(entry) = self.entries.remove(&item) else {
            return;
        };
        self.memory.give_back(entry.bytes);
        self.suspects.stopped(item);
        if !entry.has_lane() {
            return;
        }
        if let Some(lane) = self.lanes.get_mut(&entry.sequence) {
            lane.remove(item);
            if lane.is_empty() {
                self.lanes.remove(&entry.sequence);
            }
        }
        self.wake_head(&entry.sequence);
    }

    /// Gives an item its fate; the next one of its sequence may go on, and those that wait for its id.
    fn stage(&mut self, now: Millis, item: ItemId, fate: Fate, output: Output) {
        let Some(entry) = self.entries.get_mut(&item) else {
            return;
        };
        let mark = match fate {
            Fate::Handled | Fate::Dead | Fate::Parked => entry.mark,
            Fate::Duplicate | Fate::Filtered | Fate::Skipped => None,
        };
        let sequence = entry.sequence.clone();
        if entry.has_lane()
            && let Some(lane) = self.lanes.get_mut(&sequence)
        {
            lane.stage(item, &sequence, &output);
        }
        if output
            .parking
            .as_ref()
            .is_some_and(|parking| parking.join.is_some())
        {
            self.park.staged(&sequence);
        }
        let completion = Completion {
            item,
            sequence: sequence.clone(),
            fate,
            mark,
            output,
        };
        entry.written = commit::completion_bytes(&completion);
        self.memory.take(entry.written);
        entry.stage = Stage::Staged(Arc::new(completion));
        self.staged.push_back(item);
        self.commits.staged(now);
        // Invariant: whoever has a mark to leave has claimed the id, so these wait for nobody else.
        if let Some((_, waiters)) = mark.and_then(|mark| self.ids.get_mut(&mark)) {
            for waiter in std::mem::take(waiters) {
                self.make_ready(waiter);
            }
        }
        self.wake_head(&sequence);
    }
}

#[cfg(test)]
mod tests;
