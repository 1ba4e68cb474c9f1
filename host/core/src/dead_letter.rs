//! Dead letters: the source record, byte for byte, and why it died.

use std::sync::Arc;

use bytes::Bytes;

use crate::event::Record;
use crate::identity::hash_128;
use crate::time::Millis;
use crate::unit::OutRecord;

/// Header prefixes that a dead letter adds. Incoming headers with them are kept and never interpreted.
pub const PREFIXES: [&str; 2] = ["__dlq.errors.", "weir.dlq."];

/// Which step failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The record is no event.
    Decode,
    /// The handler failed.
    Handler,
    /// What the handler returned is invalid, or the ledger refused it.
    Output,
    /// The host refused the event before any attempt.
    Host,
}

impl Stage {
    /// The value of the header `weir.dlq.stage`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Decode => "decode",
            Self::Handler => "handler",
            Self::Output => "output",
            Self::Host => "host",
        }
    }
}

/// Why an event died.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// Which step failed.
    pub stage: Stage,
    /// Stable kind of failure, for example `permanent` or `trap`.
    pub class: &'static str,
    /// Stable code within the class.
    pub code: String,
    /// For people.
    pub message: String,
    /// Counted attempts.
    pub attempts: u32,
    /// When the first failure happened; none without an attempt.
    pub first_failed: Option<Millis>,
}

/// Who failed, and where its dead letters go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Subscription.
    pub group: Arc<str>,
    /// Handler name.
    pub handler: Arc<str>,
    /// Handler version.
    pub version: Arc<str>,
    /// Digest of the component.
    pub digest: Arc<str>,
}

/// Where a record stood, in the bus's own words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Full topic name.
    pub topic: Arc<str>,
    /// Partition number.
    pub partition: u32,
    /// Offset.
    pub offset: u64,
}

/// The dead letter of `record` for `topic`: same partition, key, value and headers, then the vocabulary of KIP-1191 and
/// ours.
#[must_use]
pub fn to_record(
    topic: Arc<str>,
    source: &Source,
    origin: &Origin,
    record: &Record,
    cause: &Cause,
    now: Millis,
) -> OutRecord {
    let offset = origin.offset.to_string();
    let partition = origin.partition.to_string();
    let attempts = cause.attempts.to_string();
    let id = hash_128(
        "weir.dlq.v1",
        &[
            source.group.as_bytes(),
            origin.topic.as_bytes(),
            partition.as_bytes(),
            offset.as_bytes(),
        ],
    );
    let mut headers = record.headers.clone();
    let mut add = |name: &str, value: &str| {
        headers.push((
            name.to_owned().into(),
            Bytes::copy_from_slice(value.as_bytes()),
        ))
    };
    add("__dlq.errors.topic", &origin.topic);
    add("__dlq.errors.partition", &partition);
    add("__dlq.errors.offset", &offset);
    add("__dlq.errors.group", &source.group);
    add("__dlq.errors.delivery.count", &attempts);
    add("__dlq.errors.message", &cause.message);
    add("weir.dlq.id", &id.to_uuid());
    add("weir.dlq.disposition", "released");
    add("weir.dlq.stage", cause.stage.name());
    add("weir.dlq.class", cause.class);
    add("weir.dlq.code", &cause.code);
    add("weir.dlq.handler", &source.handler);
    add("weir.dlq.version", &source.version);
    add("weir.dlq.digest", &source.digest);
    if let Some(at) = cause.first_failed {
        add("weir.dlq.first-failed-at", &at.to_rfc3339());
    }
    add("weir.dlq.dead-at", &now.to_rfc3339());
    add("weir.dlq.attempts", &attempts);
    add("weir.dlq.replays", "0");
    OutRecord {
        topic,
        partition: Some(origin.partition),
        partition_hash: 0,
        record: Record {
            headers,
            timestamp_ms: now.0,
            ..record.clone()
        },
    }
}
