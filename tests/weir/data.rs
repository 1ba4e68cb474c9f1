//! Copies of a running host's data, and what deletes them.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Output;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;
use weir_tests::host::{self, Place};
use weir_tests::http::Client;
use weir_tests::purchases::{self, INVOICES, NOTIFICATIONS, PAYMENTS, Totals};

use crate::fixture::{SETTLE, Scratch, invoice, json, root};

/// More than are published while a copy is made.
const EVENTS_MAX: u32 = 40_000;
const BATCH: usize = 8;

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

fn assert_refused(output: &Output, says: &str) {
    assert!(
        !output.status.success() && text(output).contains(says),
        "{says:?} is not in: {}",
        text(output)
    );
}

fn publish_all(client: &Client, events: &[String]) {
    for batch in events.chunks(256) {
        assert_eq!(client.publish(INVOICES, batch).unwrap().status, 202);
    }
    client.settle(SETTLE).unwrap();
}

fn assert_totals(client: &Client, events: &[String]) {
    let right: Totals = purchases::totals(events).unwrap();
    for topic in [PAYMENTS, NOTIFICATIONS] {
        assert!(
            purchases::emitted(client, topic).unwrap() == right,
            "{topic}"
        );
    }
}

fn ids(client: &Client, topic: &str) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    let note = |record: &Value| {
        ids.insert(record["event"]["id"].as_str().unwrap().to_owned());
        Ok(())
    };
    client.each_event(topic, note).unwrap();
    ids
}

#[test]
fn copy_made_under_load_restores_to_a_moment_and_goes_on_to_the_right_totals() {
    let events: Vec<String> = (0..EVENTS_MAX)
        .map(|n| invoice(&format!("e{n}"), &format!("{}", n % 40), "1.25"))
        .collect();
    let (scratch, host) = Scratch::with_purchases();
    let (place, client) = (&scratch.place, host.client());
    let copy = place.data().with_file_name("copy");
    let copied = AtomicBool::new(false);
    let (made, published) = std::thread::scope(|scope| {
        let producer = scope.spawn(|| {
            let (mut published, mut left_after) = (0, 20);
            for batch in events.chunks(BATCH) {
                if copied.load(Ordering::Acquire) {
                    left_after -= 1;
                }
                if left_after == 0 {
                    return published;
                }
                assert_eq!(client.publish(INVOICES, batch).unwrap().status, 202);
                published += batch.len();
            }
            panic!("the copy took longer than all events");
        });
        weir_tests::wait::until("events to flow", SETTLE, || {
            Ok((client.records(PAYMENTS)? > 100).then_some(()))
        })
        .unwrap();
        let mut backup = place.weir(&["backup", "--json", "--url", &client.url()]);
        let made = json(
            &backup
                .arg(&copy)
                .arg("--data")
                .arg(place.data())
                .output()
                .unwrap(),
        )
        .unwrap();
        copied.store(true, Ordering::Release);
        (made, producer.join().unwrap())
    });
    assert!(made["backup"]["bytes"].as_u64().unwrap() > 0, "{made}");
    client.settle(SETTLE).unwrap();
    let emitted = ids(client, PAYMENTS);
    assert!(host.drain().unwrap().success());

    let folder = place.data().with_file_name("elsewhere");
    let handlers = host::handlers(root(), &["billing", "notification"]).unwrap();
    let other = Place::new(&host::binary().unwrap(), &folder, &handlers, "").unwrap();
    let restored = restore(&other, &copy);
    assert!(restored.status.success(), "{}", text(&restored));
    assert!(
        text(&restored).contains("emitted again, under the same ids"),
        "{}",
        text(&restored)
    );
    assert_refused(&restore(&other, &copy), "is not empty");

    let host = other.start().unwrap();
    let client = host.client();
    client.settle(SETTLE).unwrap();
    let kept = usize::try_from(client.records(INVOICES).unwrap()).unwrap();
    assert!(100 < kept && kept < published, "{kept} of {published}");
    // Each request is in it as a whole or not at all, and none without those before it.
    assert_eq!(kept % BATCH, 0);
    assert_totals(client, &events[..kept]);

    // Everything once more, as producers do that do not know how much was kept.
    publish_all(client, &events[..published]);
    assert_totals(client, &events[..published]);
    assert_eq!(ids(client, PAYMENTS), emitted);
}

fn restore(place: &Place, copy: &Path) -> Output {
    let mut command = place.weir(&["restore"]);
    command.arg(copy).arg("--data").arg(place.data());
    command.output().unwrap()
}

#[test]
fn directory_without_a_host_is_copied_and_half_a_copy_is_refused() {
    let (scratch, host) = Scratch::with_purchases();
    publish_all(host.client(), &[invoice("a", "1", "1.00")]);
    assert!(host.drain().unwrap().success());
    let place = &scratch.place;
    let copy = place.data().with_file_name("copy");
    let mut backup = place.weir(&["backup", "--json"]);
    backup.arg(&copy).arg("--data").arg(place.data());
    json(&backup.output().unwrap()).unwrap();
    assert_refused(&backup.output().unwrap(), "is not an empty directory");

    std::fs::remove_file(copy.join("BACKUP")).unwrap();
    std::fs::rename(place.data(), place.data().with_file_name("away")).unwrap();
    assert_refused(&restore(place, &copy), "has no BACKUP");
    assert!(!place.data().exists());
}

#[test]
fn undeployed_handler_keeps_everything_until_it_is_purged() {
    let (scratch, host) = Scratch::with_purchases();
    let (place, url) = (&scratch.place, host.client().url());
    let events = [
        invoice("a", "1", "1.00"),
        invoice("b", "1", "2.00"),
        invoice("c", "2", "4.00"),
    ];
    publish_all(host.client(), &events);
    let undeploy = |arguments: &[&str]| {
        let mut command = place.weir(&["undeploy", "billing", "--url", &url]);
        command.args(arguments).output().unwrap()
    };
    assert!(text(&undeploy(&[])).contains("stays"));
    assert_refused(&undeploy(&["--purge"]), "--yes");
    assert_refused(&undeploy(&["--purge", "--yes"]), "billing is deployed");
    assert!(host.drain().unwrap().success());

    // Without its folder, and back again: it goes on where it was.
    let with = std::fs::read_to_string(place.config()).unwrap();
    let notification = host::handlers(root(), &["notification"]).unwrap();
    let without = format!(
        "handlers = {}\n{}",
        serde_json::to_string(&notification).unwrap(),
        with.split_once('\n').unwrap().1
    );
    scratch.write("weir.toml", &without);
    place.start().unwrap().drain().unwrap();
    scratch.write("weir.toml", &with);
    let host = place.start().unwrap();
    publish_all(host.client(), &events);
    assert_eq!(host.client().fate("billing", "duplicate").unwrap(), 3);
    assert_eq!(host.client().records(PAYMENTS).unwrap(), 3);
    assert!(host.drain().unwrap().success());

    scratch.write("weir.toml", &without);
    let host = place.start().unwrap();
    let purged = json(&undeploy(&["--purge", "--yes", "--json"])).unwrap();
    for what in ["progress", "inbox", "state"] {
        assert!(purged["deleted"][what].as_u64().unwrap() > 0, "{purged}");
    }
    assert_refused(&undeploy(&["--purge", "--yes"]), "there is no subscription");
    assert_eq!(host.client().records(PAYMENTS).unwrap(), 3);
    assert!(host.drain().unwrap().success());

    // As a new handler it reads all again. Its emissions have the ids of before, which its reader knows.
    scratch.write("weir.toml", &with);
    let host = place.start().unwrap();
    let client = host.client();
    client.settle(SETTLE).unwrap();
    assert_eq!(client.fate("billing", "handled").unwrap(), 3);
    assert_eq!(client.records(PAYMENTS).unwrap(), 6);
    assert_eq!(ids(client, PAYMENTS).len(), 3);
    assert_eq!(client.records(NOTIFICATIONS).unwrap(), 3);
}
