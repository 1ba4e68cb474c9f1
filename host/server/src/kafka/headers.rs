//! The headers of a message, as they are.
//!
//! A producer may give any bytes as a header's name, and the crate's own iterator panics at one that is no UTF-8: whoever
//! may write to a topic could stop its readers.

use std::ffi::CStr;
use std::marker::PhantomData;
use std::ptr;

use rdkafka::bindings as rd;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::BorrowedMessage;
use weir_core::binding::header_name;
use weir_core::event::HeaderName;

/// What librdkafka answers where there is what was asked for, and where there is nothing of the kind.
const FOUND: rd::rd_kafka_resp_err_t = rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR;
const NONE: rd::rd_kafka_resp_err_t = rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__NOENT;

/// All headers of a message in their order.
pub(super) struct Headers<'a> {
    /// Null: there are none.
    native: *const rd::rd_kafka_headers_t,
    next: usize,
    count: usize,
    message: PhantomData<&'a ()>,
}

/// Those of a message; an error where librdkafka does not read them, as more than 100,000.
#[expect(
    unsafe_code,
    reason = "the crate's iterator panics at a name that is no UTF-8"
)]
pub(super) fn of<'a>(message: &'a BorrowedMessage<'_>) -> Result<Headers<'a>, RDKafkaErrorCode> {
    let mut native = ptr::null_mut();
    // SAFETY: the message lives as long as the borrow of it, and its headers as long as it.
    let answer = unsafe { rd::rd_kafka_message_headers(message.ptr(), &raw mut native) };
    let mut headers = Headers::none();
    if are_there(answer)? {
        headers.native = native;
        // SAFETY: what is answered without an error are headers, which may be counted.
        headers.count = unsafe { rd::rd_kafka_header_cnt(native) };
    }
    Ok(headers)
}

/// Whether a message has headers, by what librdkafka answers.
fn are_there(answer: rd::rd_kafka_resp_err_t) -> Result<bool, RDKafkaErrorCode> {
    if answer == FOUND || answer == NONE {
        Ok(answer == FOUND)
    } else {
        Err(answer.into())
    }
}

impl Headers<'_> {
    /// Those of a message that has none.
    pub(super) fn none() -> Self {
        Self {
            native: ptr::null(),
            next: 0,
            count: 0,
            message: PhantomData,
        }
    }
}

impl<'a> Iterator for Headers<'a> {
    /// A name, in which what is no UTF-8, which Kafka does not allow, reads as U+FFFD, and a value.
    type Item = (HeaderName, Option<&'a [u8]>);

    #[expect(
        unsafe_code,
        reason = "the crate's iterator panics at a name that is no UTF-8"
    )]
    fn next(&mut self) -> Option<Self::Item> {
        if self.next == self.count {
            return None;
        }
        let (mut name, mut value, mut size) = (ptr::null(), ptr::null(), 0);
        // SAFETY: the headers live as long as the message that is borrowed here. What librdkafka answers without an error is a
        // name that ends with a zero and a value of this size, or null, which live as long.
        unsafe {
            let found = rd::rd_kafka_header_get_all(
                self.native,
                self.next,
                &raw mut name,
                &raw mut value,
                &raw mut size,
            );
            if found != FOUND {
                return None;
            }
            self.next += 1;
            let name = CStr::from_ptr(name).to_string_lossy();
            let value =
                (!value.is_null()).then(|| std::slice::from_raw_parts(value.cast::<u8>(), size));
            Some((header_name(&name), value))
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.count - self.next, Some(self.count - self.next))
    }
}

#[cfg(test)]
mod tests;
