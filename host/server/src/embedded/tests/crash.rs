//! What a killed or failing process leaves.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use super::*;

/// A copy of the directory as it is at this moment: what a kill leaves.
fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_kill() {
    let scratch = tempfile::tempdir().unwrap();
    let bus = open(scratch.path());
    bus.ensure_topic("t", 1).unwrap();
    let values: Vec<String> = (0..100).map(|i| i.to_string()).collect();
    for value in &values {
        bus.publish("t", publishes([value.as_str()])).await.unwrap();
    }
    let killed = tempfile::tempdir().unwrap();
    copy(scratch.path(), killed.path());
    assert_eq!(read_all(&open(killed.path()), "t", 0).await, values);
}

/// Runs [`child_publishes_until_it_dies`] in a process of its own, by way of a shell command that ends in `exec "$@"`.
fn spawn_child(path: &Path, shell: &str) -> std::process::Child {
    let test = "embedded::tests::crash::child_publishes_until_it_dies";
    Command::new("sh")
        .args(["-c", shell, "sh"])
        .arg(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .env("WEIR_TEST_CHILD_STORE", path)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Numbers that the child saw acknowledged.
fn acknowledged(line: &str) -> Option<u64> {
    line.rsplit_once("acknowledged ")?.1.trim().parse().ok()
}

/// Nothing of its own: the process that [`spawn_child`] starts. Two records a call, so that a half is visible.
#[tokio::test]
async fn child_publishes_until_it_dies() {
    let Some(path) = std::env::var_os("WEIR_TEST_CHILD_STORE") else {
        return;
    };
    let bus = open(Path::new(&path));
    bus.ensure_topic("t", 1).unwrap();
    let filler = "x".repeat(4096);
    for number in 0_u64.. {
        let values = [format!("{number} {filler}"), format!("{number} {filler}")];
        bus.publish("t", publishes(values.iter().map(String::as_str)))
            .await
            .unwrap();
        writeln!(std::io::stdout(), "acknowledged {number}").unwrap();
    }
}

async fn assert_whole_and_acknowledged(path: &Path, last: u64) {
    let values = read_all(&open(path), "t", 0).await;
    let numbers: Vec<u64> = values
        .iter()
        .map(|value| value.split_once(' ').unwrap().0.parse().unwrap())
        .collect();
    let calls = numbers.len() as u64 / 2;
    assert!(
        calls > last,
        "{calls} calls are there, {last} was acknowledged"
    );
    let expected: Vec<u64> = (0..calls).flat_map(|number| [number, number]).collect();
    assert_eq!(numbers, expected);
}

#[tokio::test]
async fn a_sigkill_loses_no_acknowledged_call_and_halves_none() {
    let scratch = tempfile::tempdir().unwrap();
    let mut child = spawn_child(scratch.path(), r#"exec "$@""#);
    let lines = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap);
    let mut last = None;
    for line in lines {
        last = acknowledged(&line).or(last);
        if last == Some(200) {
            child.kill().unwrap();
        }
    }
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    assert_whole_and_acknowledged(scratch.path(), last.unwrap()).await;
}

#[tokio::test]
async fn a_failed_write_ends_the_process_by_abort_and_loses_nothing() {
    let scratch = tempfile::tempdir().unwrap();
    // Files end at 1 MiB: the journal cannot grow, as on a device that fails.
    let child = spawn_child(scratch.path(), r#"trap '' XFSZ; ulimit -f 2048; exec "$@""#);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.signal(), Some(6), "{:?}", output.status);
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().filter_map(acknowledged).next_back().unwrap();
    assert_whole_and_acknowledged(scratch.path(), last).await;
}
