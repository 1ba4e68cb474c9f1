use super::*;
use crate::event::EVENT_BYTES_MAX;

type Headers = Vec<(&'static str, &'static [u8])>;

fn origin() -> Origin {
    Origin {
        topic: "dev.local.public.orders.v1".into(),
        partition: 3,
        offset: 41,
    }
}

fn source() -> Source {
    Source {
        group: "weir.dev.default.billing".into(),
        handler: "billing".into(),
        version: "1.0.0".into(),
        digest: "d".into(),
    }
}

/// The dead letter of `record`, which dies for the third time.
fn dead(record: &Record, held: bool) -> Record {
    dead_of("all sold, \u{2713}", "0: f\n1: g", record, held, usize::MAX).unwrap()
}

/// The same of this cause, in so many bytes.
fn dead_of(
    message: &str,
    backtrace: &str,
    record: &Record,
    held: bool,
    bytes_max: usize,
) -> Result<Record, TooLarge> {
    let origin = origin();
    let sequence = SequenceKey::Keyed {
        tenant: "default".into(),
        key: "k".into(),
    };
    let traceparent = record.header("ce_traceparent");
    let deceased = Deceased {
        record,
        origin: &origin,
        letter: letter_id("weir.dev.default.billing", &origin, record.timestamp_ms),
        replays: 2,
        held,
        sequence: Some(&sequence),
        traceparent: traceparent.map(|value| str::from_utf8(value).unwrap()),
    };
    let attempts = Attempts {
        counted: 15,
        first_failed: Some(Millis(7)),
        ..Attempts::default()
    };
    let mut cause = Cause::new(
        Stage::Handler,
        "transient",
        "no-stock".to_owned(),
        message.to_owned(),
        &attempts,
    );
    cause.backtrace = Some(backtrace.to_owned());
    let (topic, now) = ("dlq.t".into(), Millis(99));
    to_record(topic, bytes_max, &source(), deceased, &cause, now).map(|out| out.record)
}

fn record(headers: &[(&'static str, &'static [u8])]) -> Record {
    let headers = headers.iter();
    Record {
        key: Some(Bytes::from_static(&[0, 255])),
        value: Some(Bytes::from_static(&[1, 2, 0])),
        headers: headers
            .map(|(name, value)| ((*name).into(), Some(Bytes::from_static(value))))
            .collect(),
        timestamp_ms: 7,
    }
}

#[test]
fn a_letter_gives_back_the_record_that_died_byte_for_byte() {
    let of_an_earlier_death: Headers = vec![
        ("__dlq.errors.topic", b"another"),
        ("weir.dlq.id", b"another"),
        ("weir.dlq.replays", b"77"),
    ];
    let cases: [(&str, Headers); 5] = [
        ("nothing", vec![]),
        ("an event", vec![("ce_id", b"1"), ("ce_source", b"/s")]),
        ("forged headers", of_an_earlier_death),
        (
            "one forged header at the end",
            vec![("x", b""), ("weir.dlq.code", b"forged")],
        ),
        (
            "no text",
            vec![
                ("\u{1f4a3}", &[0xff, 0xfe]),
                ("__dlq.errors.topic", &[0xff]),
            ],
        ),
    ];
    for (what, headers) in cases {
        let record = record(&headers);
        let (letter, original) = from_record(dead(&record, false)).unwrap();
        assert_eq!(original, record, "{what}");
        assert_eq!(letter.origin, origin(), "{what}");
        assert_eq!(letter.code, "no-stock", "{what}");
        assert_eq!(letter.replays, 2, "{what}");
    }
    let tombstone = Record {
        timestamp_ms: 7,
        ..Record::default()
    };
    let (_, original) = from_record(dead(&tombstone, false)).unwrap();
    assert_eq!(original, tombstone);
}

#[test]
fn a_letter_of_a_letter_gives_back_the_letter() {
    let inner = dead(&record(&[("ce_id", b"1")]), true);
    let (_, original) = from_record(dead(&inner, false)).unwrap();
    assert_eq!(original, inner);
}

#[test]
fn a_letter_of_an_earlier_version_has_the_time_of_its_death_for_its_records() {
    let mut letter = dead(&record(&[]), false);
    letter.headers.retain(|(name, _)| name != TIMESTAMP);
    let (_, original) = from_record(letter).unwrap();
    assert_eq!(original.timestamp_ms, 99);
}

#[test]
fn a_letter_says_what_it_was_told() {
    let (letter, _) = from_record(dead(&record(&[]), true)).unwrap();
    let id = |timestamp_ms| letter_id("weir.dev.default.billing", &origin(), timestamp_ms);
    assert_eq!(letter.id, id(7));
    // What stands there when the topic was made anew.
    assert_ne!(letter.id, id(8));
    assert!(letter.held);
    assert_eq!((&*letter.class, &*letter.code), ("transient", "no-stock"));
    assert_eq!(letter.message, "all sold, \u{2713}");
    assert_eq!((letter.attempts, letter.dead_at), (15, Millis(99)));
    assert_eq!(letter.sequence.map(|hex| hex.len()), Some(32));
    let named = |wanted: &str| letter.headers.iter().any(|(name, _)| name == wanted);
    assert!(named("weir.dlq.backtrace") && named("weir.dlq.first-failed-at"));
}

#[test]
fn a_record_that_nobody_here_wrote_is_no_letter() {
    assert_eq!(
        from_record(record(&[("ce_id", b"1")])).unwrap_err(),
        NotALetter("__dlq.errors.topic")
    );
    let mut longer = dead(&record(&[]), false);
    longer.headers.push(("later".into(), None));
    assert_eq!(
        from_record(longer).unwrap_err(),
        NotALetter("__dlq.errors.topic")
    );
    let mut cut = dead(&record(&[]), false);
    cut.headers.retain(|(name, _)| name != ID);
    assert_eq!(from_record(cut).unwrap_err(), NotALetter(ID));
}

/// How long message and backtrace of a letter are.
fn texts(letter: &Record) -> [usize; 2] {
    [MESSAGE, BACKTRACE].map(|name| letter.header(name).unwrap().len())
}

#[test]
fn our_texts_are_cut_to_what_is_left_the_longest_first_and_the_record_never() {
    let record = record(&[("ce_id", b"1")]);
    let least = dead_of("", "", &record, true, usize::MAX).unwrap();
    let least = least.stored_bytes();
    let (message, backtrace) = ("m".repeat(100), "b".repeat(1_000));
    for (room, wanted) in [
        (2_000, [100, 1_000]),
        (1_100, [100, 1_000]),
        (1_099, [100, 999]),
        (300, [100, 200]),
        (200, [100, 100]),
        (150, [75, 75]),
        (1, [0, 1]),
        (0, [0, 0]),
    ] {
        let letter = dead_of(&message, &backtrace, &record, true, least + room).unwrap();
        assert_eq!(texts(&letter), wanted, "{room}");
        assert!(letter.stored_bytes() <= least + room);
        let (_, original) = from_record(letter).unwrap();
        assert_eq!(original, record);
    }
    let bytes_max = least - 1;
    assert_eq!(
        dead_of(&message, &backtrace, &record, true, bytes_max),
        Err(TooLarge {
            bytes: least,
            bytes_max
        })
    );
    assert_eq!(
        dead_of(&message, &backtrace, &record, true, 0),
        Err(TooLarge {
            bytes: least,
            bytes_max: 0
        })
    );
}

#[test]
fn a_letter_says_the_trace_of_its_event_where_it_has_the_form_of_one() {
    let trace = |value: &'static str| {
        let record = record(&[("ce_traceparent", value.as_bytes())]);
        let letter = dead(&record, false);
        let said = letter.header("weir.dlq.traceparent").cloned();
        said.map(|said| String::from_utf8(said.to_vec()).unwrap())
    };
    let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    assert_eq!(trace(good).as_deref(), Some(good));
    for bad in ["", "00-a-b-01", &good[1..]] {
        assert_eq!(trace(bad), None, "{bad}");
    }
}

#[test]
fn the_letter_of_the_largest_event_has_room_for_its_message_whatever_the_trace_is() {
    let beside = record(&[("ce_traceparent", b"")]).stored_bytes();
    let trace: &'static str = "0".repeat(EVENT_BYTES_MAX - beside).leak();
    let record = record(&[("ce_traceparent", trace.as_bytes())]);
    assert_eq!(record.stored_bytes(), EVENT_BYTES_MAX);
    let bytes_max = EVENT_BYTES_MAX + (256 << 10);
    let letter = dead_of("why it died", "", &record, false, bytes_max).unwrap();
    assert!(letter.stored_bytes() <= bytes_max);
    assert_eq!(letter.header(MESSAGE).unwrap(), "why it died");
}

#[test]
fn a_text_is_cut_between_characters_and_our_headers_are_bounded_where_nothing_else_is() {
    let record = record(&[]);
    let letter = dead_of(&"\u{2713}".repeat(1 << 20), "", &record, true, usize::MAX).unwrap();
    let ours = letter.stored_bytes() - record.stored_bytes();
    assert!(ours <= HEADERS_BYTES_MAX && ours > HEADERS_BYTES_MAX - 3);
    let message = letter.header(MESSAGE).unwrap();
    assert!(str::from_utf8(message).is_ok_and(|text| text.ends_with('\u{2713}')));
}
