use std::time::Duration;

use super::*;

fn member(id: &str, age_s: u64, handlers: &[(&str, &[u32], u64)]) -> Member {
    let url = Some(format!("http://{id}:1"));
    let mut record = HostRecord::new(url, "secret-of-a-host".to_owned(), 1);
    let handler = |(tenant, partitions, lag): &(&str, &[u32], u64)| HandlerRecord {
        group: format!("weir.dev.{tenant}.count"),
        tenant: (*tenant).to_owned(),
        name: "count".to_owned(),
        version: "1.0.0".to_owned(),
        digest: "blake3:0".to_owned(),
        state: "ready".to_owned(),
        of: 4,
        partitions: partitions.to_vec(),
        stopped: false,
        lag: Some(*lag),
        open: 1,
        parked_events: 0,
        held_sequences: 0,
    };
    record.handlers = handlers.iter().map(handler).collect();
    Member {
        id: id.to_owned(),
        record,
        age: Duration::from_secs(age_s),
    }
}

fn members() -> Vec<Member> {
    vec![
        member("a", 0, &[("shop", &[0, 1], 5), ("bank", &[0], 1)]),
        member("b", 3, &[("shop", &[2], 7)]),
        member("c", 40, &[("shop", &[3], 100)]),
    ]
}

#[test]
fn a_handlers_sums_are_those_of_the_hosts_that_are_not_silent() {
    let sums = sums(&members(), "weir.dev.shop.count");
    assert_eq!(
        sums,
        json!({
            "hosts": 2, "partitions": 3, "of": 4, "lag": 12, "open": 2, "parked_events": 0, "held_sequences": 0
        })
    );
    assert_eq!(super::sums(&[], "weir.dev.shop.count"), Value::Null);
}

#[test]
fn a_lag_that_one_host_does_not_know_is_not_known_of_the_fleet() {
    let mut members = members();
    members[1].record.handlers[0].lag = None;
    let sums = sums(&members, "weir.dev.shop.count");
    assert_eq!((&sums["lag"], &sums["open"]), (&Value::Null, &json!(2)));
}

#[test]
fn a_tenant_sees_its_own_handlers_on_all_hosts_and_nobody_sees_a_secret() {
    let whole = hosts_to_json(&members(), "a", &View::whole());
    assert_eq!(whole[0]["handlers"].as_array().unwrap().len(), 2);
    assert_eq!(
        (&whole[0]["own"], &whole[1]["own"]),
        (&json!(true), &json!(false))
    );
    assert_eq!(
        (&whole[1]["silent"], &whole[2]["silent"]),
        (&json!(false), &json!(true))
    );
    assert_eq!(whole[1]["url"], "http://b:1");
    let shown = Value::from(whole).to_string();
    assert!(!shown.contains("secret-of-a-host"), "{shown}");

    let bank = hosts_to_json(&members(), "a", &View::of("bank".into()));
    let shown = Value::from(bank).to_string();
    assert!(
        !shown.contains("shop") && !shown.contains("http://"),
        "{shown}"
    );
    assert!(shown.contains("bank"), "{shown}");
}
