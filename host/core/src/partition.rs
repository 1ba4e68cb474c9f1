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

mod admission;
mod commit;
mod gauges;
mod lane;
mod operate;
mod outcome;
mod park;
mod progress;
mod suspects;
mod timers;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::hash::BuildHasherDefault;
use std::sync::Arc;
use std::time::Duration;

use rustc_hash::FxBuildHasher;

use crate::breaker::Ticket;
use crate::command::Command;
use crate::dead_letter;
use crate::emission;
use crate::event::{Event, FailureKind, Record};
use crate::gate::Pass;
use crate::identity::Hash128;
use crate::inbox::{self, AlreadyHashed, Inbox};
use crate::retry::{self, Instant};
use crate::time::Millis;
use crate::unit::{
    Active, Attempts, Completion, Fate, ItemId, LetterStatus, Origin, ParkedEvent, Position,
    Restore, SequenceKey, Timer, TimerKey, TimerPage, Unit,
};

pub use self::gauges::{Counts, Gauges};
use self::lane::Lane;
pub use self::lane::StagedState;
use self::park::Park;
use self::progress::Progress;
use self::suspects::Suspects;
use self::timers::Timers;
pub use self::timers::{TIMER_NAME, TIMER_TYPE, TIMERS_RESIDENT_MAX};

/// The tenant of an event that names none.
pub const DEFAULT_TENANT: &str = "default";

/// What is fixed for the life of a partition's machine.
#[derive(Clone, Debug)]
pub struct Config {
    /// Who handles, and where dead letters come from.
    pub source: dead_letter::Source,
    /// Partition number.
    pub partition: u32,
    /// Full names of the topics; [`Position::topic`] indexes them.
    pub topics: Arc<[Arc<str>]>,
    /// Which of them carries the operator's commands, if any.
    pub commands: Option<u16>,
    /// Their dead-letter topics, in the same order; the one of the command topic is not used.
    pub dead_letter_topics: Arc<[Arc<str>]>,
    /// What follows a death.
    pub on_dead: OnDead,
    /// What the handler may emit.
    pub emit: emission::Rules,
    /// What the handler may emit that takes its place while the breaker is open.
    pub fallback: Option<emission::Rules>,
    /// True when the handler has state or timers: a record without a key is a dead letter.
    pub keyed_only: bool,
    /// Whether the ledger can set sequences aside; without, an event waits at the delays of R3 with its position open.
    pub parks: bool,
    /// Retry schedule.
    pub retry: retry::Config,
    /// Inbox window; none switches L1 off.
    pub inbox: Option<inbox::Config>,
    /// Bounds.
    pub limits: Limits,
}

/// What follows the death of an event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnDead {
    /// Its sequence goes on.
    #[default]
    Release,
    /// Its sequence waits for an operator.
    Hold,
    /// There is no dead-letter topic: the partition stops, with an alarm.
    Stop,
}

/// Bounds of one partition; each keeps memory or an outage small (I10).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Events that are ready or running. More would only wait in memory.
    pub in_flight_max: usize,
    /// Attempts that run at a time: each holds an instance.
    pub running_max: usize,
    /// From the first open position to the last admitted, per topic.
    pub span_max: u64,
    /// How long the first open position may wait for a retry before its sequence is set aside.
    pub span_age_max: Duration,
    /// Bytes of admitted records.
    pub bytes_max: usize,
    /// Bytes that parked events of the subscription may take on this host: then its partitions pause.
    pub park_bytes_max: u64,
    /// Events in one unit.
    pub unit_events_max: usize,
    /// Bytes written by one unit.
    pub unit_bytes_max: usize,
    /// How long a staged event waits for company while attempts are still running.
    pub unit_linger: Duration,
    /// Timers in memory. Beyond it the later ones are read when their turn comes.
    pub timers_resident_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            in_flight_max: 256,
            running_max: 64,
            span_max: 65_536,
            span_age_max: Duration::from_secs(30),
            bytes_max: 16 << 20,
            park_bytes_max: 1 << 30,
            unit_events_max: 1_024,
            unit_bytes_max: 4 << 20,
            unit_linger: Duration::from_millis(2),
            timers_resident_max: TIMERS_RESIDENT_MAX,
        }
    }
}

/// What the shell made of a record before it reached the machine.
#[derive(Clone, Debug)]
pub enum Decoded {
    /// An event for the handler.
    Event(Arc<Event>),
    /// An event that the subscription's filter refuses.
    Filtered,
    /// A record with nothing to handle.
    Skipped,
    /// No event: code and message for the dead letter.
    Poison {
        /// Stable, lower-case.
        code: String,
        /// For people.
        message: String,
    },
    /// What an operator asks; the record is the letter's own.
    Command {
        /// What is asked.
        command: Box<Command>,
        /// Owner of the letter's event.
        tenant: Arc<str>,
    },
}

/// Names one attempt; the outcome of another one is not taken for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttemptId {
    /// Epoch of the assignment in which it was started.
    pub epoch: u64,
    /// What it is made for.
    pub item: ItemId,
    /// Counts the attempts of the epoch.
    pub serial: u64,
}

/// An attempt to run.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// To be given back with the outcome.
    pub id: AttemptId,
    /// 1 for the first.
    pub number: u32,
    /// What the handler sees.
    pub event: Arc<Event>,
    /// What carried it.
    pub record: Arc<Record>,
    /// Where it stood.
    pub origin: Origin,
    /// Owner of the event.
    pub tenant: Arc<str>,
    /// Whose state it reads.
    pub sequence: SequenceKey,
    /// Writes of earlier events of the sequence that are not committed: they hide what the ledger holds.
    pub staged: StagedState,
    /// True when the fallback handler is to be called, without state and timers.
    pub fallback: bool,
}

/// What the shell reads from the ledger for the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Load {
    /// The first parked event of this sequence.
    Parked(SequenceKey),
    /// This timer.
    Timer(ItemId, TimerKey),
    /// The first timers, so many of them.
    Timers(usize),
    /// The status of the dead letter that this command names, and the first parked event of the sequence.
    Letter(ItemId, Hash128, SequenceKey),
}

/// What the ledger holds.
#[derive(Clone, Debug)]
pub enum Loaded {
    /// Answers [`Load::Parked`], with what its record carries.
    Parked(Option<(ParkedEvent, Decoded)>),
    /// Answers [`Load::Timer`], with what its record carries.
    Timer(Option<(Timer, Decoded)>),
    /// Answers [`Load::Timers`].
    Timers(TimerPage),
    /// Answers [`Load::Letter`].
    Letter(Option<LetterStatus>, Option<ParkedEvent>),
    /// The ledger could not be read: it is asked again after a while.
    Unavailable,
}

/// Work for the shell.
#[derive(Clone, Debug)]
pub enum Action {
    /// Run this and answer by [`Partition::handle_outcome`].
    Attempt(Box<Attempt>),
    /// Read this and answer by [`Partition::handle_loaded`], before any other call.
    Load(Load),
    /// Commit this and answer by [`Partition::handle_commit`].
    Commit(Box<Unit>),
}

/// Counters since the start of the assignment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Records by fate, in the order of [`Fate::ALL`]; committed ones only.
    pub fates: [u64; 6],
    /// Parked events and timers by fate, likewise: they have a fate of their own after their record has one.
    pub later: [u64; 6],
    /// Handled ones whose effects are the fallback's.
    pub fallback: u64,
    /// Commands of the operator that were obeyed or found moot.
    pub commands: u64,
    /// Attempts started.
    pub attempts: u64,
    /// Attempts that failed, in the order of [`FailureKind::ALL`]; output that nobody takes is a permanent failure.
    pub failures: [u64; 5],
    /// Records that a bus delivered again.
    pub redelivered: u64,
}

/// Where an open item stands.
#[derive(Debug)]
enum Stage {
    /// Behind the head of its lane.
    Queued,
    /// Head of its lane, about to start.
    Ready,
    /// Asked of the ledger.
    Loading,
    /// Head of its lane; another event with its id has no fate.
    AwaitsId,
    /// In an attempt.
    Running(Runner),
    /// Head of its lane until this instant.
    RetryWait(Millis),
    /// It has a fate that is not durable.
    Staged(Arc<Completion>),
}

/// A running attempt.
#[derive(Clone, Copy, Debug)]
struct Runner {
    serial: u64,
    /// The breaker's permit; none for a fallback.
    ticket: Option<Ticket>,
}

/// What an item is.
#[derive(Debug)]
enum Work {
    /// A record of the bus.
    Record,
    /// The first event of a parked sequence. It stands in no lane.
    Parked(Box<ParkedEvent>),
    /// A timer of the handler that is due.
    Timer(TimerKey),
    /// A delayed emission that is due. It stands in no lane.
    Emission(TimerKey),
    /// A command of the operator.
    Command(Box<Command>),
}

#[derive(Debug)]
struct Entry {
    sequence: SequenceKey,
    tenant: Arc<str>,
    record: Arc<Record>,
    /// None for what no handler sees, and for what is not loaded.
    event: Option<Arc<Event>>,
    mark: Option<Hash128>,
    bytes: usize,
    admitted: Millis,
    work: Work,
    stage: Stage,
}

impl Entry {
    /// Whether its order is kept by the lane of its sequence.
    fn has_lane(&self) -> bool {
        !matches!(self.work, Work::Parked(_) | Work::Emission(_))
    }
}

/// The machine; see the module.
#[derive(Debug)]
pub struct Partition {
    config: Arc<Config>,
    epoch: u64,
    progress: Vec<Progress>,
    inbox: Inbox,
    stream_time: Millis,
    clock: ActiveClock,
    entries: HashMap<ItemId, Entry, FxBuildHasher>,
    lanes: HashMap<SequenceKey, Lane>,
    park: Park,
    timers: Timers,
    suspects: Suspects,
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
    /// The gate refused what wanted to start the last time.
    held_back: bool,
    serial: u64,
    running: usize,
    waiting: usize,
    bytes: usize,
    draining: bool,
    /// Why nothing starts any more.
    halted: Option<String>,
    counters: Counters,
}

/// Time in which the partition was owned and its breaker closed.
#[derive(Clone, Copy, Debug)]
struct ActiveClock {
    active: Active,
    /// The last look, if the gate was closed then.
    last: Option<Millis>,
}

impl ActiveClock {
    /// Counts the time since the last call, unless the gate was open then or is open now: a gate that has closed since
    /// may have done so this moment.
    fn tick(&mut self, now: Millis, paused: bool) {
        if let Some(last) = self.last.filter(|_| !paused) {
            let passed = u64::try_from(now.since(last).as_millis()).unwrap_or(u64::MAX);
            self.active = Active(self.active.0.saturating_add(passed));
        }
        self.last = (!paused).then_some(now);
    }
}

impl Counters {
    /// Counts an attempt that failed.
    fn fail(&mut self, kind: FailureKind) {
        self.failures[kind as usize] += 1;
    }
}

impl Partition {
    /// Takes over a partition with what its ledger holds.
    #[must_use]
    pub fn new(config: Config, epoch: u64, restore: Restore) -> Self {
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
        if let Some(alone) = restore.alone {
            tallies.entry(alone).or_default().crashes += 1;
        }
        let inbox = Inbox::restore(config.inbox.unwrap_or_default(), restore.inbox);
        Self {
            config: Arc::new(config),
            epoch,
            progress,
            inbox,
            stream_time: restore.stream_time,
            clock: ActiveClock {
                active: restore.active,
                last: None,
            },
            entries: HashMap::default(),
            lanes: HashMap::new(),
            park: Park::restore(restore.parked, restore.next_parked),
            timers: Timers::restore(restore.timers, resident_max),
            suspects,
            ready: VecDeque::new(),
            retries: BTreeSet::new(),
            tallies,
            ids: HashMap::default(),
            staged: VecDeque::new(),
            commits: commit::Commits::new(restore.unit, restore.alone.is_some()),
            gate_until: None,
            held_back: false,
            serial: 0,
            running: 0,
            waiting: 0,
            bytes: 0,
            draining: false,
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
            && self.bytes < limits.bytes_max
            && self
                .progress
                .iter()
                .all(|progress| progress.span() < limits.span_max)
    }

    /// Whether a record of this topic may be handed over. Those of an operator may while the storage of parked events
    /// is spent: nothing else makes room where sequences are held.
    #[must_use]
    pub fn takes(&self, topic: u16) -> bool {
        self.has_room() && (!self.park.is_full() || self.config.commands == Some(topic))
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
        let room = self.waiting + self.running < self.config.limits.in_flight_max;
        let wakes = [self.park.due_at(), self.timers.due_at()].map(|at| at.filter(|_| room));
        let span = self.span_due_at();
        [retry, commit, self.gate_until, span]
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
        if self.suspects.stopped(item) {
            self.commits.alone_is_over(now);
        }
        if let Some(ticket) = runner.ticket {
            gate.abandoned(now, ticket);
        }
    }

    /// True when a revoked partition has nothing running, nothing to commit, and left its ledger clean.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.draining
            && self.running == 0
            && self.staged.is_empty()
            && self.commits.is_idle()
            && self.commits.is_clean()
    }

    /// The next piece of work: reads and attempts first, so that units grow while there is something to run.
    pub fn poll_action(&mut self, now: Millis, gate: &mut dyn Pass) -> Option<Action> {
        self.clock.tick(now, gate.is_open(now));
        self.suspects.tell(now);
        self.park.tell(
            gate,
            self.config.partition,
            self.config.limits.park_bytes_max,
        );
        if !self.draining && self.halted.is_none() {
            if let Some(load) = self.wake(now) {
                return Some(Action::Load(load));
            }
            self.relieve_span(now, gate);
        }
        if let Some(action) = self.poll_start(now, gate) {
            return Some(action);
        }
        self.give_up_alone(now);
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
        self.bytes -= entry.bytes;
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
    fn stage(&mut self, now: Millis, item: ItemId, fate: Fate, output: crate::unit::Output) {
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
            lane.stage(item, &output);
        }
        if output
            .parking
            .as_ref()
            .is_some_and(|parking| parking.join.is_some())
        {
            self.park.staged(&sequence);
        }
        entry.stage = Stage::Staged(Arc::new(Completion {
            item,
            sequence: sequence.clone(),
            fate,
            mark,
            output,
        }));
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
