use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::thread::{self, JoinHandle};

use clap::Parser;

use super::*;

#[derive(Parser)]
struct Only {
    #[command(flatten)]
    args: PublishArgs,
}

/// A host that answers one request after the other with these answers, and gives back the bodies it got.
struct Host {
    url: String,
    bodies: JoinHandle<Vec<String>>,
}

impl Host {
    fn start(answers: Vec<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let bodies = thread::spawn(move || {
            let answer = |answer: String| answer_one(listener.accept().unwrap().0, &answer);
            answers.into_iter().map(answer).collect()
        });
        Self { url, bodies }
    }
}

fn answer_one(stream: TcpStream, answer: &str) -> String {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        match line.to_ascii_lowercase().trim_end().split_once(": ") {
            Some(("content-length", bytes)) => length = bytes.parse().unwrap(),
            Some(("content-type", kind)) => assert_eq!(kind, CONTENT_TYPE),
            Some(_) => {}
            None if line == "\r\n" => break,
            None => assert!(line.starts_with("POST /v1/topics/t.v1/events "), "{line}"),
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    write!({ stream }, "{answer}").unwrap();
    String::from_utf8(body).unwrap()
}

fn answer(status: &str, header: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nconnection: close\r\n{header}content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn accepted() -> String {
    answer("202 Accepted", "", "{}")
}

fn event(id: u32) -> String {
    format!("{{\"specversion\":\"1.0\",\"id\":\"{id}\",\"source\":\"/s\",\"type\":\"T\"}}")
}

fn events(ids: std::ops::RangeInclusive<u32>) -> String {
    ids.map(event).map(|event| event + "\n").collect()
}

/// Publishes `text` in batches of two; the result and what was printed.
fn publish(
    folder: &Path,
    text: &str,
    url: &str,
    more: &[&str],
) -> (Result<(), CliError>, serde_json::Value) {
    let file = folder.join("events.ndjson");
    std::fs::write(&file, text).unwrap();
    let arguments = [
        "publish",
        file.to_str().unwrap(),
        "--topic",
        "t.v1",
        "--url",
        url,
        "--batch",
        "2",
        "--json",
    ];
    let args = Only::try_parse_from(arguments.iter().chain(more))
        .unwrap()
        .args;
    let mut out = Vec::new();
    let result = run(&args, &mut out);
    (result, serde_json::from_slice(&out).unwrap_or_default())
}

#[test]
fn events_arrive_in_batches_with_their_bytes_and_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let host = Host::start(vec![accepted(), accepted()]);
    let (result, counts) = publish(folder.path(), &events(1..=3), &host.url, &[]);
    result.unwrap();
    assert_eq!(
        host.bodies.join().unwrap(),
        [
            format!("[{},{}]", event(1), event(2)),
            format!("[{}]", event(3))
        ]
    );
    assert_eq!(
        (&counts["published"], &counts["batches"], &counts["retries"]),
        (&3.into(), &2.into(), &0.into())
    );
}

#[test]
fn a_busy_host_is_tried_again_with_the_same_batch() {
    let folder = tempfile::tempdir().unwrap();
    let busy = |status: &str| answer(status, "retry-after: 0\r\n", "");
    let host = Host::start(vec![
        busy("503 Service Unavailable"),
        busy("429 Too Many Requests"),
        accepted(),
    ]);
    let (result, counts) = publish(folder.path(), &events(1..=1), &host.url, &[]);
    result.unwrap();
    assert_eq!(
        host.bodies.join().unwrap(),
        vec![format!("[{}]", event(1)); 3]
    );
    assert_eq!(counts["retries"], 2);
}

#[test]
fn a_wait_beyond_the_patience_is_a_failure() {
    let folder = tempfile::tempdir().unwrap();
    let host = Host::start(vec![answer(
        "503 Service Unavailable",
        "retry-after: 9\r\n",
        "{\"detail\":\"disk full\"}",
    )]);
    let (result, counts) = publish(
        folder.path(),
        &events(1..=1),
        &host.url,
        &["--retry-for", "8"],
    );
    assert!(
        result
            .unwrap_err()
            .to_string()
            .contains("refused: disk full (503)")
    );
    assert_eq!(counts["published"], 0);
    host.bodies.join().unwrap();
}

#[test]
fn nothing_of_a_batch_with_a_bad_line_is_sent() {
    let folder = tempfile::tempdir().unwrap();
    let host = Host::start(vec![accepted()]);
    let (result, counts) = publish(
        folder.path(),
        &format!("{}{}\n{{}}\n", events(1..=2), event(3)),
        &host.url,
        &[],
    );
    assert!(result.unwrap_err().to_string().starts_with("line 4: "));
    assert_eq!(
        host.bodies.join().unwrap(),
        [format!("[{},{}]", event(1), event(2))]
    );
    assert_eq!(counts["published"], 2);
}

#[test]
fn a_refused_event_is_shown_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let problem = "{\"title\":\"t\",\"detail\":\"d\",\"errors\":[{\"index\":1,\"detail\":\"time is wrong\"}]}";
    let host = Host::start(vec![accepted(), answer("400 Bad Request", "", problem)]);
    let (result, _) = publish(
        folder.path(),
        &format!("{}\n{}", events(1..=3), event(4)),
        &host.url,
        &[],
    );
    let message = result.unwrap_err().to_string();
    assert!(
        message.contains("nothing of the last batch was taken: line 5: time is wrong"),
        "{message}"
    );
    host.bodies.join().unwrap();
}

#[test]
fn resume_goes_on_after_the_last_acknowledged_batch() {
    let folder = tempfile::tempdir().unwrap();
    let refused = || answer("404 Not Found", "", "{\"detail\":\"unknown topic\"}");
    let host = Host::start(vec![accepted(), refused()]);
    let (result, _) = publish(folder.path(), &events(1..=3), &host.url, &["--resume"]);
    assert!(
        result
            .unwrap_err()
            .to_string()
            .contains("unknown topic (404)")
    );
    host.bodies.join().unwrap();
    let host = Host::start(vec![accepted()]);
    let (result, counts) = publish(folder.path(), &events(1..=3), &host.url, &["--resume"]);
    result.unwrap();
    assert_eq!(host.bodies.join().unwrap(), [format!("[{}]", event(3))]);
    assert_eq!(
        (&counts["published"], &counts["skipped"]),
        (&1.into(), &2.into())
    );
}

#[test]
fn resume_goes_on_in_a_file_whose_bad_line_was_corrected() {
    let folder = tempfile::tempdir().unwrap();
    let host = Host::start(vec![accepted()]);
    let bad = format!("{}{{}}\n{}\n", events(1..=2), event(4));
    let (result, _) = publish(folder.path(), &bad, &host.url, &["--resume"]);
    assert!(result.unwrap_err().to_string().starts_with("line 3: "));
    host.bodies.join().unwrap();
    let host = Host::start(vec![accepted(), accepted()]);
    let (result, counts) = publish(folder.path(), &events(1..=5), &host.url, &["--resume"]);
    result.unwrap();
    host.bodies.join().unwrap();
    assert_eq!(
        (&counts["published"], &counts["skipped"]),
        (&3.into(), &2.into())
    );
}

#[test]
fn nothing_is_said_to_be_published_when_the_first_batch_was_not() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("events.ndjson");
    std::fs::write(&file, "{}\n").unwrap();
    let (file, url) = (file.to_str().unwrap(), "http://127.0.0.1:1");
    let arguments = ["publish", file, "--topic", "t.v1", "--url", url];
    let mut out = Vec::new();
    run(&Only::try_parse_from(arguments).unwrap().args, &mut out).unwrap_err();
    assert_eq!(String::from_utf8(out).unwrap(), "");
    let folder = folder.path().to_str().unwrap();
    let arguments = ["publish", folder, "--topic", "t.v1", "--url", url];
    let args = Only::try_parse_from(arguments).unwrap().args;
    let message = run(&args, &mut Vec::new()).unwrap_err().to_string();
    assert!(
        message.ends_with("is a folder: name a file of CloudEvents in it"),
        "{message}"
    );
}

#[test]
fn a_host_that_is_not_there_is_an_error_with_the_next_step() {
    let folder = tempfile::tempdir().unwrap();
    let gone = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let (result, _) = publish(
        folder.path(),
        &events(1..=1),
        &format!("http://{gone}"),
        &["--retry-for", "0"],
    );
    let message = result.unwrap_err().to_string();
    assert_eq!(
        message,
        format!(
            "no host answers at http://{gone}: start one with `weir run`, or name another with --url"
        )
    );
}

#[test]
fn without_a_topic_the_known_ones_are_listed_or_the_reason_why_not() {
    let gone = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let args = Only::try_parse_from(["publish", "-", "--url", &format!("http://{gone}")])
        .unwrap()
        .args;
    let error = run(&args, &mut Vec::new()).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(
        error
            .to_string()
            .starts_with("--topic is missing: events do not carry one; which ones"),
        "{error}"
    );
}
