//! The ingress under attack: whatever comes in, its memory is bounded and others are served.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use serde_json::json;
use weir_tests::host::Host;
use weir_tests::purchases::INVOICES;
use weir_tests::wait;

use crate::fixture::{SETTLE, Scratch, invoice};

/// For one answer of a host that is busy with an attack.
const ANSWER: Duration = Duration::from_secs(60);
const JSON: &str = "application/cloudevents+json";

/// A host with one handler; its requests time out soon.
fn start() -> (Scratch, Host) {
    // All of this machine is one address, and many attackers are many.
    let limits = "[http.limits]\nrequest_timeout_s = 5\nconnections_per_address = 2_048\n";
    let scratch = Scratch::new(&["billing"], limits);
    let host = scratch.place.start().unwrap();
    (scratch, host)
}

fn connect(host: &Host) -> TcpStream {
    let url = host.client().url();
    let stream = TcpStream::connect(url.strip_prefix("http://").unwrap()).unwrap();
    stream.set_read_timeout(Some(ANSWER)).unwrap();
    stream.set_write_timeout(Some(ANSWER)).unwrap();
    stream
}

/// A request to publish with these headers, each with its line end; its body is what follows.
fn head(headers: &str) -> String {
    format!("POST /v1/topics/{INVOICES}/events HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n")
}

/// All that the host answers until it closes the connection.
fn answer(mut stream: TcpStream) -> String {
    let mut bytes = Vec::new();
    // The host may close before it has read everything, which the system tells as a reset.
    drop(stream.read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Sends this and reads the answer.
fn exchange(host: &Host, request: &[u8]) -> String {
    let mut stream = connect(host);
    drop(stream.write_all(request));
    answer(stream)
}

#[track_caller]
fn assert_status(answer: &str, status: u16) {
    let line = answer.lines().next().unwrap_or_default();
    assert!(line.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
}

/// Somebody honest is answered.
#[track_caller]
fn assert_serves(host: &Host, id: &str) {
    let event = [invoice(id, id, "1.00")];
    assert_eq!(host.client().publish(INVOICES, &event).unwrap().status, 202);
}

#[test]
fn slow_bodies_are_given_up_and_delay_nobody() {
    let (_scratch, host) = start();
    let slow: Vec<_> = (0..200)
        .map(|_| {
            let mut stream = connect(&host);
            let head = head(&format!("content-type: {JSON}\r\ncontent-length: 500\r\n"));
            stream.write_all(head.as_bytes()).unwrap();
            stream.write_all(b"{\"spec").unwrap();
            stream
        })
        .collect();
    assert_serves(&host, "meanwhile");
    for stream in slow {
        let answer = answer(stream);
        assert_status(&answer, 408);
        assert!(answer.contains("urn:weir:problem:slow-body"), "{answer}");
    }
    assert_serves(&host, "afterwards");
    assert_eq!(host.client().records(INVOICES).unwrap(), 2);
}

#[test]
fn half_requests_publish_nothing() {
    let (_scratch, host) = start();
    let event = invoice("half", "1", "1.00");
    let whole = head(&format!(
        "content-type: {JSON}\r\ncontent-length: {}\r\n",
        event.len()
    )) + &event;
    for bytes in (1..whole.len()).step_by(7) {
        let mut stream = connect(&host);
        stream.write_all(&whole.as_bytes()[..bytes]).unwrap();
        drop(stream);
    }
    assert_serves(&host, "whole");
    assert_eq!(host.client().records(INVOICES).unwrap(), 1);
}

#[test]
fn wrong_lengths_publish_nothing() {
    let (_scratch, host) = start();
    let event = invoice("wrong", "1", "1.00");
    let bytes = event.len();
    for lengths in [
        format!("content-length: {}\r\n", bytes - 1),
        format!(
            "content-length: {bytes}\r\ncontent-length: {}\r\n",
            bytes + 1
        ),
        "content-length: -1\r\n".to_owned(),
        "content-length: 99999999999999999999999\r\n".to_owned(),
        format!("content-length: {bytes}, {}\r\n", bytes + 1),
        "transfer-encoding: gzip\r\n".to_owned(),
        "transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n".to_owned(),
    ] {
        let headers = format!("content-type: {JSON}\r\nconnection: close\r\n{lengths}");
        let answer = exchange(&host, (head(&headers) + &event).as_bytes());
        assert_status(&answer, 400);
    }
    // One byte is missing for ever.
    let headers = format!("content-type: {JSON}\r\ncontent-length: {}\r\n", bytes + 1);
    let mut stream = connect(&host);
    stream
        .write_all((head(&headers) + &event).as_bytes())
        .unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert!(!answer(stream).contains(" 202 "));
    assert_eq!(host.client().records(INVOICES).unwrap(), 0);
}

#[test]
fn a_request_with_two_lengths_is_read_by_its_chunks_and_its_connection_closed() {
    let (_scratch, host) = start();
    let event = invoice("chunked", "1", "1.00");
    let smuggled = head(&format!("content-type: {JSON}\r\ncontent-length: 2\r\n")) + "{}";
    let headers = format!(
        "content-type: {JSON}\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\nconnection: close\r\n"
    );
    let chunked = format!("{:x}\r\n{event}\r\n0\r\n\r\n{smuggled}", event.len());
    let answer = exchange(&host, (head(&headers) + &chunked).as_bytes());
    assert_status(&answer, 202);
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
    assert_eq!(host.client().records(INVOICES).unwrap(), 1);
}

#[test]
fn a_gzip_bomb_is_not_unpacked() {
    let (_scratch, host) = start();
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packed.write_all(&vec![b' '; 100 << 20]).unwrap();
    let bomb = packed.finish().unwrap();
    let before = host.resident_bytes().unwrap();
    for encoding in ["gzip", "deflate", "br", "gzip, identity"] {
        let headers = format!(
            "content-type: {JSON}\r\ncontent-encoding: {encoding}\r\ncontent-length: {}\r\nconnection: close\r\n",
            bomb.len()
        );
        let request = [head(&headers).as_bytes(), &bomb].concat();
        assert_status(&exchange(&host, &request), 415);
    }
    let grown = host.resident_bytes().unwrap().saturating_sub(before);
    assert!(grown < 64 << 20, "{grown} bytes");
    assert_serves(&host, "afterwards");
}

#[test]
fn a_hundred_thousand_attributes_are_refused() {
    let (_scratch, host) = start();
    let mut event = json!({ "specversion": "1.0", "id": "1", "source": "/s", "type": "T" });
    for n in 0..100_000 {
        event[format!("a{n}")] = json!("x");
    }
    let body = event.to_string();
    let path = format!("/v1/topics/{INVOICES}/events");
    let type_of = |content_type| [("content-type", content_type)];
    let client = host.client();
    let one = client.post(&path, &type_of(JSON), body.as_bytes()).unwrap();
    assert_eq!(one.status, 400, "{}", one.body);
    assert!(one.body.contains("more than 64 extension"), "{}", one.body);
    let batch = client
        .post(
            &path,
            &type_of("application/cloudevents-batch+json"),
            format!("[{body},{body}]").as_bytes(),
        )
        .unwrap();
    assert_eq!(batch.status, 400);
    let many: String = (0..100_000).map(|n| format!("ce-a{n}: x\r\n")).collect();
    let answer = exchange(
        &host,
        head(&format!("{many}content-length: 0\r\n")).as_bytes(),
    );
    // A client that is still sending may see a reset in the place of the answer.
    if !answer.is_empty() {
        assert_status(&answer, 431);
    }
    assert_serves(&host, "afterwards");
    assert_eq!(client.records(INVOICES).unwrap(), 1);
}

#[test]
fn headers_and_a_body_that_disagree_are_refused() {
    let (_scratch, host) = start();
    let path = format!("/v1/topics/{INVOICES}/events");
    let event = invoice("a", "1", "1.00");
    let post = |content_type: &str, header: (&str, &str), body: &str| {
        let headers = [("content-type", content_type), header];
        host.client()
            .post(&path, &headers, body.as_bytes())
            .unwrap()
    };
    for header in [
        ("ce-id", "b"),
        ("ce-type", "InvoiceDeleted"),
        ("ce-partitionkey", "2"),
        ("ce-tenantid", "another"),
        ("ce-subject", "none"),
        ("ce-id", "%ff"),
    ] {
        let answer = post(JSON, header, &event);
        assert_eq!(answer.status, 400, "{header:?}: {}", answer.body);
        assert!(answer.body.contains(header.0), "{}", answer.body);
    }
    let batch = post(
        "application/cloudevents-batch+json",
        ("ce-id", "a"),
        &format!("[{event}]"),
    );
    assert_eq!(batch.status, 400, "{}", batch.body);
    assert_eq!(host.client().records(INVOICES).unwrap(), 0);
    let same = post(JSON, ("ce-id", "a"), &event);
    assert_eq!(same.status, 202, "{}", same.body);
}

#[test]
fn two_thousand_idle_connections_leave_room_for_others() {
    // This process has one end of each.
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit {
        current: files.maximum,
        maximum: files.maximum,
    };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, raised).unwrap();
    let (_scratch, host) = start();
    let before = host.resident_bytes().unwrap();
    let mut idle: Vec<_> = (0..2_000).map(|_| connect(&host)).collect();
    // Half of them say a word.
    for stream in idle.iter_mut().step_by(2) {
        stream.write_all(b"POST /v1").unwrap();
    }
    for n in 0..20 {
        assert_serves(&host, &format!("beside-{n}"));
    }
    let grown = host.resident_bytes().unwrap().saturating_sub(before);
    assert!(grown < 128 << 20, "{grown} bytes");
    // They are put out in the end, and nobody has to wait for that.
    for stream in idle {
        drop(answer(stream));
    }
    assert_serves(&host, "afterwards");
}

#[test]
fn clients_that_never_read_are_closed_and_hold_little_until_then() {
    const CONNECTIONS: usize = 16;
    let config = format!(
        "[http.limits]\nrequest_timeout_s = 5\nconnections = {CONNECTIONS}\n\
         [[topics]]\nname = \"public.invoices.v1\"\npartitions = 1\n"
    );
    let scratch = Scratch::new(&[], &config);
    let host = scratch.place.start().unwrap();
    // More than the system takes off the host's hands for one connection.
    let padding = "x".repeat(900 << 10);
    for batch in 0..4 {
        let event = |n| invoice(&format!("{batch}-{n}"), "1", &padding);
        let events: Vec<_> = (0..8).map(event).collect();
        let answer = host.client().publish(INVOICES, &events).unwrap();
        assert_eq!(answer.status, 202, "{}", answer.body);
    }
    let before = host.resident_bytes().unwrap();
    let deaf = || {
        let ask = format!(
            "GET /v1/topics/{INVOICES}/events?follow=true HTTP/1.1\r\nhost: localhost\r\n\r\n"
        );
        let mut stream = connect(&host);
        stream.write_all(ask.as_bytes()).unwrap();
        stream
    };
    // One is left to somebody honest, and one to the client that has published.
    let mut all: Vec<_> = (2..CONNECTIONS).map(|_| deaf()).collect();
    for stream in &mut all {
        // The answer has begun.
        stream.read_exact(&mut [0; 12]).unwrap();
    }
    let one = invoice("meanwhile", "2", "1.00");
    let headers = format!(
        "content-type: {JSON}\r\nconnection: close\r\ncontent-length: {}\r\n",
        one.len()
    );
    let honest = head(&headers) + &one;
    assert_status(&exchange(&host, honest.as_bytes()), 202);
    let grown = host.resident_bytes().unwrap().saturating_sub(before);
    assert!(grown < 128 << 20, "{grown} bytes");
    // Before the next honest one is let in, some of those who do not read must be put out.
    let more: Vec<_> = (0..CONNECTIONS).map(|_| deaf()).collect();
    assert_status(&exchange(&host, honest.as_bytes()), 202);
    drop(more);
    // It would go on for as long as somebody reads.
    drop(answer(all.remove(0)));
}

#[test]
fn large_bodies_share_what_memory_there_is_and_small_ones_are_taken_all_the_same() {
    const BODY: usize = 15 << 20;
    let (_scratch, host) = start();
    let before = host.resident_bytes().unwrap();
    let headers = format!("content-type: {JSON}\r\ncontent-length: {}\r\n", BODY + 1);
    let part = vec![b' '; BODY];
    // All but the last byte of each.
    let streams: Vec<_> = std::thread::scope(|scope| {
        let senders: Vec<_> = (0..64)
            .map(|_| {
                scope.spawn(|| {
                    let mut stream = connect(&host);
                    stream.write_all(head(&headers).as_bytes()).unwrap();
                    // Who is refused is cut off.
                    drop(stream.write_all(&part));
                    stream
                })
            })
            .collect();
        senders
            .into_iter()
            .map(|sender| sender.join().unwrap())
            .collect()
    });
    assert_serves(&host, "meanwhile");
    let grown = host.resident_bytes().unwrap().saturating_sub(before);
    // Of 960 MiB that were sent; a buffer that grows may be twice its content.
    assert!(grown < 640 << 20, "{grown} bytes");
    let answers: Vec<_> = streams.into_iter().map(answer).collect();
    let refused = answers
        .iter()
        .filter(|answer| answer.contains("HTTP/1.1 429"));
    // A reset may take the answer with it, so most are told.
    assert!(refused.count() > 0, "{answers:?}");
    wait::until("the memory to be given back", SETTLE, || {
        let large = vec![b' '; BODY];
        let answer = host.client().post(
            &format!("/v1/topics/{INVOICES}/events"),
            &[("content-type", JSON)],
            &large,
        )?;
        // It is no event, which shows that all of it was read.
        Ok((answer.status == 400).then_some(()))
    })
    .unwrap();
}
