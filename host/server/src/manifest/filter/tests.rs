use toml::Table;

use super::*;

fn parse(text: &str) -> Result<Filter, FilterError> {
    Filter::parse(&format!("filter = {text}").parse::<Table>().unwrap()["filter"])
}

fn check(text: &str, admits: bool) {
    let event = Event {
        id: "7".to_owned(),
        source: "/shop/eu".to_owned(),
        ty: "InvoiceCreated".to_owned(),
        extensions: vec![("region".to_owned(), "eu".to_owned())],
        ..Event::default()
    };
    assert_eq!(parse(text).unwrap().admits(&event), admits, "{text}");
}

#[test]
fn dialects_compare_as_the_specification_says() {
    check("[]", true);
    check("[{ exact = { type = \"InvoiceCreated\" } }]", true);
    check("[{ exact = { type = \"Invoice\" } }]", false);
    check(
        "[{ exact = { type = \"InvoiceCreated\", region = \"eu\" } }]",
        true,
    );
    check(
        "[{ exact = { type = \"InvoiceCreated\", region = \"us\" } }]",
        false,
    );
    check("[{ prefix = { source = \"/shop/\" } }]", true);
    check("[{ suffix = { source = \"/eu\" } }]", true);
    check("[{ suffix = { source = \"/shop\" } }]", false);
    check("[{ exact = { specversion = \"1.0\" } }]", true);
    check("[{ not = { exact = { id = \"7\" } } }]", false);
    check(
        "[{ any = [{ exact = { id = \"1\" } }, { exact = { id = \"7\" } }] }]",
        true,
    );
    check(
        "[{ all = [{ exact = { id = \"1\" } }, { exact = { id = \"7\" } }] }]",
        false,
    );
    check(
        "[{ exact = { id = \"7\" } }, { exact = { id = \"1\" } }]",
        false,
    );
}

#[test]
fn an_absent_attribute_matches_nothing() {
    check("[{ prefix = { subject = \"a\" } }]", false);
    check("[{ not = { prefix = { subject = \"a\" } } }]", true);
}

#[test]
fn faults_name_their_place() {
    for (text, place, words) in [
        ("3", "", "must be a list"),
        ("[{}]", "[0]", "must be one of"),
        (
            "[{ exact = { id = \"1\" }, prefix = { id = \"1\" } }]",
            "[0]",
            "must be one of",
        ),
        (
            "[{ equals = { id = \"1\" } }]",
            "[0].equals",
            "must be one of",
        ),
        ("[{ exact = {} }]", "[0].exact", "at least one entry"),
        (
            "[{ any = [{ exact = { id = 1 } }] }]",
            "[0].any[0].exact.id",
            "must be a text",
        ),
        (
            "[{ exact = { Type = \"a\" } }]",
            "[0].exact.Type",
            "lower-case letters and digits",
        ),
    ] {
        let error = parse(text).unwrap_err();
        assert_eq!(error.place, place, "{text}");
        assert!(error.message.contains(words), "{text}: {}", error.message);
    }
    let deep = format!(
        "[{}{{ exact = {{ id = \"1\" }} }}{}]",
        "{ not = ".repeat(20),
        " }".repeat(20)
    );
    assert!(parse(&deep).unwrap_err().message.contains("nested deeper"));
}
