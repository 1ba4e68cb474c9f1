//! The headers of a message, as they are.
//!
//! A producer may give any bytes as a header's name, and the crate's own iterator panics at one that is no UTF-8: whoever
//! may write to a topic could stop its readers.

use std::ffi::CStr;
use std::ptr;

use rdkafka::bindings as rd;
use rdkafka::message::BorrowedMessage;
use weir_core::binding::{self, header_name};
use weir_core::event::Header;

/// All headers in their order. What is no UTF-8 in a name, which Kafka does not allow, reads as U+FFFD.
#[expect(
    unsafe_code,
    reason = "the crate's iterator panics at a name that is no UTF-8"
)]
pub(super) fn of(message: &BorrowedMessage<'_>) -> Vec<Header> {
    let none = rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR;
    let mut headers = ptr::null_mut();
    // SAFETY: the message lives as long as the borrow of it, and its headers as long as it. What librdkafka answers
    // without an error is a name that ends with a zero and a value of this size, or null. All of it is copied.
    unsafe {
        if rd::rd_kafka_message_headers(message.ptr(), &raw mut headers) != none {
            return Vec::new();
        }
        let count = rd::rd_kafka_header_cnt(headers);
        let header = |index| {
            let (mut name, mut value, mut size) = (ptr::null(), ptr::null(), 0);
            let found = rd::rd_kafka_header_get_all(
                headers,
                index,
                &raw mut name,
                &raw mut value,
                &raw mut size,
            );
            if found != none {
                return None;
            }
            let name = CStr::from_ptr(name).to_string_lossy();
            let value =
                (!value.is_null()).then(|| std::slice::from_raw_parts(value.cast::<u8>(), size));
            Some((header_name(&name), value))
        };
        binding::headers((0..count).map_while(header).collect())
    }
}
