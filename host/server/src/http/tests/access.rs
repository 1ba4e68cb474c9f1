//! Who may call: names of the host, web pages, tokens and tenants.

use super::*;

#[tokio::test]
async fn a_name_that_is_not_configured_is_misdirected() {
    let host = start().await;
    let hosts = [
        ("host: localhost\r\n", 200),
        ("host: LOCALHOST:1\r\n", 200),
        ("host: [::1]:8080\r\n", 200),
        ("host: evil.example\r\n", 421),
        ("host: localhost.evil.example:8080\r\n", 421),
        ("host: evil@localhost.evil\r\n", 421),
        ("host: a b\r\n", 400),
        ("host: localhost\r\nhost: localhost\r\n", 400),
        ("", 400),
    ];
    for (header, status) in hosts {
        let answer = host
            .raw(format!("GET /livez HTTP/1.1\r\nconnection: close\r\n{header}\r\n").as_bytes())
            .await;
        assert_eq!(answer.status, status, "{header:?}");
    }
    let absolute =
        "GET http://evil.example/livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    assert_eq!(host.raw(absolute.as_bytes()).await.status, 421);
}

#[tokio::test]
async fn no_preflight_succeeds_and_no_answer_has_a_cors_header() {
    let host = start().await;
    let origin = "origin: http://evil.example\r\naccess-control-request-method: POST\r\n";
    for line in [
        format!("OPTIONS {EVENTS}"),
        "OPTIONS /v1/status".to_owned(),
        "GET /v1/topics".to_owned(),
    ] {
        let answer = host.request(&line, origin, "").await;
        assert_eq!(
            answer.status,
            if line.starts_with("OPTIONS") {
                405
            } else {
                200
            },
            "{line}"
        );
        assert!(
            !answer.head.to_ascii_lowercase().contains("access-control"),
            "{answer:?}"
        );
    }
}

#[tokio::test]
async fn a_token_is_needed_where_tokens_are_configured() {
    let host = start_with(with_tokens()).await;
    let cases = [
        ("", 401),
        ("authorization: Basic secret-of-a\r\n", 401),
        ("authorization: Bearer secret-of-\r\n", 401),
        ("authorization: Bearer secret-of-aa\r\n", 401),
        ("authorization: bearer secret-of-b\r\n", 200),
    ];
    for (header, status) in cases {
        let answer = host.request("GET /v1/status", header, "").await;
        assert_eq!(answer.status, status, "{header:?}");
        assert_eq!(answer.header("www-authenticate").is_some(), status == 401);
    }
    assert_eq!(host.get("/livez").await.status, 200);
}

#[tokio::test]
async fn a_tenant_brings_and_sees_its_own_events_only() {
    let host = start_with(with_tokens()).await;
    let post = async |token: &str, event: &str| {
        let headers = format!("authorization: Bearer {token}\r\ncontent-type: {STRUCTURED}\r\n");
        host.request(&format!("POST {EVENTS}"), &headers, event)
            .await
            .status
    };
    let named = |tenant: &str| EVENT.replacen('{', &format!("{{\"tenantid\":\"{tenant}\","), 1);
    assert_eq!(post("secret-of-a", EVENT).await, 202);
    assert_eq!(post("secret-of-b", &named("b")).await, 202);
    assert_eq!(post("secret-of-b", &named("a")).await, 403);
    assert_eq!(host.records().len(), 2);

    let answer = host
        .request(
            &format!("GET {EVENTS}"),
            "authorization: Bearer secret-of-a\r\n",
            "",
        )
        .await;
    assert_eq!(
        answer.body.matches("\"tenantid\":\"a\"").count(),
        1,
        "{answer:?}"
    );
    assert!(!answer.body.contains("\"tenantid\":\"b\""), "{answer:?}");
}

#[tokio::test]
async fn another_host_of_the_fleet_is_known_by_the_secret_alone_and_a_token_is_none() {
    let config = HttpConfig {
        peer_secret: Some("secret-of-this-start".to_owned()),
        ..with_tokens()
    };
    let host = start_with(config).await;
    let ask = async |token: &str| {
        let headers = format!("authorization: Bearer {token}\r\n");
        host.request("POST /v1/peer", &headers, "{}").await
    };
    let answer = ask("secret-of-this-start").await;
    assert_eq!(
        (answer.status, answer.json()["done"].as_str()),
        (200, Some("peer {}"))
    );
    for wrong in ["secret-of-a", "secret-of-this-star", ""] {
        assert_eq!(ask(wrong).await.status, 401, "{wrong:?}");
    }
    let headers = "authorization: Bearer secret-of-this-start\r\n";
    assert_eq!(
        host.request("GET /v1/status", headers, "").await.status,
        401
    );
    assert_eq!(host.request("GET /v1/peer", headers, "").await.status, 405);
}

#[tokio::test]
async fn a_host_without_a_fleet_answers_no_other() {
    let host = start().await;
    let headers = "authorization: Bearer anything\r\n";
    let answer = host.request("POST /v1/peer", headers, "{}").await;
    assert_eq!(answer.status, 404, "{answer:?}");
}
