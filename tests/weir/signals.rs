//! What an operator and Prometheus see of a running host, with figures that follow from what was published.

use serde_json::json;
use weir_tests::purchases::INVOICES;

use crate::fixture::{SETTLE, Scratch, invoice};

#[test]
fn metrics_readiness_and_status_say_exactly_what_happened() {
    let (scratch, host) = Scratch::with_purchases();
    let client = host.client();
    let batch = [
        invoice("a", "1", "1.00"),
        invoice("b", "2", "2.00"),
        invoice("bad", "1", "a lot"),
        invoice("a", "1", "1.00"),
    ];
    assert_eq!(client.publish(INVOICES, &batch).unwrap().status, 202);
    assert_eq!(client.publish("none.v1", &batch).unwrap().status, 404);
    client.settle(SETTLE).unwrap();

    let page = client.get("/metrics").unwrap();
    assert!(page.content_type.starts_with("text/plain; version=0.0.4"));
    let billing = "tenant=\"default\",handler=\"billing\"";
    for line in [
        format!("weir_events_total{{{billing},fate=\"handled\"}} 2"),
        format!("weir_events_total{{{billing},fate=\"duplicate\"}} 1"),
        format!("weir_events_total{{{billing},fate=\"dead\"}} 1"),
        format!("weir_attempts_total{{{billing}}} 3"),
        format!("weir_attempt_failures_total{{{billing},kind=\"permanent\"}} 1"),
        format!("weir_attempt_failures_total{{{billing},kind=\"transient\"}} 0"),
        format!("weir_later_events_total{{{billing},fate=\"handled\"}} 0"),
        format!("weir_parked_sequences{{{billing}}} 0"),
        format!("weir_breaker_state{{{billing},state=\"closed\"}} 1"),
        format!("weir_paused{{{billing}}} 0"),
        format!("weir_open_events{{{billing}}} 0"),
        format!("weir_open_span_positions{{{billing}}} 0"),
        format!("weir_inbox_ids{{{billing}}} 3"),
        format!("weir_subscription_state{{{billing},state=\"ready\"}} 1"),
        format!("weir_lag_records{{{billing},topic=\"{INVOICES}\"}} 0"),
        format!("weir_topic_records{{topic=\"{INVOICES}\"}} 4"),
        "weir_ingress_accepted_events_total 4".to_owned(),
        "weir_http_refused_requests_total{reason=\"unknown-topic\"} 1".to_owned(),
        "weir_ready 1".to_owned(),
    ] {
        assert!(
            page.body.lines().any(|found| found == line),
            "{line:?} is not in:\n{}",
            page.body
        );
    }
    assert!(!page.body.contains("weir_alarm{"), "{}", page.body);

    let ready = client.get("/readyz").unwrap();
    assert_eq!(ready.status, 200);
    let subscriptions = &ready.json().unwrap()["subscriptions"];
    assert_eq!(subscriptions.as_array().map(Vec::len), Some(2));
    assert_eq!(subscriptions[0]["state"], "ready");

    let status = client.status().unwrap();
    assert_eq!(status["alarms"], json!([]));
    assert!(status["store"]["bytes"]["log"].as_u64().unwrap() > 0);
    let url = client.url();
    let shown = scratch
        .place
        .weir(&["status", "--url", &url])
        .output()
        .unwrap();
    assert_eq!(shown.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&shown.stdout).contains("GiB free"));
}
