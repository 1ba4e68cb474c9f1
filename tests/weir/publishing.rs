//! Events in, events out: what a producer and a reader see.

use serde_json::Value;
use weir_tests::purchases::{self, INVOICES, NOTIFICATIONS, PAYMENTS};

use crate::fixture::{SETTLE, Scratch, invoice, root};

#[test]
fn purchases_pass_both_handlers_and_a_repeat_is_dropped_by_the_inbox() {
    let lines = purchases::lines(&purchases::sample(root())).unwrap();
    let right = purchases::totals(&lines).unwrap();
    let (_scratch, host) = Scratch::with_purchases();
    let client = host.client();
    for _ in 0..2 {
        for batch in lines.chunks(256) {
            assert_eq!(client.publish(INVOICES, batch).unwrap().status, 202);
        }
    }
    client.settle(SETTLE).unwrap();
    for topic in [PAYMENTS, NOTIFICATIONS] {
        assert!(
            purchases::emitted(client, topic).unwrap() == right,
            "{topic}"
        );
    }
    // I12: the fates add up to the positions.
    let status = client.status().unwrap();
    let billing = status["handlers"]
        .as_array()
        .unwrap()
        .iter()
        .find(|handler| handler["name"] == "billing")
        .unwrap();
    let fates: u64 = billing["fates"]
        .as_object()
        .unwrap()
        .values()
        .filter_map(Value::as_u64)
        .sum();
    assert_eq!(fates, client.records(INVOICES).unwrap());
    assert_eq!(billing["fates"]["handled"], right.events);
    assert_eq!(billing["fates"]["duplicate"], right.events);
}

#[test]
fn emission_carries_its_cause_and_its_key() {
    let (_scratch, host) = Scratch::with_purchases();
    let client = host.client();
    assert_eq!(
        client
            .publish(INVOICES, &[invoice("i-1", "00007", "12.50")])
            .unwrap()
            .status,
        202
    );
    client.settle(SETTLE).unwrap();
    let mut seen = Vec::new();
    client
        .each_event(PAYMENTS, |record| {
            seen.push(record.clone());
            Ok(())
        })
        .unwrap();
    assert_eq!(seen.len(), 1);
    let (record, event) = (&seen[0], &seen[0]["event"]);
    assert_eq!(record["topic"], PAYMENTS);
    assert_eq!(record["key"], "00007");
    assert_eq!(event["type"], "PaymentReceived");
    assert_eq!(event["source"], "/weir/billing");
    assert_eq!(event["causationid"], "i-1");
    assert_eq!(event["correlationid"], "i-1");
    assert_eq!(event["partitionkey"], "00007");
    assert_eq!(event["data"]["amountCents"], 1250);
}

#[test]
fn command_line_publishes_tails_and_reports_in_json() {
    let (scratch, host) = Scratch::with_purchases();
    let url = host.client().url();
    let file = scratch.write(
        "events.ndjson",
        &format!(
            "{}\n{}\n",
            invoice("a", "1", "1.00"),
            invoice("b", "2", "2.00")
        ),
    );
    let run = |arguments: &[&str]| -> Vec<Value> {
        let output = scratch
            .place
            .weir(arguments)
            .args(["--url", &url, "--json"])
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let text = String::from_utf8(output.stdout).unwrap();
        serde_json::Deserializer::from_str(&text)
            .into_iter()
            .map(Result::unwrap)
            .collect()
    };
    let published = run(&[
        "publish",
        file.to_str().unwrap(),
        "--topic",
        "public.invoices.v1",
    ]);
    assert_eq!(published[0]["published"], 2);
    host.client().settle(SETTLE).unwrap();
    let tailed = run(&["tail", INVOICES, "--from", "beginning", "--no-follow"]);
    let mut ids: Vec<_> = tailed
        .iter()
        .map(|record| record["event"]["id"].as_str().unwrap())
        .collect();
    ids.sort_unstable();
    assert_eq!(ids, ["a", "b"]);
    let status = run(&["status"]);
    assert_eq!(status[0]["handlers"].as_array().unwrap().len(), 2);
}

#[test]
fn event_that_no_attempt_can_handle_is_dead_and_holds_up_nobody() {
    let (_scratch, host) = Scratch::with_purchases();
    let client = host.client();
    let batch = [
        invoice("bad", "1", "a lot"),
        invoice("good", "1", "3.00"),
        invoice("other", "2", "4.00"),
    ];
    assert_eq!(client.publish(INVOICES, &batch).unwrap().status, 202);
    client.settle(SETTLE).unwrap();
    assert_eq!(
        (
            client.fate("billing", "dead").unwrap(),
            client.fate("billing", "handled").unwrap()
        ),
        (1, 2)
    );
    assert_eq!(purchases::emitted(client, PAYMENTS).unwrap().cents(), 700);
}
