//! What units of work set aside: parked events, timers, dead letters, state that expires.

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

fn leaves(number: u64) -> Option<Box<Parking>> {
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
    unit.alone = Some(ItemId::Timer(hash(7)));
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
    assert_eq!(restored.alone, Some(ItemId::Timer(hash(7))));
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
async fn parked_events_of_a_sequence_come_in_ascending_order_and_leave_from_the_front() {
    let mut fixture = Fixture::new();
    let numbers = [9, 10, 255, 256, 1000];
    let outputs = numbers
        .map(|number| parks(joins(parked(number, "waits"))))
        .to_vec();
    fixture
        .commit(outputs, vec![(keyed("k"), Some(sequence(5)))])
        .await;
    assert_eq!(fixture.numbers(), numbers);
    let (bus, scope) = (&fixture.bus, &fixture.scope);
    let two = bus.parked_events(scope, 0, &keyed("k"), 2).unwrap();
    assert_eq!(two.len(), 2);
    assert_eq!(bus.parked_events(scope, 0, &keyed("other"), 9).unwrap(), []);
    assert_eq!(bus.parked_events(scope, 1, &keyed("k"), 9).unwrap(), []);

    // An attempt fails: only what is next changes.
    fixture
        .commit(Vec::new(), vec![(keyed("k"), Some(sequence(5)))])
        .await;
    assert_eq!(fixture.first(), Some(9));
    let leave = vec![parks(leaves(9)), parks(leaves(10))];
    fixture
        .commit(leave, vec![(keyed("k"), Some(sequence(3)))])
        .await;
    assert_eq!(fixture.first(), Some(255));
    // Another joins behind, and the first ones stay what they are.
    let join = vec![parks(joins(parked(1001, "waits")))];
    fixture
        .commit(join, vec![(keyed("k"), Some(sequence(4)))])
        .await;
    assert_eq!(fixture.numbers(), [255, 256, 1000, 1001]);
    fixture = fixture.reopened();
    let listed = fixture.bus.parked(&fixture.scope, 0, 9).unwrap();
    assert_eq!(listed, [(keyed("k"), sequence(4))]);
    let leave = [255, 256, 1000, 1001]
        .map(|number| parks(leaves(number)))
        .to_vec();
    fixture.commit(leave, vec![(keyed("k"), None)]).await;
    assert_eq!(fixture.first(), None);
    assert_eq!(
        fixture
            .bus
            .restore(&fixture.scope, 0, window())
            .await
            .unwrap()
            .parked,
        []
    );
    assert_eq!(
        (
            fixture.count(Kind::ParkedEvent),
            fixture.count(Kind::ParkedHead)
        ),
        (0, 0)
    );
    let join = vec![parks(joins(parked(1002, "waits")))];
    fixture
        .commit(join, vec![(keyed("k"), Some(sequence(1)))])
        .await;
    assert_eq!(fixture.numbers(), [1002]);
}

#[tokio::test]
async fn a_unit_may_empty_a_parked_sequence_and_begin_it_anew() {
    let mut fixture = Fixture::new();
    let outputs = vec![
        parks(joins(parked(1, "waits"))),
        parks(leaves(1)),
        parks(joins(parked(2, "waits"))),
        parks(joins(parked(3, "waits"))),
        parks(leaves(2)),
    ];
    fixture
        .commit(outputs, vec![(keyed("k"), Some(sequence(1)))])
        .await;
    assert_eq!((fixture.first(), fixture.numbers()), (Some(3), vec![3]));
}

#[tokio::test]
async fn a_replaced_or_removed_timer_leaves_no_due_time() {
    let mut fixture = Fixture::new();
    let set = |name, id, due| timer_change(name, Some(timer(id, due)));
    fixture
        .commit(
            vec![changes(vec![set("a", 1, 50), set("b", 2, 20)])],
            Vec::new(),
        )
        .await;
    let expect = |fixture: &Fixture, expected: &[(&str, u64)]| {
        let expected: Vec<_> = expected
            .iter()
            .map(|&(name, due)| (name.to_owned(), due))
            .collect();
        assert_eq!(fixture.due(), expected);
        assert_eq!(
            (fixture.count(Kind::Due), fixture.count(Kind::Timer)),
            (expected.len(), expected.len())
        );
    };
    expect(&fixture, &[("b", 20), ("a", 50)]);
    fixture
        .commit(vec![changes(vec![set("a", 3, 10)])], Vec::new())
        .await;
    expect(&fixture, &[("a", 10), ("b", 20)]);
    // Set again by the same event under the same identity.
    fixture
        .commit(vec![changes(vec![set("a", 3, 10)])], Vec::new())
        .await;
    expect(&fixture, &[("a", 10), ("b", 20)]);
    // Several changes of one timer within a unit, over completions and within one.
    let outputs = vec![
        changes(vec![set("a", 4, 60), set("c", 5, 40)]),
        changes(vec![set("a", 6, 30), timer_change("c", None)]),
        changes(vec![timer_change("b", None), set("b", 7, 90)]),
    ];
    fixture.commit(outputs, Vec::new()).await;
    expect(&fixture, &[("a", 30), ("b", 90)]);
    fixture = fixture.reopened();
    let gone = vec![
        timer_change("a", None),
        timer_change("b", None),
        timer_change("never", None),
    ];
    fixture.commit(vec![changes(gone)], Vec::new()).await;
    expect(&fixture, &[]);
    let found = fixture
        .bus
        .timer(&fixture.scope, 0, &timer_key("a"))
        .unwrap();
    assert_eq!(found, None);
}

#[tokio::test]
async fn timers_come_by_instant_and_a_page_says_that_there_are_more() {
    let mut fixture = Fixture::new();
    let set = |name, id, due| timer_change(name, Some(timer(id, due)));
    let timers = vec![
        set("late", 1, 1 << 40),
        set("z", 2, 256),
        set("a", 3, 256),
        set("soon", 4, 255),
    ];
    fixture.commit(vec![changes(timers)], Vec::new()).await;
    let names: Vec<_> = fixture.due().into_iter().map(|(name, _)| name).collect();
    assert_eq!(
        names,
        ["soon", "z", "a", "late"],
        "those of one instant by identity"
    );
    let (bus, scope) = (&fixture.bus, &fixture.scope);
    let page = |after, max| {
        let page = bus.timers(scope, 0, after, max).unwrap();
        (page.timers.len(), page.more)
    };
    assert_eq!(
        [page(None, 0), page(None, 3), page(None, 4)],
        [(0, true), (3, true), (4, false)]
    );
    let place = |due, id| Some((Millis(due), hash(id)));
    assert_eq!(page(place(256, 2), 1), (1, true), "a");
    assert_eq!(page(place(256, 2), 2), (2, false), "a and late");
    assert_eq!(page(place(1 << 40, 1), 9), (0, false));
    assert_eq!(
        fixture.bus.timers(&fixture.scope, 1, None, 9).unwrap(),
        TimerPage::default()
    );
}

#[tokio::test]
async fn names_of_timers_are_those_that_the_handler_set() {
    let mut fixture = Fixture::new();
    let mut delayed = timer_change("b", Some(timer(3, 30)));
    delayed.key.slot = TimerSlot::Emission("delayed".into());
    let mut other = timer_change("c", Some(timer(4, 30)));
    other.key.sequence = keyed("kk");
    let timers = vec![
        timer_change("b", Some(timer(1, 10))),
        timer_change("a", Some(timer(2, 20))),
        delayed,
        other,
    ];
    fixture.commit(vec![changes(timers)], Vec::new()).await;
    let names = fixture
        .bus
        .timer_names(&fixture.scope, 0, &keyed("k"))
        .unwrap();
    assert_eq!(names, ["a", "b"]);
    let page = fixture.bus.timers(&fixture.scope, 0, None, 9).unwrap();
    assert_eq!(page.timers.len(), 4);
    let own = fixture
        .bus
        .timers_of(&fixture.scope, 0, &keyed("k"))
        .unwrap();
    let own: Vec<_> = own.timers.into_iter().map(|(_, due, _)| due.0).collect();
    assert_eq!(own, [20, 10], "by their names");
}

#[tokio::test]
async fn a_timer_that_could_not_fire_is_refused_when_it_is_set() {
    let mut fixture = Fixture::new();
    let mut delayed = timer_change("d", Some(timer(1, 10)));
    delayed.key.slot = TimerSlot::Emission("d".into());
    delayed.timer.as_mut().unwrap().out.topic = "nowhere".into();
    let mut large = timer_change("l", Some(timer(1, 10)));
    large.timer.as_mut().unwrap().out.record = record(&"x".repeat(staging::RECORD_BYTES_MAX));
    for (change, expected) in [(delayed, "unknown-topic"), (large, "record-too-large")] {
        let result = fixture
            .try_commit(vec![changes(vec![change])], Vec::new())
            .await;
        let CommitResult::Refused { code, .. } = result else {
            panic!("{result:?}")
        };
        assert_eq!(code, expected);
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
