//! What a killed or failing process leaves.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use weir_core::unit::{LetterStatus, ParkedEvent};

use super::set_aside::{hash, joins, parked, sequence, timer, timer_change, timer_key};
use super::*;

/// A copy of the directory as it is at this moment: what a kill leaves.
pub(super) fn copy(from: &Path, to: &Path) {
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

/// Runs a test of this file in a process of its own, by way of a shell command that ends in `exec "$@"`.
fn spawn_child(test: &str, path: &Path, shell: &str) -> std::process::Child {
    Command::new("sh")
        .args(["-c", shell, "sh"])
        .arg(std::env::current_exe().unwrap())
        .arg(format!("embedded::tests::crash::{test}"))
        .args(["--exact", "--nocapture"])
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

/// Kills the child when so many were acknowledged; answers the last one.
fn kill_after(mut child: std::process::Child, count: u64) -> u64 {
    let lines = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap);
    let mut last = None;
    for line in lines {
        last = acknowledged(&line).or(last);
        if last == Some(count) {
            child.kill().unwrap();
        }
    }
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    last.unwrap()
}

#[tokio::test]
async fn a_sigkill_loses_no_acknowledged_call_and_halves_none() {
    let scratch = tempfile::tempdir().unwrap();
    let child = spawn_child(
        "child_publishes_until_it_dies",
        scratch.path(),
        r#"exec "$@""#,
    );
    let last = kill_after(child, 200);
    assert_whole_and_acknowledged(scratch.path(), last).await;
}

/// Nothing of its own either. Unit n parks event n, sets the timer to n, notes letter n and emits n.
#[tokio::test]
async fn child_commits_until_it_dies() {
    let Some(path) = std::env::var_os("WEIR_TEST_CHILD_STORE") else {
        return;
    };
    let bus = open(Path::new(&path));
    bus.ensure_topic("in", 1).unwrap();
    bus.ensure_topic("out", 1).unwrap();
    let scope = scope("g", &["in"]);
    for number in 1.. {
        let output = Output {
            records: vec![emission("out", &number.to_string())],
            state: vec![set("name", "value")],
            timers: vec![timer_change("timer", Some(timer(number, number)))],
            parking: joins(parked(number, "value")),
            letter: Some((hash(number), LetterStatus::Dead)),
        };
        let mut unit = unit(number, number, vec![completion(number - 1, output)]);
        unit.heads = vec![(keyed("k"), Some(sequence(number)))];
        unit.next_parked = number + 1;
        let committed = bus.commit(&scope, 0, unit).await;
        assert_eq!(committed, CommitResult::Committed);
        writeln!(std::io::stdout(), "acknowledged {number}").unwrap();
    }
}

#[tokio::test]
async fn a_sigkill_halves_no_unit_of_work() {
    let scratch = tempfile::tempdir().unwrap();
    let child = spawn_child(
        "child_commits_until_it_dies",
        scratch.path(),
        r#"exec "$@""#,
    );
    let acknowledged = kill_after(child, 100);
    let bus = open(scratch.path());
    let scope = scope("g", &["in"]);
    let restored = bus.restore(&scope, 0, window()).await.unwrap();
    let last = restored.unit;
    assert!(last >= acknowledged, "{last} after {acknowledged}");
    assert_eq!(restored.cursors[0].frontier, last);
    assert_eq!(restored.next_parked, last + 1);
    assert_eq!(restored.parked, [(keyed("k"), sequence(last))]);
    let due = (timer_key("timer"), Millis(last), hash(last));
    assert_eq!(restored.timers.timers, [due]);
    let numbers = |events: Vec<ParkedEvent>| events.iter().map(|event| event.number).collect();
    let parked: Vec<u64> = numbers(
        bus.parked_events(&scope, 0, &keyed("k"), usize::MAX)
            .unwrap(),
    );
    assert_eq!(parked, (1..=last).collect::<Vec<_>>());
    let letter = |number| bus.letter(&scope, 0, hash(number)).unwrap();
    assert_eq!(
        (letter(last), letter(last + 1)),
        (Some(LetterStatus::Dead), None)
    );
    let emitted: Vec<_> = (1..=last).map(|number| number.to_string()).collect();
    assert_eq!(read_all(&bus, "out", 0).await, emitted);
}

#[tokio::test]
async fn a_failed_write_ends_the_process_by_abort_and_loses_nothing() {
    let scratch = tempfile::tempdir().unwrap();
    // Files end at 1 MiB: the journal cannot grow, as on a device that fails.
    let child = spawn_child(
        "child_publishes_until_it_dies",
        scratch.path(),
        r#"trap '' XFSZ; ulimit -f 2048; exec "$@""#,
    );
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.signal(), Some(6), "{:?}", output.status);
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().filter_map(acknowledged).next_back().unwrap();
    assert_whole_and_acknowledged(scratch.path(), last).await;
}
