use std::path::Path;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;

const ORDERS: &str = r#"
type = { header = "event-type" }
source = { text = "/erp" }
id = { pointer = "/order/id" }
key = { pointer = "/order/customer" }
subject = { record = "key" }
tombstone = { text = "OrderDeleted" }
[extensions]
correlationid = { header = "correlation" }
"#;

fn mapping(text: &str) -> Mapping {
    Mapping::parse(Path::new("handler.toml"), text).unwrap_or_else(|faults| panic!("{faults}"))
}

fn faults(text: &str) -> Vec<String> {
    let faults = Mapping::parse(Path::new("handler.toml"), text).unwrap_err();
    let told = faults.0.iter();
    told.map(|fault| format!("{} {}", fault.key, fault.message))
        .collect()
}

fn origin() -> Origin {
    Origin {
        topic: "erp.orders".into(),
        partition: 3,
        offset: 41,
    }
}

fn record(headers: &[(&'static str, Option<&'static str>)], value: Option<&str>) -> Record {
    let headers = headers.iter();
    Record {
        key: Some("k".into()),
        value: value.map(|value| Bytes::copy_from_slice(value.as_bytes())),
        headers: headers
            .map(|(name, value)| ((*name).into(), value.map(Bytes::from)))
            .collect(),
        timestamp_ms: 5,
    }
}

fn event(mapping: &Mapping, record: &Record) -> Event {
    let mapped = mapping.event(record, &origin());
    mapped.expect("a mapped record").expect("an event")
}

#[test]
fn a_record_becomes_an_event_by_headers_pointers_texts_and_its_key() {
    let record = record(
        &[
            ("event-type", Some("Old")),
            ("event-type", Some("OrderChanged")),
            ("content-type", Some("application/json")),
            ("correlation", Some("c-1")),
        ],
        Some(r#"{"order": {"id": 17, "customer": "c"}}"#),
    );
    let wanted = Event {
        id: "17".into(),
        source: "/erp".into(),
        ty: "OrderChanged".into(),
        subject: Some("k".into()),
        datacontenttype: Some("application/json".into()),
        extensions: vec![("correlationid".into(), "c-1".into())],
        data: record.value.clone(),
        mapped_key: Some("c".into()),
        ..Event::default()
    };
    assert_eq!(event(&mapping(ORDERS), &record), wanted);
}

#[test]
fn a_record_without_an_id_is_named_by_its_place_whatever_its_source() {
    let orders = mapping(ORDERS);
    for data in [
        r#"{}"#,
        r#"{"order": {"id": null}}"#,
        r#"{"order": {"id": ""}}"#,
    ] {
        let mapped = event(&orders, &record(&[("event-type", Some("T"))], Some(data)));
        let identity = (mapped.source.as_str(), mapped.id.as_str());
        assert_eq!(identity, ("/kafka/erp.orders", "3-41-5"), "{data}");
        assert_eq!(mapped.mapped_key, None, "the record's own key orders it");
        assert!(mapped.is_named_by_place);
    }
}

#[test]
fn a_source_that_is_not_mapped_is_the_topic() {
    let by_text = mapping("type = { text = \"T\" }\nid = { header = \"id\" }\n");
    let mapped = event(&by_text, &record(&[("id", Some("i"))], Some("x")));
    let identity = (mapped.source.as_str(), mapped.id.as_str());
    assert_eq!(identity, ("/kafka/erp.orders", "i"));
}

#[test]
fn a_tombstone_is_an_event_without_data_where_it_is_mapped_and_nothing_where_it_is_not() {
    let tombstone = record(&[("event-type", Some("T"))], None);
    let deleted = event(&mapping(ORDERS), &tombstone);
    assert_eq!((deleted.ty.as_str(), deleted.data), ("OrderDeleted", None));
    assert_eq!(deleted.id, "3-41-5");
    let without = mapping("type = { text = \"T\" }\n");
    assert_eq!(without.event(&tombstone, &origin()), Ok(None));
    let empty = record(&[], Some(""));
    assert_eq!(event(&without, &empty).data, Some(Bytes::new()));
}

#[test]
fn a_header_without_a_value_is_absent_and_one_of_another_name_too() {
    let orders = mapping(ORDERS);
    for headers in [
        vec![],
        vec![("event-type", None)],
        vec![("event-type", Some(""))],
        vec![("event-type", Some("T")), ("event-type", None)],
        vec![("Event-Type", Some("T"))],
    ] {
        let error = orders.event(&record(&headers, Some("{}")), &origin());
        let error = error.unwrap_err();
        assert_eq!(error.code(), "mapping-absent", "{headers:?}");
        let said = "the record has no header \"event-type\", which mapping.type asks for";
        assert_eq!(error.to_string(), said);
    }
}

#[test]
fn what_is_not_what_the_manifest_says_is_refused_with_its_place() {
    let orders = mapping(ORDERS);
    let long: &'static str = "x".repeat(10_000).leak();
    let typed = ("event-type", Some("T"));
    let mut bytes = record(&[typed], Some("{}"));
    bytes.key = Some(Bytes::from_static(b"\xff"));
    let deep = "[".repeat(10_000);
    for (record, code, says) in [
        (
            record(&[typed], Some("<order/>")),
            "mapping-not-json",
            "expected value at line 1",
        ),
        (
            record(&[typed], Some(&deep)),
            "mapping-not-json",
            "recursion limit",
        ),
        (
            record(&[typed], Some(r#"{"order": {"id": [1]}}"#)),
            "mapping-not-text",
            "pointer \"/order/id\"",
        ),
        (
            record(&[typed], Some(r#"{"order": {"id": 1.5}}"#)),
            "mapping-not-text",
            "mapping.id",
        ),
        (
            record(&[typed], Some(r#"{"order": {"customer": true}}"#)),
            "mapping-not-text",
            "mapping.key",
        ),
        (
            bytes,
            "mapping-not-text",
            "record key, which mapping.subject asks for, is no UTF-8",
        ),
        (
            record(&[("event-type", Some(long))], Some("{}")),
            "mapping-invalid",
            "longer than 8192 bytes",
        ),
        (
            record(&[("event-type", Some("a\nb"))], Some("{}")),
            "mapping-invalid",
            "control character",
        ),
    ] {
        let error = orders.event(&record, &origin()).unwrap_err();
        assert_eq!(error.code(), code, "{error}");
        assert!(error.to_string().contains(says), "{error}");
    }
}

#[test]
fn a_content_type_that_is_none_is_left_out() {
    let by_text = mapping("type = { text = \"T\" }\n");
    for content_type in ["application/cloudevents+json", "json", ""] {
        let headers = [("Content-Type", Some(content_type))];
        let mapped = event(&by_text, &record(&headers, Some("x")));
        assert_eq!(mapped.datacontenttype, None, "{content_type}");
    }
}

#[test]
fn every_fault_of_a_mapping_is_told_with_its_key() {
    let told = faults("");
    assert!(
        told.len() == 1 && told[0].starts_with("type is missing"),
        "{told:?}"
    );
    let told = faults(
        r#"
type = { header = "a", text = "b" }
id = { text = "1" }
source = { pointer = "order" }
subject = { record = "value" }
time = { }
dataschema = { pointer = "/a~2" }
key = { text = "k" }
tombstone = { pointer = "/a" }
nonsense = 1
[extensions]
weirhops = { text = "1" }
partitionkey = { header = "k" }
id = { header = "k" }
Bad = { header = "k" }
good = { heading = "k" }
"#,
    );
    for (key, says) in [
        ("type ", "one of { header"),
        ("id ", "repeats of the first"),
        ("source ", "must begin with /"),
        ("subject ", "{ record = \"key\" }"),
        ("time ", "one of { header"),
        ("dataschema ", "~0 for ~"),
        ("key ", "ordering = \"partition\""),
        ("tombstone ", "nothing to point at"),
        ("nonsense ", "is not a known key"),
        ("extensions.weirhops", "host alone"),
        ("extensions.partitionkey", "mapping.key"),
        ("extensions.id", "under [mapping] itself"),
        ("extensions.Bad", "lower-case"),
        ("extensions.good", "one of { header"),
    ] {
        let found = told
            .iter()
            .any(|one| one.starts_with(key) && one.contains(says));
        assert!(found, "{key}: {says} in {told:#?}");
    }
}

#[test]
fn a_mapping_that_a_ledger_could_not_keep_is_refused() {
    let name = "\\u0001".repeat(256);
    let extensions: Vec<_> = (0..60)
        .map(|n| format!("e{n} = {{ text = \"{name}\" }}"))
        .collect();
    let text = format!(
        "type = {{ text = \"T\" }}\n[extensions]\n{}\n",
        extensions.join("\n")
    );
    let faults = faults(&text);
    assert!(
        matches!(&*faults, [fault] if fault.contains("must be at most 16384")),
        "{faults:?}"
    );
}

#[test]
fn the_text_that_is_kept_says_all_of_it() {
    assert_eq!(
        mapping(ORDERS).text(),
        "type = header \"event-type\", source = text \"/erp\", id = pointer \"/order/id\", subject = record key, \
         correlationid = header \"correlation\", key = pointer \"/order/customer\", tombstone = text \"OrderDeleted\""
    );
}

proptest! {
    /// What is mapped can be told again in both modes, and is the same each time.
    #[test]
    fn any_record_becomes_a_valid_event_or_none(
        headers in vec(("event-type|correlation|content-type|x", option::of(vec(any::<u8>(), 0..12))), 0..4),
        key in option::of(vec(any::<u8>(), 0..12)),
        value in option::of(prop_oneof![
            vec(any::<u8>(), 0..40),
            "\\{\"order\": \\{\"id\": (\"[a-z]{0,3}\"|[0-9]{1,25}|null), \"customer\": \"[a-z\u{0}-\u{20}]{0,3}\"\\}\\}".prop_map(String::into_bytes),
        ]),
    ) {
        let headers = headers.into_iter().map(|(name, value)| (name.into(), value.map(Bytes::from)));
        let record = Record {
            key: key.map(Bytes::from),
            value: value.map(Bytes::from),
            headers: headers.collect(),
            timestamp_ms: 0,
        };
        let orders = mapping(ORDERS);
        let mapped = orders.event(&record, &origin());
        prop_assert_eq!(&mapped, &orders.event(&record, &origin()));
        if let Ok(Some(mut event)) = mapped {
            event.mapped_key = None;
            event.is_named_by_place = false;
            let binary = weir_core::binding::to_record(&event, None, 0);
            prop_assert_eq!(&cloudevents::from_record(&binary).expect("binary"), &event);
            let json = cloudevents::to_structured(&event);
            let structured = weir_core::binding::to_structured(json, None, 0);
            let again = cloudevents::from_record(&structured).expect("structured");
            prop_assert_eq!((again.id, again.ty, again.subject), (event.id, event.ty, event.subject));
        }
    }
}
