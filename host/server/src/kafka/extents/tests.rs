use super::*;

#[test]
fn what_no_broker_has_said_for_a_while_is_not_known() {
    let (extents, place) = (Extents::default(), ("t".into(), 3));
    assert_eq!(extents.get("t", 3), None);
    let now = Instant::now();
    extents.take(now, vec![said(("t".into(), 3), 7, 7)]);
    assert_eq!(extents.at(now + KNOWN / 2, &place), Some((0, 7)));
    assert_eq!(extents.at(now + KNOWN, &place), None);
}

#[test]
fn what_is_asked_for_is_asked_of_a_broker_whether_it_is_known_or_not() {
    let extents = Extents::default();
    assert_eq!(extents.get("t", 3), None);
    let place = || -> TopicPartition { ("t".into(), 3) };
    assert_eq!(extents.wanted(), [place()]);
    extents.take(
        Instant::now(),
        vec![said(place(), 4, 4), said(("other".into(), 0), 9, 9)],
    );
    assert_eq!(extents.get("t", 3), Some((0, 4)));
    assert_eq!(extents.get("other", 0), None, "nobody has asked for it");
}

#[test]
fn offsets_without_records_at_an_end_are_no_records() {
    let extents = Extents::default();
    extents.note_end(&"t".into(), 0, 5, 8);
    assert_eq!(extents.adjusted("t", 0, (0, 8)), (0, 5));
    assert_eq!(extents.adjusted("t", 0, (0, 9)), (0, 9));
}

/// That can be read up to one offset, of a partition that reaches to another.
fn said(place: TopicPartition, readable: u64, end: u64) -> Said {
    let bounds = (0, readable);
    let asked = Millis(17);
    Said {
        place,
        asked,
        bounds,
        end,
    }
}

#[test]
fn an_end_is_known_with_when_it_was_asked_for_unless_something_before_it_cannot_be_read() {
    let extents = Extents::default();
    assert_eq!(extents.end("t", 0), None);
    let take = |readable| {
        let said = said(("t".into(), 0), readable, 9);
        extents.take(Instant::now(), vec![said]);
    };
    take(9);
    assert_eq!(extents.end("t", 0), Some((9, Millis(17))));
    take(5);
    assert_eq!(extents.end("t", 0), None);
}

#[test]
fn what_is_behind_an_open_transaction_is_not_there_and_one_that_stays_open_is_told() {
    let (extents, now) = (Extents::default(), Instant::now());
    let seen = |ago: Duration, readable, end| {
        extents.get("t", 0);
        let at = now.checked_sub(ago).unwrap();
        extents.take(at, vec![said(("t".into(), 0), readable, end)]);
    };
    let left_open = || extents.left_open("t", 0).map(|(offset, _)| offset);
    let (long, moment) = (OPEN + Duration::from_secs(1), Duration::ZERO);
    seen(long, 5, 9);
    assert_eq!(left_open(), None, "it has just begun");
    seen(moment, 5, 12);
    assert_eq!(left_open(), Some(5), "it is the same one");
    assert_eq!(extents.get("t", 0), Some((0, 5)));
    seen(moment, 7, 12);
    assert_eq!(left_open(), None, "another one");
    seen(long, 5, 9);
    seen(moment, 9, 9);
    assert_eq!(left_open(), None, "it is over");
    seen(long, 5, 9);
    seen(KNOWN, 5, 9);
    assert_eq!(left_open(), None, "nobody has said so lately");
}
