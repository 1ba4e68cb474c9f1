//! What retention deletes and what it must keep.

use weir_core::dead_letter;
use weir_core::unit::{LetterStatus, Origin};

use super::*;

/// Three batches, each a minute older than the next, all beyond the retention.
async fn with_old_batches(path: &Path, config: EmbeddedConfig) -> Embedded {
    let bus = Embedded::open(
        path,
        EmbeddedConfig {
            disk_reserve: Some(0),
            ..config
        },
    )
    .unwrap();
    bus.ensure_topic("t", 1).unwrap();
    for age in [3, 2, 1] {
        let mut records = publishes(["x", "y"]);
        records
            .iter_mut()
            .for_each(|publish| publish.record.timestamp_ms -= age * 60_000);
        bus.publish("t", records).await.unwrap();
    }
    bus
}

#[tokio::test]
async fn retention_by_age_deletes_whole_old_batches_for_good() {
    let scratch = tempfile::tempdir().unwrap();
    let config = EmbeddedConfig {
        retention_age: Duration::from_secs(90),
        ..EmbeddedConfig::default()
    };
    let bus = with_old_batches(scratch.path(), config.clone()).await;
    bus.sweep_retention().unwrap();
    assert_eq!(bus.extent("t", 0), Some((4, 6)));
    let error = bus.reader("t", 0, 1).unwrap().fetch(100).await.unwrap_err();
    assert!(
        matches!(
            error,
            FetchError::OutOfRange {
                offset: 1,
                first: 4,
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(
        bus.restore(&scope("late", &["t"]), 0, window())
            .await
            .unwrap()
            .cursors[0]
            .frontier,
        4
    );
    bus.close();
    let bus = open(scratch.path());
    assert_eq!(bus.extent("t", 0), Some((4, 6)));
    assert_eq!(read_all(&bus, "t", 0).await, ["x", "y"]);
}

#[tokio::test]
async fn an_emptied_partition_keeps_its_end_over_a_restart() {
    let scratch = tempfile::tempdir().unwrap();
    let config = EmbeddedConfig {
        retention_age: Duration::ZERO,
        ..EmbeddedConfig::default()
    };
    let bus = with_old_batches(scratch.path(), config).await;
    bus.sweep_retention().unwrap();
    bus.close();
    let bus = open(scratch.path());
    assert_eq!(bus.extent("t", 0), Some((6, 6)));
    bus.publish("t", publishes(["z"])).await.unwrap();
    assert_eq!(bus.extent("t", 0), Some((6, 7)));
    assert_eq!(read_all(&bus, "t", 0).await, ["z"]);
}

#[tokio::test]
async fn dead_letters_outlast_other_records() {
    let scratch = tempfile::tempdir().unwrap();
    let config = EmbeddedConfig {
        retention_age: Duration::ZERO,
        retention_bytes_per_partition: Some(0),
        ..EmbeddedConfig::default()
    };
    let bus = Embedded::open(scratch.path(), config).unwrap();
    for topic in ["t", "dlq.g.t"] {
        bus.ensure_topic(topic, 1).unwrap();
        bus.publish(topic, publishes(["x"])).await.unwrap();
    }
    bus.sweep_retention().unwrap();
    assert_eq!(bus.extent("t", 0), Some((1, 1)));
    assert_eq!(bus.extent("dlq.g.t", 0), Some((0, 1)));
}

#[tokio::test]
async fn what_retention_deletes_leaves_the_disk() {
    let scratch = tempfile::tempdir().unwrap();
    let config = EmbeddedConfig {
        retention_age: Duration::ZERO,
        disk_reserve: Some(0),
        ..EmbeddedConfig::default()
    };
    let bus = Embedded::open(scratch.path(), config).unwrap();
    bus.ensure_topic("t", 1).unwrap();
    // Not compressible: the test is about deleted bytes.
    let mut noise = vec![0; 1 << 20];
    for _ in 0..80 {
        getrandom::fill(&mut noise).unwrap();
        let record = Record {
            value: Some(noise.clone().into()),
            ..Record::default()
        };
        bus.publish(
            "t",
            vec![Publish {
                partition_hash: 0,
                record,
            }],
        )
        .await
        .unwrap();
    }
    let log = || {
        bus.disk_usage()
            .families
            .iter()
            .find(|(name, _)| *name == "log")
            .unwrap()
            .1
    };
    assert!(log() >= 80 << 20);
    bus.sweep_retention().unwrap();
    assert!(log() < 10 << 20, "{} bytes are left", log());
}

#[tokio::test]
async fn retention_by_size_keeps_the_newest() {
    let scratch = tempfile::tempdir().unwrap();
    let config = EmbeddedConfig {
        retention_bytes_per_partition: Some(60),
        ..EmbeddedConfig::default()
    };
    let bus = with_old_batches(scratch.path(), config).await;
    assert_eq!(bus.disk_usage().topics[0].1, 3 * 45);
    bus.sweep_retention().unwrap();
    assert_eq!(bus.extent("t", 0), Some((4, 6)));
    assert_eq!(bus.disk_usage().topics[0].1, 45);
}

#[tokio::test]
async fn retention_never_passes_a_deployed_subscription() {
    let scratch = tempfile::tempdir().unwrap();
    let config = EmbeddedConfig {
        retention_age: Duration::ZERO,
        disk_reserve: Some(0),
        ..EmbeddedConfig::default()
    };
    let bus = with_old_batches(scratch.path(), config.clone()).await;
    let scope = scope("g", &["t"]);
    bus.register_subscription(&scope).unwrap();
    bus.sweep_retention().unwrap();
    assert_eq!(bus.extent("t", 0), Some((0, 6)), "it has not started");
    assert_eq!(
        bus.commit(&scope, 0, unit(1, 3, Vec::new())).await,
        CommitResult::Committed
    );
    bus.close();
    let bus = Embedded::open(scratch.path(), config).unwrap();
    bus.sweep_retention().unwrap();
    assert_eq!(
        bus.extent("t", 0),
        Some((2, 6)),
        "the batch with offset 3 is needed, after a restart too"
    );
    bus.release_subscription("g");
    bus.sweep_retention().unwrap();
    assert_eq!(bus.extent("t", 0), Some((6, 6)));
}

/// Commits what became of letter 1, with its record when it died.
async fn letter(bus: &Embedded, number: u64, status: LetterStatus, dead_at: u64, held: bool) {
    let id = Hash128([1; 16]).as_uuid();
    let source = dead_letter::Source {
        group: "g".into(),
        handler: "h".into(),
        version: "1.0.0".into(),
        digest: "".into(),
    };
    let origin = Origin {
        topic: "t".into(),
        partition: 0,
        offset: 0,
    };
    let deceased = dead_letter::Deceased {
        record: &Record::default(),
        origin: &origin,
        letter: id,
        replays: 0,
        held,
        sequence: None,
        traceparent: None,
    };
    let cause = dead_letter::Cause::poison("c".to_owned(), "m".to_owned());
    let topic = Arc::from("dlq.g.t");
    let record = dead_letter::to_record(
        topic,
        usize::MAX,
        &source,
        deceased,
        &cause,
        Millis(dead_at),
    );
    let record = record.unwrap();
    let died = status == LetterStatus::Dead;
    let mut output = Output {
        records: died.then_some(record).into_iter().collect(),
        letter: Some((id, status)),
        ..Output::default()
    };
    let mut unit = unit(number, 0, Vec::new());
    if held {
        output.parking = Some(Box::new(weir_core::unit::Parking {
            join: Some(set_aside::parked(1, "held")),
            ..weir_core::unit::Parking::default()
        }));
        let mut sequence = set_aside::sequence(1);
        sequence.head.letter = Some(id);
        sequence.head.held = true;
        unit.heads = vec![(keyed("k"), Some(sequence))];
    }
    unit.completions = vec![completion(number, output)];
    let result = bus.commit(&scope("g", &["t"]), 0, unit).await;
    assert_eq!(result, CommitResult::Committed);
}

/// After these changes of a letter, each with the time of its death, what a sweep leaves: the status, and how many
/// records.
async fn check_swept(
    changes: &[(LetterStatus, u64)],
    held: bool,
    status: Option<LetterStatus>,
    records: u64,
) {
    let scratch = tempfile::tempdir().unwrap();
    let config = EmbeddedConfig {
        retention_age: Duration::ZERO,
        dead_letter_age: Duration::from_secs(3_600),
        disk_reserve: Some(0),
        ..EmbeddedConfig::default()
    };
    let bus = Embedded::open(scratch.path(), config).unwrap();
    for topic in ["t", "dlq.g.t"] {
        bus.ensure_topic(topic, 1).unwrap();
    }
    for (number, (status, dead_at)) in (1..).zip(changes) {
        letter(&bus, number, *status, *dead_at, held).await;
    }
    bus.sweep_retention().unwrap();
    let id = Hash128([1; 16]).as_uuid();
    let left = bus.letter(&scope("g", &["t"]), 0, id).unwrap();
    assert_eq!(left, status, "{changes:?}");
    let (first, end) = bus.extent("dlq.g.t", 0).unwrap();
    assert_eq!(end - first, records, "{changes:?}");
}

#[tokio::test]
async fn what_became_of_a_letter_is_kept_as_long_as_its_record() {
    use LetterStatus::{Dead, Done, Dropped, Replaying};
    const OLD: u64 = 1_000;
    let new = now().0;
    check_swept(&[(Dead, OLD)], false, None, 0).await;
    check_swept(&[(Dead, OLD), (Dropped, 0)], false, None, 0).await;
    check_swept(&[(Dead, OLD), (Replaying, 0), (Done, 0)], false, None, 0).await;
    check_swept(&[(Dead, new), (Dropped, 0)], false, Some(Dropped), 1).await;
    // The record of an earlier death goes alone.
    check_swept(
        &[(Dead, OLD), (Replaying, 0), (Dead, new)],
        false,
        Some(Dead),
        1,
    )
    .await;
}

#[tokio::test]
async fn a_letter_that_is_held_or_on_its_way_stays() {
    use LetterStatus::{Dead, Replaying};
    check_swept(&[(Dead, 1_000), (Replaying, 0)], false, Some(Replaying), 1).await;
    check_swept(&[(Dead, 1_000)], true, Some(Dead), 1).await;
}
