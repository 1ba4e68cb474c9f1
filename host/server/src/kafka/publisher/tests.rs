use std::ffi::CString;

use rdkafka::bindings as rd;
use weir_core::event::Record;

use super::*;
use crate::kafka::clients;

/// Of a cluster that is not there.
fn publisher() -> Publisher {
    Publisher::new(&Arc::new(clients::tests::clients(&[])), &Calls::new()).unwrap()
}

#[expect(
    unsafe_code,
    reason = "librdkafka offers it to tests of its callers alone"
)]
fn fail(producer: &PublishingProducer) {
    let reason = CString::new("a log has lost its end").unwrap();
    let code = rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER;
    // SAFETY: the client lives as long as the borrow of it, and the text is copied.
    unsafe { rd::rd_kafka_test_fatal_error(producer.client().native_ptr(), code, reason.as_ptr()) };
    assert!(producer.client().fatal_error().is_some());
}

#[test]
fn a_producer_that_takes_nothing_any_more_is_replaced_now_and_then() {
    let publisher = publisher();
    let start = Instant::now();
    let first = publisher.producer(start).unwrap();
    fail(&first);
    let Err(why) = publisher.producer(start) else {
        panic!("it was made a moment ago");
    };
    assert!(why.contains("a log has lost its end"), "{why}");
    let later = start + 2 * RENEW;
    let second = publisher.producer(later).unwrap();
    assert!(!Arc::ptr_eq(&first, &second) && second.client().fatal_error().is_none());
    let same = publisher.producer(later + 2 * RENEW).unwrap();
    assert!(Arc::ptr_eq(&second, &same), "it takes records");
    fail(&second);
    assert!(publisher.producer(later).is_err());
    assert!(publisher.producer(later + RENEW).is_ok());
}

#[tokio::test]
async fn whoever_waits_for_a_producer_that_has_failed_is_answered() {
    let publisher = publisher();
    let records = || {
        vec![Publish {
            partition_hash: 0,
            record: Record::default(),
        }]
    };
    let waiting = publisher.publish("t", 1, records());
    let failing = async {
        let producer = publisher.producer(Instant::now()).unwrap();
        fail(&producer);
        drop(producer);
        drop(publisher.producer(Instant::now() + 2 * RENEW));
    };
    let (answer, ()) = tokio::join!(waiting, failing);
    assert!(
        matches!(answer, Err(PublishError::Stopped(_))),
        "{answer:?}"
    );
}
