//! Letters and parked sequences as JSON.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value, json};
use weir_core::dead_letter::{Letter, sequence_id};
use weir_core::event::{Header, Record};
use weir_core::identity::Hash128;
use weir_core::unit::{ParkedSequence, SequenceKey};

use super::{Found, Listing};
use crate::lookup::{Answer, Asked, LookupError, Question};
use crate::pipeline::Subscription;

/// Partitions whose parked sequences are asked for at once: each answers as many as there is room for.
const PARTITIONS_ASKED: usize = 16;
/// Data beyond this are cut: the answer is for people, and `weir tail` shows the topic.
const DATA_BYTES_MAX: usize = 64 << 10;

impl Found {
    /// For the command line and other programs.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut json = json!({
            "id": self.id.to_uuid(),
            "status": self.status.name(),
            "dead_at": self.dead_at.to_rfc3339(),
            "topic": &*self.origin.topic,
            "partition": self.origin.partition,
            "offset": self.origin.offset,
            "sequence": self.sequence,
            "class": self.class,
            "code": self.code,
            "message": self.message,
            "attempts": self.attempts,
            "replays": self.replays,
        });
        if let (Some(fields), Some(key)) = (json.as_object_mut(), &self.key) {
            put(fields, "key", key);
        }
        json
    }
}

impl Listing {
    /// For the command line and other programs.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "letters": self.letters.iter().map(Found::to_json).collect::<Vec<_>>(),
            "next": self.next.as_ref().map(ToString::to_string),
        })
    }
}

/// Everything of one letter: `found` is what its list shows, `letter` and `original` what its record holds.
#[must_use]
pub fn page_of(found: &Found, letter: &Letter, original: &Record) -> Value {
    let mut page = found.to_json();
    let Some(fields) = page.as_object_mut() else {
        return page;
    };
    fields.insert("message".to_owned(), letter.message.as_str().into());
    fields.insert("letter_headers".to_owned(), headers(&letter.headers));
    fields.insert("headers".to_owned(), headers(&original.headers));
    if let Some(key) = &original.key {
        put(fields, "key", key);
    }
    if let Some(value) = &original.value {
        let end = value.len().min(DATA_BYTES_MAX);
        // A cut within a character would make text of any language look like bytes.
        let whole = str::from_utf8(value).map_or(end, |text| text.floor_char_boundary(end));
        put(fields, "data", &value.slice(..whole));
        fields.insert("data_bytes".to_owned(), value.len().into());
    }
    page
}

/// Parked sequences of all partitions, at most `max`.
pub async fn parked(subscription: &Subscription, max: usize) -> Result<Value, LookupError> {
    let partitions = subscription.deployment.partitions(&*subscription.bus);
    let partitions: Vec<_> = (0..partitions).collect();
    let mut sequences = Vec::new();
    for some in partitions.chunks(PARTITIONS_ASKED) {
        // One more than there is room for, to know whether there are more.
        let room = max + 1 - sequences.len();
        let asked = some.iter().map(|&partition| Asked {
            partition,
            question: Question::Parked(room),
        });
        for answer in subscription.look_up(asked.collect()).await? {
            if let Answer::Parked(parked) = answer {
                sequences.extend(parked);
            }
        }
        sequences.truncate(max + 1);
        if sequences.len() > max {
            break;
        }
    }
    let more = sequences.len() > max;
    sequences.truncate(max);
    Ok(json!({ "sequences": sequences, "more": more }))
}

/// A parked sequence of a partition.
pub(crate) fn parked_to_json(partition: u32, key: &SequenceKey, parked: &ParkedSequence) -> Value {
    let head = &parked.head;
    let mut json = json!({
        "partition": partition,
        "sequence": sequence_id(key),
        "events": parked.count,
        "bytes": parked.bytes,
        "attempts": head.attempts.counted,
        "failures": head.attempts.failures,
        "held": head.held,
        "letter": head.letter.map(Hash128::to_uuid),
        "next": (!head.held).then(|| head.due.to_rfc3339()),
    });
    if let (Some(fields), SequenceKey::Keyed { tenant, key }) = (json.as_object_mut(), key) {
        fields.insert("tenant".to_owned(), (&**tenant).into());
        put(fields, "key", key);
    }
    json
}

fn headers(headers: &[Header]) -> Value {
    let one = |(name, value): &Header| {
        let mut fields = Map::new();
        fields.insert("name".to_owned(), (&**name).into());
        match value {
            Some(value) => put(&mut fields, "value", value),
            None => drop(fields.insert("value".to_owned(), Value::Null)),
        }
        Value::Object(fields)
    };
    headers.iter().map(one).collect()
}

/// Text as it is, other bytes in base64 under a name that says so.
fn put(fields: &mut Map<String, Value>, name: &str, bytes: &[u8]) {
    match str::from_utf8(bytes) {
        Ok(text) => fields.insert(name.to_owned(), text.into()),
        Err(_) => fields.insert(format!("{name}_base64"), BASE64.encode(bytes).into()),
    };
}
