use weir_core::binding;

use super::*;
use crate::config::Config;

const MANIFEST: &str = r#"
name = "billing"
version = "1.0.0"
component = "billing.wasm"
[subscribe]
topics = ["=orders"]
filter = [{ exact = { type = "Wanted" } }]
"#;
const MAPPING: &str = "[mapping]\ntype = { header = \"kind\" }\nkey = { header = \"owner\" }\n";

fn manifest(more: &str) -> Manifest {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("billing.wasm"), "").unwrap();
    std::fs::write(
        folder.path().join("handler.toml"),
        [MANIFEST, more].concat(),
    )
    .unwrap();
    Manifest::load(folder.path(), &Config::default()).unwrap()
}

fn origin() -> Origin {
    Origin {
        topic: "orders".into(),
        partition: 2,
        offset: 9,
    }
}

fn foreign(headers: &[(&'static str, &'static str)], value: Option<&'static str>) -> Record {
    let headers = headers.iter();
    Record {
        key: Some("k".into()),
        value: value.map(Bytes::from),
        headers: headers
            .map(|(name, value)| ((*name).into(), Some((*value).into())))
            .collect(),
        timestamp_ms: 5,
    }
}

fn code(decoded: &Decoded) -> &str {
    match decoded {
        Decoded::Event(_) => "event",
        Decoded::Filtered => "filtered",
        Decoded::Skipped => "skipped",
        Decoded::Poison { code, .. } => code,
        Decoded::Command { .. } => "command",
    }
}

#[test]
fn what_is_no_event_is_mapped_or_poison_and_a_tombstone_is_skipped() {
    let (plain, mapped) = (manifest(""), manifest(MAPPING));
    let wanted = [("kind", "Wanted")];
    for (record, without, with) in [
        (foreign(&wanted, Some("x")), "not-an-event", "event"),
        (
            foreign(&[("kind", "Other")], Some("x")),
            "not-an-event",
            "filtered",
        ),
        (foreign(&[], Some("x")), "not-an-event", "mapping-absent"),
        (foreign(&wanted, None), "skipped", "skipped"),
        // What says that it is an event is taken at its word.
        (
            foreign(&[("ce_id", "1"), ("kind", "Wanted")], None),
            "missing-attribute",
            "missing-attribute",
        ),
        (
            foreign(
                &[("content-type", "application/cloudevents+json")],
                Some("x"),
            ),
            "structured",
            "structured",
        ),
        (
            foreign(
                &[("content-type", "application/cloudevents+avro")],
                Some("x"),
            ),
            "event-format",
            "event-format",
        ),
    ] {
        let found = [&plain, &mapped].map(|manifest| self::record(&record, &origin(), manifest));
        assert_eq!(found.each_ref().map(code), [without, with], "{record:?}");
    }
}

#[test]
fn a_mapped_event_is_the_same_when_it_comes_back_from_where_it_was_kept() {
    let manifest = manifest(MAPPING);
    let record = foreign(&[("kind", "Wanted"), ("owner", "o")], Some("x"));
    let (first, again) = (
        self::record(&record, &origin(), &manifest),
        stored(&record, &origin(), &manifest),
    );
    let (Decoded::Event(first), Decoded::Event(again)) = (first, again) else {
        panic!("no events");
    };
    assert_eq!(first, again);
    assert_eq!(
        (first.id.as_str(), first.key(&record)),
        ("2-9-5", Some(&Bytes::from("o")))
    );
}

#[test]
fn an_event_in_either_mode_is_the_same_event() {
    let manifest = manifest(MAPPING);
    let event = Event {
        id: "1".into(),
        source: "/s".into(),
        ty: "Wanted".into(),
        datacontenttype: Some("application/json".into()),
        data: Some("{\"a\":1}".into()),
        extensions: vec![("hops".into(), "1".into())],
        ..Event::default()
    };
    let json = cloudevents::to_structured(&event).unwrap();
    let structured = binding::to_structured(json, None, 0);
    let binary = binding::to_record(&event, None, 0);
    for record in [structured, binary] {
        let Decoded::Event(found) = self::record(&record, &origin(), &manifest) else {
            panic!("{record:?}");
        };
        assert_eq!(*found, event);
    }
}

#[test]
fn a_record_that_is_larger_than_an_event_may_be_is_poison_before_it_is_looked_at() {
    let plain = manifest("");
    for (bytes, wanted) in [
        (EVENT_BYTES_MAX - 1_024, "not-an-event"),
        (EVENT_BYTES_MAX, "event-too-large"),
    ] {
        let large = Record {
            value: Some(vec![b'x'; bytes].into()),
            ..Record::default()
        };
        assert_eq!(code(&record(&large, &origin(), &plain)), wanted);
    }
    // An event of 1 MiB with all that an ingress lets pass beside it.
    let event = Event {
        id: "1".into(),
        source: "/s".into(),
        ty: "Wanted".into(),
        extensions: (0..64)
            .map(|at| (format!("e{at}"), String::new()))
            .collect(),
        data: Some(vec![0; 1 << 20].into()),
        ..Event::default()
    };
    let key = Bytes::from(vec![b'k'; binding::ATTRIBUTE_BYTES_MAX]);
    let largest = binding::to_record(&event, Some(key), 0);
    assert_eq!(code(&record(&largest, &origin(), &plain)), "event");
}
