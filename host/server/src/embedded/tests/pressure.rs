//! A disk that fills up and a queue that is full.

use super::*;

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
