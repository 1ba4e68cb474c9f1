mod crash;
mod damage;
mod purge;
mod retention;
mod set_aside;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use weir_core::event::{Record, StateWrite};
use weir_core::identity::Hash128;
use weir_core::inbox;
use weir_core::partition::Ordering;
use weir_core::time::Millis;
use weir_core::unit::{
    Active, Attempts, CommitResult, Completion, Cursor, Fate, ItemId, OpenAttempts, OutRecord,
    Output, SequenceKey, Unit,
};

use super::*;
use crate::bus::{Assignment, FetchError};
use crate::ledger::{Fixed, Ledger};

fn open(path: &Path) -> Embedded {
    // No reserve: tests run on disks that are nearly full too.
    let config = EmbeddedConfig {
        disk_reserve: Some(0),
        ..EmbeddedConfig::default()
    };
    Embedded::open(path, config).unwrap()
}

fn record(value: &str) -> Record {
    Record {
        value: Some(Bytes::copy_from_slice(value.as_bytes())),
        timestamp_ms: now().0,
        ..Record::default()
    }
}

fn window() -> inbox::Config {
    inbox::Config::default()
}

fn publishes<'a>(values: impl IntoIterator<Item = &'a str>) -> Vec<Publish> {
    values
        .into_iter()
        .map(|value| Publish {
            partition_hash: 0,
            record: record(value),
        })
        .collect()
}

fn scope(group: &str, topics: &[&str]) -> Scope {
    Scope {
        group: group.into(),
        topics: topics.iter().map(|topic| Arc::from(*topic)).collect(),
    }
}

fn keyed(key: &'static str) -> SequenceKey {
    SequenceKey::Keyed {
        tenant: "default".into(),
        key: Bytes::from_static(key.as_bytes()),
    }
}

fn completion(offset: u64, output: Output) -> Arc<Completion> {
    Arc::new(Completion {
        item: ItemId::Record(Position { topic: 0, offset }),
        sequence: keyed("k"),
        fate: Fate::Handled,
        mark: Some(Hash128([u8::try_from(offset % 256).unwrap(); 16])),
        output,
    })
}

fn unit(number: u64, frontier: u64, completions: Vec<Arc<Completion>>) -> Unit {
    Unit {
        number,
        epoch: 1,
        completions,
        cursors: vec![Cursor {
            frontier,
            completed: Vec::new(),
        }],
        open: Vec::new(),
        heads: Vec::new(),
        lease: Vec::new(),
        alone: None,
        active: Active(0),
        next_parked: 0,
        stream_time: Millis(number),
        staged_at: now(),
        expired_blocks: Vec::new(),
    }
}

fn emission(topic: &str, value: &str) -> OutRecord {
    OutRecord {
        topic: topic.into(),
        partition: None,
        partition_hash: 0,
        record: record(value),
    }
}

fn set(name: &str, value: &'static str) -> StateWrite {
    StateWrite {
        name: name.to_owned(),
        value: Some(Bytes::from_static(value.as_bytes())),
        ttl_ms: None,
    }
}

/// Everything that a partition holds.
async fn read_all(bus: &Embedded, topic: &str, partition: u32) -> Vec<String> {
    let (start, end) = bus.bounds(topic, partition).unwrap();
    let mut reader = bus.reader(topic, partition, start).unwrap();
    let mut values = Vec::new();
    while start + (values.len() as u64) < end {
        for (position, record) in reader.fetch(1 << 20).await.unwrap() {
            assert_eq!(position.offset, start + values.len() as u64);
            values.push(String::from_utf8(record.value.unwrap().to_vec()).unwrap());
        }
    }
    values
}

#[tokio::test]
async fn records_come_back_in_order_after_a_restart() {
    let scratch = tempfile::tempdir().unwrap();
    let bus = open(scratch.path());
    bus.ensure_topic("t", 2).unwrap();
    bus.publish("t", publishes(["a", "b"])).await.unwrap();
    bus.publish("t", publishes(["c"])).await.unwrap();
    bus.close();
    let bus = open(scratch.path());
    assert_eq!(
        bus.topics(),
        [Topic {
            name: "t".into(),
            partitions: 2
        }]
    );
    assert_eq!(bus.bounds("t", 0), Some((0, 3)));
    assert_eq!(read_all(&bus, "t", 0).await, ["a", "b", "c"]);
    bus.publish("t", publishes(["d"])).await.unwrap();
    assert_eq!(read_all(&bus, "t", 0).await, ["a", "b", "c", "d"]);
}

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
    assert_eq!(bus.bounds("out", 0), Some((0, 0)));
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
        resident_max: 0,
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

#[tokio::test]
async fn a_second_open_is_refused() {
    let scratch = tempfile::tempdir().unwrap();
    let _first = open(scratch.path());
    assert!(Embedded::open(scratch.path(), EmbeddedConfig::default()).is_err());
}

#[test]
fn a_full_disk_is_not_answered_with_a_backup() {
    let full = "IO error: No space left on device: While appending to file: /data/000012.log";
    assert!(remedy(full).contains("free space and start again"));
    assert_eq!(remedy("Corruption: block checksum mismatch"), DAMAGED);
}

#[tokio::test]
async fn commits_leave_the_last_of_the_disk_to_the_store() {
    let scratch = tempfile::tempdir().unwrap();
    let config = EmbeddedConfig {
        disk_reserve: Some(u64::MAX),
        ..EmbeddedConfig::default()
    };
    let bus = Embedded::open(scratch.path(), config).unwrap();
    bus.ensure_topic("in", 1).unwrap();
    let refused = bus
        .commit(&scope("g", &["in"]), 0, unit(1, 0, Vec::new()))
        .await;
    assert!(
        matches!(&refused, CommitResult::Unavailable { message } if message.contains("free space")),
        "{refused:?}"
    );
    drop(bus);
    // The unit is surely absent, and goes in when there is room.
    let committed = open(scratch.path())
        .commit(&scope("g", &["in"]), 0, unit(1, 0, Vec::new()))
        .await;
    assert_eq!(committed, CommitResult::Committed);
}

#[tokio::test]
async fn a_nearly_full_disk_stops_intake_and_not_commits() {
    let scratch = tempfile::tempdir().unwrap();
    let disk = rustix::fs::statvfs(scratch.path()).unwrap();
    let config = EmbeddedConfig {
        disk_reserve: Some(disk.f_bavail * disk.f_frsize * 2),
        ..EmbeddedConfig::default()
    };
    let bus = Embedded::open(scratch.path(), config).unwrap();
    bus.ensure_topic("in", 1).unwrap();
    let message = bus
        .publish("in", publishes(["a"]))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("MiB free") && message.contains("free space"),
        "{message}"
    );
    let committed = bus
        .commit(&scope("g", &["in"]), 0, unit(1, 0, Vec::new()))
        .await;
    assert_eq!(committed, CommitResult::Committed);
}

#[tokio::test]
async fn intake_beyond_the_queue_is_turned_away_while_units_wait() {
    let scratch = tempfile::tempdir().unwrap();
    let config = EmbeddedConfig {
        disk_reserve: Some(0),
        queue_bytes_max: 1000,
        ..EmbeddedConfig::default()
    };
    let bus = Embedded::open(scratch.path(), config).unwrap();
    bus.ensure_topic("t", 1).unwrap();
    let scope = scope("g", &["t"]);
    let large = "x".repeat(2000);
    let room = bus.inner.committer.hold_all_room().await;
    assert!(matches!(
        bus.publish("t", publishes([large.as_str()])).await,
        Err(PublishError::Busy)
    ));
    let commit = bus.commit(&scope, 0, unit(1, 0, Vec::new()));
    let mut commit = std::pin::pin!(commit);
    assert!(futures_util::poll!(&mut commit).is_pending());
    drop(room);
    assert_eq!(commit.await, CommitResult::Committed);
    bus.publish("t", publishes([large.as_str()])).await.unwrap();
}

#[tokio::test]
async fn a_closed_store_answers_and_ends_memberships() {
    let scratch = tempfile::tempdir().unwrap();
    let bus = open(scratch.path());
    bus.ensure_topic("t", 1).unwrap();
    let mut membership = bus.subscribe("g", &["t".into()]).unwrap();
    assert!(matches!(
        membership.next().await,
        Some(Assignment::Assigned {
            partition: 0,
            epoch: 1,
            ..
        })
    ));
    bus.clone().close();
    assert!(membership.next().await.is_none());
    assert!(matches!(
        bus.publish("t", publishes(["a"])).await,
        Err(PublishError::Stopped(_))
    ));
    let result = bus
        .commit(&scope("g", &["t"]), 0, unit(1, 0, Vec::new()))
        .await;
    assert!(
        matches!(result, CommitResult::Unavailable { .. }),
        "{result:?}"
    );
}

#[tokio::test]
async fn a_reader_waits_at_the_end_and_a_dropped_fetch_loses_nothing() {
    let scratch = tempfile::tempdir().unwrap();
    let bus = open(scratch.path());
    bus.ensure_topic("t", 1).unwrap();
    let mut reader = bus.reader("t", 0, 0).unwrap();
    assert!(futures_util::poll!(reader.fetch(1000)).is_pending());
    bus.publish("t", publishes(["a", "b"])).await.unwrap();
    let fetched = reader.fetch(1).await.unwrap();
    assert_eq!(
        fetched.len(),
        1,
        "a budget of one byte still gives one record"
    );
    assert_eq!(reader.fetch(1000).await.unwrap()[0].0.offset, 1);
    assert!(futures_util::poll!(reader.fetch(1000)).is_pending());
    reader.seek(Position {
        topic: 0,
        offset: 1,
    });
    assert_eq!(reader.fetch(1000).await.unwrap()[0].0.offset, 1);
    reader.seek(Position {
        topic: 0,
        offset: 3,
    });
    let error = reader.fetch(1000).await.unwrap_err();
    assert!(
        matches!(error, FetchError::OutOfRange { offset: 3, .. }),
        "beyond the end: {error}"
    );
}

#[tokio::test]
async fn a_subscription_reads_all_its_topics_by_their_index() {
    let scratch = tempfile::tempdir().unwrap();
    let bus = open(scratch.path());
    bus.ensure_topic("a", 1).unwrap();
    bus.ensure_topic("b", 2).unwrap();
    bus.publish("a", publishes(["a0"])).await.unwrap();
    bus.publish("b", publishes(["b0"])).await.unwrap();
    let mut membership = bus.subscribe("g", &["b".into(), "a".into()]).unwrap();
    let Some(Assignment::Assigned {
        partition: 0,
        mut reader,
        ..
    }) = membership.next().await
    else {
        panic!()
    };
    let mut seen: Vec<_> = reader
        .fetch(1000)
        .await
        .unwrap()
        .into_iter()
        .map(|(p, r)| (p.topic, r.value))
        .collect();
    seen.sort();
    assert_eq!(
        seen,
        [
            (0, Some(Bytes::from_static(b"b0"))),
            (1, Some(Bytes::from_static(b"a0")))
        ]
    );
    let Some(Assignment::Assigned { partition: 1, .. }) = membership.next().await else {
        panic!()
    };
    assert!(futures_util::poll!(membership.next()).is_pending());
}

#[tokio::test]
async fn topics_are_checked_and_their_partitions_fixed() {
    let scratch = tempfile::tempdir().unwrap();
    let bus = open(scratch.path());
    bus.ensure_topic("t", 2).unwrap();
    bus.ensure_topic("t", 2).unwrap();
    let error = bus.ensure_topic("t", 3).unwrap_err().to_string();
    assert!(
        error.contains("has 2 partitions, 3 are asked for"),
        "{error}"
    );
    for (name, partitions) in [("", 1), ("a b", 1), ("..", 1), ("ok", 0), ("ok", 1025)] {
        assert!(
            matches!(
                bus.ensure_topic(name, partitions),
                Err(EnsureTopicError::Invalid(_))
            ),
            "{name} {partitions}"
        );
    }
    let unknown = bus.publish("x", publishes(["a"])).await;
    assert!(matches!(unknown, Err(PublishError::UnknownTopic(_))));
    assert!(matches!(
        bus.reader("t", 2, 0),
        Err(SubscribeError::UnknownPartition { .. })
    ));
}

#[test]
fn what_is_fixed_for_a_subscription_is_what_it_first_was() {
    let scratch = tempfile::tempdir().unwrap();
    let bus = open(scratch.path());
    let scope = scope("g", &["a"]);
    let fixed = |ordering, inbox| Fixed {
        ordering,
        across_topics: inbox,
        inbox,
        inbox_key: inbox.then(|| "orderid".into()),
    };
    bus.register_subscription(&scope).unwrap();
    let first = fixed(Ordering::Partition, true);
    let other = fixed(Ordering::None, false);
    assert_eq!(bus.fix(&scope, first.clone()).unwrap(), first);
    assert_eq!(bus.fix(&scope, other.clone()).unwrap(), first);
    bus.close();
    let bus = open(scratch.path());
    assert_eq!(bus.fix(&scope, other).unwrap(), first);
}

#[tokio::test]
async fn a_subscription_with_other_topics_is_refused() {
    let scratch = tempfile::tempdir().unwrap();
    let bus = open(scratch.path());
    bus.register_subscription(&scope("g", &["a"])).unwrap();
    let error = bus
        .restore(&scope("g", &["b"]), 0, window())
        .await
        .unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(
        source.contains("topics and their order are fixed"),
        "{source}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Against a naive model: a list of records per partition.
    #[test]
    fn appends_and_fetches_agree_with_a_list_per_partition(
        calls in vec(vec((0..7_u32, batch::tests::any_record()), 0..20), 1..8),
        reopen_after in 0..8_usize,
        fetch_bytes in 1..2000_usize,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let scratch = tempfile::tempdir().unwrap();
        runtime.block_on(async {
            let mut bus = open(scratch.path());
            bus.ensure_topic("t", 3).unwrap();
            let mut model: [Vec<Record>; 3] = Default::default();
            for (index, call) in calls.into_iter().enumerate() {
                for (hash, record) in &call {
                    model[(hash % 3) as usize].push(record.clone());
                }
                let records = call.into_iter().map(|(partition_hash, record)| Publish { partition_hash, record });
                bus.publish("t", records.collect()).await.unwrap();
                if index == reopen_after {
                    bus.close();
                    bus = open(scratch.path());
                }
            }
            for (partition, expected) in (0..).zip(&model) {
                assert_eq!(bus.bounds("t", partition), Some((0, expected.len() as u64)));
                let mut reader = bus.reader("t", partition, 0).unwrap();
                let mut found = Vec::new();
                while found.len() < expected.len() {
                    for (position, record) in reader.fetch(fetch_bytes).await.unwrap() {
                        assert_eq!(position.offset, found.len() as u64);
                        found.push(record);
                    }
                }
                assert_eq!(&found, expected);
            }
        });
    }
}
