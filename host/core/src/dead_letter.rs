//! Dead letters: the source record, byte for byte, and why it died.

mod letter;

use std::sync::Arc;

use bytes::Bytes;

use crate::event::Record;
use crate::identity::{Hash128, hash_128};
use crate::time::Millis;
use crate::unit::{Attempts, Origin, OutRecord, SequenceKey};

pub use self::letter::{Letter, NotALetter, from_record};

/// The header that names a dead letter.
pub const ID: &str = "weir.dlq.id";
/// The first of our headers: the source topic.
const FIRST: &str = "__dlq.errors.topic";
/// The disposition of a letter whose sequence waits for an operator.
const HELD: &str = "held";

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
    /// Frames of the component at its trap.
    pub backtrace: Option<String>,
}

impl Cause {
    /// Why an event died after these attempts.
    #[must_use]
    pub fn new(
        stage: Stage,
        class: &'static str,
        code: String,
        message: String,
        attempts: &Attempts,
    ) -> Self {
        Self {
            stage,
            class,
            code,
            message,
            attempts: attempts.counted,
            first_failed: attempts.first_failed,
            backtrace: None,
        }
    }

    /// A record that is no event.
    #[must_use]
    pub fn poison(code: String, message: String) -> Self {
        Self::new(Stage::Decode, "poison", code, message, &Attempts::default())
    }
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

/// What dies: the record, where it stood, and what it went through.
#[derive(Clone, Copy, Debug)]
pub struct Deceased<'a> {
    /// As it was read, or as the timer would have fired.
    pub record: &'a Record,
    /// Where it was read.
    pub origin: &'a Origin,
    /// Its letter's identity.
    pub letter: Hash128,
    /// How often it was replayed before.
    pub replays: u32,
    /// True when its sequence waits for an operator.
    pub held: bool,
    /// Its sequence, as people may see it; none for an event without a key.
    pub sequence: Option<&'a SequenceKey>,
    /// W3C trace context of the event.
    pub traceparent: Option<&'a str>,
}

/// The identity of the dead letter of what stood at `origin`: the same for each death of it.
#[must_use]
pub fn letter_id(group: &str, origin: &Origin) -> Hash128 {
    hash_128(
        "weir.dlq.v1",
        &[
            group.as_bytes(),
            origin.topic.as_bytes(),
            origin.partition.to_string().as_bytes(),
            origin.offset.to_string().as_bytes(),
        ],
    )
    .as_uuid()
}

/// A sequence as people may see it; none for an event without a key.
#[must_use]
pub fn sequence_id(sequence: &SequenceKey) -> Option<String> {
    match sequence {
        SequenceKey::Keyed { tenant, key } => {
            Some(hash_128("weir.sequence.v1", &[tenant.as_bytes(), key]).to_string())
        }
        SequenceKey::Alone(_) => None,
    }
}

/// The dead letter of a record for `topic`: same partition, key, value and headers, then the vocabulary of KIP-1191 and
/// ours.
#[must_use]
pub fn to_record(
    topic: Arc<str>,
    source: &Source,
    deceased: Deceased<'_>,
    cause: &Cause,
    now: Millis,
) -> OutRecord {
    let Deceased { record, origin, .. } = deceased;
    let attempts = cause.attempts.to_string();
    let mut headers = record.headers.clone();
    let mut add = |name: &'static str, value: &str| {
        let value = Bytes::copy_from_slice(value.as_bytes());
        headers.push((name.into(), Some(value)));
    };
    add(FIRST, &origin.topic);
    add("__dlq.errors.partition", &origin.partition.to_string());
    add("__dlq.errors.offset", &origin.offset.to_string());
    add("__dlq.errors.group", &source.group);
    add("__dlq.errors.delivery.count", &attempts);
    add("__dlq.errors.message", &cause.message);
    add(ID, &deceased.letter.to_uuid());
    let disposition = if deceased.held { HELD } else { "released" };
    add("weir.dlq.disposition", disposition);
    add("weir.dlq.stage", cause.stage.name());
    add("weir.dlq.class", cause.class);
    add("weir.dlq.code", &cause.code);
    add("weir.dlq.handler", &source.handler);
    add("weir.dlq.version", &source.version);
    add("weir.dlq.digest", &source.digest);
    if let Some(backtrace) = &cause.backtrace {
        add("weir.dlq.backtrace", backtrace);
    }
    if let Some(at) = cause.first_failed {
        add("weir.dlq.first-failed-at", &at.to_rfc3339());
    }
    add("weir.dlq.dead-at", &now.to_rfc3339());
    add("weir.dlq.attempts", &attempts);
    if let Some(sequence) = deceased.sequence.and_then(sequence_id) {
        add("weir.dlq.sequence", &sequence);
    }
    add("weir.dlq.replays", &deceased.replays.to_string());
    if let Some(traceparent) = deceased.traceparent {
        add("weir.dlq.traceparent", traceparent);
    }
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

#[cfg(test)]
mod tests;
