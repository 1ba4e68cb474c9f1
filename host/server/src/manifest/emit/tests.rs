use std::path::Path;

use proptest::prelude::*;
use weir_core::identity::partition_hash;

use super::*;
use crate::config::document::Document;

fn read_text(text: &str) -> (Emit, Vec<String>) {
    let document = Document::parse(Path::new("handler.toml"), text).unwrap();
    let emit = read(document.root(), &Config::default(), "billing");
    let faults = document.faults().0;
    let told = faults
        .iter()
        .map(|fault| format!("{} {}", fault.key, fault.message));
    (emit, told.collect())
}

fn key(fields: &str) -> KeyFields {
    let (emit, faults) = read_text(&format!("key = {fields}"));
    assert_eq!(faults, [""; 0]);
    emit.key.expect("a key")
}

fn event(subject: &str, data: &str) -> Event {
    Event {
        subject: Some(subject.to_owned()),
        data: Some(data.to_owned().into()),
        ..Event::default()
    }
}

#[test]
fn a_key_is_composed_of_the_tenant_and_its_fields_in_order() {
    let key = key(r#"["subject", "/order/line"]"#);
    let composed = key.of("acme", &event("s", r#"{"order": {"line": 7}}"#));
    assert_eq!(composed, Ok("acme:s:7".to_owned()));
}

/// By Java's `Utils.toPositive(Utils.murmur2(key)) % 12`.
#[test]
fn a_composed_key_goes_where_javas_partitioner_sends_it() {
    let key = key(r#"["subject", "/region"]"#);
    for (subject, data, composed, partition) in [
        ("order-1", r#"{"region": "eu"}"#, "acme:order-1:eu", 4),
        ("order-2", r#"{"region": "eu"}"#, "acme:order-2:eu", 0),
        ("order-1", r#"{"region": 7}"#, "acme:order-1:7", 7),
        ("a:b%", r#"{"region": "ü"}"#, "acme:a%3Ab%25:ü", 6),
    ] {
        let found = key.of("acme", &event(subject, data)).unwrap();
        assert_eq!(found, composed);
        let hash = partition_hash(Some(found.as_bytes()), "", "", "");
        assert_eq!(hash % 12, partition, "{composed}");
    }
}

#[test]
fn a_field_that_an_emission_lacks_is_named() {
    let key = key(r#"["subject", "/order/line"]"#);
    for data in [
        "{}",
        r#"{"order": {"line": ""}}"#,
        r#"{"order": {"line": [1]}}"#,
        "<x/>",
    ] {
        let said = key.of("acme", &event("s", data)).unwrap_err();
        assert!(said.contains("\"/order/line\""), "{data}: {said}");
    }
}

#[test]
fn faults_of_emissions_are_told_with_their_keys() {
    let many = format!("key = [{}]", "\"subject\", ".repeat(9));
    for (text, says) in [
        ("key = []", "key has 0 fields"),
        (&many, "key has 9 fields"),
        (
            "key = [\"order/id\"]",
            "key[0] is \"order/id\": must be the name of an attribute",
        ),
        ("key = [\"/a~\"]", "key[0] is \"/a~\""),
        ("key = [\"partitionkey\"]", "key[0] is the key itself"),
        (
            "mode = \"batched\"",
            "mode is \"batched\": must be \"binary\" or \"structured\"",
        ),
    ] {
        let (_, told) = read_text(text);
        assert!(told.len() == 1 && told[0].starts_with(says), "{told:?}");
    }
}

proptest! {
    /// Or two sequences would become one.
    #[test]
    fn keys_of_different_fields_are_different(
        a in ("[a:%3]{1,3}", "[a:%3]{1,3}", "[a:%3]{1,3}"),
        b in ("[a:%3]{1,3}", "[a:%3]{1,3}", "[a:%3]{1,3}"),
    ) {
        let key = key(r#"["subject", "time"]"#);
        let composed = |(tenant, subject, time): &(String, String, String)| {
            let event = Event {
                subject: Some(subject.clone()),
                time: Some(time.clone()),
                ..Event::default()
            };
            key.of(tenant, &event).unwrap()
        };
        prop_assert_eq!(composed(&a) == composed(&b), a == b);
    }
}
