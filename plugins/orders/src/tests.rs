use std::time::Duration;

use serde::Deserialize;
use weir_sdk::{
    Emission, FailureKind, Raw, State,
    testing::{Harness, Input},
};

use super::{KEEP, OUTCOMES, Order, REQUESTS, Step, handle};

const KEY: &str = "o-1";
const PLACED: &str = r#"{"orderId":"o-1","customerId":"00001","amountCents":1177,"currency":"USD","items":[{"sku":"CD-7","quantity":1}]}"#;

/// In a story: no answer comes until the time is over.
const TIME_OUT: &str = "time-out";
/// In a story: nothing is emitted.
const NOTHING: &str = "-";

type Orders = Harness<Raw, Option<Emission>>;

/// The end of a story: the orders, and the last emission.
struct End {
    orders: Orders,
    last: Option<Emission>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Cancelled {
    order_id: String,
    reason: String,
    unconfirmed: Vec<Step>,
}

/// Tells a story, one event and what it makes of it a line.
fn tell(story: &str) -> End {
    let mut orders = Harness::new(handle);
    let mut last = None;
    for line in story.lines().filter(|line| !line.trim().is_empty()) {
        let (event, expected) = line.trim().split_once(char::is_whitespace).unwrap();
        let emitted = match event {
            TIME_OUT => wait(&mut orders),
            ty => orders.deliver(input(ty)).unwrap(),
        };
        let types: Vec<_> = emitted.iter().map(Emission::ty).collect();
        let expected = Some(expected.trim()).filter(|expected| *expected != NOTHING);
        assert_eq!(types, Vec::from_iter(expected), "after {event} in {story}");
        last = emitted.into_iter().next().or(last);
    }
    End { orders, last }
}

fn input(ty: &str) -> Input {
    let data = match ty {
        "OrderPlaced" => PLACED,
        "PaymentFailed" => r#"{"orderId":"o-1","reason":"card declined"}"#,
        _ => r#"{"orderId":"o-1"}"#,
    };
    Input::new(ty).key(KEY).data("application/json", data)
}

/// Lets the time of the order's stage run out: nothing happens before its last millisecond.
fn wait(orders: &mut Orders) -> Vec<Emission> {
    let due_ms = orders.timer_ms(KEY, "order").expect("a time-out is set");
    let due = std::time::UNIX_EPOCH + Duration::from_millis(due_ms);
    let left = due.duration_since(orders.now()).unwrap();
    let instant = Duration::from_millis(1);
    assert_eq!(orders.advance(left - instant).unwrap(), []);
    orders.advance(instant).unwrap()
}

/// Tells a story that ends with a cancelled order.
fn check_cancelled(story: &str, reason: &str, unconfirmed: &[Step]) {
    let End { orders, last } = tell(story);
    let cancelled = Cancelled {
        order_id: KEY.to_owned(),
        reason: reason.to_owned(),
        unconfirmed: unconfirmed.to_owned(),
    };
    assert_eq!(last.unwrap().parse_json::<Cancelled>().unwrap(), cancelled);
    assert!(orders.timers(KEY).is_empty(), "a timer outlives {story}");
}

#[test]
fn order_is_paid_then_reserved_then_shipped() {
    let End { orders, .. } = tell(
        "OrderPlaced      PaymentRequested
         PaymentReceived  StockRequested
         StockReserved    ShipmentRequested
         Shipped          OrderCompleted",
    );
    assert!(orders.timers(KEY).is_empty());
}

#[test]
fn requests_repeat_the_order_and_outcomes_have_a_topic_of_their_own() {
    let mut orders = Harness::new(handle);
    let asked = orders.deliver(input("OrderPlaced")).unwrap();
    let request = Emission::new("PaymentRequested")
        .topic(REQUESTS)
        .subject(KEY)
        .data("application/json", PLACED);
    assert_eq!(asked, [request]);
    let ended = orders.deliver(input("PaymentFailed")).unwrap();
    let data = r#"{"orderId":"o-1","reason":"payment failed: card declined","unconfirmed":[]}"#;
    let outcome = Emission::new("OrderCancelled")
        .topic(OUTCOMES)
        .subject(KEY)
        .data("application/json", data);
    assert_eq!(ended, [outcome]);
}

#[test]
fn failed_payment_leaves_nothing_to_undo() {
    check_cancelled(
        "OrderPlaced    PaymentRequested
         PaymentFailed  OrderCancelled",
        "payment failed: card declined",
        &[],
    );
}

#[test]
fn rejected_stock_refunds_the_payment() {
    check_cancelled(
        "OrderPlaced      PaymentRequested
         PaymentReceived  StockRequested
         StockRejected    RefundRequested
         PaymentRefunded  OrderCancelled",
        "stock failed",
        &[],
    );
}

#[test]
fn failed_shipment_releases_the_stock_then_refunds_the_payment() {
    check_cancelled(
        "OrderPlaced      PaymentRequested
         PaymentReceived  StockRequested
         StockReserved    ShipmentRequested
         ShipmentFailed   StockReleaseRequested
         StockReleased    RefundRequested
         PaymentRefunded  OrderCancelled",
        "shipment failed",
        &[],
    );
}

#[test]
fn payment_that_times_out_is_refunded_although_it_comes_late() {
    check_cancelled(
        "OrderPlaced      PaymentRequested
         time-out         RefundRequested
         PaymentReceived  -
         PaymentRefunded  OrderCancelled
         PaymentReceived  -",
        "payment timed out",
        &[],
    );
}

#[test]
fn stock_that_times_out_is_released_although_it_is_rejected_late() {
    check_cancelled(
        "OrderPlaced      PaymentRequested
         PaymentReceived  StockRequested
         time-out         StockReleaseRequested
         StockRejected    -
         StockReleased    RefundRequested
         StockReserved    -
         PaymentRefunded  OrderCancelled",
        "stock timed out",
        &[],
    );
}

#[test]
fn shipment_that_times_out_is_cancelled_before_all_else_is_undone() {
    check_cancelled(
        "OrderPlaced        PaymentRequested
         PaymentReceived    StockRequested
         StockReserved      ShipmentRequested
         time-out           ShipmentCancelRequested
         Shipped            -
         ShipmentCancelled  StockReleaseRequested
         StockReleased      RefundRequested
         PaymentRefunded    OrderCancelled",
        "shipment timed out",
        &[],
    );
}

#[test]
fn undoing_is_asked_for_again_until_it_is_confirmed() {
    check_cancelled(
        "OrderPlaced      PaymentRequested
         PaymentReceived  StockRequested
         StockRejected    RefundRequested
         time-out         RefundRequested
         time-out         RefundRequested
         PaymentRefunded  OrderCancelled
         PaymentRefunded  -",
        "stock failed",
        &[],
    );
}

#[test]
fn what_is_never_confirmed_to_be_undone_is_named_in_the_outcome() {
    let story = "OrderPlaced      PaymentRequested
         PaymentReceived  StockRequested
         time-out         StockReleaseRequested
         time-out         StockReleaseRequested
         time-out         StockReleaseRequested
         time-out         StockReleaseRequested
         time-out         StockReleaseRequested
         time-out         RefundRequested
         StockReleased    -
         PaymentRefunded  OrderCancelled";
    check_cancelled(story, "stock timed out", &[Step::Stock]);
    let orders = tell(story).orders;
    let errors = orders.log().iter().filter(|line| line.level == "error");
    assert_eq!(errors.count(), 1, "somebody has to see to it");
}

#[test]
fn repeated_and_unexpected_events_change_nothing() {
    tell(
        "OrderPlaced      PaymentRequested
         OrderPlaced      -
         Shipped          -
         PaymentRefunded  -
         PaymentReceived  StockRequested
         PaymentReceived  -
         PaymentFailed    -
         StockReserved    ShipmentRequested
         StockReserved    -
         Shipped          OrderCompleted
         Shipped          -
         ShipmentFailed   -
         OrderPlaced      -",
    );
}

#[test]
fn answer_to_no_order_is_ignored() {
    let End { orders, .. } = tell("PaymentReceived -");
    assert!(orders.timers(KEY).is_empty());
}

#[test]
fn ended_order_is_known_for_a_while() {
    const ORDER: State<Order> = State::new("order");
    let mut orders = tell(
        "OrderPlaced    PaymentRequested
         PaymentFailed  OrderCancelled",
    )
    .orders;
    orders.advance(KEEP - Duration::from_millis(1)).unwrap();
    assert_eq!(orders.deliver(input("OrderPlaced")).unwrap(), []);
    orders.advance(Duration::from_millis(1)).unwrap();
    assert!(orders.state(KEY, &ORDER).is_none());
}

#[test]
fn order_under_another_key_or_of_another_shape_is_a_dead_letter() {
    let check = |input: Input, code: &str| {
        let failure = Harness::new(handle).deliver(input).unwrap_err();
        assert_eq!(
            (failure.kind(), failure.code()),
            (FailureKind::Permanent, code)
        );
    };
    check(input("OrderPlaced").key("00001"), "wrong-key");
    check(input("OrderPlaced").json(&7), weir_sdk::BAD_DATA);
}
