//! What happens to events while a handler's breaker is open, on the running host.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;
use weir_tests::host;
use weir_tests::http::Client;
use weir_tests::scripted::{DEEDS, ORDERS, deeds, order};

use crate::fixture::{SETTLE, Scratch, root};

/// Folder of the handler `stateless` under this name, its manifest changed.
fn stateless(folder: &Path, name: &str, change: impl Fn(String) -> String) -> PathBuf {
    let built = host::handlers(root(), &["stateless"]).unwrap().remove(0);
    let folder = folder.join(name);
    fs::create_dir(&folder).unwrap();
    fs::copy(built.join("stateless.wasm"), folder.join("stateless.wasm")).unwrap();
    let manifest = fs::read_to_string(built.join("handler.toml")).unwrap();
    let manifest = manifest.replace("name = \"stateless\"", &format!("name = {name:?}"));
    fs::write(folder.join("handler.toml"), change(manifest)).unwrap();
    folder
}

fn publish(client: &Client, events: std::ops::Range<usize>) {
    let events: Vec<_> = events
        .map(|n| order(&format!("o-{n:02}"), &format!("k-{}", n % 4), &json!({})))
        .collect();
    let answer = client.publish(ORDERS, &events).unwrap();
    assert_eq!(answer.status, 202, "{}", answer.body);
}

fn breaker(scratch: &Scratch, command: &str) {
    let url = scratch.place.client().url();
    let arguments = ["breaker", "main", command, "--url", &url];
    let output = scratch.place.weir(&arguments).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

fn handler(client: &Client) -> Value {
    let status = client.status().unwrap();
    let handlers = status["handlers"].as_array().unwrap();
    let main = handlers.iter().find(|one| one["name"] == "main");
    main.unwrap().clone()
}

#[test]
fn an_open_breaker_sets_events_aside_over_a_kill_and_they_go_on_in_order_when_it_closes() {
    let folder = TempDir::with_prefix("weir-").unwrap();
    let main = stateless(folder.path(), "main", |manifest| {
        manifest + "\n[breaker]\nwhile_open = \"park\"\n"
    });
    let scratch = Scratch::in_folders(&[main], "");
    let host = scratch.place.start().unwrap();
    breaker(&scratch, "open");
    publish(host.client(), 0..40);
    weir_tests::wait::until("all to be set aside", SETTLE, || {
        let parked = host.client().fate("main", "parked")?;
        anyhow::ensure!(parked == 40, "{parked} are parked");
        Ok(Some(()))
    })
    .unwrap();
    assert_eq!(handler(host.client())["attempts"], 0);
    host.kill().unwrap();
    let host = scratch.place.start().unwrap();
    breaker(&scratch, "auto");
    weir_tests::wait::until("all to be handled", SETTLE, || {
        let told = host.client().records(DEEDS)?;
        anyhow::ensure!(told == 40, "{told} of 40");
        Ok(Some(()))
    })
    .unwrap();
    for (key, told) in deeds(host.client()).unwrap() {
        assert!(
            told.is_sorted_by_key(|deed| deed.id.clone()),
            "{key}: {told:?}"
        );
    }
}

#[test]
fn while_its_breaker_is_open_another_handler_takes_the_events_each_once() {
    let folder = TempDir::with_prefix("weir-").unwrap();
    let main = stateless(folder.path(), "main", |manifest| {
        manifest + "\n[breaker]\nwhile_open = \"fallback\"\nfallback = \"spare\"\n"
    });
    let spare = stateless(folder.path(), "spare", |manifest| {
        manifest.replace("topics = [\"public.scripts.v1\"]", "topics = []")
    });
    let scratch = Scratch::in_folders(&[main, spare], "");
    let host = scratch.place.start().unwrap();
    publish(host.client(), 0..10);
    host.client().settle(SETTLE).unwrap();
    breaker(&scratch, "open");
    publish(host.client(), 10..40);
    host.client().settle(SETTLE).unwrap();
    breaker(&scratch, "auto");
    publish(host.client(), 40..50);
    host.client().settle(SETTLE).unwrap();

    let mut from = [0, 0];
    let each = |record: &Value| {
        match record["event"]["source"].as_str() {
            Some("/weir/main") => from[0] += 1,
            Some("/weir/spare") => from[1] += 1,
            other => anyhow::bail!("an emission of {other:?}"),
        }
        Ok(())
    };
    host.client().each_event(DEEDS, each).unwrap();
    assert_eq!(from, [20, 30]);
    let handler = handler(host.client());
    assert_eq!(handler["fates"]["handled"], 50, "{handler}");
    assert_eq!(handler["fallback"], 30, "{handler}");
}
