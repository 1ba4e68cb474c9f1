//! Who sees what of `/readyz`, `/metrics` and `/v1/status`.

use super::*;
use crate::metrics;

async fn ask(host: &Host, path: &str, token: &str) -> Answer {
    let header = if token.is_empty() {
        String::new()
    } else {
        format!("authorization: Bearer {token}\r\n")
    };
    host.request(&format!("GET {path}"), &header, "").await
}

#[tokio::test]
async fn readiness_has_an_entry_and_a_reason_for_each_subscription() {
    let host = start().await;
    let answer = host.get("/readyz").await;
    assert_eq!(answer.status, 503);
    let json = answer.json();
    assert_eq!(
        (&json["ready"], &json["not_ready"]),
        (&json!(false), &json!(1))
    );
    assert_eq!(
        json["subscriptions"],
        json!([
            { "handler": "count", "tenant": "a", "ready": true, "state": "ready", "reason": null },
            { "handler": "count", "tenant": "b", "ready": false, "state": "starting", "reason": "restoring" },
        ])
    );
}

#[tokio::test]
async fn readiness_names_no_handler_to_whom_it_does_not_belong() {
    let host = start_with(with_tokens()).await;
    for (token, seen) in [
        ("", None),
        ("wrong", None),
        ("secret-of-a", Some(1)),
        ("secret-of-admin", Some(2)),
    ] {
        let answer = ask(&host, "/readyz", token).await;
        assert_eq!(answer.status, 503, "{token}");
        let json = answer.json();
        assert_eq!(json["not_ready"], 1);
        assert_eq!(
            json["subscriptions"].as_array().map(Vec::len),
            seen,
            "{token}"
        );
    }
}

#[tokio::test]
async fn a_token_shows_its_tenant_and_an_admins_shows_all() {
    let host = start_with(with_tokens()).await;
    for (token, handlers) in [
        ("secret-of-a", json!(["a"])),
        ("secret-of-admin", json!(["a", "b"])),
    ] {
        let answer = ask(&host, "/v1/status", token).await;
        assert_eq!(answer.json()["handlers"], handlers);
        let answer = ask(&host, "/metrics", token).await;
        let series = metrics::tests::parse(&answer.body);
        let seen = series.keys().filter(|name| name.contains("weir_lag"));
        assert_eq!(Some(seen.count()), handlers.as_array().map(Vec::len));
        let whole = series.contains_key("weir_ingress_accepted_events_total");
        assert_eq!(whole, token == "secret-of-admin");
    }
}

#[tokio::test]
async fn metrics_need_a_token_where_there_are_tokens_unless_they_are_open() {
    let host = start_with(with_tokens()).await;
    assert_eq!(host.get("/metrics").await.status, 401);
    let open = HttpConfig {
        open_metrics: true,
        ..with_tokens()
    };
    let host = start_with(open).await;
    let answer = host.get("/metrics").await;
    assert_eq!(answer.status, 200);
    let series = metrics::tests::parse(&answer.body);
    assert_eq!(series["weir_lag_records{tenant=\"b\"}"], 1.0);
}

#[tokio::test]
async fn what_is_taken_and_what_is_refused_is_counted() {
    let host = start().await;
    let batch = format!("[{EVENT},{}]", EVENT.replace("\"1\"", "\"2\""));
    assert_eq!(host.post(BATCHED, &batch).await.status, 202);
    assert_eq!(host.post(STRUCTURED, EVENT).await.status, 202);
    for _ in 0..2 {
        assert_eq!(host.post(STRUCTURED, "{").await.status, 400);
    }
    assert_eq!(host.get("/nowhere").await.status, 404);
    let answer = host.get("/metrics").await;
    assert_eq!(answer.header("content-type"), Some(metrics::CONTENT_TYPE));
    let series = metrics::tests::parse(&answer.body);
    assert_eq!(series["weir_ingress_accepted_events_total"], 3.0);
    let refused =
        |reason: &str| series[&format!("weir_http_refused_requests_total{{reason=\"{reason}\"}}")];
    assert_eq!(
        (refused("invalid-event"), refused("unknown-path")),
        (2.0, 1.0)
    );
}
