//! Directories that are not as they were left, disks that fail: the host comes to the right totals, or says what is wrong.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::Context as _;
use serde_json::Value;
use weir_tests::host::Place;
use weir_tests::http::Client;
use weir_tests::purchases::{self, INVOICES, NOTIFICATIONS, PAYMENTS};
use weir_tests::wait;

use crate::fixture::{SETTLE, Scratch, invoice, root, skip};

const HANDLERS: [&str; 2] = ["billing", "notification"];

fn events(count: u32) -> Vec<String> {
    let event = |n| invoice(&format!("e{n}"), &format!("{}", n % 7), "2.50");
    (0..count).map(event).collect()
}

fn publish(client: &Client, events: &[String]) {
    for batch in events.chunks(10) {
        assert_eq!(client.publish(INVOICES, batch).unwrap().status, 202);
    }
}

fn assert_totals(client: &Client, events: &[String], what: &str) {
    client.settle(SETTLE).unwrap();
    let right = purchases::totals(events).unwrap();
    for topic in [PAYMENTS, NOTIFICATIONS] {
        let found = purchases::emitted(client, topic).unwrap();
        assert!(
            found == right,
            "{what}: {topic} has {} events",
            found.events
        );
    }
}

/// Everything once more, as producers do that do not know what was kept; then every total is right.
fn assert_goes_on(place: &Place, events: &[String], what: &str) {
    let host = place.start().unwrap();
    publish(host.client(), events);
    assert_totals(host.client(), events, what);
    assert!(host.drain().unwrap().success());
}

fn text(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!(
        "{}{}",
        String::from_utf8_lossy(out),
        String::from_utf8_lossy(err)
    )
}

/// `weir run` where it cannot; answers what it says.
fn refused(place: &Place) -> String {
    let output = place.run_command().output().unwrap();
    assert!(!output.status.success(), "{}", text(&output));
    text(&output)
}

fn doctor(place: &Place, arguments: &[&str]) -> (Option<i32>, Value) {
    let mut command = place.weir(&["doctor", "--json"]);
    let output = command.arg(place.data()).args(arguments).output().unwrap();
    let json = serde_json::from_slice(&output.stdout);
    (
        output.status.code(),
        json.unwrap_or_else(|_| panic!("{}", text(&output))),
    )
}

fn copy_all(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (path, target) = (
            entry.as_ref().unwrap().path(),
            to.join(entry.unwrap().file_name()),
        );
        if path.is_dir() {
            copy_all(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

/// The last file below `folder` whose name satisfies `is`.
fn file(folder: &Path, is: impl Fn(&str) -> bool) -> PathBuf {
    let entries = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut found: Vec<_> = entries
        .filter(|path| {
            path.file_name()
                .is_some_and(|name| is(name.to_str().unwrap()))
        })
        .collect();
    found.sort();
    found.pop().unwrap()
}

#[test]
fn bit_changed_in_a_data_directory_is_told_or_changes_no_total() {
    let (scratch, host) = Scratch::with_purchases();
    let (place, events) = (&scratch.place, events(60));
    publish(host.client(), &events);
    host.client().settle(SETTLE).unwrap();
    assert!(host.drain().unwrap().success());
    // The second start brings tables beside the journal.
    assert!(place.start().unwrap().drain().unwrap().success());
    let (data, pristine) = (place.data(), place.data().with_file_name("pristine"));
    copy_all(&data, &pristine);

    let store = pristine.join("store");
    let is_number =
        |name: &str, extension| name.ends_with(extension) && name.as_bytes()[0].is_ascii_digit();
    let table = file(&store, |name| is_number(name, ".sst"));
    let manifest = file(&store, |name| name.starts_with("MANIFEST"));
    let cached = file(&pristine.join("cache"), |_| true);
    // Each with what the host says of it; none: it goes on.
    let tried = [
        (pristine.join("FORMAT"), 0, Some("FORMAT")),
        (pristine.join("host-id"), 3, Some("host-id is damaged")),
        (pristine.join("cache.key"), 7, None),
        (
            cached.clone(),
            fs::metadata(&cached).unwrap().len() / 2,
            None,
        ),
        (store.join("MARK"), 9, Some("weir doctor")),
        (store.join("CURRENT"), 2, Some("weir doctor")),
        (store.join("IDENTITY"), 5, None),
        (manifest, 5, Some("weir doctor")),
        (
            table.clone(),
            fs::metadata(&table).unwrap().len() - 20,
            Some("weir doctor"),
        ),
    ];
    for (path, at, says) in tried {
        let name = path.strip_prefix(&pristine).unwrap();
        fs::remove_dir_all(&data).unwrap();
        copy_all(&pristine, &data);
        let mut bytes = fs::read(&path).unwrap();
        bytes[usize::try_from(at).unwrap()] ^= 0x10;
        fs::write(data.join(name), bytes).unwrap();
        match says {
            Some(says) => {
                let said = refused(place);
                assert!(said.contains(says), "{}: {said}", name.display());
            }
            None => assert_goes_on(place, &events, &name.display().to_string()),
        }
    }
}

#[test]
fn journal_cut_in_the_middle_is_refused_until_its_loss_is_accepted() {
    let (scratch, host) = Scratch::with_purchases();
    let (place, events) = (&scratch.place, events(200));
    publish(host.client(), &events);
    host.client().settle(SETTLE).unwrap();
    host.kill().unwrap();
    let (code, sound) = doctor(place, &[]);
    assert_eq!(
        (code, &sound["verdict"]),
        (Some(0), &"sound".into()),
        "{sound}"
    );

    let journal = file(&place.data().join("store"), |name| name.ends_with(".log"));
    let half = fs::metadata(&journal).unwrap().len() / 2;
    File::options()
        .write(true)
        .open(&journal)
        .unwrap()
        .set_len(half)
        .unwrap();
    for _ in 0..2 {
        let said = refused(place);
        assert!(said.contains("acknowledged writes are missing"), "{said}");
        assert!(said.contains("weir doctor"), "{said}");
    }
    let (code, told) = doctor(place, &[]);
    assert_eq!(
        (code, &told["verdict"]),
        (Some(2), &"can-go-on".into()),
        "{told}"
    );
    assert!(told["loss"]["writes"].as_u64().unwrap() > 0, "{told}");
    let until = |name: &str| told["loss"][name].as_u64().unwrap();
    assert!(
        until("kept_until_ms") <= until("acknowledged_until_ms"),
        "{told}"
    );
    refused(place);

    let (code, accepted) = doctor(place, &["--accept-loss"]);
    assert_eq!(code, Some(0), "{accepted}");
    let kept = PathBuf::from(accepted["kept"].as_str().unwrap());
    assert!(kept.join("CURRENT").is_file());
    assert_goes_on(place, &events, "after the loss was accepted");
}

#[test]
fn byte_changed_in_the_journal_is_found_and_what_was_before_it_is_kept() {
    let (scratch, host) = Scratch::with_purchases();
    let (place, events) = (&scratch.place, events(200));
    publish(host.client(), &events);
    host.client().settle(SETTLE).unwrap();
    host.kill().unwrap();
    let journal = file(&place.data().join("store"), |name| name.ends_with(".log"));
    let mut bytes = fs::read(&journal).unwrap();
    let at = bytes.len() * 3 / 4;
    bytes[at] ^= 1;
    fs::write(&journal, bytes).unwrap();
    let said = refused(place);
    assert!(
        said.contains("is damaged at byte") && said.contains("weir doctor"),
        "{said}"
    );
    let mut human = place.weir(&["doctor"]);
    let output = human.arg(place.data()).output().unwrap();
    let said = text(&output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    for part in [".log", "checksum", "--accept-loss", "changes are lost"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert_eq!(doctor(place, &["--accept-loss"]).0, Some(0));
    assert_goes_on(place, &events, "after the loss was accepted");
}

#[test]
fn doctor_leaves_the_directory_of_a_running_host_alone() {
    let (scratch, host) = Scratch::with_purchases();
    let mut command = scratch.place.weir(&["doctor"]);
    let output = command.arg(scratch.place.data()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output).contains("is in use by process"),
        "{}",
        text(&output)
    );
    assert!(host.drain().unwrap().success());
}

/// Makes the library that fails a sync; none where there is no C compiler, which the store could not be built without either.
fn failing_sync(folder: &Path) -> Option<PathBuf> {
    let library = folder.join("failing_sync.so");
    let mut compile = Command::new("cc");
    compile.args(["-shared", "-fPIC", "-o"]).arg(&library);
    compile.arg(root().join("tests/weir/damage/failing_sync.c"));
    let output = compile.arg("-ldl").output().ok()?;
    assert!(output.status.success(), "{}", text(&output));
    Some(library)
}

#[test]
fn sync_that_the_system_fails_ends_the_host_at_once_and_loses_nothing() {
    let scratch = Scratch::new(&HANDLERS, "");
    let (place, events) = (&scratch.place, events(40));
    let folder = place.config().with_file_name("");
    let Some(library) = failing_sync(&folder) else {
        return skip("a sync that fails", "there is no C compiler `cc`");
    };
    let trigger = folder.join("fail");
    let mut command = place.run_command();
    command.env("LD_PRELOAD", library);
    command.env("WEIR_TEST_SYNC_FAILS", &trigger);
    let mut host = place.start_command(command).unwrap();
    publish(host.client(), &events[..20]);
    fs::write(&trigger, "").unwrap();
    // Nobody is told of what was not synced. A unit of work may meet the failure before the event does.
    let answer = host.client().publish(INVOICES, &events[20..21]);
    assert!(answer.is_err(), "{answer:?}");
    let status = wait::until("the host to end", SETTLE, || host.ended()).unwrap();
    assert_eq!(status.signal(), Some(6), "{status}");
    assert!(!trigger.exists());
    let log = fs::read_to_string(place.log()).unwrap();
    let mut said = log.lines().filter(|line| line.starts_with("weir: "));
    let line = said.next().unwrap();
    assert!(
        line.starts_with("weir: cannot write to the store: "),
        "{line}"
    );
    assert!(line.contains("Input/output error"), "{line}");
    assert_eq!(said.next(), None);

    let host = place.start().unwrap();
    // All that was acknowledged, and what was not as a whole or not at all.
    let kept = host.client().records(INVOICES).unwrap();
    assert!((20..=21).contains(&kept), "{kept}");
    assert!(host.drain().unwrap().success());
    assert_goes_on(place, &events, "after a sync that failed");
}

/// A file system of its own, while it is wanted.
pub(crate) struct Mount(PathBuf);

impl Mount {
    /// A disk that is soon full; none where there can be none, which is said.
    pub(crate) fn small(test: &str, on: &Path) -> Option<Self> {
        fs::create_dir_all(on).unwrap();
        let mount = Self::new(&["-t", "tmpfs", "-o", "size=192m", "tmpfs"], on);
        let why = match mount {
            Ok(mount) => return Some(mount),
            Err(why) => why,
        };
        skip(test, &format!("no file system could be mounted: {why}"));
        None
    }

    fn new(arguments: &[&str], on: &Path) -> Result<Self, String> {
        let output = Command::new("mount").args(arguments).arg(on).output();
        match output {
            Ok(output) if output.status.success() => Ok(Self(on.to_owned())),
            Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("--lazy").arg(&self.0).status();
        assert!(unmounted.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}

#[test]
fn disk_that_fills_up_between_two_commits_loses_nothing_that_was_accepted() {
    let scratch = Scratch::new(&HANDLERS, "");
    let (place, events) = (&scratch.place, events(400));
    let disk = place.data();
    let Some(_mount) = Mount::small("a full disk", &disk) else {
        return;
    };
    let mut host = place.start().unwrap();
    let (before, after) = events.split_at(100);
    publish(host.client(), before);
    fill(&disk.join("filler"));
    // It takes nothing more, as soon as it has looked, or ends in the middle of a commit; either is told.
    let mut batches = after.chunks(5).cycle();
    wait::until("events to be refused on a full disk", SETTLE, || {
        let batch = batches.next().context("no events")?;
        let Ok(answer) = host.client().publish(INVOICES, batch) else {
            return Ok(Some(()));
        };
        if answer.status == 202 {
            return Ok(None);
        }
        assert_eq!(answer.status, 503, "{}", answer.body);
        assert!(answer.body.contains("free space"), "{}", answer.body);
        Ok(Some(()))
    })
    .unwrap();
    fs::remove_file(disk.join("filler")).unwrap();
    if host.ended().unwrap().is_some() {
        drop(host);
    } else {
        // Intake goes on by itself.
        wait::until("intake to go on", SETTLE, || {
            let answer = host.client().publish(INVOICES, &after[..1])?;
            Ok((answer.status == 202).then_some(()))
        })
        .unwrap();
        assert!(host.drain().unwrap().success());
    }
    assert_goes_on(place, &events, "after the disk was full");
}

/// Takes all room that there is.
pub(crate) fn fill(path: &Path) {
    let mut file = File::create(path).unwrap();
    for size in [1 << 20, 4096, 1] {
        let piece = vec![7; size];
        while file.write_all(&piece).is_ok() {}
    }
}

#[test]
fn directory_that_cannot_be_written_is_named() {
    let (scratch, host) = Scratch::with_purchases();
    let place = &scratch.place;
    assert!(host.drain().unwrap().success());
    let data = place.data();
    let source = data.to_str().unwrap().to_owned();
    let _mount = match Mount::new(&["--bind", &source], &data) {
        Ok(mount) => mount,
        Err(why) => {
            return skip(
                "a read-only directory",
                &format!("nothing could be mounted: {why}"),
            );
        }
    };
    let read_only = Command::new("mount")
        .args(["-o", "remount,ro,bind"])
        .arg(&data)
        .status();
    assert!(read_only.is_ok_and(|status| status.success()));
    let said = refused(place);
    assert!(
        said.contains(&source) && said.contains("Read-only file system"),
        "{said}"
    );
}

/// What `cargo xtask sample --format` put into each directory.
const IN_FORMATS: usize = 200;

#[test]
fn directory_of_every_released_format_opens_with_what_was_in_it() {
    let sample = purchases::lines(&purchases::sample(root())).unwrap();
    let events = &sample[..IN_FORMATS];
    let formats = fs::read_dir(root().join("tests/data/formats")).unwrap();
    let mut formats: Vec<_> = formats.map(|entry| entry.unwrap().path()).collect();
    formats.sort();
    assert!(!formats.is_empty());
    for format in formats {
        let scratch = Scratch::new(&HANDLERS, "");
        let place = &scratch.place;
        copy_all(&format, &place.data());
        let host = place.start().unwrap();
        let what = format.display().to_string();
        assert_totals(host.client(), events, &what);
        // The inbox of then knows the events of then. They are not published again: an event of today makes them older than
        // a day on both clocks.
        let status = host.client().status().unwrap();
        for handler in status["handlers"].as_array().unwrap() {
            assert_eq!(handler["inbox_ids"], IN_FORMATS, "{what}: {handler}");
        }
        // And the state goes on.
        let both = &sample[..IN_FORMATS * 2];
        publish(host.client(), &both[IN_FORMATS..]);
        assert_totals(host.client(), both, &what);
        assert!(host.drain().unwrap().success());
    }
}
