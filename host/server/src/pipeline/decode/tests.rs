use weir_core::binding;
use weir_core::emission::{self, InvalidEmission};
use weir_core::event::Emission;
use weir_core::time::Millis;

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

fn deployment(more: &str) -> Deployment {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("billing.wasm"), "").unwrap();
    std::fs::write(
        folder.path().join("handler.toml"),
        [MANIFEST, more].concat(),
    )
    .unwrap();
    let manifest = Manifest::load(folder.path(), &Config::default()).unwrap();
    Deployment::new(manifest, &Config::default())
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
    let (plain, mapped) = (deployment(""), deployment(MAPPING));
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
        // What is wrong with a content type is nothing to a record that does not say that it is one.
        (
            foreign(
                &[
                    ("kind", "Wanted"),
                    ("content-type", "text/plain"),
                    ("Content-Type", "application/json"),
                ],
                Some("x"),
            ),
            "not-an-event",
            "event",
        ),
        (
            Record {
                headers: vec![
                    ("kind".into(), Some("Wanted".into())),
                    ("content-type".into(), Some(Bytes::from_static(b"\xe4"))),
                ],
                ..foreign(&[], Some("x"))
            },
            "not-an-event",
            "event",
        ),
        (
            foreign(&[(UNREAD_HEADERS, "why"), ("kind", "Wanted")], Some("x")),
            "unread-headers",
            "unread-headers",
        ),
    ] {
        let found = [&plain, &mapped].map(|handler| self::record(&record, &origin(), handler));
        assert_eq!(found.each_ref().map(code), [without, with], "{record:?}");
    }
}

#[test]
fn a_mapped_event_is_the_same_when_it_comes_back_from_where_it_was_kept() {
    let deployment = deployment(MAPPING);
    let record = foreign(&[("kind", "Wanted"), ("owner", "o")], Some("x"));
    let (first, again) = (
        self::record(&record, &origin(), &deployment),
        stored(&record, &origin(), &deployment),
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
    let deployment = deployment(MAPPING);
    let event = Event {
        id: "1".into(),
        source: "/s".into(),
        ty: "Wanted".into(),
        datacontenttype: Some("application/json".into()),
        data: Some("{\"a\":1}".into()),
        extensions: vec![("hops".into(), "1".into())],
        ..Event::default()
    };
    for record in both_modes(&event) {
        let Decoded::Event(found) = self::record(&record, &origin(), &deployment) else {
            panic!("{record:?}");
        };
        assert_eq!(*found, event);
    }
    let with = |name: &str, value: &str| Event {
        extensions: vec![(name.into(), value.into())],
        ..event.clone()
    };
    let untimely = Event {
        time: Some("yesterday".into()),
        ..event.clone()
    };
    let about_nothing = Event {
        subject: Some(String::new()),
        ..event.clone()
    };
    let controlled = Event {
        id: "1\u{7}".into(),
        ..event.clone()
    };
    for bad in [
        untimely,
        about_nothing,
        controlled,
        with("tenantid", ""),
        with("long", &"x".repeat(binding::ATTRIBUTE_BYTES_MAX + 1)),
    ] {
        let [structured, binary] = both_modes(&bad);
        let found = |record| self::record(&record, &origin(), &deployment);
        assert_eq!(code(&found(structured)), "structured", "{bad:?}");
        assert_eq!(code(&found(binary)), "invalid-event", "{bad:?}");
    }
}

/// The records that carry an event: in the structured mode, in the binary mode.
fn both_modes(event: &Event) -> [Record; 2] {
    let structured = binding::to_structured(cloudevents::to_structured(event), None, 0);
    [structured, binding::to_record(event, None, 0)]
}

#[test]
fn what_comes_from_a_topic_as_a_timer_is_poison_and_what_comes_from_one_is_an_event() {
    let plain = deployment("");
    let mapped = deployment("[mapping]\ntype = { header = \"kind\" }\n");
    let timers = Origin {
        topic: timers_topic(&plain.scope.group).into(),
        ..origin()
    };
    let firing = Event {
        id: "1".into(),
        source: "/weir/billing/timers".into(),
        ty: TIMER_TYPE.into(),
        extensions: vec![(TIMER_NAME.into(), "expire".into())],
        ..Event::default()
    };
    let of_a_type = Event {
        extensions: Vec::new(),
        ..firing.clone()
    };
    let with_a_name = Event {
        ty: "Wanted".into(),
        ..firing.clone()
    };
    for event in [&firing, &of_a_type, &with_a_name] {
        for forged in both_modes(event) {
            let found = record(&forged, &origin(), &plain);
            assert_eq!(code(&found), "forged-timer", "{event:?}");
            let found = stored(&forged, &origin(), &plain);
            assert_eq!(code(&found), "forged-timer", "{event:?}");
        }
    }
    let forged = foreign(&[("kind", TIMER_TYPE)], Some("x"));
    let found = record(&forged, &origin(), &mapped);
    assert_eq!(code(&found), "forged-timer");

    // A handler gives its timers names as it likes.
    let named = Event {
        extensions: vec![(TIMER_NAME.into(), "a\nb".into())],
        ..firing.clone()
    };
    for event in [firing, named] {
        let fired = binding::to_record(&event, None, 0);
        assert_eq!(code(&timer(&fired)), "event");
        assert_eq!(code(&stored(&fired, &timers, &plain)), "event");
    }
}

#[test]
fn a_record_with_more_attributes_than_an_event_may_have_is_poison_however_many() {
    let plain = deployment("");
    let names: Vec<_> = (0..80_000_usize).map(|at| format!("ce_{at:x}")).collect();
    for (count, wanted) in [
        (64, "missing-attribute"),
        (65, "too-many-attributes"),
        (70_000, "too-many-attributes"),
        (80_000, "event-too-large"),
    ] {
        let headers = names[..count].iter();
        let many = Record {
            headers: headers
                .map(|name| (binding::header_name(name), Some(Bytes::new())))
                .collect(),
            ..Record::default()
        };
        assert_eq!(code(&record(&many, &origin(), &plain)), wanted, "{count}");
    }
}

/// A handler that may emit, in this mode.
fn rules(mode: &str) -> emission::Rules {
    let emit = format!("[emit]\ntopics = [\"=out\"]\nmode = \"{mode}\"\n");
    deployment(&emit).emit()
}

fn emitted(
    rules: &emission::Rules,
    input: &Event,
    own: Emission,
) -> Result<Record, InvalidEmission> {
    let carried = binding::to_record(input, None, 0);
    let cause = emission::Cause {
        event: input,
        record: &carried,
        tenant: "default",
    };
    let mut emitted = emission::to_records(rules, cause, Millis(0), vec![own])?;
    Ok(emitted.remove(0).out.record)
}

#[test]
fn what_a_handler_emits_is_an_event_for_the_next_in_either_mode_or_is_not_emitted() {
    let plain = deployment("");
    let input = Event {
        id: "i".repeat(binding::ATTRIBUTE_BYTES_MAX),
        source: "/s".into(),
        ty: "Wanted".into(),
        extensions: vec![("tenantid".into(), "acme".into())],
        ..Event::default()
    };
    let emission = || Emission {
        ty: "Wanted".into(),
        ..Emission::default()
    };
    let with_data = |bytes: usize| Emission {
        data: Some(vec![0xff; bytes].into()),
        ..emission()
    };
    let names = (0..binding::EXTENSIONS_MAX).map(|at| (format!("e{at}"), "v".to_owned()));
    let all_its_own = Emission {
        extensions: names.collect(),
        ..emission()
    };
    let at = |time: &str| Emission {
        time: Some(time.into()),
        ..emission()
    };
    let refused = |code| Err::<&str, _>(code);
    // Base64 makes four bytes of three.
    for (own, binary, structured) in [
        (emission(), Ok("event"), Ok("event")),
        (all_its_own, Ok("event"), Ok("event")),
        (with_data(900 << 10), Ok("event"), Ok("event")),
        (with_data(1 << 20), Ok("event"), refused("emission-limit")),
        (
            at("yesterday"),
            refused("bad-attribute"),
            refused("bad-attribute"),
        ),
        (at("9999-12-31T23:59:59Z"), Ok("event"), Ok("event")),
    ] {
        for (mode, wanted) in [("binary", binary), ("structured", structured)] {
            let made = emitted(&rules(mode), &input, own.clone());
            let found = made.map(|out| code(&record(&out, &origin(), &plain)).to_owned());
            let found = found.as_deref().map_err(|invalid| invalid.code);
            assert_eq!(found, wanted, "{mode} {:?}", own.time);
        }
    }
}

#[test]
fn a_record_that_is_larger_than_an_event_may_be_is_poison_before_it_is_looked_at() {
    let plain = deployment("");
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
