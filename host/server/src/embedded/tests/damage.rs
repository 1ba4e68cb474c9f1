//! A store that is not as it was written: it opens with what was acknowledged, or says that it does not.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

use super::set_aside::{joins, parked, sequence, timer, timer_change};
use super::*;
use crate::embedded::{doctor, journal, mark};

const UNITS: u64 = 40;

/// A store with every kind of entry: in tables and blob files up to the first half, in the journal from there on.
async fn written(path: &Path) {
    let bus = open(path);
    bus.ensure_topic("in", 2).unwrap();
    bus.ensure_topic("out", 1).unwrap();
    let filler = "x".repeat(1500);
    for number in 1..=UNITS {
        let value = format!("{number} {filler}");
        bus.publish("in", publishes([value.as_str()]))
            .await
            .unwrap();
        let output = Output {
            records: vec![emission("out", &value)],
            state: vec![set("name", "value")],
            timers: vec![timer_change("timer", Some(timer(number, number)))],
            parking: joins(parked(number, "value")),
            letter: None,
        };
        let mut unit = unit(number, number, vec![completion(number - 1, output)]);
        unit.heads = vec![(keyed("k"), Some(sequence(number)))];
        unit.next_parked = number + 1;
        let committed = bus.commit(&scope("g", &["in"]), 0, unit).await;
        assert_eq!(committed, CommitResult::Committed);
        if number == UNITS / 2 {
            for family in Family::ALL {
                bus.inner.store.compact(family);
            }
        }
    }
}

/// All that a store holds, by the ways in which a host reads it; an error of any of them.
async fn content(path: &Path) -> Result<String, String> {
    let told = |error: &dyn std::error::Error| crate::handlers::chain(error);
    let config = EmbeddedConfig {
        disk_reserve: Some(0),
        ..EmbeddedConfig::default()
    };
    let bus = Embedded::open(path, config).map_err(|error| told(&error))?;
    let mut text = format!("{:?}\n", bus.topics());
    for topic in ["in", "out"] {
        let Some((start, end)) = bus.extent(topic, 0) else {
            text += "no topic";
            continue;
        };
        let mut reader = bus.reader(topic, 0, start).map_err(|error| told(&error))?;
        let mut next = start;
        while next < end {
            let records = reader.fetch(1 << 20).await.map_err(|error| told(&error))?;
            next += records.len() as u64;
            text += &format!("{records:?}\n");
        }
    }
    let scope = scope("g", &["in"]);
    let ledger = |error: crate::ledger::LedgerError| told(&error);
    text += &format!(
        "{:?}\n",
        bus.restore(&scope, 0, window()).await.map_err(ledger)?
    );
    let sequence = keyed("k");
    text += &format!(
        "{:?}\n",
        bus.state(&scope, 0, &sequence, "name").map_err(ledger)?
    );
    text += &format!(
        "{:?}\n",
        bus.parked_events(&scope, 0, &sequence, 1000)
            .map_err(ledger)?
    );
    text += &format!(
        "{:?}\n",
        bus.timers(&scope, 0, None, 1000).map_err(ledger)?.timers
    );
    bus.close();
    Ok(text)
}

fn copy(from: &Path, to: &Path) {
    crate::data_dir::copy::store(from, to).unwrap();
}

/// All files, but for those that RocksDB writes for people or never reads.
fn files(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.collect();
    files.sort();
    files
}

/// Replaces a file, so that nothing else that is linked to it changes.
fn rewrite(file: &Path, bytes: &[u8]) {
    fs::remove_file(file).unwrap();
    fs::write(file, bytes).unwrap();
}

/// A store as it was written, and what it holds; copies of it are damaged.
struct Pristine {
    scratch: TempDir,
    right: String,
}

impl Pristine {
    async fn new() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let store = scratch.path().join("store");
        written(&store).await;
        copy(&store, &scratch.path().join("pristine"));
        let right = content(&store).await.unwrap();
        Self { scratch, right }
    }

    /// Names and bytes of its files.
    fn files(&self) -> Vec<(OsString, Vec<u8>)> {
        let files = files(&self.scratch.path().join("pristine")).into_iter();
        let read = |file: PathBuf| {
            (
                file.file_name().unwrap().to_owned(),
                fs::read(&file).unwrap(),
            )
        };
        files.map(read).collect()
    }

    /// What is said of a copy in which this file is gone, or has these bytes.
    async fn with(&self, name: &OsStr, bytes: Option<&[u8]>) -> Result<String, String> {
        let tried = self.scratch.path().join("tried");
        copy(&self.scratch.path().join("pristine"), &tried);
        match bytes {
            Some(bytes) => rewrite(&tried.join(name), bytes),
            None => fs::remove_file(tried.join(name)).unwrap(),
        }
        let found = content(&tried).await;
        fs::remove_dir_all(&tried).unwrap();
        found
    }
}

#[tokio::test]
async fn a_bit_changed_in_any_file_changes_nothing_or_is_told() {
    let pristine = Pristine::new().await;
    let (mut told, mut tries) = (0, 0);
    for (name, bytes) in pristine.files() {
        let last = bytes.len().saturating_sub(1);
        let shown = name.to_string_lossy().into_owned();
        // What is written for people and what nothing reads.
        let is_text = shown.starts_with("LOG") || shown.starts_with("OPTIONS");
        let spread = if is_text { 0 } else { 8 };
        let mut places: Vec<_> = (0..spread)
            .map(|part| last * part / spread.max(1))
            .collect();
        places.extend([0, 4, 5, 6, last.saturating_sub(1), last].map(|place| place.min(last)));
        places.sort_unstable();
        places.dedup();
        if bytes.is_empty() {
            continue;
        }
        for place in places {
            let mut wrong = bytes.clone();
            wrong[place] ^= 1 << (place % 8);
            match pristine.with(&name, Some(&wrong)).await {
                Ok(found) => assert!(
                    found == pristine.right,
                    "byte {place} of {shown} changed what is there in silence"
                ),
                Err(error) => {
                    assert!(!error.is_empty());
                    told += 1;
                }
            }
            tries += 1;
        }
    }
    assert!(tries > 100 && told > tries / 3, "{told} of {tries} told");
}

#[tokio::test]
async fn a_file_that_is_gone_or_cut_in_half_is_told() {
    let pristine = Pristine::new().await;
    for (name, bytes) in pristine.files() {
        for left in [None, Some(&bytes[..bytes.len() / 2])] {
            if let Ok(found) = pristine.with(&name, left).await {
                assert!(
                    found == pristine.right,
                    "{name:?} (left: {left:?}) was not missed"
                );
            }
        }
    }
}

#[tokio::test]
async fn a_torn_end_that_nobody_was_told_of_is_left_away() {
    let scratch = tempfile::tempdir().unwrap();
    let store = scratch.path().join("store");
    written(&store).await;
    let journal = journal::files(&store, "log").unwrap().pop().unwrap();
    let whole = scratch.path().join("whole");
    copy(&store, &whole);
    let right = content(&whole).await.unwrap();
    // The first bytes of one more write, as a crash leaves them.
    let mut torn = fs::read(&journal).unwrap();
    torn.extend_from_slice(&[0x17, 0x2b, 0x11, 0x4d, 0xff, 0x03, 0x01, 0x55, 0x66]);
    rewrite(&journal, &torn);
    assert_eq!(content(&store).await.unwrap(), right);
}

#[tokio::test]
async fn a_journal_cut_below_what_was_acknowledged_is_refused_again_and_again() {
    let scratch = tempfile::tempdir().unwrap();
    let store = scratch.path().join("store");
    written(&store).await;
    let journal = journal::files(&store, "log").unwrap().pop().unwrap();
    let bytes = fs::read(&journal).unwrap();
    rewrite(&journal, &bytes[..bytes.len() - 100]);
    for _ in 0..2 {
        let error = content(&store).await.unwrap_err();
        assert!(error.contains("acknowledged writes are missing"), "{error}");
        assert!(error.contains("weir doctor"), "{error}");
    }
}

#[tokio::test]
async fn a_store_without_a_mark_opens_and_gets_one() {
    let scratch = tempfile::tempdir().unwrap();
    let store = scratch.path().join("store");
    written(&store).await;
    fs::remove_file(store.join("MARK")).unwrap();
    content(&store).await.unwrap();
    assert!(mark::read(&store).unwrap().unwrap().sequence > UNITS);
}

/// As a host leaves it that finds its cluster not there.
#[test]
fn a_store_that_was_opened_and_never_written_opens_again() {
    let scratch = tempfile::tempdir().unwrap();
    let store = scratch.path().join("store");
    for _ in 0..2 {
        drop(open(&store));
        assert_eq!(mark::read(&store).unwrap().unwrap().sequence, 0);
    }
}

/// A store whose last record is not readable, with the mark from before or from after that record was acknowledged. Answers
/// what it held before.
async fn with_unreadable_end(store: &Path, was_acknowledged: bool) -> String {
    written(store).await;
    let before = store.with_file_name("before");
    copy(store, &before);
    let right = content(&before).await.unwrap();
    let bus = open(store);
    let mark = store.join(mark::NAME);
    let earlier = fs::read(&mark).unwrap();
    let last = unit(UNITS + 1, UNITS + 1, Vec::new());
    let committed = bus.commit(&scope("g", &["in"]), 0, last).await;
    assert_eq!(committed, CommitResult::Committed);
    bus.close();
    if !was_acknowledged {
        rewrite(&mark, &earlier);
    }
    let journal = journal::files(store, "log").unwrap().pop().unwrap();
    let mut wrong = fs::read(&journal).unwrap();
    *wrong.last_mut().unwrap() ^= 0x10;
    rewrite(&journal, &wrong);
    right
}

#[tokio::test]
async fn a_fault_in_the_last_record_is_damage_where_the_record_was_acknowledged() {
    let scratch = tempfile::tempdir().unwrap();
    let store = scratch.path().join("store");
    with_unreadable_end(&store, true).await;
    // What is refused is not touched.
    for _ in 0..2 {
        let error = content(&store).await.unwrap_err();
        assert!(error.contains("a checksum is wrong"), "{error}");
    }
    let examined = doctor::examine(&store, false).unwrap();
    assert_eq!(examined.verdict, doctor::Verdict::CanGoOn, "{examined:?}");
    assert_eq!(examined.findings[0].what, "a checksum is wrong");
}

#[tokio::test]
async fn a_fault_in_the_last_record_is_a_torn_end_where_nobody_was_told_of_the_record() {
    let scratch = tempfile::tempdir().unwrap();
    let store = scratch.path().join("store");
    let right = with_unreadable_end(&store, false).await;
    let examined = doctor::examine(&store, false).unwrap();
    assert_eq!(examined.verdict, doctor::Verdict::Sound, "{examined:?}");
    // It is left away for good, and what is written after it is found the next time.
    for _ in 0..2 {
        assert_eq!(content(&store).await.unwrap(), right);
    }
    let bus = open(&store);
    bus.publish("out", publishes(["more"])).await.unwrap();
    bus.close();
    assert_eq!(open(&store).extent("out", 0), Some((0, UNITS + 1)));
}
