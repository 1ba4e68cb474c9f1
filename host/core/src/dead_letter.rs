//! Dead letters: the source record, byte for byte, and why it died.

mod letter;

use std::sync::Arc;

use bytes::Bytes;

use crate::emission::is_traceparent;
use crate::event::{HEADER_BYTES, Record};
use crate::identity::{Hash128, hash_128};
use crate::time::Millis;
use crate::unit::{Attempts, Origin, OutRecord, SequenceKey};

pub use self::letter::{Letter, NotALetter, from_record};

/// The header that names a dead letter.
pub const ID: &str = "weir.dlq.id";
/// The first of our headers: the source topic.
const FIRST: &str = "__dlq.errors.topic";
/// The header that says when the event died.
const DEAD_AT: &str = "weir.dlq.dead-at";
/// The record's timestamp, Unix milliseconds: the letter's own is another.
const TIMESTAMP: &str = "weir.dlq.timestamp";
/// The disposition of a letter whose sequence waits for an operator.
const HELD: &str = "held";

/// What our headers take together, at most: a message may quote what its record has of any length.
pub const HEADERS_BYTES_MAX: usize = 64 << 10;
const MESSAGE: &str = "__dlq.errors.message";
const BACKTRACE: &str = "weir.dlq.backtrace";

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

/// The identity of the dead letter of the record that stood at `origin` with this timestamp: the same for each death of it. The
/// timestamp tells it from what stood there before its topic was made anew, unless producers gave both the same.
#[must_use]
pub fn letter_id(group: &str, origin: &Origin, timestamp_ms: u64) -> Hash128 {
    hash_128(
        "weir.dlq.v1",
        &[
            group.as_bytes(),
            origin.topic.as_bytes(),
            origin.partition.to_string().as_bytes(),
            origin.offset.to_string().as_bytes(),
            timestamp_ms.to_string().as_bytes(),
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

/// A record that leaves no room for the headers of a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the dead letter takes {bytes} bytes, and may have {bytes_max}")]
pub struct TooLarge {
    /// The least that it takes.
    pub bytes: usize,
    /// What was allowed.
    pub bytes_max: usize,
}

/// The dead letter of a record for `topic`: same partition, key, value and headers, then the vocabulary of KIP-1191 and
/// ours, the record's timestamp too. Our texts are cut to fit into `bytes_max`, by [`Record::stored_bytes`]; what is the
/// record's never.
///
/// # Errors
/// It does not fit.
pub fn to_record(
    topic: Arc<str>,
    bytes_max: usize,
    source: &Source,
    deceased: Deceased<'_>,
    cause: &Cause,
    now: Millis,
) -> Result<OutRecord, TooLarge> {
    let Deceased { record, origin, .. } = deceased;
    let mut ours = headers(source, deceased, cause, now);
    let excess = fit(&mut ours, bytes_max.saturating_sub(record.stored_bytes()));
    if excess > 0 {
        let bytes = bytes_max.max(record.stored_bytes()) + excess;
        return Err(TooLarge { bytes, bytes_max });
    }
    let ours = ours
        .into_iter()
        .map(|(name, value)| (name.into(), Some(Bytes::from(value))));
    Ok(OutRecord {
        topic,
        partition: Some(origin.partition),
        partition_hash: 0,
        record: Record {
            headers: record.headers.iter().cloned().chain(ours).collect(),
            timestamp_ms: now.0,
            ..record.clone()
        },
    })
}

/// Our headers, in their order.
type Ours = Vec<(&'static str, String)>;

/// Cuts our texts, the longest first, until our headers take no more than `room`; answers how many bytes are left over.
fn fit(ours: &mut Ours, room: usize) -> usize {
    let is_text = |name: &str| name == MESSAGE || name == BACKTRACE;
    let bytes = |(name, value): &(&str, String)| name.len() + value.len() + HEADER_BYTES;
    let all: usize = ours.iter().map(bytes).sum();
    let mut texts: Vec<&mut String> = ours
        .iter_mut()
        .filter_map(|(name, value)| is_text(name).then_some(value))
        .collect();
    texts.sort_by_key(|text| text.len());
    let fixed = all - texts.iter().map(|text| text.len()).sum::<usize>();
    let mut left = room.min(HEADERS_BYTES_MAX).saturating_sub(fixed);
    let count = texts.len();
    for (index, text) in texts.into_iter().enumerate() {
        // What a short one leaves of its share is the longer ones'.
        text.truncate(text.floor_char_boundary(left / (count - index)));
        left -= text.len();
    }
    fixed.saturating_sub(room)
}

fn headers(source: &Source, deceased: Deceased<'_>, cause: &Cause, now: Millis) -> Ours {
    let Deceased { record, origin, .. } = deceased;
    let attempts = cause.attempts.to_string();
    let mut headers = Ours::new();
    let mut add = |name: &'static str, value: &str| headers.push((name, value.to_owned()));
    add(FIRST, &origin.topic);
    add("__dlq.errors.partition", &origin.partition.to_string());
    add("__dlq.errors.offset", &origin.offset.to_string());
    add("__dlq.errors.group", &source.group);
    add("__dlq.errors.delivery.count", &attempts);
    add(MESSAGE, &cause.message);
    add(ID, &deceased.letter.to_uuid());
    add(TIMESTAMP, &record.timestamp_ms.to_string());
    let disposition = if deceased.held { HELD } else { "released" };
    add("weir.dlq.disposition", disposition);
    add("weir.dlq.stage", cause.stage.name());
    add("weir.dlq.class", cause.class);
    add("weir.dlq.code", &cause.code);
    add("weir.dlq.handler", &source.handler);
    add("weir.dlq.version", &source.version);
    add("weir.dlq.digest", &source.digest);
    if let Some(backtrace) = &cause.backtrace {
        add(BACKTRACE, backtrace);
    }
    if let Some(at) = cause.first_failed {
        add("weir.dlq.first-failed-at", &at.to_rfc3339());
    }
    add(DEAD_AT, &now.to_rfc3339());
    add("weir.dlq.attempts", &attempts);
    if let Some(sequence) = deceased.sequence.and_then(sequence_id) {
        add("weir.dlq.sequence", &sequence);
    }
    add("weir.dlq.replays", &deceased.replays.to_string());
    // What others wrote may have any form and length, and is not cut like our texts.
    if let Some(traceparent) = deceased.traceparent.filter(|it| is_traceparent(it)) {
        add("weir.dlq.traceparent", traceparent);
    }
    headers
}

#[cfg(test)]
mod tests;
