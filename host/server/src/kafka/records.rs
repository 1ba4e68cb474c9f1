//! Records as Kafka's messages and back.

use bytes::Bytes;
use rdkafka::message::{BorrowedMessage, Header, Message as _, OwnedHeaders};
use rdkafka::producer::BaseRecord;
use rdkafka::util::IntoOpaque;
use weir_core::binding::Parts;
use weir_core::event::Record;

use super::headers::{self, Headers};
use crate::bus::UNREAD_HEADERS;

/// Bytes of a header's value, of most: what is longer costs a buffer more.
const TEXT: usize = 40;

/// The record that a message carries; one whose headers cannot be read has [`UNREAD_HEADERS`] in their place.
pub(super) fn from_message(message: &BorrowedMessage<'_>) -> Record {
    let error = match headers::of(message) {
        Ok(headers) => return with(headers, message),
        Err(error) => error,
    };
    let (topic, partition, offset) = (message.topic(), message.partition(), message.offset());
    tracing::error!(%error, topic, partition, offset, "cannot read the headers of a record: it is no event");
    let why = Bytes::from(error.to_string());
    Record {
        headers: vec![(UNREAD_HEADERS.into(), Some(why))],
        ..with(Headers::none(), message)
    }
}

/// The record of these headers. Its values have one buffer; the key, which may be kept for longer, has its own.
fn with(headers: Headers<'_>, message: &BorrowedMessage<'_>) -> Record {
    let timestamp = message.timestamp().to_millis().unwrap_or_default();
    let (texts, _) = headers.size_hint();
    let value = message.payload();
    let mut buffer = Vec::with_capacity(message.payload_len() + texts * TEXT);
    buffer.extend_from_slice(value.unwrap_or_default());
    let headers = headers.map(|(name, value)| {
        buffer.extend_from_slice(value.unwrap_or_default());
        (name, value.map(<[u8]>::len))
    });
    let headers: Vec<_> = headers.collect();
    let mut parts = Parts::new(buffer);
    Record {
        key: message.key().map(Bytes::copy_from_slice),
        value: value.map(|value| parts.next(value.len())),
        headers: headers
            .into_iter()
            .map(|(name, bytes)| (name, bytes.map(|bytes| parts.next(bytes))))
            .collect(),
        timestamp_ms: u64::try_from(timestamp).unwrap_or_default(),
    }
}

/// The message that carries a record to a partition. Its time is that of its writing: brokers refuse, and retention deletes,
/// what comes with an older one or one that is to come.
pub(super) fn to_message<'a, D: IntoOpaque>(
    topic: &'a str,
    partition: i32,
    record: &'a Record,
    opaque: D,
) -> BaseRecord<'a, [u8], [u8], D> {
    let mut message =
        BaseRecord::<[u8], [u8], D>::with_opaque_to(topic, opaque).partition(partition);
    if let Some(key) = &record.key {
        message = message.key(&key[..]);
    }
    if let Some(value) = &record.value {
        message = message.payload(&value[..]);
    }
    if !record.headers.is_empty() {
        let headers = OwnedHeaders::new_with_capacity(record.headers.len());
        let headers = record
            .headers
            .iter()
            .fold(headers, |headers, (name, value)| {
                headers.insert(Header {
                    key: name,
                    value: value.as_deref(),
                })
            });
        message = message.headers(headers);
    }
    message
}

/// A partition's number as Kafka writes it.
pub(super) fn number(partition: u32) -> i32 {
    i32::try_from(partition).expect("a topic has fewer than 2^31 partitions")
}

/// An offset as Kafka writes it.
pub(super) fn offset(offset: u64) -> i64 {
    i64::try_from(offset).expect("a partition has fewer than 2^63 records")
}
