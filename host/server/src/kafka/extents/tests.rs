use super::*;

#[test]
fn what_no_broker_has_said_for_a_while_is_not_known() {
    let (extents, place) = (Extents::default(), ("t".into(), 3));
    assert_eq!(extents.get("t", 3), None);
    extents.set("t", 3, (2, 7));
    let said = Instant::now();
    assert_eq!(extents.at(said + KNOWN / 2, &place), Some((2, 7)));
    assert_eq!(extents.at(said + KNOWN, &place), None);
}

#[test]
fn what_is_asked_for_is_asked_of_a_broker_whether_it_is_known_or_not() {
    let extents = Extents::default();
    assert_eq!(extents.get("t", 3), None);
    let place = || -> Place { ("t".into(), 3) };
    assert_eq!(extents.wanted(), [place()]);
    extents.take(vec![(place(), (0, 4)), (("other".into(), 0), (0, 9))]);
    assert_eq!(extents.get("t", 3), Some((0, 4)));
    assert_eq!(extents.get("other", 0), None, "nobody has asked for it");
}

#[test]
fn offsets_without_records_at_an_end_are_no_records() {
    let extents = Extents::default();
    extents.note_end(&"t".into(), 0, 5, 8);
    assert_eq!(extents.set("t", 0, (0, 8)), (0, 5));
    assert_eq!(extents.set("t", 0, (0, 9)), (0, 9));
}
