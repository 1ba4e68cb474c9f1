mod copy;
mod crash;
mod damage;
mod pressure;
mod purge;
mod retention;
mod set_aside;
mod subscribing;
mod units;

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
    Output, Position, SequenceKey, Unit,
};

use super::*;
use crate::bus::{
    Assignment, Bus, EnsureTopicError, FetchError, Joining, Membership, ReaderError, Topic,
};
use crate::ledger::{Committed, Fixed, Ledger};

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

fn join(bus: &Embedded, topics: &[&str]) -> Box<dyn Membership> {
    let fixed = Fixed {
        ordering: Ordering::Key,
        across_topics: false,
        inbox: true,
        inbox_key: None,
        mapping: None,
    };
    let joining = Joining {
        scope: &scope("g", topics),
        fixed: &fixed,
        holds_letters: false,
    };
    bus.subscribe(joining).unwrap()
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
        bytes: 0,
        cursors: vec![Cursor {
            frontier,
            completed: Vec::new(),
        }],
        open: Vec::new(),
        heads: Vec::new(),
        lease: Vec::new(),
        marked: Vec::new(),
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
    let (start, end) = bus.extent(topic, partition).unwrap();
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
    assert_eq!(bus.extent("t", 0), Some((0, 3)));
    let before = crate::clock::now();
    let (end, at) = bus.end("t", 0).unwrap();
    assert!(end == 3 && at >= before, "{end} at {at:?}");
    assert_eq!(bus.end("t", 2), None, "there is no such partition");
    assert_eq!(read_all(&bus, "t", 0).await, ["a", "b", "c"]);
    bus.publish("t", publishes(["d"])).await.unwrap();
    assert_eq!(read_all(&bus, "t", 0).await, ["a", "b", "c", "d"]);
}

#[tokio::test]
async fn a_second_open_is_refused() {
    let scratch = tempfile::tempdir().unwrap();
    let _first = open(scratch.path());
    assert!(Embedded::open(scratch.path(), EmbeddedConfig::default()).is_err());
}

#[tokio::test]
async fn a_closed_store_answers_and_ends_memberships() {
    let scratch = tempfile::tempdir().unwrap();
    let bus = open(scratch.path());
    bus.ensure_topic("t", 1).unwrap();
    let mut membership = join(&bus, &["t"]);
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
        Err(ReaderError::UnknownPartition { .. })
    ));
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
                assert_eq!(bus.extent("t", partition), Some((0, expected.len() as u64)));
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
