//! The state machine of one partition number of one subscription, for the time of one assignment.
//!
//! Records go in by [`Partition::handle_record`], outcomes of attempts by [`Partition::handle_outcome`], answers of the
//! ledger by [`Partition::handle_commit`], the passing of time by [`Partition::handle_timeout`]. Work comes out by
//! [`Partition::poll_action`]: attempts to run and units of work to commit. The shell calls `poll_action` until it is
//! empty after each `handle_*`, and `handle_timeout` at [`Partition::poll_timeout`].
//!
//! Life of an event here: queued in the lane of its sequence, at its head ready, perhaps waiting for another event with
//! its id, running, perhaps waiting for a retry, staged with a fate, in the unit that is being committed, gone.

mod commit;
mod gauges;
mod lane;
mod progress;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::dead_letter;
use crate::emission;
use crate::event::{Effects, Event, Failure, FailureKind, Outcome, Record};
use crate::identity::{Hash128, inbox_mark};
use crate::inbox::{self, Inbox};
use crate::retry::{self, Tally, Verdict};
use crate::time::Millis;
use crate::unit::{Completion, Fate, Output, Position, Restore, SequenceKey, Unit};

pub use self::gauges::Gauges;
use self::lane::Lane;
pub use self::lane::StagedState;
use self::progress::Progress;

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
    /// Their dead-letter topics, in the same order.
    pub dead_letter_topics: Arc<[Arc<str>]>,
    /// What the handler may emit.
    pub emit: emission::Rules,
    /// True when the handler has state or timers: a record without a key is a dead letter.
    pub keyed_only: bool,
    /// Retry schedule.
    pub retry: retry::Config,
    /// Inbox window; none switches L1 off.
    pub inbox: Option<inbox::Config>,
    /// Bounds.
    pub limits: Limits,
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
    /// Bytes of admitted records.
    pub bytes_max: usize,
    /// Events in one unit.
    pub unit_events_max: usize,
    /// Bytes written by one unit.
    pub unit_bytes_max: usize,
    /// How long a staged event waits for company while attempts are still running.
    pub unit_linger: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            in_flight_max: 256,
            running_max: 64,
            span_max: 65_536,
            bytes_max: 16 << 20,
            unit_events_max: 1_024,
            unit_bytes_max: 4 << 20,
            unit_linger: Duration::from_millis(2),
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
}

/// Names one attempt; the outcome of another one is not taken for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttemptId {
    /// Epoch of the assignment in which it was started.
    pub epoch: u64,
    /// Which event.
    pub position: Position,
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
    /// Owner of the event.
    pub tenant: Arc<str>,
    /// Whose state it reads.
    pub sequence: SequenceKey,
    /// Writes of earlier events of the sequence that are not committed: they hide what the ledger holds.
    pub staged: StagedState,
}

/// Work for the shell.
#[derive(Clone, Debug)]
pub enum Action {
    /// Run this and answer by [`Partition::handle_outcome`].
    Attempt(Attempt),
    /// Commit this and answer by [`Partition::handle_commit`].
    Commit(Unit),
}

/// Counters since the start of the assignment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Events by fate, in the order of [`Fate::ALL`]; committed ones only.
    pub fates: [u64; 6],
    /// Attempts started.
    pub attempts: u64,
    /// Attempts that failed, traps and limits included.
    pub failures: u64,
    /// Records that a bus delivered again.
    pub redelivered: u64,
}

/// Where an open event stands.
#[derive(Debug)]
enum Stage {
    /// Behind the head of its lane.
    Queued,
    /// Head of its lane, about to start.
    Ready,
    /// Head of its lane; another event with its id has no fate.
    AwaitsId,
    /// In an attempt.
    Running(u64),
    /// Head of its lane until this instant.
    RetryWait(Millis),
    /// It has a fate that is not durable.
    Staged(Arc<Completion>),
}

#[derive(Debug)]
struct Entry {
    sequence: SequenceKey,
    tenant: Arc<str>,
    record: Arc<Record>,
    /// None for what no handler sees.
    event: Option<Arc<Event>>,
    mark: Option<Hash128>,
    bytes: usize,
    stage: Stage,
}

/// What the inbox says of an id.
enum Claim {
    /// Nobody has it: it is this event's.
    Free,
    /// It has a fate, durable or staged.
    Seen,
    /// Another event has started under it and has no fate.
    InFlight,
}

/// The machine; see the module.
#[derive(Debug)]
pub struct Partition {
    config: Arc<Config>,
    epoch: u64,
    progress: Vec<Progress>,
    inbox: Inbox,
    stream_time: Millis,
    entries: HashMap<Position, Entry>,
    lanes: HashMap<SequenceKey, Lane>,
    /// Heads in [`Stage::Ready`]; may hold positions that have moved on.
    ready: VecDeque<Position>,
    /// Instants of [`Stage::RetryWait`].
    retries: BTreeSet<(Millis, Position)>,
    /// Failures of open events; what is counted here is durable with the next unit.
    tallies: BTreeMap<Position, Tally>,
    /// The event that has started under this id, and those that wait for its fate.
    ids: HashMap<Hash128, (Position, Vec<Position>)>,
    /// Events in [`Stage::Staged`] that no unit holds, in the order of their staging.
    staged: VecDeque<Position>,
    commits: commit::Commits,
    serial: u64,
    running: usize,
    waiting: usize,
    bytes: usize,
    draining: bool,
    counters: Counters,
}

impl Partition {
    /// Takes over a partition with what its ledger holds.
    #[must_use]
    pub fn new(config: Config, epoch: u64, restore: Restore) -> Self {
        let mut progress: Vec<Progress> =
            restore.cursors.into_iter().map(Progress::restore).collect();
        progress.resize_with(config.topics.len(), Progress::default);
        let tallies = restore
            .open
            .into_iter()
            .map(|open| (open.position, Tally::restored(open)))
            .collect();
        let inbox = Inbox::restore(config.inbox.unwrap_or_default(), restore.inbox);
        Self {
            config: Arc::new(config),
            epoch,
            progress,
            inbox,
            stream_time: restore.stream_time,
            entries: HashMap::new(),
            lanes: HashMap::new(),
            ready: VecDeque::new(),
            retries: BTreeSet::new(),
            tallies,
            ids: HashMap::new(),
            staged: VecDeque::new(),
            commits: commit::Commits::new(restore.unit),
            serial: 0,
            running: 0,
            waiting: 0,
            bytes: 0,
            draining: false,
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
        let limits = &self.config.limits;
        !self.draining
            && self.waiting + self.running < limits.in_flight_max
            && self.bytes < limits.bytes_max
            && self
                .progress
                .iter()
                .all(|progress| progress.span() < limits.span_max)
    }

    /// Takes in a record. Per topic, records come in ascending order; a redelivered one is dropped here (L0).
    pub fn handle_record(
        &mut self,
        now: Millis,
        position: Position,
        record: Arc<Record>,
        decoded: Decoded,
    ) {
        let progress = &mut self.progress[usize::from(position.topic)];
        // What was completed by an earlier owner counts for the span too, or each owner would widen it.
        if progress.admit(position.offset) {
            let left = |at: &Position| at.topic == position.topic && at.offset < position.offset;
            self.tallies
                .retain(|at, _| !(left(at) && progress.is_completed(at.offset)));
        }
        if progress.is_completed(position.offset) || self.entries.contains_key(&position) {
            self.counters.redelivered += 1;
            return;
        }
        self.stream_time = self.stream_time.max(Millis(record.timestamp_ms.min(now.0)));

        let (event, verdict) = match decoded {
            Decoded::Event(event) => (Some(event), None),
            Decoded::Filtered => (None, Some(Ok(Fate::Filtered))),
            Decoded::Skipped => (None, Some(Ok(Fate::Skipped))),
            Decoded::Poison { code, message } => (
                None,
                Some(Err(cause(
                    dead_letter::Stage::Decode,
                    "poison",
                    code,
                    message,
                ))),
            ),
        };
        let head = self.admit(position, record, event);
        match verdict {
            Some(Ok(fate)) => self.stage(now, position, fate, Output::default()),
            Some(Err(cause)) => self.die(now, position, cause),
            None if head => self.make_ready(position),
            None => {}
        }
    }

    /// Puts a record into its lane and says whether it is the head. What no handler sees is a sequence of its own.
    fn admit(
        &mut self,
        position: Position,
        record: Arc<Record>,
        event: Option<Arc<Event>>,
    ) -> bool {
        let tenant: Arc<str> = event
            .as_ref()
            .and_then(|event| event.extension("tenantid"))
            .unwrap_or(DEFAULT_TENANT)
            .into();
        let sequence = match &record.key {
            Some(key) if event.is_some() => SequenceKey::Keyed {
                tenant: Arc::clone(&tenant),
                key: key.clone(),
            },
            Some(_) | None => SequenceKey::Alone(position),
        };
        let mark = event
            .as_ref()
            .filter(|_| self.config.inbox.is_some())
            .map(|event| inbox_mark(&self.config.source.group, &tenant, &event.source, &event.id));
        let bytes = record.bytes();
        self.bytes += bytes;
        let lane = self.lanes.entry(sequence.clone()).or_default();
        lane.push(position);
        let head = lane.is_head(position);
        let entry = Entry {
            sequence,
            tenant,
            record,
            event,
            mark,
            bytes,
            stage: Stage::Queued,
        };
        self.entries.insert(position, entry);
        head
    }

    /// Takes in what an attempt ended with. The outcome of an attempt that is not running here commits nothing (I4).
    pub fn handle_outcome(&mut self, now: Millis, id: AttemptId, outcome: Outcome) {
        let Some(entry) = self.entries.get_mut(&id.position) else {
            return;
        };
        let current = matches!(entry.stage, Stage::Running(serial) if serial == id.serial);
        if id.epoch != self.epoch || !current {
            return;
        }
        entry.stage = Stage::Ready;
        self.running -= 1;
        match outcome {
            Outcome::Done(effects) => self.handle_effects(now, id.position, effects),
            Outcome::Failed(failure) => self.handle_failure(now, id.position, failure),
        }
    }

    fn handle_effects(&mut self, now: Millis, position: Position, effects: Effects) {
        let entry = &self.entries[&position];
        let Some(event) = entry.event.as_deref() else {
            return;
        };
        let cause_of = emission::Cause {
            event,
            record: &entry.record,
            tenant: &entry.tenant,
        };
        match emission::to_records(&self.config.emit, cause_of, now, effects.emissions) {
            Ok(records) => self.stage(
                now,
                position,
                Fate::Handled,
                Output {
                    records,
                    state: effects.state,
                },
            ),
            Err(invalid) => {
                let message = invalid.to_string();
                self.die_of_output(
                    now,
                    position,
                    "invalid-emission",
                    invalid.code.into(),
                    message,
                );
            }
        }
    }

    /// Counts the attempt whose output nobody can take, and lets its event die of it.
    fn die_of_output(
        &mut self,
        now: Millis,
        position: Position,
        class: &'static str,
        code: String,
        message: String,
    ) {
        self.counters.failures += 1;
        let tally = self
            .tallies
            .entry(position)
            .or_insert_with(|| Tally::new(position, now));
        tally.open.attempts += 1;
        let open = tally.open;
        let mut cause = cause(dead_letter::Stage::Output, class, code, message);
        cause.attempts = open.attempts;
        cause.first_failed = Some(open.first_failed);
        self.die(now, position, cause);
    }

    fn handle_failure(&mut self, now: Millis, position: Position, failure: Failure) {
        self.counters.failures += 1;
        let tally = self
            .tallies
            .entry(position)
            .or_insert_with(|| Tally::new(position, now));
        let verdict = tally.count(&self.config.retry, now, &failure);
        let open = tally.open;
        if failure.kind != FailureKind::Unavailable {
            self.commits.attempts_changed(now);
        }
        match verdict {
            Verdict::RetryAt(at) => {
                if let Some(entry) = self.entries.get_mut(&position) {
                    entry.stage = Stage::RetryWait(at);
                }
                self.retries.insert((at, position));
            }
            Verdict::Die => {
                let class = match failure.kind {
                    FailureKind::Transient => "transient",
                    FailureKind::Unavailable => "unavailable",
                    FailureKind::Permanent => "permanent",
                    FailureKind::Trap => "trap",
                    FailureKind::Limit => "limit",
                };
                let cause = dead_letter::Cause {
                    stage: dead_letter::Stage::Handler,
                    class,
                    code: failure.code,
                    message: failure.message,
                    attempts: open.attempts,
                    first_failed: Some(open.first_failed),
                };
                self.die(now, position, cause);
            }
        }
    }

    /// Lets what is due by `now` go on.
    pub fn handle_timeout(&mut self, now: Millis) {
        while let Some(&(at, position)) = self.retries.first() {
            if at > now {
                break;
            }
            self.retries.pop_first();
            self.make_ready(position);
        }
    }

    /// The next instant at which [`Partition::handle_timeout`] has something to do, or a unit becomes due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Millis> {
        let retry = if self.draining {
            None
        } else {
            self.retries.first().map(|&(at, _)| at)
        };
        let commit = self
            .commits
            .due_at(&self.config.limits, !self.staged.is_empty());
        [retry, commit].into_iter().flatten().min()
    }

    /// Starts nothing more; what runs may finish and what is staged is committed until [`Partition::is_drained`].
    pub fn handle_revoke(&mut self) {
        self.draining = true;
    }

    /// Gives up the running attempts of a revoked partition: their outcomes will commit nothing and count nothing.
    pub fn abandon_running(&mut self) {
        for entry in self.entries.values_mut() {
            if matches!(entry.stage, Stage::Running(_)) {
                entry.stage = Stage::Queued;
            }
        }
        self.running = 0;
    }

    /// True when a revoked partition has nothing running and nothing to commit.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.draining && self.running == 0 && self.staged.is_empty() && self.commits.is_idle()
    }

    /// The next piece of work: attempts first, so that units grow while there is something to run.
    pub fn poll_action(&mut self, now: Millis) -> Option<Action> {
        if let Some(attempt) = self.poll_attempt(now) {
            return Some(Action::Attempt(attempt));
        }
        self.poll_unit(now).map(Action::Commit)
    }

    /// Counters since the start of this assignment.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Open events, and those of them that wait for a retry.
    #[must_use]
    pub fn open(&self) -> (usize, usize) {
        (self.entries.len(), self.retries.len())
    }

    /// The first open offset of each topic; everything before it is durable.
    pub fn frontiers(&self) -> impl Iterator<Item = u64> + '_ {
        self.progress.iter().map(Progress::frontier)
    }

    /// Ids in the inbox window (L1).
    #[must_use]
    pub fn inbox_len(&self) -> usize {
        self.inbox.len()
    }

    fn make_ready(&mut self, position: Position) {
        if let Some(entry) = self.entries.get_mut(&position) {
            entry.stage = Stage::Ready;
            self.ready.push_back(position);
            self.waiting += 1;
        }
    }

    /// Starts the next ready event, unless its id has a fate (Duplicate) or is in flight (it waits).
    ///
    /// The inbox is asked here and not on arrival: only when an event is about to start are the fates of all earlier
    /// events of its sequence known.
    fn poll_attempt(&mut self, now: Millis) -> Option<Attempt> {
        while !self.draining && self.running < self.config.limits.running_max {
            let position = self.ready.pop_front()?;
            self.waiting -= 1;
            let Some(entry) = self.entries.get_mut(&position) else {
                continue;
            };
            if !matches!(entry.stage, Stage::Ready) {
                continue;
            }
            if !self
                .lanes
                .get(&entry.sequence)
                .is_some_and(|lane| lane.is_head(position))
            {
                // A withdrawn event went before it.
                entry.stage = Stage::Queued;
                continue;
            }
            match entry
                .mark
                .map_or(Claim::Free, |mark| self.claim(mark, position))
            {
                Claim::Free => match self.refusal(position) {
                    None => return self.start(position),
                    Some(cause) => self.die(now, position, cause),
                },
                Claim::Seen => self.stage(now, position, Fate::Duplicate, Output::default()),
                Claim::InFlight => {
                    if let Some(entry) = self.entries.get_mut(&position) {
                        entry.stage = Stage::AwaitsId;
                    }
                }
            }
        }
        None
    }

    /// Holds an id for the event that is about to start under it.
    fn claim(&mut self, mark: Hash128, position: Position) -> Claim {
        if self.inbox.contains(&mark) {
            return Claim::Seen;
        }
        let (holder, waiters) = self
            .ids
            .entry(mark)
            .or_insert_with(|| (position, Vec::new()));
        if *holder == position {
            return Claim::Free;
        }
        match self.entries.get(holder).map(|entry| &entry.stage) {
            Some(Stage::Staged(_)) => Claim::Seen,
            Some(_) | None => {
                waiters.push(position);
                Claim::InFlight
            }
        }
    }

    /// Why an event must not be attempted at all. It is asked of the holder of the id alone: a repeat is no second letter.
    fn refusal(&self, position: Position) -> Option<dead_letter::Cause> {
        let entry = self.entries.get(&position)?;
        let (class, code, message) = if self.config.keyed_only && entry.record.key.is_none() {
            let message = "a handler with state or timers needs a record key";
            ("unkeyed", "unkeyed", message.to_owned())
        } else if emission::hops(entry.event.as_deref()?) > emission::HOPS_MAX {
            let message = format!("passed more than {} handlers", emission::HOPS_MAX);
            ("poison", "hop-limit", message)
        } else {
            return None;
        };
        Some(cause(dead_letter::Stage::Host, class, code.into(), message))
    }

    fn start(&mut self, position: Position) -> Option<Attempt> {
        let entry = self.entries.get_mut(&position)?;
        let event = Arc::clone(entry.event.as_ref()?);
        self.serial += 1;
        entry.stage = Stage::Running(self.serial);
        self.running += 1;
        self.counters.attempts += 1;
        let lane = self.lanes.get(&entry.sequence)?;
        let number = self
            .tallies
            .get(&position)
            .map_or(1, |tally| tally.open.attempts + 1);
        Some(Attempt {
            id: AttemptId {
                epoch: self.epoch,
                position,
                serial: self.serial,
            },
            number,
            event,
            record: Arc::clone(&entry.record),
            tenant: Arc::clone(&entry.tenant),
            sequence: entry.sequence.clone(),
            staged: lane.staged_state(),
        })
    }

    fn die(&mut self, now: Millis, position: Position, cause: dead_letter::Cause) {
        let topic = usize::from(position.topic);
        let entry = &self.entries[&position];
        let origin = dead_letter::Origin {
            topic: Arc::clone(&self.config.topics[topic]),
            partition: self.config.partition,
            offset: position.offset,
        };
        let letter_topic = Arc::clone(&self.config.dead_letter_topics[topic]);
        let letter = dead_letter::to_record(
            letter_topic,
            &self.config.source,
            &origin,
            &entry.record,
            &cause,
            now,
        );
        self.stage(
            now,
            position,
            Fate::Dead,
            Output {
                records: vec![letter],
                state: Vec::new(),
            },
        );
    }

    /// Gives an event its fate; the next event of its sequence may go on, and those that wait for its id.
    fn stage(&mut self, now: Millis, position: Position, fate: Fate, output: Output) {
        let Some(entry) = self.entries.get_mut(&position) else {
            return;
        };
        let mark = match fate {
            Fate::Handled | Fate::Dead | Fate::Parked => entry.mark,
            Fate::Duplicate | Fate::Filtered | Fate::Skipped => None,
        };
        let next = self.lanes.get_mut(&entry.sequence).and_then(|lane| {
            lane.stage(position, &output.state);
            lane.head()
        });
        let completion = Arc::new(Completion {
            position,
            sequence: entry.sequence.clone(),
            fate,
            mark,
            output,
        });
        entry.stage = Stage::Staged(completion);
        self.staged.push_back(position);
        self.commits.staged(now);
        // Invariant: whoever has a mark to leave has claimed the id, so these wait for nobody else.
        if let Some((_, waiters)) = mark.and_then(|mark| self.ids.get_mut(&mark)) {
            for waiter in std::mem::take(waiters) {
                self.make_ready(waiter);
            }
        }
        if let Some(next) = next
            && matches!(
                self.entries.get(&next).map(|entry| &entry.stage),
                Some(Stage::Queued)
            )
        {
            self.make_ready(next);
        }
    }
}

fn cause(
    stage: dead_letter::Stage,
    class: &'static str,
    code: String,
    message: String,
) -> dead_letter::Cause {
    dead_letter::Cause {
        stage,
        class,
        code,
        message,
        attempts: 0,
        first_failed: None,
    }
}

#[cfg(test)]
mod tests;
