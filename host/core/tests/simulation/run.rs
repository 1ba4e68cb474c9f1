//! One run: a shell around the machine that does everything a shell may do, at any moment, and a few things it must not.

mod judge;

use std::collections::BTreeSet;
use std::time::Duration;

use weir_core::event::{Failure, FailureKind, Outcome};
use weir_core::partition::{Action, Attempt, AttemptId, Partition};
use weir_core::time::Millis;
use weir_core::unit::{CommitResult, Position, SequenceKey, Unit};

use crate::handler;
use crate::ledger::{Judged, Ledger, Told, Violation, check};
use crate::plan::{Item, Plan, Rng, START_MS, Temper};

pub(crate) use self::judge::tally;

/// What the shell or the ledger does wrong in a run, to prove that the checks would notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    None,
    /// The ledger applies half of a unit's events, and all of its cursors.
    HalfUnit,
    /// The shell acknowledges a unit that never becomes durable.
    EarlyAcknowledgement,
    /// Handlers do not see staged writes.
    ForgottenStagedReads,
    /// An outcome of an earlier attempt is passed on under the name of the running one.
    StaleOutcome,
    /// A new owner starts with an empty inbox.
    ForgottenInbox,
    /// A record is passed over.
    DroppedRecord,
    /// A dead letter is cut.
    ChangedLetter,
    /// A crash is reported as a trap of what was running.
    CountedCrash,
    /// Records are read though the machine has no capacity.
    IgnoredCapacity,
    /// Ids of emissions differ from attempt to attempt.
    UnstableIds,
    /// A new owner forgets the counted attempts.
    ForgottenAttempts,
    /// Topics are read in descending order.
    Reordered,
}

/// A run that broke an invariant.
#[derive(Debug)]
pub(crate) struct Broken {
    pub(crate) seed: u64,
    pub(crate) violation: Violation,
    pub(crate) trace: Vec<String>,
}

/// Steps with faults, and steps after which a run without faults must have drained.
const FAULTY_STEPS: usize = 400;
const CALM_STEPS: usize = 20_000;

/// Runs one seed to its end and returns its trace.
pub(crate) fn run(seed: u64, bug: Bug) -> Result<Vec<String>, Box<Broken>> {
    let mut sim = Simulation::new(seed, bug);
    match sim.run() {
        Ok(()) => Ok(sim.trace),
        Err(violation) => Err(Box::new(Broken {
            seed,
            violation,
            trace: sim.trace,
        })),
    }
}

/// An attempt that the shell is running, and what it has read so far.
struct Flight {
    attempt: Attempt,
    read: Option<handler::Read>,
}

struct Simulation {
    bug: Bug,
    rng: Rng,
    plan: Plan,
    ledger: Ledger,
    told: Told,
    machine: Partition,
    now: Millis,
    /// Faults are over.
    calm: bool,
    revoked: bool,
    /// Per topic, the next offset that the bus delivers.
    next: Vec<u64>,
    admitted: BTreeSet<Position>,
    flights: Vec<Flight>,
    /// Events whose attempt ended for good in this epoch, without a durable fate.
    settled: BTreeSet<Position>,
    out: Option<Unit>,
    /// Outcomes that nobody waits for any more.
    stale: Vec<(AttemptId, Outcome)>,
    acknowledged: u64,
    trace: Vec<String>,
}

impl Simulation {
    fn new(seed: u64, bug: Bug) -> Self {
        let mut rng = Rng(seed);
        let plan = Plan::new(&mut rng);
        let ledger = Ledger::default();
        let machine = Partition::new(plan.config.clone(), 1, ledger.restore());
        let next = vec![0; plan.log.len()];
        Self {
            bug,
            rng,
            plan,
            ledger,
            told: Told {
                epoch: 1,
                ..Told::default()
            },
            machine,
            now: Millis(START_MS),
            calm: false,
            revoked: false,
            next,
            admitted: BTreeSet::new(),
            flights: Vec::new(),
            settled: BTreeSet::new(),
            out: None,
            stale: Vec::new(),
            acknowledged: 0,
            trace: Vec::new(),
        }
    }

    fn note(&mut self, line: impl FnOnce() -> String) {
        let line = line();
        self.trace.push(format!("{} {line}", self.now.0 - START_MS));
    }

    fn run(&mut self) -> Judged {
        for _ in 0..FAULTY_STEPS {
            self.step()?;
        }
        self.calm = true;
        self.note(|| "calm".into());
        for _ in 0..CALM_STEPS {
            if self.ledger.fates.len() == self.plan.items().count() && self.out.is_none() {
                return self.ledger.judge_end(&self.plan);
            }
            self.step()?;
        }
        let open = self.machine.open();
        check("I1", false, || {
            format!("still not drained, open events and retries: {open:?}")
        })
    }

    fn step(&mut self) -> Judged {
        match self.rng.below(100) {
            0..30 => self.feed()?,
            30..55 => self.finish()?,
            55..75 => self.answer()?,
            75..90 => self.pass_time(),
            90..93 => self.deliver_stale(),
            93..95 if !self.calm => self.crash()?,
            95 if !self.calm => self.machine_revoke(),
            _ => {}
        }
        self.take_actions()?;
        if self.revoked {
            self.finish_revoke()?;
        }
        self.judge()
    }

    fn feed(&mut self) -> Judged {
        for _ in 0..self.rng.between(1, 4) {
            if !self.machine.has_capacity() && self.bug != Bug::IgnoredCapacity {
                return Ok(());
            }
            let topic = self.rng.below(self.next.len());
            let again = self.rng.percent(5) && !self.calm;
            let from = if again { 0 } else { self.next[topic] };
            let mut ahead = self.plan.log[topic].range(from..);
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

    fn hand_over(&mut self, item: Item) {
        let position = item.position;
        self.note(|| format!("record {position:?}"));
        let fresh = !self.ledger.fates.contains_key(&position) && self.admitted.insert(position);
        if fresh && matches!(item.sequence, SequenceKey::Keyed { .. }) {
            let arrivals = self.told.arrivals.entry(item.sequence);
            arrivals.or_default().push(position);
        }
        let passed = |at: &Position| at.topic == position.topic && at.offset < position.offset;
        let plan = &self.plan;
        self.told
            .counted
            .retain(|at, _| !passed(at) || plan.item(*at).is_some());
        self.machine
            .handle_record(self.now, position, item.record, item.decoded);
    }

    /// Ends one of the running attempts.
    fn finish(&mut self) -> Judged {
        if self.flights.is_empty() {
            return Ok(());
        }
        let at = self.rng.below(self.flights.len());
        if self.flights[at].read.is_none() {
            // Reads and the end of an attempt are apart, so that commits come between.
            let read = self.read(&self.flights[at].attempt);
            self.flights[at].read = Some(read);
            if self.rng.percent(50) {
                return Ok(());
            }
        }
        let flight = self.flights.swap_remove(at);
        let id = flight.attempt.id;
        let outcome = self.outcome(&flight)?;
        let live = self.told.runner.get(&id.position) == Some(&(self.told.epoch, id.serial));
        self.note(|| format!("outcome {id:?} {}", handler::name(&outcome)));
        if live {
            self.count(id.position, &outcome);
        }
        if self.rng.percent(20) {
            self.stale.push((id, outcome.clone()));
        }
        self.machine.handle_outcome(self.now, id, outcome);
        Ok(())
    }

    fn read(&self, attempt: &Attempt) -> handler::Read {
        let forgets = self.bug == Bug::ForgottenStagedReads;
        let nothing = Default::default();
        let staged = if forgets { &nothing } else { &attempt.staged };
        handler::Read::new(|name| self.ledger.read(staged, &attempt.sequence, name))
    }

    fn outcome(&mut self, flight: &Flight) -> Judged<Outcome> {
        let Some(item) = self.plan.item(flight.attempt.id.position) else {
            return Err(Violation {
                invariant: "I12",
                message: "an attempt of no record".into(),
            });
        };
        let runner = (self.told.epoch, flight.attempt.id.serial);
        let kind = match (item.temper, self.calm, self.rng.below(100)) {
            (Temper::Permanent, _, _) => FailureKind::Permanent,
            (Temper::Traps, _, _) => FailureKind::Trap,
            (Temper::Steady | Temper::Invalid, false, 0..10) => FailureKind::Transient,
            (Temper::Steady | Temper::Invalid, false, 10..20) => FailureKind::Unavailable,
            (Temper::Steady | Temper::Invalid, false, 20..22) => FailureKind::Limit,
            (Temper::Steady | Temper::Invalid, _, _) => {
                let read = flight.read.unwrap_or_default();
                let mut effects = handler::effects(item, read, runner);
                if self.bug == Bug::UnstableIds {
                    let salt = self.rng.next();
                    let first = effects.emissions.first_mut();
                    first
                        .into_iter()
                        .for_each(|e| e.id = Some(salt.to_string()));
                }
                return Ok(Outcome::Done(effects));
            }
        };
        Ok(Outcome::Failed(Failure {
            kind,
            code: "simulated".into(),
            message: "as the seed wants it".into(),
            retry_after_ms: self.rng.percent(5).then_some(2_000),
            backtrace: None,
        }))
    }

    /// The ledger answers for the unit that is out.
    fn answer(&mut self) -> Judged {
        let Some(unit) = self.out.take() else {
            return Ok(());
        };
        let fault = if self.calm { 100 } else { self.rng.below(100) };
        let number = unit.number;
        let result = match fault {
            0..8 => CommitResult::Unavailable {
                message: "the ledger is away".into(),
            },
            8..16 if let Some(position) = self.refusable(&unit) => {
                self.note_refusal(position);
                CommitResult::Refused {
                    position,
                    code: "too-large".into(),
                    message: "the ledger does not take it".into(),
                }
            }
            16..20 if self.bug == Bug::EarlyAcknowledgement => CommitResult::Committed,
            _ => {
                self.ledger
                    .commit(&self.plan, &self.told, &unit, self.bug)?;
                for completion in &unit.completions {
                    self.told.counted.remove(&completion.position);
                }
                if fault < 24 {
                    self.note(|| format!("unit {number} committed, its answer is lost"));
                    return self.take_over();
                }
                self.acknowledged += unit.completions.len() as u64;
                CommitResult::Committed
            }
        };
        self.note(|| format!("unit {number} {result:?}"));
        self.machine.handle_commit(self.now, number, result);
        Ok(())
    }

    /// An event of the unit whose output the ledger could refuse.
    fn refusable(&mut self, unit: &Unit) -> Option<Position> {
        let with_output: Vec<_> = unit
            .completions
            .iter()
            .filter(|completion| completion.output != Default::default())
            .collect();
        let at = self.rng.below(with_output.len());
        with_output.get(at).map(|completion| completion.position)
    }

    fn pass_time(&mut self) {
        let due = self.machine.poll_timeout();
        let step = match self.rng.below(20) {
            0 if !self.calm => Duration::from_secs(3_600 * self.rng.next().rem_euclid(30)),
            0..5 => Duration::from_millis(self.rng.next() % 5),
            5..8 => Duration::from_millis(self.rng.next() % 2_000),
            _ => due.map_or(Duration::ZERO, |due| due.since(self.now)),
        };
        self.now = self.now + step;
        self.machine.handle_timeout(self.now);
    }

    /// An outcome arrives that the machine has no use for.
    fn deliver_stale(&mut self) {
        if self.stale.is_empty() {
            return;
        }
        let at = self.rng.below(self.stale.len());
        let (mut id, outcome) = self.stale.swap_remove(at);
        self.note(|| format!("stale outcome {id:?}"));
        if self.bug == Bug::StaleOutcome {
            let current = self
                .flights
                .iter()
                .find(|flight| flight.attempt.id.position == id.position);
            if let (Some(flight), Outcome::Done(_)) = (current, &outcome) {
                id = flight.attempt.id;
                self.settled.insert(id.position);
            }
        }
        self.machine.handle_outcome(self.now, id, outcome);
    }

    fn crash(&mut self) -> Judged {
        self.note(|| "crash".into());
        if self.rng.percent(20) {
            self.compact();
        }
        if let Some(unit) = self.out.take()
            && self.rng.percent(50)
        {
            self.note(|| format!("unit {} was committed all the same", unit.number));
            self.ledger
                .commit(&self.plan, &self.told, &unit, self.bug)?;
        }
        self.take_over()
    }

    /// The bus drops a record that nobody has finished, as compaction and retention do.
    fn compact(&mut self) {
        let out = self.out.iter().flat_map(|unit| &unit.completions);
        let out: BTreeSet<_> = out.map(|completion| completion.position).collect();
        let open = self.plan.items().map(|item| item.position);
        let open: Vec<_> = open
            .filter(|at| !self.ledger.fates.contains_key(at) && !out.contains(at))
            .collect();
        if let Some(position) = open.get(self.rng.below(open.len())) {
            self.note(|| format!("compacted {position:?}"));
            self.plan.compact(*position);
        }
    }

    /// A new owner starts from what is durable; what runs becomes stale.
    fn take_over(&mut self) -> Judged {
        let flights = std::mem::take(&mut self.flights);
        for flight in &flights {
            if self.plan.item(flight.attempt.id.position).is_none() {
                continue;
            }
            let outcome = self.outcome(flight)?;
            self.stale.push((flight.attempt.id, outcome));
        }
        let mut restore = self.ledger.restore();
        if self.bug == Bug::ForgottenInbox {
            restore.inbox.clear();
        }
        if self.bug == Bug::ForgottenAttempts {
            restore.open.clear();
        }
        if self.bug == Bug::CountedCrash {
            let running: BTreeSet<_> = flights.iter().map(|f| f.attempt.id.position).collect();
            let open = restore.open.iter_mut();
            open.filter(|open| running.contains(&open.position))
                .for_each(|open| open.attempts += 1);
        }
        self.told = Told {
            epoch: self.told.epoch + 1,
            counted: self
                .ledger
                .open()
                .iter()
                .map(|open| (open.position, open.attempts))
                .collect(),
            ..Told::default()
        };
        self.machine = Partition::new(self.plan.config.clone(), self.told.epoch, restore);
        let starts = self.machine.start_positions();
        self.next = starts.iter().map(|position| position.offset).collect();
        self.admitted.clear();
        self.settled.clear();
        self.out = None;
        self.revoked = false;
        self.acknowledged = 0;
        self.note(|| format!("restored at {starts:?}"));
        Ok(())
    }

    fn machine_revoke(&mut self) {
        self.note(|| "revoke".into());
        self.machine.handle_revoke();
        self.revoked = true;
    }

    /// A revoked machine is left when it has drained; now and then its attempts are given up first.
    fn finish_revoke(&mut self) -> Judged {
        if self.rng.percent(5) {
            self.note(|| "abandon".into());
            self.machine.abandon_running();
            for id in self.flights.iter().map(|flight| flight.attempt.id) {
                let runner = (id.epoch, id.serial);
                self.told
                    .runner
                    .retain(|at, latest| (*at, *latest) != (id.position, runner));
            }
        }
        if !self.machine.is_drained() {
            return Ok(());
        }
        check("I5", self.out.is_none(), || {
            "drained, and a unit is out".into()
        })?;
        self.note(|| "drained".into());
        self.take_over()
    }

    fn take_actions(&mut self) -> Judged {
        while let Some(action) = self.machine.poll_action(self.now) {
            match action {
                Action::Attempt(attempt) => self.start(attempt)?,
                Action::Commit(unit) => {
                    check("I5", self.out.is_none(), || "two units are out".into())?;
                    self.ledger.judge_attempts(&self.told, &unit)?;
                    let fates = unit.completions.iter();
                    let fates: Vec<_> = fates.map(|c| (c.position, c.fate)).collect();
                    self.note(|| format!("unit {} {fates:?}", unit.number));
                    self.out = Some(unit);
                }
            }
        }
        Ok(())
    }
}
