use weir_sdk::testing::{Harness, Input};

use super::handle;

#[derive(serde::Deserialize, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
struct Notification {
    customer_id: String,
    text: String,
    purchases: u64,
    total_cents: u64,
}

fn payment(ty: &str, cents: u64) -> Input {
    let data =
        format!(r#"{{"customerId":"00002","currency":"USD","amountCents":{cents},"purchases":9}}"#);
    Input::new(ty).key("00002").data("application/json", data)
}

#[test]
fn every_payment_is_announced_with_the_total_so_far() {
    let mut notification = Harness::new(handle);
    notification
        .deliver(payment("PaymentReceived", 1_200))
        .unwrap();
    notification.deliver(payment("InvoicePaid", 0)).unwrap();
    let emitted = notification
        .deliver(payment("PaymentReceived", 7_705))
        .unwrap();
    assert_eq!(emitted.len(), 1);
    assert_eq!(emitted[0].ty(), "NotificationRequested");
    let expected = Notification {
        customer_id: "00002".into(),
        text: "Thank you for 77.05 USD. Purchase 3, 89.05 USD in all.".into(),
        purchases: 3,
        total_cents: 8_905,
    };
    assert_eq!(emitted[0].parse_json::<Notification>().unwrap(), expected);
}
