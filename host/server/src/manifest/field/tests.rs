use super::*;

fn key_of(key: &str, event: &Event) -> Option<String> {
    Field::parse(key).expect("a key").of(event)
}

#[test]
fn a_key_is_an_attribute_or_a_pointer_into_the_data() {
    let data = r#"{"order":{"id":"o-1","line":7,"a/b":"c"},"empty":"","none":null,"some":[1],"yes":true,"huge":12345678901234567890123,"part":1.5}"#;
    let event = Event {
        id: "1".into(),
        subject: Some("s".into()),
        extensions: vec![("orderid".into(), "x".into())],
        data: Some(data.into()),
        ..Event::default()
    };
    for (key, value) in [
        ("orderid", Some("x")),
        ("subject", Some("s")),
        ("id", Some("1")),
        ("absent", None),
        ("/order/id", Some("o-1")),
        ("/order/line", Some("7")),
        ("/order/a~1b", Some("c")),
        ("/empty", Some("")),
        ("/none", None),
        ("/some", None),
        ("/some/0", Some("1")),
        ("/yes", None),
        ("/huge", None),
        ("/part", None),
        ("/order/absent", None),
    ] {
        assert_eq!(key_of(key, &event).as_deref(), value, "{key}");
    }
}

#[test]
fn data_that_are_no_json_have_no_key() {
    for data in [None, Some("".into()), Some("<order/>".into())] {
        let event = Event {
            data,
            ..Event::default()
        };
        assert_eq!(key_of("/order/id", &event), None);
    }
}
