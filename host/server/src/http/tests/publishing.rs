//! Events in: what is taken, what is refused and with which status.

use super::*;

#[tokio::test]
async fn events_are_taken_in_each_mode_and_counted() {
    let host = start().await;
    let binary = "ce-specversion: 1.0\r\nce-id: 2\r\nce-source: /shop\r\nce-type: Sold\r\ncontent-type: text/plain\r\n";
    let answers = [
        host.post(STRUCTURED, EVENT).await,
        host.post(
            "application/cloudevents-batch+json; charset=UTF-8",
            &format!("[{EVENT},{EVENT}]"),
        )
        .await,
        host.request(&format!("POST {EVENTS}"), binary, "hi").await,
        host.post(BATCHED, "[]").await,
        host.request(
            "POST /v1/topics/public.orders.v1/events",
            &format!("content-type: {STRUCTURED}\r\n"),
            EVENT,
        )
        .await,
    ];
    for (answer, accepted) in answers.iter().zip([1, 2, 1, 0, 1]) {
        assert_eq!(answer.status, 202, "{answer:?}");
        assert_eq!(answer.json(), json!({ "accepted": accepted }));
    }
    assert_eq!(host.records().len(), 5);
}

#[tokio::test]
async fn the_key_is_partitionkey_else_subject_else_none() {
    let host = start().await;
    let event = |id: &str, more: &str| {
        format!(r#"{{"specversion":"1.0","id":"{id}","source":"/","type":"t"{more}}}"#)
    };
    let both = event("1", r#","partitionkey":"p","subject":"s""#);
    let batch = format!(
        "[{both},{},{}]",
        event("2", r#","subject":"s""#),
        event("3", "")
    );
    assert_eq!(host.post(BATCHED, &batch).await.status, 202);
    let mut keys: Vec<_> = host
        .records()
        .into_iter()
        .map(|record| record.key)
        .collect();
    keys.sort();
    assert_eq!(keys, [None, Some(Bytes::from("p")), Some(Bytes::from("s"))]);

    // Without a key the identity places a record, so that a repeat lands where the first one is.
    assert_eq!(host.post(STRUCTURED, &event("3", "")).await.status, 202);
    let keyless =
        |records: &Vec<Record>| records.iter().filter(|record| record.key.is_none()).count();
    assert!(
        host.bus
            .records()
            .iter()
            .any(|partition| keyless(partition) == 2)
    );
}

#[tokio::test]
async fn a_batch_with_one_bad_event_is_refused_whole() {
    let host = start().await;
    let answer = host.post(BATCHED, &format!("[{EVENT},{{}},{EVENT}]")).await;
    assert_eq!(answer.status, 400);
    assert_eq!(
        answer.header("content-type"),
        Some("application/problem+json")
    );
    let problem = answer.json();
    assert_eq!(problem["status"], 400);
    assert_eq!(problem["errors"][0]["index"], 1);
    assert_eq!(
        problem["errors"][0]["detail"],
        "attribute \"specversion\" is missing or empty"
    );
    assert!(host.records().is_empty());
}

#[tokio::test]
async fn each_refusal_has_its_status() {
    let host = start().await;
    let post = format!("POST {EVENTS}");
    let large = EVENT.replace("\"n\":1", &format!("\"n\":\"{}\"", "x".repeat(1_000)));
    let cases = [
        (host.post(STRUCTURED, "{").await, 400),
        (host.post(STRUCTURED, &large).await, 413),
        (host.post(STRUCTURED, &" ".repeat(4_001)).await, 413),
        (
            host.post(BATCHED, &format!("[{EVENT},{EVENT},{EVENT},{EVENT}]"))
                .await,
            413,
        ),
        (host.post("application/json", EVENT).await, 415),
        (host.post("application/cloudevents+avro", EVENT).await, 415),
        (
            host.post("application/cloudevents+json; charset=latin1", EVENT)
                .await,
            415,
        ),
        (host.request(&post, "", EVENT).await, 415),
        (
            host.request(
                &post,
                &format!("content-type: {STRUCTURED}\r\ncontent-encoding: gzip\r\n"),
                EVENT,
            )
            .await,
            415,
        ),
        (host.request(&format!("DELETE {EVENTS}"), "", "").await, 405),
        (host.request("POST /livez", "", "").await, 405),
        (host.get("/").await, 404),
        (host.get("/v1/topics/%ff/events").await, 400),
        (host.get("/v1/topics/none/events").await, 404),
        (host.get(&format!("{EVENTS}?from=middle")).await, 400),
        (host.get(&format!("{EVENTS}?from=1")).await, 400),
        (host.get(&format!("{EVENTS}?from=1&partition=0")).await, 400),
        (host.get(&format!("{EVENTS}?partition=4")).await, 400),
        (host.get(&format!("{EVENTS}?sort=up")).await, 400),
    ];
    for (answer, status) in cases {
        assert_eq!(answer.status, status, "{answer:?}");
        assert_eq!(answer.json()["status"], status, "{answer:?}");
        assert_eq!(
            answer.header("content-type"),
            Some("application/problem+json"),
            "{answer:?}"
        );
    }
    assert!(host.records().is_empty());
}

#[tokio::test]
async fn an_unknown_topic_is_answered_with_the_nearest_names() {
    let host = start().await;
    let content_type = format!("content-type: {STRUCTURED}\r\n");
    let answer = host
        .request(
            "POST /v1/topics/public.order.v1/events",
            &content_type,
            EVENT,
        )
        .await;
    assert_eq!(answer.status, 404);
    assert_eq!(answer.json()["nearest"], json!([TOPIC]));
    let answer = host
        .request("POST /v1/topics/zzz/events", &content_type, EVENT)
        .await;
    assert_eq!(answer.json()["nearest"], Value::Null);
}

#[tokio::test]
async fn pressure_is_answered_with_a_time_to_try_again() {
    let host = start_with(HttpConfig {
        request_timeout: Duration::from_millis(50),
        ..config()
    })
    .await;
    for (mood, status) in [(Mood::Busy, 429), (Mood::Stopped, 503), (Mood::Silent, 503)] {
        host.bus.set_mood(mood);
        let answer = host.post(STRUCTURED, EVENT).await;
        assert_eq!(answer.status, status, "{mood:?}");
        assert!(
            answer
                .header("retry-after")
                .unwrap()
                .parse::<u32>()
                .unwrap()
                > 0
        );
    }
}

#[tokio::test]
async fn what_only_the_host_says_is_refused_and_a_count_of_hops_may_come_back() {
    let host = start().await;
    let with = |name: &str| EVENT.replacen('{', &format!("{{\"{name}\":\"1\","), 1);
    let timer = EVENT.replace("\"Sold\"", "\"weir.timer.v1\"");
    for forged in [with("weirtimer"), with("weirx"), timer] {
        let answer = host.post(STRUCTURED, &forged).await;
        assert_eq!(answer.status, 400, "{answer:?}");
        assert!(answer.body.contains("host"), "{answer:?}");
    }
    assert_eq!(host.post(STRUCTURED, &with("weirhops")).await.status, 202);
}

#[tokio::test]
async fn a_topic_that_is_not_known_while_the_cluster_is_away_is_not_unknown() {
    let host = start().await;
    host.bus.set_mood(Mood::Away);
    let path = EVENTS.replace(TOPIC, "public.others.v1");
    let answer = host.get(&path).await;
    assert_eq!(answer.status, 503, "{answer:?}");
    host.bus.set_mood(Mood::Takes);
    assert_eq!(host.get(&path).await.status, 404);
}
