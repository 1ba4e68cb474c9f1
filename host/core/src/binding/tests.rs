use proptest::prelude::*;

use super::*;

fn record(headers: &[(&str, &str)]) -> Record {
    let headers = headers
        .iter()
        .map(|(n, v)| (header_name(n), Some(Bytes::copy_from_slice(v.as_bytes()))))
        .collect();
    Record {
        value: Some(Bytes::from_static(b"{}")),
        headers,
        ..Record::default()
    }
}

const REQUIRED: [(&str, &str); 4] = [
    ("ce_specversion", "1.0"),
    ("ce_id", "1"),
    ("ce_source", "/shop"),
    ("ce_type", "Sold"),
];

fn with(extra: &[(&str, &str)]) -> Record {
    record(&[&REQUIRED, extra].concat())
}

fn without(name: &str) -> Record {
    let left: Vec<_> = REQUIRED.into_iter().filter(|(n, _)| *n != name).collect();
    record(&left)
}

#[test]
fn an_event_is_carried_as_the_kafka_binding_says() {
    let event = Event {
        id: "1".into(),
        source: "/shop".into(),
        ty: "Sold".into(),
        datacontenttype: Some("application/json".into()),
        extensions: vec![("traceid".into(), "7".into())],
        data: Some(Bytes::from_static(b"{}")),
        ..Event::default()
    };
    let expected = with(&[("content-type", "application/json"), ("ce_traceid", "7")]);
    assert_eq!(to_record(&event, None, 0), expected);
}

#[test]
fn a_record_that_is_no_binary_event_says_why_under_a_stable_code() {
    let mut not_text = with(&[]);
    not_text
        .headers
        .push(("ce_subject".into(), Some(Bytes::from_static(b"\xff"))));
    let cases = [
        (record(&[]), "not-an-event"),
        (
            record(&[("content-type", "application/json"), ("trace", "1")]),
            "not-an-event",
        ),
        (
            record(&[("content-type", "application/cloudevents+json")]),
            "structured",
        ),
        (
            with(&[(
                "Content-Type",
                "Application/CloudEvents+json; charset=utf-8",
            )]),
            "structured",
        ),
        (record(&[("ce_specversion", "0.3")]), "spec-version"),
        (without("ce_specversion"), "missing-attribute"),
        (without("ce_id"), "missing-attribute"),
        (without("ce_source"), "missing-attribute"),
        (without("ce_type"), "missing-attribute"),
        (
            record(&[("ce_specversion", "1.0"), ("ce_id", "")]),
            "missing-attribute",
        ),
        (with(&[("ce_id", "2")]), "repeated-attribute"),
        (with(&[("ce_a", "1"), ("ce_a", "1")]), "repeated-attribute"),
        (with(&[("ce_Tenant", "1")]), "attribute-name"),
        (with(&[("ce_", "1")]), "attribute-name"),
        (
            with(&[("ce_datacontenttype", "text/plain")]),
            "attribute-name",
        ),
        (not_text, "not-utf8"),
        (extended(EXTENSIONS_MAX + 1), "too-many-attributes"),
    ];
    for (record, code) in cases {
        assert_eq!(
            from_record(&record).map_err(|error| error.code()),
            Err(code),
            "{record:?}"
        );
    }
}

/// An event with so many extensions of its own.
fn extended(count: usize) -> Record {
    let names: Vec<_> = (0..count).map(|at| format!("ce_e{at}")).collect();
    let headers: Vec<_> = names.iter().map(|name| (name.as_str(), "")).collect();
    with(&headers)
}

#[test]
fn what_hosts_add_to_an_event_does_not_count_among_its_extensions() {
    let mut full = extended(EXTENSIONS_MAX);
    for name in HOSTS_OWN {
        let header = header_name(&format!("ce_{name}"));
        full.headers.push((header, Some(Bytes::new())));
    }
    let event = from_record(&full).expect("an event");
    assert_eq!(event.extensions.len(), EXTENSIONS_MAX + HOSTS_OWN.len());
}

#[test]
fn a_content_type_makes_no_event_of_a_record_unless_it_says_so() {
    let records = |headers: &[(&str, &[u8])]| {
        let headers = headers.iter();
        let headers = headers.map(|(n, v)| (header_name(n), Some(Bytes::copy_from_slice(v))));
        let plain = Record {
            headers: headers.collect(),
            ..Record::default()
        };
        let mut event = with(&[]);
        event.headers.extend(plain.headers.iter().cloned());
        [plain, event].map(|record| from_record(&record).map_err(|error| error.code()))
    };
    let (twice, bad) = (Err("repeated-attribute"), Err("not-utf8"));
    let json: (&str, &[u8]) = ("content-type", b"application/json");
    let upper: (&str, &[u8]) = ("Content-Type", b"text/plain");
    assert_eq!(
        records(&[json, upper]),
        [Err("not-an-event"), twice.clone()]
    );
    let latin: (&str, &[u8]) = ("content-type", b"text/\xe4");
    assert_eq!(records(&[latin]), [Err("not-an-event"), bad.clone()]);
    // These say that they are events.
    let structured: (&str, &[u8]) = ("content-type", b"application/cloudevents+json");
    for both in [[json, structured], [structured, json]] {
        assert_eq!(records(&both), [twice.clone(), twice.clone()]);
    }
    let damaged: (&str, &[u8]) = ("content-type", b"application/cloudevents+json;\xff");
    assert_eq!(records(&[damaged]), [bad.clone(), bad]);
}

#[test]
fn headers_beside_the_attributes_do_not_disturb() {
    let event = from_record(&with(&[("trace", "1"), ("trace", "2")])).expect("an event");
    assert_eq!(event.extensions, []);
}

#[test]
fn a_header_without_a_value_sets_no_attribute_and_an_empty_one_does() {
    let mut record = with(&[("ce_empty", "")]);
    record.headers.push(("ce_null".into(), None));
    record.headers.push(("ce_subject".into(), None));
    let event = from_record(&record).expect("an event");
    assert_eq!(event.extensions, [("empty".to_owned(), String::new())]);
    assert_eq!(event.subject, None);
    let without_values = Record {
        headers: vec![("ce_id".into(), None)],
        ..Record::default()
    };
    assert_eq!(
        from_record(&without_values),
        Err(BindingError::Missing("specversion")),
        "it says that it is one"
    );
}

#[test]
fn an_event_without_data_is_a_tombstone_with_attributes() {
    let event = Event {
        id: "1".into(),
        source: "/".into(),
        ty: "t".into(),
        ..Event::default()
    };
    let record = to_record(&event, None, 0);
    assert_eq!(record.value, None);
    assert_eq!(from_record(&record), Ok(event));
}

fn name() -> impl Strategy<Value = String> {
    "x[a-z0-9]{1,20}"
}

fn event() -> impl Strategy<Value = Event> {
    (
        (".+", ".+", ".+"),
        proptest::option::of(".*"),
        proptest::option::of(".*"),
        proptest::option::of("(text|image)/[a-z]+"),
        proptest::option::of(".*"),
        proptest::collection::btree_map(name(), ".*", 0..5),
        proptest::option::of(proptest::collection::vec(any::<u8>(), 0..64)),
    )
        .prop_map(
            |((id, source, ty), subject, time, datacontenttype, dataschema, extensions, data)| {
                Event {
                    id,
                    source,
                    ty,
                    subject,
                    time,
                    datacontenttype,
                    dataschema,
                    extensions: extensions.into_iter().collect(),
                    data: data.map(Bytes::from),
                    mapped_key: None,
                    is_named_by_place: false,
                }
            },
        )
}

proptest! {
    #[test]
    fn an_event_comes_back_as_it_was(event in event(), key in proptest::option::of("[a-z]*"), at: u64) {
        let key = key.map(Bytes::from);
        let record = to_record(&event, key.clone(), at);
        prop_assert_eq!(&record.key, &key);
        prop_assert_eq!(record.timestamp_ms, at);
        prop_assert_eq!(from_record(&record), Ok(event));
    }

    #[test]
    fn no_record_breaks_the_decoder(
        headers in proptest::collection::vec(("(ce_)?[a-z]{0,8}|content-type", proptest::option::of(proptest::collection::vec(any::<u8>(), 0..16))), 0..8),
    ) {
        let headers = headers.into_iter().map(|(n, v)| (n.into(), v.map(Bytes::from))).collect();
        let record = Record { headers, ..Record::default() };
        if let Ok(event) = from_record(&record) {
            prop_assert!(!event.id.is_empty() && !event.source.is_empty() && !event.ty.is_empty());
        }
    }
}
