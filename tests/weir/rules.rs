//! Rules of retries, parks, timers and the breaker on the running host, kills included.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use weir_tests::http::Client;
use weir_tests::scripted::{DEEDS, Deed, ORDERS, deeds, order};
use weir_tests::wait;

use crate::fixture::{SETTLE, Scratch};

fn publish(client: &Client, orders: &[String]) {
    let answer = client.publish(ORDERS, orders).unwrap();
    assert_eq!(answer.status, 202, "{}", answer.body);
}

/// Waits until it told this many things, and gives them.
fn told(client: &Client, count: u64) -> std::collections::BTreeMap<String, Vec<Deed>> {
    wait::until("the deeds", SETTLE, || {
        Ok((client.records(DEEDS)? >= count).then_some(()))
    })
    .unwrap();
    deeds(client).unwrap()
}

fn ids(deeds: &[Deed]) -> Vec<&str> {
    deeds.iter().map(|deed| deed.id.as_str()).collect()
}

fn nothing() -> Value {
    json!({})
}

#[test]
fn a_key_that_fails_is_parked_over_a_kill_and_keeps_its_order_while_others_go_on() {
    let scratch = Scratch::new(&["scripted"], "");
    let host = scratch.place.start().unwrap();
    let client = host.client();
    let failing = json!({ "fail": "transient", "attempts": 6 });
    let mut orders = vec![order("a-0", "a", &failing)];
    orders.extend((1..20).map(|n| order(&format!("a-{n}"), "a", &nothing())));
    orders.extend((0..20).map(|n| order(&format!("b-{n}"), "b", &nothing())));
    publish(client, &orders);
    wait::until("the failing key to be parked", SETTLE, || {
        Ok((client.fate("scripted", "parked")? > 0).then_some(()))
    })
    .unwrap();
    host.kill().unwrap();
    let host = scratch.place.start().unwrap();
    let told = told(host.client(), 40);
    for key in ["a", "b"] {
        let expected: Vec<_> = (0..20).map(|n| format!("{key}-{n}")).collect();
        assert_eq!(ids(&told[key]), expected);
        let counts: Vec<_> = told[key].iter().map(|deed| deed.count).collect();
        assert_eq!(counts, (1..=20).collect::<Vec<_>>());
    }
    assert_eq!(told["a"][0].attempt, 7, "attempts survive a restart");
    assert_eq!(host.client().fate("scripted", "dead").unwrap(), 0);
}

#[test]
fn a_timer_fires_once_over_a_kill_and_a_cancelled_one_never() {
    let scratch = Scratch::new(&["scripted"], "");
    let host = scratch.place.start().unwrap();
    let started = Instant::now();
    publish(
        host.client(),
        &[
            order("set", "a", &json!({ "timer": "t", "afterMs": 3_000 })),
            order("set-b", "b", &json!({ "timer": "t", "afterMs": 3_000 })),
            order("cancel", "b", &json!({ "cancel": "t" })),
        ],
    );
    told(host.client(), 3);
    host.kill().unwrap();
    let host = scratch.place.start().unwrap();
    let first = told(host.client(), 4);
    assert!(started.elapsed() >= Duration::from_secs(3), "never early");
    let a: Vec<_> = first["a"].iter().map(|deed| deed.ty.as_str()).collect();
    assert_eq!(a, ["Done", "Fired"]);
    host.kill().unwrap();
    let host = scratch.place.start().unwrap();
    publish(host.client(), &[order("after", "a", &nothing())]);
    let after = told(host.client(), 5);
    assert_eq!(ids(&after["a"]), ["set", "t", "after"]);
    assert_eq!(ids(&after["b"]), ["set-b", "cancel"]);
}

#[test]
fn a_delayed_emission_comes_once_and_not_before_its_time() {
    let scratch = Scratch::new(&["scripted"], "");
    let host = scratch.place.start().unwrap();
    let started = Instant::now();
    publish(
        host.client(),
        &[order("slow", "a", &json!({ "delayMs": 2_000 }))],
    );
    assert_eq!(ids(&told(host.client(), 1)["a"]), ["slow"]);
    host.kill().unwrap();
    let host = scratch.place.start().unwrap();
    let told = told(host.client(), 2);
    assert!(started.elapsed() >= Duration::from_secs(2), "never early");
    assert_eq!(told["a"][1].ty, "Later");
    assert_eq!(host.client().records(DEEDS).unwrap(), 2);
}

#[test]
fn state_with_a_ttl_is_gone_after_it() {
    let scratch = Scratch::new(&["scripted"], "");
    let host = scratch.place.start().unwrap();
    let client = host.client();
    publish(client, &[order("first", "a", &json!({ "ttlMs": 300 }))]);
    told(client, 1);
    let mut tried = 0;
    let restarted = wait::until("the count to start anew", SETTLE, || {
        tried += 1;
        wait::pause(Duration::from_millis(400));
        publish(
            client,
            &[order(
                &format!("again-{tried}"),
                "a",
                &json!({ "ttlMs": 300 }),
            )],
        );
        let deeds = told(client, tried + 1);
        let last = deeds["a"].last().map(|deed| deed.count);
        Ok((last == Some(1)).then_some(tried))
    });
    assert!(restarted.is_ok(), "{restarted:?}");
}

#[test]
fn an_outage_opens_the_breaker_costs_no_attempt_and_kills_nothing() {
    let scratch = Scratch::new(&["scripted"], "");
    let host = scratch.place.start().unwrap();
    let client = host.client();
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis();
    let until = u64::try_from(now).unwrap() + 3_000;
    let down = json!({ "fail": "unavailable", "untilMs": until });
    let orders: Vec<_> = (0..200)
        .map(|n| order(&format!("o-{n}"), &format!("k-{n}"), &down))
        .collect();
    publish(client, &orders);
    let told = told(client, 200);
    assert_eq!(told.len(), 200);
    assert!(told.values().flatten().all(|deed| deed.attempt == 1));
    assert_eq!(client.fate("scripted", "dead").unwrap(), 0);
    let status = client.status().unwrap();
    let attempts = status["handlers"][0]["attempts"].as_u64().unwrap();
    assert!(
        attempts < 2 * 200,
        "{attempts} attempts for 200 events: an open breaker does not ask"
    );
}

#[test]
fn a_permanent_failure_and_three_traps_are_dead_letters_with_their_original() {
    let scratch = Scratch::new(&["scripted"], "");
    let host = scratch.place.start().unwrap();
    let client = host.client();
    publish(
        client,
        &[
            order("refused", "a", &json!({ "fail": "permanent" })),
            order("trapped", "b", &json!({ "fail": "trap" })),
            order("fine", "a", &nothing()),
        ],
    );
    assert_eq!(ids(&told(client, 1)["a"]), ["fine"]);
    wait::until("both to be dead", SETTLE, || {
        Ok((client.fate("scripted", "dead")? == 2).then_some(()))
    })
    .unwrap();
    let mut letters = std::collections::BTreeMap::new();
    let topic = format!("dlq.weir.dev.default.scripted.{ORDERS}");
    client
        .each_event(&format!("={topic}"), |record| {
            let id = record["event"]["id"].as_str().unwrap_or_default();
            letters.insert(id.to_owned(), record.to_string());
            Ok(())
        })
        .unwrap();
    let [refused, trapped] = ["refused", "trapped"].map(|id| letters[id].as_str());
    assert!(refused.contains("scripted-permanent"), "{refused}");
    assert!(trapped.contains("\"3\""), "three attempts: {trapped}");
    assert!(trapped.contains("\"fail\":\"trap\""), "{trapped}");
}

/// Answers every request of an order as the services around it would.
fn serve(client: &Client, answered: &mut usize) -> anyhow::Result<()> {
    let mut replies = Vec::new();
    let mut seen = 0;
    client.each_event("dev.local.public.order-requests.v1", |record| {
        seen += 1;
        let event = &record["event"];
        let reply = match event["type"].as_str() {
            Some("PaymentRequested") => "PaymentReceived",
            Some("StockRequested") => "StockReserved",
            Some("ShipmentRequested") => "Shipped",
            _ => return Ok(()),
        };
        if seen > *answered {
            let key = record["key"].as_str().unwrap_or_default();
            replies.push(
                json!({
                    "specversion": "1.0", "id": format!("reply-{seen}"), "source": "/services",
                    "type": reply, "partitionkey": key, "datacontenttype": "application/json",
                    "correlationid": event["correlationid"],
                    "data": { "orderId": key },
                })
                .to_string(),
            );
        }
        Ok(())
    })?;
    *answered = seen;
    if !replies.is_empty() {
        client.publish("dev.local.public.order-replies.v1", &replies)?;
    }
    Ok(())
}

#[test]
fn an_order_is_paid_reserved_and_shipped_by_the_process_manager() {
    let scratch = Scratch::new(&["orders", "audit"], "");
    let host = scratch.place.start().unwrap();
    let client = host.client();
    let placed = json!({
        "specversion": "1.0", "id": "placed", "source": "/shop", "type": "OrderPlaced",
        "partitionkey": "o-1", "datacontenttype": "application/json",
        "data": { "orderId": "o-1", "customerId": "c", "amountCents": 1250, "currency": "EUR",
                  "items": [{ "sku": "s", "quantity": 1 }] },
    });
    let answer = client
        .publish("dev.local.public.orders.v1", &[placed.to_string()])
        .unwrap();
    assert_eq!(answer.status, 202, "{}", answer.body);
    let mut answered = 0;
    let outcome = wait::until("the order to end", SETTLE, || {
        serve(client, &mut answered)?;
        let mut outcome = None;
        client.each_event("dev.local.public.order-outcomes.v1", |record| {
            outcome = Some(record["event"].clone());
            Ok(())
        })?;
        Ok(outcome)
    })
    .unwrap();
    assert_eq!(outcome["type"], "OrderCompleted");
    assert_eq!(
        outcome["correlationid"], "placed",
        "one process from its first event to its last"
    );
}
