//! What a subscription is, and what it reads.

use super::*;

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
    let mut membership = join(&bus, &["b", "a"]);
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
        mapping: None,
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
