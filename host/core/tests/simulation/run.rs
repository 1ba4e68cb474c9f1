//! One run: a shell around the machine that does everything a shell may do, at any moment, and a few things it must not.

mod attempts;
mod judge;
mod operate;
mod outcomes;
mod owner;
mod swaps;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use weir_core::budget::{Budget, Share};
use weir_core::event::Outcome;
use weir_core::gate::{Gate, Pass};
use weir_core::partition::{
    Action, Attempt, AttemptId, Config, Load, Loaded, Ordering, Partition, StagedState,
};
use weir_core::time::Millis;
use weir_core::unit::{CommitResult, ItemId, Position, SequenceKey, Unit};

use crate::bug::Bug;
use crate::handler::Read;
use crate::ledger::{Judged, Ledger, Violation, check};
use crate::plan::{Item, Plan, START_MS, digest};
use crate::rng::Rng;
use crate::told::Told;

pub(crate) use self::judge::tally;
use self::swaps::Deployed;

/// A run that broke an invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Broken {
    pub(crate) seed: u64,
    /// Steps with faults that were asked for.
    pub(crate) steps: usize,
    pub(crate) violation: Violation,
    pub(crate) trace: Vec<String>,
}

/// Steps with faults, and steps after which a run without faults must have drained.
pub(crate) const FAULTY_STEPS: usize = 400;
const CALM_STEPS: usize = 40_000;
/// Actions that one step may lead to. More, and the machine asks for the same thing for ever.
const ACTIONS_MAX: usize = 2_000;

/// Runs one seed to its end and returns its trace.
pub(crate) fn run(seed: u64, bug: Bug, steps: usize) -> Result<Vec<String>, Box<Broken>> {
    let mut sim = Simulation::new(seed, bug);
    match sim.run(steps) {
        Ok(()) => Ok(sim.trace),
        Err(violation) => Err(Box::new(Broken {
            seed,
            steps,
            violation,
            trace: sim.trace,
        })),
    }
}

/// The run with the fewest faulty steps, found by bisection, that breaks the same invariant.
pub(crate) fn shrink(broken: Box<Broken>, bug: Bug) -> Box<Broken> {
    let (mut low, mut shortest) = (0, broken);
    while low < shortest.steps {
        let middle = low.midpoint(shortest.steps);
        match run(shortest.seed, bug, middle) {
            Err(shorter) if shorter.violation.invariant == shortest.violation.invariant => {
                shortest = shorter;
            }
            Ok(_) | Err(_) => low = middle + 1,
        }
    }
    shortest
}

/// A machine that is not to ask the inbox has none: the shell asks it.
fn machine_config(plan: &Plan, version: u64, bug: Bug) -> Config {
    let mut config = plan.config.clone();
    config.source.digest = digest(version).into();
    match bug {
        Bug::VersionedIds if version > 0 => {
            config.emit.handler = format!("ledger-{version}").into()
        }
        Bug::EarlyInbox => config.inbox = None,
        Bug::LongSpan => config.limits.span_age_max = Duration::from_secs(3_600),
        Bug::IgnoredOrdering => config.ordering = Ordering::Key,
        Bug::GreedyPartition => config.memory = Arc::new(Budget::new(1 << 30, 1)),
        _ => {}
    }
    config
}

/// The gate of a host.
fn host_gate(plan: &Plan, bug: Bug, now: Millis) -> Gate {
    let mut gate = plan.gate(now);
    if bug == Bug::IgnoredRate {
        gate.rate = None;
    }
    gate
}

/// An attempt that the shell is running, and what it has read so far.
struct Flight {
    attempt: Attempt,
    /// Of the handler, when it started.
    version: u64,
    read: Option<Read>,
}

struct Simulation {
    bug: Bug,
    rng: Rng,
    plan: Plan,
    ledger: Ledger,
    told: Told,
    machine: Partition,
    gate: Gate,
    /// Given to the machine in place of the gate by some bugs.
    blind: Gate,
    now: Millis,
    /// Milliseconds in which the gate was closed since this owner took over.
    closed_ms: u64,
    /// When attempts started on this host, the last ones, and how many were marked with them.
    starts: VecDeque<(Millis, usize)>,
    /// What the other partitions of the host hold in memory.
    others: Share,
    /// The gate was closed when the machine was last asked for work.
    was_closed: bool,
    /// Faults are over.
    calm: bool,
    revoked: bool,
    /// Per topic, one past the last record that was written.
    ends: Vec<u64>,
    /// Per topic, the next offset that the bus delivers.
    next: Vec<u64>,
    admitted: BTreeSet<Position>,
    flights: Vec<Flight>,
    deployed: Deployed,
    out: Option<Unit>,
    /// Outcomes that nobody waits for any more.
    stale: Vec<(AttemptId, Outcome)>,
    acknowledged: u64,
    /// What a planted bug remembers of withdrawn attempts.
    withdrawn: BTreeMap<SequenceKey, StagedState>,
    trace: Vec<String>,
}

impl Simulation {
    fn new(seed: u64, bug: Bug) -> Self {
        let mut rng = Rng(seed);
        let plan = Plan::new(&mut rng);
        let others = Share::new(Arc::clone(&plan.config.memory));
        let ledger = Ledger::default();
        let now = Millis(START_MS);
        let ends = vec![0; plan.log.len()];
        let restore = ledger.restore(&plan, ends.clone(), |_| true);
        Self {
            bug,
            rng,
            machine: Partition::new(machine_config(&plan, 0, bug), 1, restore),
            gate: host_gate(&plan, bug, now),
            blind: plan.gate(now),
            plan,
            ledger,
            told: Told {
                epoch: 1,
                ..Told::default()
            },
            now,
            closed_ms: 0,
            starts: VecDeque::new(),
            was_closed: false,
            others,
            calm: false,
            revoked: false,
            next: ends.clone(),
            ends,
            admitted: BTreeSet::new(),
            flights: Vec::new(),
            deployed: Deployed::default(),
            out: None,
            stale: Vec::new(),
            acknowledged: 0,
            withdrawn: BTreeMap::new(),
            trace: Vec::new(),
        }
    }

    fn note(&mut self, line: impl FnOnce() -> String) {
        let line = line();
        self.trace.push(format!("{} {line}", self.now.0 - START_MS));
    }

    fn run(&mut self, steps: usize) -> Judged {
        for _ in 0..steps {
            self.step()?;
        }
        self.calm = true;
        self.note(|| "calm".into());
        self.calm_down();
        for step in 0..CALM_STEPS {
            let settled = self.out.is_none() && step % 8 == 0 && self.ledger.is_settled(&self.plan);
            if settled {
                return self.judge_end();
            }
            self.step()?;
        }
        let gauges = self.machine.gauges(self.now);
        check("I1", false, || self.still_open(&format!("{gauges:?}")))
    }

    fn step(&mut self) -> Judged {
        match self.rng.below(100) {
            0..28 => self.feed()?,
            28..53 => self.finish()?,
            53..73 => self.answer()?,
            73..88 => self.pass_time(),
            88..90 => self.deliver_stale(),
            90 if !self.calm => self.swap(),
            91..93 if !self.calm => self.crash()?,
            93 if !self.calm => self.machine_revoke(),
            94..96 if !self.calm => self.operate(),
            96..98 => self.command(),
            _ => self.append(),
        }
        self.take_actions()?;
        if self.revoked {
            self.finish_revoke()?;
        }
        self.judge()
    }

    /// Other partitions take of the host's memory, and give it back or not.
    fn crowd(&mut self) {
        if self.others.has_room() {
            self.others.take(self.rng.below(20_000));
        } else if self.rng.percent(50) {
            self.others.give_back(self.others.bytes());
        }
    }

    /// Producers write on.
    fn append(&mut self) {
        if !self.calm {
            self.crowd();
        }
        for (end, items) in self.ends.iter_mut().zip(&self.plan.log) {
            let last = items.last_key_value().map_or(0, |(offset, _)| offset + 1);
            let more = if self.calm { last } else { self.rng.next() % 8 };
            *end = (*end + more).min(last).max(*end);
        }
        self.tell_ends();
    }

    /// The machine is told where its topics end.
    fn tell_ends(&mut self) {
        for (topic, &offset) in (0..).zip(&self.ends) {
            let ends = self.ledger.ends.entry(topic).or_default();
            ends.push((offset, self.now));
            let position = Position { topic, offset };
            self.machine.handle_end(self.now, position);
        }
    }

    fn feed(&mut self) -> Judged {
        for _ in 0..self.rng.between(1, 4) {
            let topic = self.rng.below(self.next.len());
            let takes = u16::try_from(topic).is_ok_and(|topic| self.machine.takes(topic));
            if !takes && self.bug != Bug::IgnoredCapacity {
                continue;
            }
            let again = self.rng.percent(5) && !self.calm;
            let from = if again { 0 } else { self.next[topic] };
            let mut ahead = self.plan.log[topic].range(from..self.ends[topic].max(from));
            if again || (self.bug == Bug::Reordered && self.rng.percent(5)) {
                let skip = self.rng.below(3);
                ahead.by_ref().take(skip).for_each(drop);
            }
            let Some((&offset, item)) = ahead.next() else {
                continue;
            };
            if again && offset >= self.next[topic] {
                continue;
            }
            let item = item.clone();
            self.judge_memory(takes)?;
            if self.bug != Bug::Reordered {
                self.next[topic] = self.next[topic].max(offset + 1);
            } else if offset == self.next[topic] {
                self.next[topic] = offset + 1;
            }
            if self.bug == Bug::DroppedRecord && self.rng.percent(5) {
                continue;
            }
            self.hand_over(item);
        }
        Ok(())
    }

    fn hand_over(&mut self, mut item: Item) {
        let seen = item
            .identity
            .as_ref()
            .is_some_and(|who| self.ledger.has_seen(who));
        if self.bug == Bug::EarlyInbox && seen && !self.ledger.fates.contains_key(&item.position) {
            item.forget_event();
            self.plan.append(item.clone());
        }
        let (position, id) = (item.position, ItemId::Record(item.position));
        self.note(|| format!("record {position:?}"));
        let fresh = !self.ledger.fates.contains_key(&position) && self.admitted.insert(position);
        // Where a command puts its letter back is another matter.
        let in_place = item.command().is_none() || !self.plan.parks();
        if let Some(place) = self.plan.place(&item).filter(|_| fresh && in_place) {
            self.told.arrivals.entry(place).or_default().push(id);
        }
        let passed = |at: Position| at.topic == position.topic && at.offset < position.offset;
        let plan = &self.plan;
        let exists = |at: &ItemId| {
            at.position()
                .is_none_or(|at| !passed(at) || plan.item(at).is_some())
        };
        self.told.counted.retain(|at, _| exists(at));
        let time = Millis(item.record.timestamp_ms.min(self.now.0));
        self.machine
            .handle_record(self.now, position, item.record, item.decoded);
        if self.bug == Bug::OneStream {
            for topic in (0..).take(self.ends.len()) {
                let everything = Position { topic, offset: 0 };
                self.machine.handle_end(time, everything);
            }
        }
    }

    /// The ledger answers for the unit that is out.
    fn answer(&mut self) -> Judged {
        let Some(unit) = self.out.take() else {
            return Ok(());
        };
        let fault = if self.calm { 100 } else { self.rng.below(100) };
        let number = unit.number;
        let result = match fault {
            0..8 => {
                self.ledger.abort(&unit, self.bug);
                CommitResult::Unavailable {
                    message: "the ledger is away".into(),
                }
            }
            8..20 if let Some(item) = self.refusable(&unit) => {
                self.note_refusal(&unit, item);
                self.ledger.abort(&unit, self.bug);
                CommitResult::Refused {
                    item,
                    code: "too-large".into(),
                    message: "the ledger does not take it".into(),
                }
            }
            20..24 if self.bug == Bug::EarlyAcknowledgement => CommitResult::Committed,
            _ => {
                self.ledger
                    .commit(&self.plan, &mut self.told, &unit, self.bug)?;
                if fault < 28 {
                    self.note(|| format!("unit {number} committed, its answer is lost"));
                    return self.take_over(false);
                }
                self.acknowledged += unit.completions.len() as u64;
                CommitResult::Committed
            }
        };
        self.note(|| format!("unit {number} {result:?}"));
        let gate = if self.is_blind() {
            &mut self.blind
        } else {
            &mut self.gate
        };
        self.machine.handle_commit(self.now, gate, number, result);
        Ok(())
    }

    /// An event of the unit whose output the ledger could refuse.
    fn refusable(&mut self, unit: &Unit) -> Option<ItemId> {
        let with_output = unit.completions.iter();
        let with_output = with_output.filter(|completion| completion.output != Default::default());
        self.rng
            .any(with_output.map(|completion| completion.item).collect())
    }

    fn pass_time(&mut self) {
        let due = self.machine.poll_timeout();
        let far = if self.calm { 0 } else { 4 };
        let step = match self.rng.below(40) {
            n if n < far => Duration::from_secs([40, 3_600, 30_000, 100_000][self.rng.below(4)]),
            0..10 => Duration::from_millis(self.rng.next() % 5),
            10..16 => Duration::from_millis(self.rng.next() % 2_000),
            _ => due.map_or(Duration::from_millis(500), |due| due.since(self.now)),
        };
        self.advance(step);
        if self.rng.percent(80) || self.calm {
            self.machine.handle_timeout(self.now);
        }
    }

    fn advance(&mut self, step: Duration) {
        if !self.gate.is_open(self.now) {
            self.closed_ms += u64::try_from(step.as_millis()).unwrap_or(0);
        }
        self.now = self.now + step;
    }

    fn is_blind(&self) -> bool {
        matches!(self.bug, Bug::IgnoredBreaker | Bug::AgeWhileOpen)
    }

    fn take_actions(&mut self) -> Judged {
        self.was_closed = !self.gate.is_open(self.now);
        for _ in 0..ACTIONS_MAX {
            let blind = self.is_blind()
                && (self.bug == Bug::IgnoredBreaker || self.flights.len().is_multiple_of(2));
            let gate = if blind {
                &mut self.blind
            } else {
                &mut self.gate
            };
            match self.machine.poll_action(self.now, gate) {
                None => return Ok(()),
                Some(Action::Attempt(attempt)) => self.start(*attempt)?,
                Some(Action::Load(load)) => {
                    let loaded = self.load(&load)?;
                    self.machine.handle_loaded(self.now, load, loaded);
                }
                Some(Action::Commit(unit)) => self.hand_out(*unit)?,
            }
        }
        check("I10", false, || format!("{ACTIONS_MAX} actions and no end"))
    }

    fn load(&mut self, load: &Load) -> Judged<Loaded> {
        self.note(|| format!("{load:?}"));
        if !self.calm && self.rng.percent(4) {
            self.note(|| "cannot be read".into());
            return Ok(Loaded::Unavailable);
        }
        Ok(self.ledger.load(load, self.bug))
    }

    fn hand_out(&mut self, unit: Unit) -> Judged {
        check("I5", self.out.is_none(), || "two units are out".into())?;
        self.ledger.judge_attempts(&self.told, &unit)?;
        let active_max = self.ledger.active.0.max(self.told.active_base) + self.closed_ms;
        check("I7", unit.active.0 <= active_max, || {
            format!(
                "{:?} of activity in unit {}, closed {active_max}",
                unit.active, unit.number
            )
        })?;
        let fates = unit.completions.iter();
        let fates: Vec<_> = fates.map(|c| (c.item, c.fate)).collect();
        let (number, marked, clean) = (unit.number, &unit.marked, unit.lease.is_empty());
        self.note(|| format!("unit {number} {fates:?} marked {marked:?} clean {clean}"));
        if !unit.expired_blocks.is_empty() {
            self.note(|| format!("unit {number} forgets {:?}", unit.expired_blocks));
        }
        self.out = Some(unit);
        Ok(())
    }
}
