//! Which fates leave a mark in the inbox, and who is not asked for one.

use super::parking::Stored;
use super::*;
use crate::binding::ATTRIBUTE_BYTES_MAX;
use crate::command::Kind;
use crate::unit::InboxBlock;

/// The mark of the event with this id that [`Bench::feed`] makes.
pub(super) fn mark_of(id: &str) -> Hash128 {
    crate::identity::inbox_mark(&config().source.group, DEFAULT_TENANT, "/till", id)
}

#[test]
fn what_is_filtered_or_skipped_leaves_no_mark_and_every_other_first_fate_does() {
    let mut bench = bench();
    for (offset, decoded) in [(0, Decoded::Filtered), (1, Decoded::Skipped)] {
        let record = Arc::new(Record::default());
        bench
            .machine
            .handle_record(bench.now, at(offset), record, decoded);
    }
    let unit = bench.unit();
    assert_eq!(
        fates(&unit),
        [(record(0), Fate::Filtered), (record(1), Fate::Skipped)]
    );
    assert!(unit.completions.iter().all(|one| one.mark.is_none()));
    bench.committed(&unit);
    bench.feed(2, Some("k"), "dies");
    bench.run(failed(FailureKind::Permanent));
    bench.feed(3, Some("l"), "handled");
    bench.run(done("1"));
    let unit = bench.unit();
    let marks: Vec<_> = unit.completions.iter().map(|one| one.mark).collect();
    assert_eq!(marks, [Some(mark_of("dies")), Some(mark_of("handled"))]);
    bench.committed(&unit);
    let ids = bench.machine.gauges(bench.now).inbox_ids;
    assert_eq!(ids, 2, "a filter that refuses most takes no room");
}

/// Nothing else is ever named so.
#[test]
fn what_is_named_by_its_place_leaves_no_mark_and_is_asked_for_none() {
    let mut bench = bench();
    for offset in [0, 1] {
        let event = Event {
            id: "0-7-5".into(),
            source: "/kafka/orders".into(),
            is_named_by_place: true,
            ..Event::default()
        };
        let event = Decoded::Event(Arc::new(event));
        let record = Arc::new(Record::default());
        bench
            .machine
            .handle_record(bench.now, at(offset), record, event);
        bench.run(done("1"));
    }
    let unit = bench.unit();
    assert_eq!(
        fates(&unit),
        [(record(0), Fate::Handled), (record(1), Fate::Handled)]
    );
    assert!(unit.completions.iter().all(|one| one.mark.is_none()));
}

/// The subject is what an event is known by.
#[derive(Debug)]
struct Subject;

impl inbox::IdempotencyKey for Subject {
    fn of(&self, event: &Event) -> Option<String> {
        event.subject.clone()
    }
}

#[test]
fn an_idempotency_key_takes_the_place_of_source_and_id_where_there_is_one() {
    let mut bench = Bench::new(Config {
        inbox_key: Some(Arc::new(Subject)),
        ..config()
    });
    let events = [
        ("1", Some("order-1")),
        ("2", Some("order-1")),
        ("3", Some("")),
        ("4", None),
        ("4", Some("")),
        ("1", Some("order-2")),
    ];
    for (offset, (id, subject)) in (0..).zip(events) {
        let event = Event {
            id: id.into(),
            source: "/till".into(),
            subject: subject.map(Into::into),
            ..Event::default()
        };
        let record = Arc::new(Record {
            key: Some("k".into()),
            ..Record::default()
        });
        let event = Decoded::Event(Arc::new(event));
        bench
            .machine
            .handle_record(bench.now, at(offset), record, event);
    }
    for _ in 0..4 {
        bench.run(done("1"));
    }
    let unit = bench.unit();
    let repeats = fates(&unit).into_iter();
    let repeats = repeats.filter(|(_, fate)| *fate == Fate::Duplicate);
    assert_eq!(
        repeats.map(|(item, _)| item).collect::<Vec<_>>(),
        [record(1), record(4)]
    );
    assert_eq!(unit.completions.len(), 6);
}

#[test]
fn a_handler_with_state_takes_no_key_that_each_of_its_entries_would_repeat_at_length() {
    const LONG: &str = match std::str::from_utf8(&[b'k'; ATTRIBUTE_BYTES_MAX + 1]) {
        Ok(text) => text,
        Err(_) => unreachable!(),
    };
    let mut bench = Bench::new(Config {
        keyed_only: true,
        ..config()
    });
    bench.feed(0, Some(LONG), "long");
    bench.feed(1, LONG.get(1..), "longest");
    let unit = bench.unit();
    assert_eq!(fates(&unit), [(record(0), Fate::Dead)]);
    bench.committed(&unit);
    bench.run(done("1"));
    assert_eq!(fates(&bench.unit()), [(record(1), Fate::Handled)]);
}

#[test]
fn timers_bypass_both_layers_of_the_inbox() {
    let (mut bench, timer) = timing::with_timer();
    let firing = crate::binding::from_record(&timer.out.record).expect("an event");
    // Somebody has published an event of the same identity, and it has its fate.
    let (position, event) = (at(1), Decoded::Event(Arc::new(firing)));
    let record = Arc::new(Record::default());
    bench
        .machine
        .handle_record(bench.now, position, record, event);
    bench.run(done("1"));
    let unit = bench.unit();
    assert!(unit.completions[0].mark.is_some());
    bench.committed(&unit);
    bench.now = timer.due;
    bench.answer_timer(Some(&timer));
    bench.run(done("2"));
    let unit = bench.unit();
    assert_eq!(
        fates(&unit),
        [(ItemId::Timer(timer.id), Fate::Handled)],
        "no duplicate"
    );
    assert_eq!(unit.completions[0].mark, None);
}

#[test]
fn parked_retries_bypass_both_layers_of_the_inbox() {
    let (mut bench, mut stored) = (bench(), Stored::default());
    let parking = parking::park_first(&mut bench, &mut stored);
    assert_eq!(parking.completions[0].mark, Some(mark_of("0")));
    assert_eq!(parking.cursors[0].frontier, 1, "its position is complete");
    let mut inbox = inbox::Inbox::default();
    inbox.insert(InboxBlock {
        unit: parking.number,
        stream_time: parking.stream_time,
        staged_at: parking.staged_at,
        ids: [mark_of("0")].into(),
    });
    let mut bench = Bench::restored(
        config(),
        Restore {
            unit: parking.number,
            cursors: parking.cursors.clone(),
            parked: parking
                .heads
                .iter()
                .filter_map(|(key, head)| Some((key.clone(), (*head)?)))
                .collect(),
            next_parked: parking.next_parked,
            inbox,
            ..Restore::default()
        },
    );
    bench.now = NOW + Duration::from_secs(3_600);
    bench.answer_load(&stored);
    bench.run(done("1"));
    let unit = bench.store(&mut stored);
    assert_eq!(fates(&unit), [(ItemId::Parked(0), Fate::Handled)]);
    bench.feed(1, Some("k"), "0");
    let unit = bench.unit();
    assert_eq!(fates(&unit), [(record(1), Fate::Duplicate)], "but a repeat");
}

#[test]
fn replays_bypass_both_layers_of_the_inbox() {
    let (mut bench, mut stored, letter) = parking::kill_first(OnDead::Release);
    bench.command(0, Kind::Replay, letter);
    bench.answer_load(&stored);
    bench.store(&mut stored);
    bench.answer_load(&stored);
    bench.run(done("1"));
    let unit = bench.store(&mut stored);
    assert_eq!(fates(&unit), [(ItemId::Parked(0), Fate::Handled)]);
    bench.feed(1, Some("k"), "0");
    let unit = bench.unit();
    assert_eq!(fates(&unit), [(record(1), Fate::Duplicate)], "but a repeat");
}
