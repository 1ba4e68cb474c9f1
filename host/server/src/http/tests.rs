mod admin;
mod memory_bus;
mod signals;

use std::net::Ipv4Addr;

use bytes::Bytes;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::task::JoinHandle;
use weir_core::event::Record;

use self::admin::Asked;
use self::memory_bus::{MemoryBus, Mood};
use super::*;
use crate::metrics::{Kind, Page};

const TOPIC: &str = "dev.shop.public.orders.v1";
const EVENTS: &str = "/v1/topics/dev.shop.public.orders.v1/events";
const STRUCTURED: &str = "application/cloudevents+json";
const BATCHED: &str = "application/cloudevents-batch+json";
const EVENT: &str = r#"{"specversion":"1.0","id":"1","source":"/shop","type":"Sold","subject":"c7","data":{"n":1}}"#;
/// Long enough for anything that does happen, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(30);

struct Status;

impl StatusSource for Status {
    fn status(&self, view: &View) -> Value {
        let handlers = ["a", "b"].into_iter().filter(|tenant| view.sees(tenant));
        json!({ "handlers": handlers.collect::<Vec<_>>() })
    }

    fn live(&self) -> Result<(), String> {
        Ok(())
    }

    fn readiness(&self) -> Readiness {
        let one = |tenant: &str, reason: Option<&str>| SubscriptionReadiness {
            tenant: tenant.into(),
            handler: "count".into(),
            ready: reason.is_none(),
            state: if reason.is_none() {
                "ready"
            } else {
                "starting"
            },
            reason: reason.map(str::to_owned),
        };
        Readiness {
            host: Ok(()),
            subscriptions: vec![one("a", None), one("b", Some("restoring"))],
        }
    }

    fn metrics(&self, view: &View, page: &mut Page) {
        let mut family = page.family("weir_lag_records", Kind::Gauge, "Lag.");
        for tenant in ["a", "b"].into_iter().filter(|tenant| view.sees(tenant)) {
            family.sample(&[("tenant", tenant)], 1);
        }
    }
}

struct Host {
    address: SocketAddr,
    bus: Arc<MemoryBus>,
    asked: Arc<Asked>,
    shutdown: CancellationToken,
    running: JoinHandle<()>,
}

fn config() -> HttpConfig {
    HttpConfig {
        listen: (Ipv4Addr::LOCALHOST, 0).into(),
        names: vec!["localhost".to_owned(), "[::1]".to_owned()],
        environment: "dev".to_owned(),
        domain: "shop".to_owned(),
        tls: None,
        tokens: Vec::new(),
        open_metrics: false,
        event_bytes_max: 1_000,
        body_bytes_max: 4_000,
        batch_events_max: 3,
        connections_max: 16,
        head_timeout: PATIENCE,
        request_timeout: PATIENCE,
    }
}

async fn start_with(config: HttpConfig) -> Host {
    let bus = Arc::new(MemoryBus::new(TOPIC, 4));
    let asked = Arc::new(Asked::default());
    let server = HttpServer::bind(config, bus.clone(), Arc::new(Status), asked.clone())
        .await
        .unwrap();
    let (address, shutdown) = (server.local_addr(), CancellationToken::new());
    let running = TaskTracker::new().spawn(server.run(shutdown.clone()));
    Host {
        address,
        bus,
        asked,
        shutdown,
        running,
    }
}

async fn start() -> Host {
    start_with(config()).await
}

#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

impl Host {
    /// Sends these bytes and reads until the host closes the connection.
    async fn raw(&self, request: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        // The host may answer and close before it has read everything.
        drop(stream.write_all(request).await);
        let mut bytes = Vec::new();
        drop(
            timeout(PATIENCE, stream.read_to_end(&mut bytes))
                .await
                .expect("the host answers and closes"),
        );
        let text = String::from_utf8(bytes).unwrap();
        let (head, body) = text
            .split_once("\r\n\r\n")
            .unwrap_or_else(|| panic!("no answer: {text:?}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer {
            status,
            head: head.to_owned(),
            body: body.to_owned(),
        }
    }

    async fn request(&self, line: &str, headers: &str, body: &str) -> Answer {
        let length = body.len();
        let request = format!(
            "{line} HTTP/1.1\r\nhost: localhost:8080\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
        );
        self.raw(request.as_bytes()).await
    }

    async fn post(&self, content_type: &str, body: &str) -> Answer {
        self.request(
            &format!("POST {EVENTS}"),
            &format!("content-type: {content_type}\r\n"),
            body,
        )
        .await
    }

    async fn get(&self, path: &str) -> Answer {
        self.request(&format!("GET {path}"), "", "").await
    }

    fn records(&self) -> Vec<Record> {
        self.bus.records().concat()
    }
}

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

fn with_tokens() -> HttpConfig {
    let token = |secret: &str, tenant: &str, admin| Token {
        secret: secret.to_owned(),
        tenant: tenant.into(),
        admin,
    };
    let tokens = vec![
        token("secret-of-a", "a", false),
        token("secret-of-b", "b", false),
        token("secret-of-admin", "ops", true),
    ];
    HttpConfig { tokens, ..config() }
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
async fn a_body_that_does_not_come_is_a_timeout_and_half_a_request_is_nothing() {
    let host = start_with(HttpConfig {
        request_timeout: Duration::from_millis(50),
        ..config()
    })
    .await;
    let head = format!(
        "POST {EVENTS} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {STRUCTURED}\r\ncontent-length: 90\r\n\r\n"
    );
    let answer = host.raw(format!("{head}{{").as_bytes()).await;
    assert_eq!(answer.status, 408);
    assert_eq!(answer.header("connection"), Some("close"));

    let mut stream = TcpStream::connect(host.address).await.unwrap();
    stream
        .write_all(format!("{head}{}", &EVENT[..80]).as_bytes())
        .await
        .unwrap();
    drop(stream);
    assert_eq!(host.get("/livez").await.status, 200);
    assert!(host.records().is_empty());
}

#[tokio::test]
async fn a_head_that_is_slow_or_too_large_ends_the_connection() {
    let host = start_with(HttpConfig {
        head_timeout: Duration::from_millis(50),
        ..config()
    })
    .await;
    let mut stream = TcpStream::connect(host.address).await.unwrap();
    stream
        .write_all(b"GET /livez HTTP/1.1\r\nhost:")
        .await
        .unwrap();
    let mut answer = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut answer))
        .await
        .expect("the host closes")
        .unwrap();
    assert!(!answer.starts_with(b"HTTP/1.1 200"));

    let huge = format!(
        "GET /livez HTTP/1.1\r\nhost: localhost\r\nx: {}\r\n\r\n",
        "x".repeat(HEAD_BYTES_MAX)
    );
    assert_eq!(host.raw(huge.as_bytes()).await.status, 431);
    let many = "x: 1\r\n".repeat(HEADERS_MAX);
    assert_eq!(
        host.raw(format!("GET /livez HTTP/1.1\r\nhost: localhost\r\n{many}\r\n").as_bytes())
            .await
            .status,
        431
    );
}

#[tokio::test]
async fn a_body_in_chunks_is_bounded_like_any_other() {
    let host = start().await;
    let head = format!(
        "POST {EVENTS} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: {STRUCTURED}\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    let (start, end) = EVENT.split_at(40);
    let chunks = format!(
        "{:x}\r\n{start}\r\n{:x}\r\n{end}\r\n0\r\n\r\n",
        start.len(),
        end.len()
    );
    assert_eq!(
        host.raw(format!("{head}{chunks}").as_bytes()).await.status,
        202
    );
    let chunk = format!("800\r\n{}\r\n", " ".repeat(0x800));
    assert_eq!(
        host.raw(format!("{head}{chunk}{chunk}").as_bytes())
            .await
            .status,
        413
    );
}

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
        headers: vec![("h".into(), Bytes::from_static(b"v"))],
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

/// A tail that follows, after its head.
async fn follow(host: &Host) -> BufReader<TcpStream> {
    let mut stream = TcpStream::connect(host.address).await.unwrap();
    let request = format!("GET {EVENTS}?follow=true&from=end HTTP/1.1\r\nhost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        timeout(PATIENCE, reader.read_line(&mut line))
            .await
            .expect("the head comes at once")
            .unwrap();
    }
    reader
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
async fn shutdown_ends_idle_connections_and_tails_and_takes_no_more() {
    let host = start().await;
    let mut tail = follow(&host).await;
    let mut idle = TcpStream::connect(host.address).await.unwrap();
    host.shutdown.cancel();
    timeout(PATIENCE, host.running)
        .await
        .expect("the drain ends")
        .unwrap();
    let mut rest = String::new();
    tail.read_to_string(&mut rest).await.unwrap();
    assert!(rest.ends_with("0\r\n\r\n"), "the answer is whole: {rest:?}");
    // Closed, or reset when the host had not come to accept it.
    drop(idle.read(&mut [0]).await);
    assert!(TcpStream::connect(host.address).await.is_err());
}

#[tokio::test]
async fn a_drain_that_takes_too_long_is_cut_off() {
    let host = start_with(HttpConfig {
        request_timeout: Duration::from_millis(50),
        ..config()
    })
    .await;
    let mut stream = TcpStream::connect(host.address).await.unwrap();
    // The first byte of a head keeps a connection busy until the head timeout, which is long here.
    stream.write_all(b"GET /livez").await.unwrap();
    assert_eq!(host.get("/livez").await.status, 200);
    host.shutdown.cancel();
    timeout(PATIENCE / 2, host.running)
        .await
        .expect("the drain is bounded")
        .unwrap();
}
