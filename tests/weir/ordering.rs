//! What a manifest says of order and of repeats, on the running host.

use std::fs;

use serde_json::{Value, json};
use weir_tests::host;
use weir_tests::http::Client;
use weir_tests::scripted::{DEEDS, ORDERS, order};
use weir_tests::wait;

use crate::fixture::{SETTLE, Scratch, root};

/// One partition, so that what is told is in the order in which it was done.
const ONE: &str = "partitions = 1\n";

/// A place with this handler, whose manifest begins and ends with more.
fn place(handler: &str, before: &str, after: &str) -> (tempfile::TempDir, Scratch) {
    let folder = tempfile::TempDir::with_prefix("weir-").unwrap();
    let built = host::handlers(root(), &[handler]).unwrap().remove(0);
    let component = format!("{handler}.wasm");
    fs::copy(built.join(&component), folder.path().join(&component)).unwrap();
    let manifest = fs::read_to_string(built.join("handler.toml")).unwrap();
    let manifest = format!("{before}{manifest}{after}");
    fs::write(folder.path().join("handler.toml"), manifest).unwrap();
    let scratch = Scratch::in_folders(&[folder.path().to_path_buf()], "");
    (folder, scratch)
}

fn publish(client: &Client, orders: &[String]) {
    let answer = client.publish(ORDERS, orders).unwrap();
    assert_eq!(answer.status, 202, "{}", answer.body);
}

/// So many deeds, in the order in which they were done: the event's id and the attempt.
fn done(client: &Client, count: u64) -> Vec<(String, u64)> {
    wait::until("the deeds", SETTLE, || {
        Ok((client.records(DEEDS)? >= count).then_some(()))
    })
    .unwrap();
    let mut done = Vec::new();
    client
        .each_event(DEEDS, |record| {
            let data = &record["event"]["data"];
            let id = data["id"].as_str().unwrap_or_default();
            done.push((id.to_owned(), data["attempt"].as_u64().unwrap_or_default()));
            Ok(())
        })
        .unwrap();
    done
}

/// An order that fails six times, others of its key, and others of other keys behind it.
fn orders() -> Vec<String> {
    let failing = json!({ "fail": "transient", "attempts": 6 });
    let mut orders = vec![order("a-0", "a", &failing)];
    for n in 1..5 {
        orders.push(order(&format!("a-{n}"), "a", &json!({})));
        orders.push(order(&format!("b-{n}"), "b", &json!({})));
    }
    orders
}

#[test]
fn in_the_order_of_a_partition_all_of_it_waits_for_the_event_that_fails_also_over_a_kill() {
    let (_folder, scratch) = place("scripted", "ordering = \"partition\"\npartitions = 1\n", "");
    let host = scratch.place.start().unwrap();
    publish(host.client(), &orders());
    wait::until("the first to have failed", SETTLE, || {
        let attempts = &host.client().status()?["handlers"][0]["attempts"];
        Ok((attempts.as_u64() > Some(2)).then_some(()))
    })
    .unwrap();
    host.kill().unwrap();
    let host = scratch.place.start().unwrap();
    let told = done(host.client(), 9);
    let ids: Vec<_> = told.iter().map(|(id, _)| id.as_str()).collect();
    let expected = [
        "a-0", "a-1", "b-1", "a-2", "b-2", "a-3", "b-3", "a-4", "b-4",
    ];
    assert_eq!(ids, expected);
    assert_eq!(told[0].1, 7);
    let status = host.client().status().unwrap();
    let fates = &status["handlers"][0]["fates"];
    assert_eq!((&fates["parked"], &fates["dead"]), (&json!(0), &json!(0)));
}

#[test]
fn without_an_order_an_event_that_fails_holds_up_none_of_its_key() {
    let (_folder, scratch) = place("stateless", "ordering = \"none\"\npartitions = 1\n", "");
    let host = scratch.place.start().unwrap();
    let failing = json!({ "attempts": 6 });
    let mut orders = vec![order("a-0", "a", &failing)];
    orders.extend((1..9).map(|n| order(&format!("a-{n}"), "a", &json!({}))));
    publish(host.client(), &orders);
    let mut told = done(host.client(), 9);
    assert_eq!(told.pop(), Some(("a-0".to_owned(), 7)), "the last of all");
    told.sort();
    let others: Vec<_> = (1..9).map(|n| (format!("a-{n}"), 1)).collect();
    assert_eq!(told, others);
}

#[test]
fn events_of_one_key_in_two_topics_keep_one_order_where_it_is_asked_for() {
    const OTHER: &str = "dev.local.public.more-scripts.v1";
    let before = format!("{ONE}ordering = {{ across_topics = true }}\n");
    let (folder, scratch) = place("stateless", &before, "");
    let file = folder.path().join("handler.toml");
    let topics = "[\"public.scripts.v1\"";
    let manifest = fs::read_to_string(&file).unwrap();
    let both = format!("{topics}, \"public.more-scripts.v1\"");
    fs::write(&file, manifest.replace(topics, &both)).unwrap();
    let host = scratch.place.start().unwrap();
    let client = host.client();
    publish(client, &[order("first", "a", &json!({ "attempts": 6 }))]);
    wait::until("it to fail", SETTLE, || {
        let attempts = &client.status()?["handlers"][0]["attempts"];
        Ok((attempts.as_u64() > Some(0)).then_some(()))
    })
    .unwrap();
    let later = [order("second", "a", &json!({}))];
    assert_eq!(client.publish(OTHER, &later).unwrap().status, 202);
    let told = done(client, 2);
    let ids: Vec<_> = told.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!(ids, ["first", "second"]);
}

#[test]
fn a_producer_that_repeats_its_order_under_another_id_is_caught_by_the_key_that_the_manifest_names()
{
    for (key, place_of) in [("orderid", "extension"), ("/attempts", "data")] {
        let inbox = format!("[inbox]\nkey = {key:?}\n");
        let (_folder, scratch) = place("stateless", "", &inbox);
        let host = scratch.place.start().unwrap();
        let event = |id: &str, number: u32| {
            let text = order(id, "a", &json!({ "attempts": number }));
            let mut event: Value = serde_json::from_str(&text).unwrap();
            event["orderid"] = json!(format!("o-{number}"));
            event.to_string()
        };
        publish(
            host.client(),
            &[event("1", 0), event("2", 0), event("3", 1)],
        );
        host.client().settle(SETTLE).unwrap();
        let ids: Vec<_> = done(host.client(), 2)
            .into_iter()
            .map(|(id, _)| id)
            .collect();
        assert_eq!(ids, ["1", "3"], "by its {place_of}");
        let repeats = host.client().fate("stateless", "duplicate").unwrap();
        assert_eq!(repeats, 1, "by its {place_of}");
    }
}
