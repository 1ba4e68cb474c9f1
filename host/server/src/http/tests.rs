mod access;
mod admin;
mod connections;
mod memory_bus;
mod publishing;
mod signals;
mod tailing;

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
        peer_secret: None,
        open_metrics: false,
        event_bytes_max: 1_000,
        body_bytes_max: 4_000,
        batch_events_max: 3,
        connections_max: 16,
        connections_per_address_max: 16,
        head_timeout: PATIENCE,
        request_timeout: PATIENCE,
    }
}

async fn start_with(config: HttpConfig) -> Host {
    start_on(MemoryBus::new(TOPIC, 4), config).await
}

async fn start_on(bus: MemoryBus, config: HttpConfig) -> Host {
    let bus = Arc::new(bus);
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
