use axum::http::{HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;
use proptest::prelude::*;

use super::*;

/// The members that each event needs, and these.
fn with(members: &str) -> Bytes {
    let comma = if members.is_empty() { "" } else { "," };
    Bytes::from(format!(
        r#"{{"specversion":"1.0","id":"1","source":"/shop","type":"Sold"{comma}{members}}}"#
    ))
}

fn event(members: &str) -> Event {
    from_structured(&with(members)).unwrap()
}

fn fault(members: &str) -> EventError {
    let DecodeError::Events(mut faults) = from_structured(&with(members)).unwrap_err() else {
        panic!("{members}")
    };
    faults.remove(0).1
}

#[test]
fn a_list_of_faults_that_is_cut_says_so() {
    let faults = |count: usize| {
        let batch = format!("[{}]", vec!["{}"; count].join(","));
        let error = from_batch(&Bytes::from(batch), 100).unwrap_err();
        let DecodeError::Events(faults) = &error else {
            panic!("{error}");
        };
        (faults.len(), error.to_string())
    };
    assert!(
        faults(1)
            .1
            .starts_with("one event is invalid in the body: ")
    );
    assert!(faults(2).1.starts_with("events are invalid in the body: "));
    let (listed, message) = faults(21);
    assert_eq!(listed, 20);
    assert!(message.starts_with("20 events or more are invalid, the first 20 are listed"));
}

#[test]
fn data_is_kept_as_its_content_type_says() {
    let cases = [
        ("", None, None),
        (r#""data":null"#, None, None),
        (
            r#""data":{"a": 1.00 }"#,
            Some(r#"{"a": 1.00 }"#),
            Some("application/json"),
        ),
        (
            r#""data":"text""#,
            Some(r#""text""#),
            Some("application/json"),
        ),
        (
            r#""data":"te\nxt","datacontenttype":"text/plain""#,
            Some("te\nxt"),
            Some("text/plain"),
        ),
        (
            r#""datacontenttype":"application/vnd.x+JSON; v=1","data":[1]"#,
            Some("[1]"),
            Some("application/vnd.x+JSON; v=1"),
        ),
        (r#""data_base64":"aGk=""#, Some("hi"), None),
        (
            r#""data_base64":"","datacontenttype":"image/png""#,
            Some(""),
            Some("image/png"),
        ),
    ];
    for (members, data, media_type) in cases {
        let event = event(members);
        assert_eq!(event.data.as_deref(), data.map(str::as_bytes), "{members}");
        assert_eq!(event.datacontenttype.as_deref(), media_type, "{members}");
    }
}

#[test]
fn extensions_become_canonical_strings() {
    let event = event(r#""a":"x","b":true,"c":-7,"d":null,"e":"\u00e9","tenantid":"t""#);
    let found: Vec<_> = event
        .extensions
        .iter()
        .map(|(n, v)| (n.as_str(), v.as_str()))
        .collect();
    assert_eq!(
        found,
        [
            ("a", "x"),
            ("b", "true"),
            ("c", "-7"),
            ("e", "é"),
            ("tenantid", "t")
        ]
    );
}

#[test]
fn what_breaks_a_rule_of_cloudevents_is_named() {
    let long = format!(r#""subject":"{}""#, "x".repeat(ATTRIBUTE_BYTES_MAX + 1));
    let many: Vec<_> = (0..=EXTENSIONS_MAX)
        .map(|n| format!(r#""x{n}":1"#))
        .collect();
    let cases = [
        (r#""id":"2""#, EventError::Repeated("id".into())),
        (r#""a":null,"a":"1""#, EventError::Repeated("a".into())),
        (r#""data":1,"data":1"#, EventError::Repeated("data".into())),
        (r#""data":1,"data_base64":"""#, EventError::DataTwice),
        (r#""data_base64":"a""#, EventError::Base64),
        (r#""data_base64":1"#, EventError::Base64),
        (
            r#""data":1,"datacontenttype":"text/plain""#,
            EventError::DataNotText("text/plain".into()),
        ),
        (
            r#""datacontenttype":"application/cloudevents+json""#,
            EventError::MediaType("application/cloudevents+json".into()),
        ),
        (
            r#""datacontenttype":"json""#,
            EventError::MediaType("json".into()),
        ),
        (r#""subject":7"#, EventError::NotText("subject".into())),
        (r#""subject":"""#, EventError::Missing("subject")),
        (r#""partitionkey":"""#, EventError::Missing("partitionkey")),
        (r#""a":1.5"#, EventError::Type("a".into())),
        (r#""a":2147483648"#, EventError::Type("a".into())),
        (r#""a":{}"#, EventError::Type("a".into())),
        (r#""Abc":"1""#, EventError::Name("Abc".into())),
        (r#""a_b":"1""#, EventError::Name("a_b".into())),
        (r#""a":"\u0000""#, EventError::Control("a".into())),
        (
            r#""time":"yesterday""#,
            EventError::Time("yesterday".into()),
        ),
        (&long, EventError::TooLong("subject".into())),
        (&many.join(","), EventError::TooManyExtensions),
    ];
    for (members, expected) in cases {
        assert_eq!(fault(members), expected, "{members}");
    }
    let versions = [
        (
            r#"{"specversion":"0.3"}"#,
            EventError::Version("0.3".into()),
        ),
        ("{}", EventError::Missing("specversion")),
    ];
    for (body, expected) in versions {
        let DecodeError::Events(faults) = from_structured(&Bytes::from(body)).unwrap_err() else {
            panic!("{body}")
        };
        assert_eq!(faults, [(0, expected)]);
    }
}

#[test]
fn only_rfc_3339_is_a_time() {
    let good = [
        "1997-01-01T00:00:00Z",
        "1997-01-01t00:00:00z",
        "2024-02-29T23:59:59.123456789+14:00",
        "2024-02-29T23:59:59.12345678901-00:30",
        "1998-12-31T23:59:60Z",
        "0000-01-01T00:00:00Z",
        "9999-12-31T23:59:59.999-23:59",
    ];
    let bad = [
        "",
        "1997-01-01",
        "1997-01-01 00:00:00Z",
        "1997-01-01T00:00:00",
        "1997-01-01T00:00Z",
        "1997-02-30T00:00:00Z",
        "1997-01-01T24:00:00Z",
        "1997-01-01T00:60:00Z",
        "1997-01-01T00:00:00+24:00",
        "1997-01-01T00:00:00+00:60",
        "1997-01-01T00:00:00.Z",
        "1997-01-01T00:00:00+0100",
        "1997-01-01T00:00:00Z[UTC]",
        "１997-01-01T00:00:00Z",
        "+001997-01-01T00:00:00Z",
    ];
    good.iter()
        .for_each(|time| assert!(is_rfc3339(time), "{time}"));
    bad.iter()
        .for_each(|time| assert!(!is_rfc3339(time), "{time}"));
}

#[test]
fn a_batch_names_each_event_that_is_wrong() {
    let good = String::from_utf8(with("").to_vec()).unwrap();
    let batch = |items: &[&str]| Bytes::from(format!("[{}]", items.join(",")));
    assert_eq!(from_batch(&batch(&[&good, &good]), 2).unwrap().len(), 2);
    assert_eq!(from_batch(&batch(&[]), 2).unwrap(), []);

    let DecodeError::Events(faults) =
        from_batch(&batch(&[&good, "{}", &good, "{}"]), 9).unwrap_err()
    else {
        panic!()
    };
    assert_eq!(
        faults.iter().map(|(index, _)| *index).collect::<Vec<_>>(),
        [1, 3]
    );
    assert!(matches!(
        from_batch(&batch(&[&good, &good]), 1),
        Err(DecodeError::TooMany { events_max: 1 })
    ));
    assert!(matches!(
        from_batch(&batch(&[&good, "7"]), 9),
        Err(DecodeError::Syntax { index: Some(1), .. })
    ));
    assert!(matches!(
        from_batch(&Bytes::from_static(b"[] x"), 9),
        Err(DecodeError::Syntax { .. })
    ));
    assert!(matches!(
        from_batch(&with(""), 9),
        Err(DecodeError::Syntax { .. })
    ));
}

fn headers(pairs: &[(&str, &[u8])]) -> HeaderMap {
    let pair = |(name, value): &(&str, &[u8])| {
        (
            name.parse::<HeaderName>().unwrap(),
            HeaderValue::from_bytes(value).unwrap(),
        )
    };
    pairs.iter().map(pair).collect()
}

const REQUIRED: [(&str, &[u8]); 4] = [
    ("ce-specversion", b"1.0"),
    ("ce-id", b"1"),
    ("ce-source", b"/shop"),
    ("ce-type", b"Sold"),
];

#[test]
fn binary_mode_decodes_headers_as_the_http_binding_says() {
    let more: [(&str, &[u8]); 4] = [
        ("content-type", b"text/x; a=%20"),
        ("ce-subject", b"Euro%20%E2%82%AC"),
        ("ce-old", b"\"a \\\"b\\\"\""),
        ("accept", b"*/*"),
    ];
    let parsed = from_http(
        &headers(&[&REQUIRED[..], &more].concat()),
        Bytes::from_static(b"hi"),
    )
    .unwrap();
    assert_eq!(parsed.subject.as_deref(), Some("Euro €"));
    assert_eq!(parsed.datacontenttype.as_deref(), Some("text/x; a=%20"));
    assert_eq!(
        parsed.extensions,
        [("old".to_owned(), "a \"b\"".to_owned())]
    );
    assert_eq!(parsed.data.as_deref(), Some(&b"hi"[..]));
}

#[test]
fn binary_mode_refuses_headers_that_do_not_decode() {
    let cases: [(&str, &[u8]); 7] = [
        ("ce-subject", b"100%"),
        ("ce-subject", b"%zz"),
        ("ce-subject", b"%ff"),
        ("ce-subject", b"\"open"),
        ("ce-id", b"2"),
        ("ce-datacontenttype", b"text/plain"),
        ("ce-a-b", b"1"),
    ];
    for case in cases {
        assert!(
            from_http(&headers(&[&REQUIRED[..], &[case]].concat()), Bytes::new()).is_err(),
            "{case:?}"
        );
    }
}

#[test]
fn json_data_with_line_breaks_is_written_on_one_line() {
    let event = event("\"data\":{\r\n  \"a\": \"x\\ny\"\n}");
    let json = to_json(&event);
    assert!(!json.get().contains(['\n', '\r']), "{json}");
    assert!(json.get().contains(r#""a": "x\ny""#), "{json}");
}

#[test]
fn data_that_only_say_that_they_are_json_keep_their_bytes() {
    for data in [
        &b"\"a\nb\""[..],
        b"{\"note\": \"a\r\nb\"}",
        b"[1,\n]",
        b" \nnull\n ",
    ] {
        let event = Event {
            id: "1".into(),
            source: "/shop".into(),
            ty: "Sold".into(),
            datacontenttype: Some("application/json".into()),
            data: Some(Bytes::from_static(data)),
            ..Event::default()
        };
        let json = Bytes::from(to_json(&event).get().to_owned());
        assert!(
            json.windows(11).any(|part| part == b"data_base64"),
            "{json:?}"
        );
        assert_eq!(from_structured(&json).unwrap(), event);
    }
}

proptest! {
    #[test]
    fn no_body_breaks_the_decoders(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let body = Bytes::from(body);
        prop_assert!(from_structured(&body).is_err());
        prop_assert!(from_batch(&body, 4).map_or(true, |events| events.is_empty()));
    }

    #[test]
    fn no_value_breaks_the_decoders(
        name in "[a-z]{1,12}|data|data_base64|time|datacontenttype",
        value in r#"(")?[-\\u0-9a-f{}\[\]:.,€]{0,12}(")?|null|true"#,
    ) {
        if let Ok(event) = from_structured(&with(&format!("\"{name}\":{value}"))) {
            prop_assert_eq!(from_structured(&Bytes::from(to_json(&event).get().to_owned())).unwrap(), event);
        }
    }

    #[test]
    fn no_header_breaks_the_decoder(value in proptest::collection::vec(0x20_u8..0x7f, 0..30)) {
        let parsed = from_http(&headers(&[&REQUIRED[..], &[("ce-x", &value)]].concat()), Bytes::new());
        prop_assert!(!matches!(parsed, Err(EventError::Missing(_))));
    }

    #[test]
    fn an_event_survives_the_json_format(
        text in "[^\\p{Cc}]{1,20}",
        media_type in proptest::sample::select(vec!["application/json", "text/plain", "image/png"]),
        data in proptest::option::of(prop_oneof![
            "[^\\p{Cc}]{0,20}".prop_map(String::into_bytes),
            proptest::collection::vec(any::<u8>(), 0..20),
            Just(b"{\"a\":[1,2.50]}".to_vec()),
            Just(b"null".to_vec()),
        ]),
    ) {
        // White space around JSON is not part of its value.
        prop_assume!(media_type != "application/json" || data.as_ref().is_none_or(|data| data.trim_ascii() == *data));
        let event = Event {
            id: text.clone(),
            source: text.clone(),
            ty: text.clone(),
            subject: Some(text.clone()),
            datacontenttype: Some(media_type.to_owned()),
            extensions: vec![("partitionkey".to_owned(), text)],
            data: data.map(Bytes::from),
            ..Event::default()
        };
        let json = Bytes::from(to_json(&event).get().to_owned());
        prop_assert_eq!(from_structured(&json).unwrap(), event);
    }
}
