//! What retention deletes and what it must keep.

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
    bus.sweep_retention();
    assert_eq!(bus.bounds("t", 0), Some((4, 6)));
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
    assert_eq!(bus.bounds("t", 0), Some((4, 6)));
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
    bus.sweep_retention();
    bus.close();
    let bus = open(scratch.path());
    assert_eq!(bus.bounds("t", 0), Some((6, 6)));
    bus.publish("t", publishes(["z"])).await.unwrap();
    assert_eq!(bus.bounds("t", 0), Some((6, 7)));
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
    bus.sweep_retention();
    assert_eq!(bus.bounds("t", 0), Some((1, 1)));
    assert_eq!(bus.bounds("dlq.g.t", 0), Some((0, 1)));
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
    bus.sweep_retention();
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
    bus.sweep_retention();
    assert_eq!(bus.bounds("t", 0), Some((4, 6)));
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
    bus.sweep_retention();
    assert_eq!(bus.bounds("t", 0), Some((0, 6)), "it has not started");
    assert_eq!(
        bus.commit(&scope, 0, unit(1, 3, Vec::new())).await,
        CommitResult::Committed
    );
    bus.close();
    let bus = Embedded::open(scratch.path(), config).unwrap();
    bus.sweep_retention();
    assert_eq!(
        bus.bounds("t", 0),
        Some((2, 6)),
        "the batch with offset 3 is needed, after a restart too"
    );
    bus.release_subscription("g");
    bus.sweep_retention();
    assert_eq!(bus.bounds("t", 0), Some((6, 6)));
}
