use weir_sdk::testing::{Harness, Input, LogLine};

use super::handle;

/// The only line that is written about an event.
fn line(input: Input) -> LogLine {
    let mut audit = Harness::new(handle);
    audit.deliver(input).unwrap();
    let [line] = audit.log() else {
        panic!("{:?} is not one line", audit.log());
    };
    line.clone()
}

fn fields(fields: [(&str, &str); 8]) -> Vec<(String, String)> {
    fields
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
}

#[test]
fn every_fact_is_one_line_that_names_what_caused_it() {
    let payment = Input::new("PaymentReceived")
        .id("p-1")
        .source("/weir/billing")
        .subject("00001")
        .time("1997-01-01T00:00:00Z")
        .extension("correlationid", "i-1")
        .extension("causationid", "i-7")
        .data("application/json", r#"{"amountCents":1177}"#);
    let line = line(payment);
    assert_eq!((line.level, line.message.as_str()), ("info", "fact"));
    let expected = fields([
        ("correlationid", "i-1"),
        ("causationid", "i-7"),
        ("type", "PaymentReceived"),
        ("source", "/weir/billing"),
        ("id", "p-1"),
        ("subject", "00001"),
        ("tenant", "default"),
        ("time", "1997-01-01T00:00:00Z"),
    ]);
    assert_eq!(line.fields, expected);
}

#[test]
fn event_that_starts_a_process_correlates_with_itself() {
    let expected = fields([
        ("correlationid", "i-1"),
        ("causationid", ""),
        ("type", "InvoiceCreated"),
        ("source", "/test"),
        ("id", "i-1"),
        ("subject", ""),
        ("tenant", "default"),
        ("time", ""),
    ]);
    assert_eq!(
        line(Input::new("InvoiceCreated").id("i-1")).fields,
        expected
    );
}
