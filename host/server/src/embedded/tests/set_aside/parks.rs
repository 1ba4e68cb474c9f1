//! Parked sequences.

use super::*;

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
