use std::time::Duration;

use super::*;
use crate::breaker::{self, Breaker};
use crate::budget::Budget;
use crate::event::{Effects, Emission, Event, Failure, FailureKind, Outcome, Record, StateWrite};
use crate::gate::Gate;
use crate::unit::{
    Active, CommitResult, LetterStatus, OpenAttempts, Origin, ParkedEvent, Timer, TimerKey,
    TimerPage, Unit,
};
use crate::{dead_letter, emission, inbox, retry};

mod expiry;
mod gates;
mod letters;
mod marks;
mod memory;
mod ordering;
mod owners;
mod parking;
mod positions;
mod repeats;
mod suspicion;
mod timing;
mod units;

const NOW: Millis = Millis(1_790_000_000_000);

/// An event that is the first of a parked sequence.
fn parked_event() -> ParkedEvent {
    ParkedEvent {
        number: 0,
        record: Record::default(),
        origin: Origin {
            topic: "in".into(),
            partition: 0,
            offset: 0,
        },
        parked_at: NOW,
        parked_active: Active(0),
        letter: None,
        replays: 0,
    }
}

fn config() -> Config {
    Config {
        source: dead_letter::Source {
            group: "weir.test.acme.count".into(),
            handler: "count".into(),
            version: "1".into(),
            digest: "blake3:0".into(),
        },
        partition: 0,
        topics: Arc::new(["in".into(), "commands".into()]),
        commands: Some(1),
        dead_letter_topics: Arc::new(["dlq.in".into(), "".into()]),
        on_dead: OnDead::Release,
        ordering: Ordering::Key,
        emit: emission::Rules {
            handler: "count".into(),
            source: "/weir/count".into(),
            topics: vec![("out".into(), "out".into())],
            timers: true,
            ..emission::Rules::default()
        },
        fallback: None,
        keyed_only: false,
        parks: true,
        retry: retry::Config::default(),
        inbox: Some(inbox::Config::default()),
        inbox_key: None,
        limits: Limits::default(),
        memory: Arc::new(Budget::new(512 << 20, 1)),
        solitude: Arc::default(),
    }
}

/// A machine, its gate and the time.
struct Bench {
    machine: Partition,
    gate: Gate,
    now: Millis,
    ends: Vec<u64>,
}

impl Bench {
    /// A machine that may start attempts.
    fn new(config: Config) -> Self {
        Self::restored(config, Restore::default())
    }

    fn restored(config: Config, restore: Restore) -> Self {
        Self {
            machine: Partition::new(config, 1, restore),
            gate: Gate::new(Breaker::new(breaker::Config::default(), NOW), None),
            now: NOW,
            ends: vec![0, 0],
        }
    }

    fn feed(&mut self, offset: u64, key: Option<&'static str>, id: &str) {
        let record = Record {
            key: key.map(|key| key.as_bytes().into()),
            timestamp_ms: NOW.0,
            ..Record::default()
        };
        let event = Event {
            id: id.into(),
            source: "/till".into(),
            ty: "Sold".into(),
            ..Event::default()
        };
        let (position, event) = (at(offset), Decoded::Event(Arc::new(event)));
        self.machine
            .handle_record(self.now, position, Arc::new(record), event);
        self.ends[0] = self.ends[0].max(offset + 1);
    }

    fn poll(&mut self) -> Option<Action> {
        self.machine.handle_timeout(self.now);
        self.machine.poll_action(self.now, &mut self.gate)
    }

    /// The next attempt; units without completions, which extend the lease, are committed on the way.
    fn attempt(&mut self) -> Box<Attempt> {
        for _ in 0..4 {
            match self.poll() {
                Some(Action::Attempt(attempt)) => return attempt,
                Some(Action::Commit(unit)) if unit.completions.is_empty() => self.committed(&unit),
                other => panic!("no attempt but {other:?}"),
            }
        }
        panic!("only units come");
    }

    fn unit(&mut self) -> Box<Unit> {
        self.now = self.now + Duration::from_millis(10);
        match self.poll() {
            Some(Action::Commit(unit)) => unit,
            other => panic!("no unit but {other:?}"),
        }
    }

    fn load(&mut self) -> Load {
        match self.poll() {
            Some(Action::Load(load)) => load,
            other => panic!("nothing is asked of the ledger but {other:?}"),
        }
    }

    fn outcome(&mut self, id: AttemptId, outcome: Outcome) {
        self.machine
            .handle_outcome(self.now, &mut self.gate, id, outcome);
    }

    fn answer(&mut self, number: u64, result: CommitResult) {
        self.machine
            .handle_commit(self.now, &mut self.gate, number, result);
    }

    fn committed(&mut self, unit: &Unit) {
        self.answer(unit.number, CommitResult::Committed);
    }

    /// Runs the next attempt to this end.
    fn run(&mut self, outcome: Outcome) {
        let id = self.attempt().id;
        self.outcome(id, outcome);
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
    }
}

fn bench() -> Bench {
    Bench::new(config())
}

fn at(offset: u64) -> Position {
    Position { topic: 0, offset }
}

fn record(offset: u64) -> ItemId {
    ItemId::Record(at(offset))
}

fn fates(unit: &Unit) -> Vec<(ItemId, Fate)> {
    let completions = unit.completions.iter();
    completions.map(|done| (done.item, done.fate)).collect()
}

fn done(value: &'static str) -> Outcome {
    let write = StateWrite {
        name: "n".into(),
        value: Some(value.into()),
        ttl_ms: None,
    };
    Outcome::Done(Effects {
        emissions: vec![Emission {
            ty: "Counted".into(),
            ..Emission::default()
        }],
        state: vec![write],
        ..Effects::default()
    })
}

fn failed(kind: FailureKind) -> Outcome {
    Outcome::Failed(Failure {
        kind,
        code: "down".into(),
        message: String::new(),
        retry_after_ms: None,
        backtrace: None,
    })
}

fn refused(offset: u64) -> CommitResult {
    CommitResult::Refused {
        item: record(offset),
        code: "too-large".into(),
        message: String::new(),
    }
}
