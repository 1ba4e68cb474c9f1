//! Records of others that a manifest makes events of, and emissions under keys that it composes.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use weir_tests::host::{Host, Place};
use weir_tests::scripted;
use weir_tests::wait;

use super::kcat::{Kcat, header, kcat};
use super::{Fleet, SETTLE, broker};

const MAPPING: &str = r#"
[mapping]
type = { header = "kind" }
source = { text = "/erp" }
id = { header = "number" }
key = { header = "owner" }
subject = { pointer = "/fail" }
tombstone = { text = "Deleted" }
"#;

/// Keys of records, both of partition 0 of 12; that of the event is another.
const ONE: &str = "key-1";
const OTHER: &str = "key-17";
/// So long an event dies that is to live when it is replayed.
const DIES: Duration = Duration::from_secs(5);

/// A place for a host with the scripted handler, whose manifest is changed so.
fn place(fleet: &Fleet, emit: &str, more: &str) -> Place {
    let handler = fleet.handler("scripted", "scripted", |manifest| {
        manifest.replace("[emit]\n", &format!("[emit]\n{emit}")) + more
    });
    fleet.place_with("a", &[handler], "")
}

fn order(kcat: &Kcat, topic: &str, (key, number): (&str, &str), what: &Value) {
    let headers = ["kind=Order", "owner=o", &format!("number={number}")];
    kcat.write(topic, key, &headers, Some(what.to_string().as_bytes()));
}

fn wait_for(host: &Host, fate: &str, count: u64) {
    wait::until(&format!("{count} {fate}"), SETTLE, || {
        let found = host.client().fate("scripted", fate)?;
        Ok((found >= count).then_some(()))
    })
    .unwrap();
}

/// Two records of one partition and two keys are one sequence by the mapping; one is parked and comes back, one dies and
/// is replayed, and each is the same event again.
#[test]
fn a_mapped_record_is_an_event_on_all_its_ways() {
    let Some(broker) = broker("mapped records") else {
        return;
    };
    let Some(kcat) = kcat("mapped records", &broker) else {
        return;
    };
    let fleet = Fleet::new(&broker, "mapped");
    let place = place(&fleet, "", MAPPING);
    let host = place.start().unwrap();
    let scripts = fleet.topic("public.scripts.v1");

    let parked = json!({ "fail": "transient", "attempts": 6 });
    order(&kcat, scripts, (ONE, "n-1"), &parked);
    order(&kcat, scripts, (ONE, "n-1"), &parked);
    order(&kcat, scripts, (OTHER, "n-2"), &json!({}));
    wait_for(&host, "duplicate", 1);
    // The second of the key is set aside behind the first.
    kcat.read(fleet.topic("public.deeds.v1"), 2);
    let deeds = scripted::deeds_in(host.client(), fleet.topic("public.deeds.v1")).unwrap();
    let told: Vec<_> = deeds["o"]
        .iter()
        .map(|deed| (deed.id.as_str(), deed.count, deed.attempt))
        .collect();
    assert_eq!(told, [("n-1", 1, 7), ("n-2", 2, 1)], "{deeds:?}");

    // No data is nothing that this handler reads: that it says so shows that the event came to it.
    kcat.write(scripts, ONE, &["number=n-3", "owner=o"], None);
    wait_for(&host, "dead", 1);
    let letters = format!("dlq.weir.mapped.default.scripted.{scripts}");
    let letter = kcat.read(&letters, 1).remove(0);
    assert_eq!(letter["payload"], Value::Null);
    assert_eq!(header(&letter, "weir.dlq.stage"), Some("handler"));
    assert_eq!(header(&letter, "weir.dlq.code"), Some("bad-data"));

    let url = host.client().url();
    let replay = |letter: &Value| {
        let id = header(letter, "weir.dlq.id").unwrap();
        let replay = ["dlq", "replay", "scripted", id, "--url", &url];
        let output = place.weir(&replay).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    replay(&letter);
    let again = kcat.read(&letters, 2);
    let replays = again
        .iter()
        .map(|letter| header(letter, "weir.dlq.replays"));
    assert_eq!(replays.collect::<Vec<_>>(), [Some("0"), Some("1")]);
    let id = |letter| header(letter, "weir.dlq.id");
    assert_eq!(id(&again[1]), id(&letter));

    // What lacks its type is a letter without an attempt.
    kcat.write(scripts, ONE, &["number=n-4"], Some(b"{}"));
    let letter = kcat.read(&letters, 3).pop().unwrap();
    assert_eq!(header(&letter, "weir.dlq.stage"), Some("decode"));
    assert_eq!(header(&letter, "weir.dlq.code"), Some("mapping-absent"));

    // What lacks its id has its place and time for one, and keeps them in its letter and the command to replay it.
    let until = SystemTime::UNIX_EPOCH.elapsed().unwrap() + DIES;
    let until_ms = u64::try_from(until.as_millis()).unwrap();
    let dies = json!({ "fail": "permanent", "untilMs": until_ms });
    let (nameless, dies) = (["kind=Order", "owner=p"], dies.to_string());
    kcat.write(scripts, ONE, &nameless, Some(dies.as_bytes()));
    let letter = kcat.read(&letters, 4).pop().unwrap();
    let parts = [
        "__dlq.errors.partition",
        "__dlq.errors.offset",
        "weir.dlq.timestamp",
    ];
    let named = parts.map(|part| header(&letter, part).unwrap()).join("-");
    wait::until("the event to live", SETTLE, || {
        let is_over = SystemTime::UNIX_EPOCH.elapsed()? > until;
        Ok(is_over.then_some(()))
    })
    .unwrap();
    replay(&letter);
    kcat.read(fleet.topic("public.deeds.v1"), 3);
    let deeds = scripted::deeds_in(host.client(), fleet.topic("public.deeds.v1")).unwrap();
    assert_eq!(deeds["p"][0].id, named, "{deeds:?}");
}

#[test]
fn an_emission_has_the_key_that_the_manifest_composes_where_java_looks_for_it() {
    let Some(broker) = broker("composed keys") else {
        return;
    };
    let Some(kcat) = kcat("composed keys", &broker) else {
        return;
    };
    let fleet = Fleet::new(&broker, "composed");
    let emit = "mode = \"structured\"\nkey = [\"/id\", \"causationid\"]\n";
    let place = place(&fleet, emit, MAPPING);
    let _host = place.start().unwrap();
    for number in ["1", "2", "3", "4"] {
        order(
            &kcat,
            fleet.topic("public.scripts.v1"),
            ("k", number),
            &json!({}),
        );
    }
    let deeds = kcat.read(fleet.topic("public.deeds.v1"), 4);
    for deed in &deeds {
        let content_type = "application/cloudevents+json; charset=utf-8";
        assert_eq!(header(deed, "content-type"), Some(content_type));
        let event: Value = serde_json::from_str(deed["payload"].as_str().unwrap()).unwrap();
        let number = event["causationid"].as_str().unwrap();
        assert_eq!(event["data"]["id"], number, "{event}");
        assert_eq!(deed["key"], format!("default:{number}:{number}"), "{deed}");
        assert_eq!(event["partitionkey"], deed["key"], "{event}");
    }
    // kcat's librdkafka places a key as Java does.
    let twin = fleet.topic("public.twins.v1");
    let create = ["--create", "--topic", twin, "--partitions", "12"];
    fleet.tool("org.apache.kafka.tools.TopicCommand", &create);
    for deed in &deeds {
        kcat.write(twin, deed["key"].as_str().unwrap(), &[], Some(b"x"));
    }
    let places = |records: &[Value]| {
        let place = |record: &Value| (record["key"].to_string(), record["partition"].as_u64());
        let mut places: Vec<_> = records.iter().map(place).collect();
        places.sort();
        places
    };
    assert_eq!(places(&kcat.read(twin, 4)), places(&deeds));
}
