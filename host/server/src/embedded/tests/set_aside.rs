//! What units of work set aside: parked events, timers, dead letters, state that expires.

mod parks;
mod timers;

use rocksdb::WriteBatch;
use weir_core::unit::{
    Head, LetterStatus, Origin, ParkedEvent, ParkedSequence, Parking, Timer, TimerChange, TimerKey,
    TimerPage, TimerSlot,
};

use super::*;
use crate::embedded::key::Kind;

pub(super) fn hash(number: u64) -> Hash128 {
    Hash128(u128::from(number).to_be_bytes())
}

pub(super) fn parked(number: u64, value: &str) -> ParkedEvent {
    ParkedEvent {
        number,
        record: record(value),
        origin: Origin {
            topic: "in".into(),
            partition: 0,
            offset: number,
        },
        parked_at: Millis(number),
        parked_active: Active(number),
        letter: None,
        replays: 0,
    }
}

pub(super) fn joins(event: ParkedEvent) -> Option<Box<Parking>> {
    Some(Box::new(Parking {
        join: Some(event),
        ..Parking::default()
    }))
}

pub(super) fn leaves(number: u64) -> Option<Box<Parking>> {
    Some(Box::new(Parking {
        leave: Some((number, 1)),
        ..Parking::default()
    }))
}

pub(super) fn sequence(count: u64) -> ParkedSequence {
    ParkedSequence {
        count,
        bytes: 100 * count,
        head: Head {
            due: Millis(count),
            attempts: Attempts {
                counted: 3,
                aging_since: Some(Active(4)),
                ..Attempts::default()
            },
            letter: None,
            held: false,
        },
    }
}

fn parks(parking: Option<Box<Parking>>) -> Output {
    Output {
        parking,
        ..Output::default()
    }
}

pub(super) fn timer_key(name: &str) -> TimerKey {
    TimerKey {
        sequence: keyed("k"),
        slot: TimerSlot::Named(name.into()),
    }
}

pub(super) fn timer(id: u64, due: u64) -> Timer {
    Timer {
        id: hash(id),
        due: Millis(due),
        out: emission("in", "fires"),
    }
}

pub(super) fn timer_change(name: &str, timer: Option<Timer>) -> TimerChange {
    TimerChange {
        key: timer_key(name),
        timer,
    }
}

fn changes(timers: Vec<TimerChange>) -> Output {
    Output {
        timers,
        ..Output::default()
    }
}

/// A store with the topic `in` of one partition, and a subscription to it; what it commits comes in units of its own.
struct Fixture {
    bus: Embedded,
    scope: Scope,
    units: u64,
    scratch: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let bus = open(scratch.path());
        bus.ensure_topic("in", 1).unwrap();
        Self {
            bus,
            scope: scope("g", &["in"]),
            units: 0,
            scratch,
        }
    }

    async fn try_commit(
        &mut self,
        outputs: Vec<Output>,
        heads: Vec<(SequenceKey, Option<ParkedSequence>)>,
    ) -> CommitResult {
        let mut unit = unit(self.units + 1, 0, Vec::new());
        unit.completions = (0..)
            .zip(outputs)
            .map(|(at, output)| completion(at, output))
            .collect();
        unit.heads = heads;
        let result = self.bus.commit(&self.scope, 0, unit).await;
        self.units += u64::from(result == CommitResult::Committed);
        result
    }

    async fn commit(
        &mut self,
        outputs: Vec<Output>,
        heads: Vec<(SequenceKey, Option<ParkedSequence>)>,
    ) {
        let result = self.try_commit(outputs, heads).await;
        assert_eq!(result, CommitResult::Committed);
    }

    fn reopened(self) -> Self {
        self.bus.close();
        Self {
            bus: open(self.scratch.path()),
            ..self
        }
    }

    /// Numbers of the parked events of the sequence that all completions are of.
    fn numbers(&self) -> Vec<u64> {
        let events = self
            .bus
            .parked_events(&self.scope, 0, &keyed("k"), usize::MAX);
        events.unwrap().iter().map(|event| event.number).collect()
    }

    fn first(&self) -> Option<u64> {
        let first = self.bus.parked_head(&self.scope, 0, &keyed("k")).unwrap();
        first.map(|event| event.number)
    }

    /// Names and instants of the timers in the order in which they fire.
    fn due(&self) -> Vec<(String, u64)> {
        let page = self.bus.timers(&self.scope, 0, None, usize::MAX).unwrap();
        let name = |key: TimerKey| match key.slot {
            TimerSlot::Named(name) => name.to_string(),
            TimerSlot::Emission(id) => format!("emission {id}"),
        };
        let timers = page.timers.into_iter();
        timers.map(|(key, due, _)| (name(key), due.0)).collect()
    }

    fn letter(&self, number: u64) -> Option<LetterStatus> {
        self.bus.letter(&self.scope, 0, hash(number)).unwrap()
    }

    /// All keys of this kind.
    fn keys(&self, kind: Kind) -> Vec<Vec<u8>> {
        let mut iterator = self.bus.inner.store.iterate(kind.family(), &[kind as u8]);
        iterator.seek([kind as u8]);
        let mut keys = Vec::new();
        while let Some(key) = iterator.key() {
            keys.push(key.to_vec());
            iterator.next();
        }
        keys
    }

    fn count(&self, kind: Kind) -> usize {
        self.keys(kind).len()
    }

    /// Puts a value of no known version in the place of each of this kind.
    fn damage(&self, kind: Kind) {
        let store = &self.bus.inner.store;
        let mut batch = WriteBatch::default();
        for key in self.keys(kind) {
            batch.put_cf(store.family(kind.family()), key, [99]);
        }
        assert!(!batch.is_empty(), "{kind:?}");
        store.write_synced(batch);
    }
}

#[tokio::test]
async fn all_that_a_unit_sets_aside_is_there_after_a_restart() {
    let mut fixture = Fixture::new();
    let event = ParkedEvent {
        letter: Some(hash(8)),
        replays: 2,
        ..parked(5, "waits")
    };
    let output = Output {
        timers: vec![timer_change("remind", Some(timer(7, 70)))],
        parking: joins(event.clone()),
        letter: Some((hash(8), LetterStatus::Replaying)),
        ..Output::default()
    };
    let alone = SequenceKey::Alone(ItemId::Parked(3));
    let heads = [(keyed("k"), sequence(1)), (alone, sequence(2))];
    let mut unit = unit(1, 1, vec![completion(0, output)]);
    unit.heads = heads
        .iter()
        .map(|(key, parked)| (key.clone(), Some(*parked)))
        .collect();
    unit.lease = vec![9];
    unit.marked = vec![ItemId::Timer(hash(7)), ItemId::Parked(3)];
    unit.active = Active(11);
    unit.next_parked = 6;
    let committed = fixture.bus.commit(&fixture.scope, 0, unit).await;
    assert_eq!(committed, CommitResult::Committed);
    fixture
        .bus
        .publish("in", publishes(["a", "b"]))
        .await
        .unwrap();

    fixture = fixture.reopened();
    let (bus, scope) = (&fixture.bus, &fixture.scope);
    let restored = bus.restore(scope, 0, window()).await.unwrap();
    assert_eq!(restored.parked, heads);
    let due = (timer_key("remind"), Millis(70), hash(7));
    let timers = TimerPage {
        timers: vec![due],
        more: false,
    };
    assert_eq!(restored.timers, timers);
    assert_eq!((restored.lease, restored.ends), (vec![9], vec![2]));
    assert_eq!(restored.marked, [ItemId::Timer(hash(7)), ItemId::Parked(3)]);
    assert_eq!((restored.active, restored.next_parked), (Active(11), 6));
    assert_eq!(bus.parked_head(scope, 0, &keyed("k")).unwrap(), Some(event));
    let found = bus.timer(scope, 0, &timer_key("remind")).unwrap();
    assert_eq!(
        found.map(|timer| (timer.id, timer.due)),
        Some((hash(7), Millis(70)))
    );
    assert_eq!(fixture.letter(8), Some(LetterStatus::Replaying));
}

#[tokio::test]
async fn a_refused_unit_sets_nothing_aside() {
    let mut fixture = Fixture::new();
    let output = Output {
        timers: vec![timer_change("remind", Some(timer(7, 70)))],
        parking: joins(parked(1, "waits")),
        letter: Some((hash(8), LetterStatus::Dead)),
        ..Output::default()
    };
    let refused = Output {
        records: vec![emission("nowhere", "x")],
        ..Output::default()
    };
    let heads = vec![(keyed("k"), Some(sequence(1)))];
    let result = fixture.try_commit(vec![output, refused], heads).await;
    assert!(matches!(result, CommitResult::Refused { .. }), "{result:?}");
    for kind in [
        Kind::ParkedEvent,
        Kind::ParkedHead,
        Kind::Timer,
        Kind::Due,
        Kind::Letter,
    ] {
        assert_eq!(fixture.count(kind), 0, "{kind:?}");
    }
}

#[tokio::test]
async fn a_letter_has_the_status_of_its_last_change() {
    let mut fixture = Fixture::new();
    assert_eq!(fixture.letter(1), None);
    let becomes = |status| Output {
        letter: Some((hash(1), status)),
        ..Output::default()
    };
    for status in [
        LetterStatus::Dead,
        LetterStatus::Replaying,
        LetterStatus::Done,
    ] {
        fixture.commit(vec![becomes(status)], Vec::new()).await;
        assert_eq!(fixture.letter(1), Some(status));
    }
    fixture
        .commit(
            vec![
                becomes(LetterStatus::Replaying),
                becomes(LetterStatus::Dropped),
            ],
            Vec::new(),
        )
        .await;
    fixture = fixture.reopened();
    assert_eq!(
        (fixture.letter(1), fixture.letter(2)),
        (Some(LetterStatus::Dropped), None)
    );
}

#[tokio::test]
async fn state_that_has_expired_is_absent_and_compaction_drops_it() {
    let fixture = Fixture::new();
    let write = |name: &str, ttl_ms| StateWrite {
        name: name.to_owned(),
        value: Some(Bytes::from_static(b"value")),
        ttl_ms,
    };
    let state = vec![
        write("kept", None),
        write("long", Some(3_600_000)),
        write("short", Some(1000)),
    ];
    let output = Output {
        state,
        ..Output::default()
    };
    // A commit of two seconds ago: one of them has ended since.
    let mut unit = unit(1, 1, vec![completion(0, output)]);
    unit.staged_at = now() - Duration::from_secs(2);
    let committed = fixture.bus.commit(&fixture.scope, 0, unit).await;
    assert_eq!(committed, CommitResult::Committed);
    let (bus, scope) = (&fixture.bus, &fixture.scope);
    let expect = || {
        assert_eq!(bus.state(scope, 0, &keyed("k"), "short").unwrap(), None);
        assert_eq!(
            bus.state_names(scope, 0, &keyed("k")).unwrap(),
            ["kept", "long"]
        );
        let bytes = bus.state_bytes(scope, 0, &keyed("k")).unwrap();
        assert_eq!(bytes, 2 * (4 + 5), "of both names and values");
    };
    expect();
    assert_eq!(fixture.count(Kind::State), 3);
    bus.inner.store.compact(Family::State);
    assert_eq!(fixture.count(Kind::State), 2);
    expect();
}

/// What an operator reads.
fn text(error: crate::ledger::LedgerError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

#[tokio::test]
async fn a_value_that_cannot_be_read_is_an_error_that_names_it() {
    let mut fixture = Fixture::new();
    let output = Output {
        timers: vec![timer_change("t", Some(timer(1, 10)))],
        letter: Some((hash(1), LetterStatus::Dead)),
        ..parks(joins(parked(1, "waits")))
    };
    let heads = vec![(keyed("k"), Some(sequence(1)))];
    fixture.commit(vec![output], heads).await;
    for kind in [Kind::ParkedEvent, Kind::Timer, Kind::Due, Kind::Letter] {
        fixture.damage(kind);
    }
    let (bus, scope) = (&fixture.bus, &fixture.scope);
    let messages = [
        text(bus.parked_head(scope, 0, &keyed("k")).unwrap_err()),
        text(bus.timer(scope, 0, &timer_key("t")).unwrap_err()),
        text(bus.timers(scope, 0, None, 9).unwrap_err()),
        text(bus.letter(scope, 0, hash(1)).unwrap_err()),
    ];
    let named = [
        "parked event of version 99",
        "timer of version 99",
        "due time of a timer",
        "letter of version 99",
    ];
    for (message, named) in messages.iter().zip(named) {
        assert!(
            message.contains(named) && message.contains("of g"),
            "{message}"
        );
    }
    fixture.damage(Kind::ParkedHead);
    let message = text(bus.restore(scope, 0, window()).await.unwrap_err());
    assert!(
        message.contains("parked sequence of version 99"),
        "{message}"
    );
    // A unit that needs it is not committed, and not refused either: no event is to blame.
    let again = vec![changes(vec![timer_change("t", None)])];
    let result = fixture.try_commit(again, Vec::new()).await;
    assert!(
        matches!(result, CommitResult::Unavailable { .. }),
        "{result:?}"
    );
}

#[tokio::test]
async fn disk_usage_tells_parks_and_timers_apart() {
    let mut fixture = Fixture::new();
    let used = |fixture: &Fixture, family| {
        let usage = fixture.bus.disk_usage();
        let found = usage.families.iter().find(|(name, _)| *name == family);
        found.unwrap().1
    };
    let before = used(&fixture, "timer");
    let large = "x".repeat(1 << 20);
    fixture
        .commit(
            vec![parks(joins(parked(1, &large)))],
            vec![(keyed("k"), Some(sequence(1)))],
        )
        .await;
    assert!(used(&fixture, "park") >= 1 << 20);
    assert_eq!(used(&fixture, "timer"), before);
}
