//! Events out.

use super::*;

/// The lines of an answer without their framing.
fn lines(answer: &Answer) -> Vec<Value> {
    answer
        .body
        .lines()
        .filter(|line| line.starts_with('{'))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[tokio::test]
async fn a_tail_shows_events_and_what_is_none() {
    let host = start().await;
    assert_eq!(host.post(STRUCTURED, EVENT).await.status, 202);
    let partition = host
        .bus
        .records()
        .iter()
        .position(|records| !records.is_empty())
        .unwrap();
    let foreign = Record {
        key: Some(Bytes::from_static(b"\xff")),
        value: Some(Bytes::from_static(b"hi")),
        headers: vec![("h".into(), Some(Bytes::from_static(b"v")))],
        timestamp_ms: 0,
    };
    host.bus.append(partition, foreign);
    let shown = lines(&host.get(EVENTS).await);
    assert_eq!(shown.len(), 2);
    assert_eq!(shown[0]["event"]["data"], json!({ "n": 1 }));
    assert_eq!(shown[0]["key"], "c7");
    assert_eq!(shown[0]["topic"], TOPIC);
    assert_eq!(shown[0]["headers"], Value::Null);
    let expected = json!({
        "topic": TOPIC, "partition": partition, "offset": 1, "timestamp": "1970-01-01T00:00:00.000Z",
        "key_base64": "/w==", "value_base64": "aGk=", "headers": [{ "name": "h", "value": "v" }],
    });
    assert_eq!(shown[1], expected);

    let from = async |query: &str| lines(&host.get(&format!("{EVENTS}?{query}")).await).len();
    assert_eq!(from("from=end").await, 0);
    assert_eq!(from("limit=1").await, 1);
    assert_eq!(from("limit=0").await, 0);
    assert_eq!(from(&format!("partition={partition}&from=1")).await, 1);
    assert_eq!(from(&format!("partition={}", (partition + 1) % 4)).await, 0);
}

#[tokio::test]
async fn a_tail_that_follows_gets_what_comes_and_stops_when_its_client_leaves() {
    let host = start().await;
    let mut tail = follow(&host).await;
    assert_eq!(host.bus.readers(), 4);
    assert_eq!(host.post(STRUCTURED, EVENT).await.status, 202);
    let mut line = String::new();
    while !line.starts_with('{') {
        line.clear();
        timeout(PATIENCE, tail.read_line(&mut line))
            .await
            .expect("the event comes")
            .unwrap();
    }
    assert!(line.contains("\"id\":\"1\""), "{line}");
    drop(tail);
    let gone = async {
        while host.bus.readers() > 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, gone)
        .await
        .expect("the readers are dropped");
}

#[tokio::test]
async fn a_tail_of_a_cluster_that_does_not_answer_is_to_be_tried_again() {
    let host = start().await;
    host.bus.set_mood(Mood::Away);
    let answer = host.get(EVENTS).await;
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(answer.header("retry-after").is_some(), "{answer:?}");
    let problem = answer.json();
    assert_eq!(problem["type"], "urn:weir:problem:cluster");
    let detail = problem["detail"].as_str().unwrap();
    assert!(
        detail.contains(&format!("{TOPIC:?} partition 0")),
        "{detail}"
    );
}

#[tokio::test]
async fn no_more_is_read_at_a_time_than_a_host_has_room_for() {
    let partitions = 100;
    let host = start_on(MemoryBus::new(TOPIC, partitions), config()).await;
    let first = follow(&host).await;
    let _second = follow(&host).await;
    let answer = host.get(EVENTS).await;
    assert_eq!(answer.status, 200, "nothing is there to be read");
    let answer = host.get(&format!("{EVENTS}?follow=true")).await;
    assert_eq!(answer.status, 429, "{answer:?}");
    let detail = answer.json()["detail"].to_string();
    assert!(
        detail.contains("256 partitions are read at a time"),
        "{detail}"
    );
    drop(first);
    timeout(PATIENCE, async {
        while host.bus.readers() > partitions {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the first is gone");
    drop(follow(&host).await);
}

#[tokio::test]
async fn what_is_internal_is_shown_to_nobody_by_whatever_name_it_is_asked_for() {
    let host = start_on(MemoryBus::new("_weir.dev.control", 1), config()).await;
    for name in [
        "_weir.dev.control",
        "=_weir.dev.control",
        "%5Fweir.dev.control",
    ] {
        let answer = host.get(&format!("/v1/topics/{name}/events")).await;
        assert_eq!(answer.status, 403, "{answer:?}");
        assert_eq!(answer.json()["type"], "urn:weir:problem:own-topic");
    }
}
