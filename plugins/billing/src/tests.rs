use weir_sdk::{
    FailureKind,
    testing::{Harness, Input},
};

use super::{handle, money::parse_cents};

fn invoice(customer: &str, amount: &str) -> Input {
    let data = format!(
        r#"{{"invoiceId":"i-1","customerId":"{customer}","quantity":1,"amount":"{amount}","currency":"USD"}}"#
    );
    Input::new("InvoiceCreated")
        .key(customer)
        .data("application/json", data)
}

#[test]
fn every_invoice_adds_to_its_customers_total() {
    #[derive(serde::Deserialize, Debug, PartialEq)]
    #[serde(rename_all = "camelCase")]
    struct Seen {
        customer_id: String,
        amount_cents: u64,
        purchases: u64,
        total_cents: u64,
    }
    let mut billing = Harness::new(handle);
    let mut seen = Vec::new();
    for (customer, amount) in [
        ("00001", "11.77"),
        ("00002", "12.00"),
        ("00002", "77.00"),
        ("00001", "0.1"),
    ] {
        let emitted = billing.deliver(invoice(customer, amount)).unwrap();
        assert_eq!(emitted.len(), 1);
        assert_eq!(emitted[0].ty(), "PaymentReceived");
        let Seen {
            customer_id,
            amount_cents,
            purchases,
            total_cents,
        } = emitted[0].parse_json().unwrap();
        seen.push((customer_id, amount_cents, purchases, total_cents));
    }
    let expected = [
        ("00001", 1_177, 1, 1_177),
        ("00002", 1_200, 1, 1_200),
        ("00002", 7_700, 2, 8_900),
        ("00001", 10, 2, 1_187),
    ];
    assert_eq!(
        seen,
        expected.map(|(customer, amount, count, total)| (
            customer.to_owned(),
            amount,
            count,
            total
        ))
    );
}

#[test]
fn invoice_over_nothing_is_paid_as_it_stands() {
    let emitted = Harness::new(handle)
        .deliver(invoice("00001", "0.00"))
        .unwrap();
    assert_eq!(emitted[0].ty(), "InvoicePaid");
}

#[test]
fn unreadable_amount_is_a_dead_letter_and_leaves_the_total() {
    let mut billing = Harness::new(handle);
    let failure = billing.deliver(invoice("00001", "a lot")).unwrap_err();
    assert_eq!(
        (failure.kind(), failure.code()),
        (FailureKind::Permanent, "bad-amount")
    );
    let emitted = billing.deliver(invoice("00001", "1.00")).unwrap();
    let data: weir_sdk::Result<Purchases> = emitted[0].parse_json();
    assert_eq!(data.unwrap().purchases, 1);
}

#[derive(serde::Deserialize)]
struct Purchases {
    purchases: u64,
}

#[test]
fn amounts_are_read_exactly_or_not_at_all() {
    let check =
        |amount: &str, cents: Option<u64>| assert_eq!(parse_cents(amount).ok(), cents, "{amount}");
    check("0", Some(0));
    check("12", Some(1_200));
    check("0.5", Some(50));
    check("13990.93", Some(1_399_093));
    check("184467440737095516.15", Some(u64::MAX));
    for wrong in [
        "",
        ".",
        ".5",
        "1.",
        "1.234",
        "-1.00",
        "+1.00",
        "1.+5",
        "1e3",
        "1,00",
        " 1",
        "184467440737095516.16",
    ] {
        check(wrong, None);
    }
}
