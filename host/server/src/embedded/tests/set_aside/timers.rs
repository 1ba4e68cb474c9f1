//! Timers, by name and by due time.

use super::*;

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
