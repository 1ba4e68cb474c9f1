//! Units of work: whole or absent, in turn, and what they write.

use super::*;

#[tokio::test]
async fn a_unit_is_visible_as_a_whole() {
    let scratch = tempfile::tempdir().unwrap();
    let bus = open(scratch.path());
    bus.ensure_topic("in", 1).unwrap();
    bus.ensure_topic("out", 1).unwrap();
    let scope = scope("g", &["in"]);
    let output = Output {
        records: vec![emission("out", "paid")],
        state: vec![set("total", "7"), set("a", "1")],
        ..Output::default()
    };
    let mut first = unit(1, 1, vec![completion(0, output)]);
    first.cursors[0].completed = vec![(3, 5)];
    first.open = vec![OpenAttempts {
        item: ItemId::Record(Position {
            topic: 0,
            offset: 1,
        }),
        attempts: Attempts {
            counted: 2,
            first_failed: Some(Millis(9)),
            ..Attempts::default()
        },
    }];
    assert_eq!(
        bus.commit(&scope, 0, first.clone()).await,
        CommitResult::Committed
    );
    bus.close();

    let bus = open(scratch.path());
    let restored = bus.restore(&scope, 0, window()).await.unwrap();
    assert_eq!((restored.unit, restored.stream_time), (1, Millis(1)));
    assert_eq!(
        (restored.cursors, restored.open),
        (first.cursors, first.open)
    );
    let blocks = restored.inbox.blocks();
    let blocks: Vec<_> = blocks.map(|block| (block.unit, &block.ids[..])).collect();
    assert_eq!(blocks, [(1, &[Hash128([0; 16])][..])]);
    assert_eq!(
        bus.state(&scope, 0, &keyed("k"), "total").unwrap(),
        Some(Bytes::from_static(b"7"))
    );
    assert_eq!(
        bus.state_names(&scope, 0, &keyed("k")).unwrap(),
        ["a", "total"]
    );
    assert_eq!(
        bus.state_names(&scope, 0, &keyed("other")).unwrap(),
        [""; 0]
    );
    assert_eq!(read_all(&bus, "out", 0).await, ["paid"]);
}

#[tokio::test]
async fn a_unit_with_a_refused_output_leaves_nothing_and_hurts_no_other() {
    let scratch = tempfile::tempdir().unwrap();
    let bus = open(scratch.path());
    bus.ensure_topic("in", 2).unwrap();
    bus.ensure_topic("out", 1).unwrap();
    let scope = scope("g", &["in"]);
    let output = |topic: &str, value: &str| Output {
        records: vec![emission("out", "x"), emission(topic, value)],
        state: vec![set("total", "7")],
        ..Output::default()
    };
    let huge = "x".repeat(staging::RECORD_BYTES_MAX);
    for (topic, value, expected) in [
        ("nowhere", "y", "unknown-topic"),
        ("out", huge.as_str(), "record-too-large"),
    ] {
        let bad = bus.commit(
            &scope,
            0,
            unit(
                1,
                2,
                vec![
                    completion(0, Output::default()),
                    completion(1, output(topic, value)),
                ],
            ),
        );
        let good = bus.commit(
            &scope,
            1,
            unit(1, 1, vec![completion(0, Output::default())]),
        );
        let (bad, _) = tokio::join!(bad, good);
        let CommitResult::Refused { item, code, .. } = bad else {
            panic!("{bad:?}")
        };
        let second = Position {
            topic: 0,
            offset: 1,
        };
        assert_eq!((item, code.as_str()), (ItemId::Record(second), expected));
    }
    assert_eq!(bus.extent("out", 0), Some((0, 0)));
    assert_eq!(bus.state(&scope, 0, &keyed("k"), "total").unwrap(), None);
    assert_eq!(bus.restore(&scope, 0, window()).await.unwrap().unit, 0);
    assert_eq!(bus.restore(&scope, 1, window()).await.unwrap().unit, 1);
}

#[tokio::test]
async fn a_unit_is_committed_only_in_its_turn() {
    let scratch = tempfile::tempdir().unwrap();
    let bus = open(scratch.path());
    bus.ensure_topic("out", 1).unwrap();
    let scope = scope("g", &["out"]);
    let output = Output {
        records: vec![emission("out", "once")],
        ..Output::default()
    };
    let first = unit(1, 1, vec![completion(0, output)]);
    assert_eq!(
        bus.commit(&scope, 0, first.clone()).await,
        CommitResult::Committed
    );
    let is_refused = async |bus: &Embedded, number| {
        let unit = Unit {
            number,
            ..first.clone()
        };
        let answer = bus.commit(&scope, 0, unit).await;
        assert!(
            matches!(answer, CommitResult::Unavailable { .. }),
            "{answer:?}"
        );
    };
    // Of another machine, say: nothing that was not written is called committed.
    is_refused(&bus, 1).await;
    is_refused(&bus, 3).await;
    bus.close();
    let bus = open(scratch.path());
    is_refused(&bus, 1).await;
    assert_eq!(read_all(&bus, "out", 0).await, ["once"]);
}

#[tokio::test]
async fn a_unit_whose_owner_is_gone_lands_before_its_partition_is_restored() {
    let scratch = tempfile::tempdir().unwrap();
    let bus = open(scratch.path());
    bus.ensure_topic("in", 1).unwrap();
    let scope = scope("g", &["in"]);
    let output = |value| Output {
        state: vec![set("total", value)],
        ..Output::default()
    };
    for number in 1..50 {
        // Something to write before it.
        let large = "x".repeat(1 << 20);
        let publish = bus.publish("in", publishes([large.as_str()]));
        let mut publish = std::pin::pin!(publish);
        assert!(futures_util::poll!(&mut publish).is_pending());
        let queued = unit(number, number, vec![completion(0, output("of the old"))]);
        let mut commit = bus.commit(&scope, 0, queued);
        assert!(futures_util::poll!(&mut commit).is_pending());
        drop(commit);
        let restored = bus.restore(&scope, 0, window()).await.unwrap();
        assert_eq!(
            (restored.unit, restored.cursors[0].frontier),
            (number, number)
        );
    }
    let next = unit(50, 50, vec![completion(0, output("of the new"))]);
    assert_eq!(bus.commit(&scope, 0, next).await, CommitResult::Committed);
    assert_eq!(
        bus.state(&scope, 0, &keyed("k"), "total").unwrap(),
        Some(Bytes::from_static(b"of the new"))
    );
}

#[tokio::test]
async fn state_is_removed_replaced_and_expires() {
    let scratch = tempfile::tempdir().unwrap();
    let bus = open(scratch.path());
    bus.ensure_topic("in", 1).unwrap();
    let scope = scope("g", &["in"]);
    let value = |name: &str, value: Option<&'static str>, ttl_ms| StateWrite {
        name: name.to_owned(),
        value: value.map(|value| Bytes::from_static(value.as_bytes())),
        ttl_ms,
    };
    let state = vec![
        value("kept", Some("1"), Some(3_600_000)),
        value("short", Some("1"), Some(0)),
        value("gone", Some("1"), None),
        value("empty", Some(""), None),
    ];
    let again = vec![value("kept", Some("2"), None), value("gone", None, None)];
    let both = vec![
        completion(
            0,
            Output {
                state,
                ..Output::default()
            },
        ),
        completion(
            1,
            Output {
                state: again,
                ..Output::default()
            },
        ),
    ];
    assert_eq!(
        bus.commit(&scope, 0, unit(1, 2, both)).await,
        CommitResult::Committed
    );
    let get = |name| bus.state(&scope, 0, &keyed("k"), name).unwrap();
    assert_eq!(get("kept"), Some(Bytes::from_static(b"2")));
    assert_eq!(get("empty"), Some(Bytes::new()));
    assert_eq!((get("short"), get("gone")), (None, None));
    assert_eq!(
        bus.state_names(&scope, 0, &keyed("k")).unwrap(),
        ["empty", "kept"]
    );
    assert_eq!(
        bus.state(&scope, 1, &keyed("k"), "kept").unwrap(),
        None,
        "state belongs to a partition"
    );
}

#[tokio::test]
async fn expired_inbox_blocks_leave() {
    let scratch = tempfile::tempdir().unwrap();
    let bus = open(scratch.path());
    bus.ensure_topic("in", 1).unwrap();
    let scope = scope("g", &["in"]);
    for number in 1..=3 {
        let mut unit = unit(
            number,
            number,
            vec![completion(number - 1, Output::default())],
        );
        if number == 3 {
            unit.expired_blocks = vec![1];
        }
        assert_eq!(bus.commit(&scope, 0, unit).await, CommitResult::Committed);
    }
    let restored = bus.restore(&scope, 0, window()).await.unwrap();
    let units: Vec<_> = restored.inbox.blocks().map(|block| block.unit).collect();
    assert_eq!(units, [2, 3]);
}

#[tokio::test]
async fn ids_that_are_not_in_memory_are_found_in_the_store() {
    let scratch = tempfile::tempdir().unwrap();
    let bus = open(scratch.path());
    bus.ensure_topic("in", 2).unwrap();
    let scope = scope("g", &["in"]);
    for number in 1..=3 {
        let done = completion(number - 1, Output::default());
        let unit = unit(number, number, vec![done]);
        assert_eq!(bus.commit(&scope, 0, unit).await, CommitResult::Committed);
    }
    let nothing_resident = inbox::Config {
        resident_bytes_max: 0,
        ..window()
    };
    let restored = bus.restore(&scope, 0, nothing_resident).await.unwrap();
    assert_eq!(restored.inbox.blocks().count(), 0);
    let second = Hash128([1; 16]);
    let marked = |partition, units| bus.marked(&scope, partition, second, units).unwrap();
    assert!(marked(0, &[1..=3]).is_some());
    assert!(marked(0, &[1..=1, 2..=2]).is_some());
    assert_eq!(marked(0, &[1..=1, 3..=9]), None);
    assert_eq!(marked(1, &[1..=3]), None);
}
