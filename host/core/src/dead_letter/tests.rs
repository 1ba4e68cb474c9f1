use super::*;

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
    let origin = origin();
    let sequence = SequenceKey::Keyed {
        tenant: "default".into(),
        key: "k".into(),
    };
    let deceased = Deceased {
        record,
        origin: &origin,
        letter: letter_id("weir.dev.default.billing", &origin),
        replays: 2,
        held,
        sequence: Some(&sequence),
        traceparent: Some("00-a-b-01"),
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
        "all sold, \u{2713}".to_owned(),
        &attempts,
    );
    cause.backtrace = Some("0: f\n1: g".to_owned());
    to_record("dlq.t".into(), &source(), deceased, &cause, Millis(99)).record
}

fn record(headers: &[(&'static str, &'static [u8])]) -> Record {
    let headers = headers.iter();
    Record {
        key: Some(Bytes::from_static(&[0, 255])),
        value: Some(Bytes::from_static(&[1, 2, 0])),
        headers: headers
            .map(|(name, value)| ((*name).into(), Some(Bytes::from_static(value))))
            .collect(),
        timestamp_ms: 99,
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
        timestamp_ms: 99,
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
fn a_letter_says_what_it_was_told() {
    let (letter, _) = from_record(dead(&record(&[]), true)).unwrap();
    assert_eq!(letter.id, letter_id("weir.dev.default.billing", &origin()));
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
