//! The JSON event format: one event (structured), an array of them (batched), and an event as JSON.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use weir_core::binding::SPEC_VERSION;
use weir_core::event::Event;

use super::{Attributes, EventError, is_json};

/// Faults that one answer lists; a sender that repeats one mistake in each event learns nothing from more.
const FAULTS_MAX: usize = 20;

/// Why a body holds no events that could be taken.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Not JSON, or not an event or an array of them.
    #[error("the body is not {expected}: {source}")]
    Syntax {
        /// What was expected.
        expected: &'static str,
        /// Index of the event in the batch that was being read.
        index: Option<usize>,
        /// Says what is wrong, with line and column.
        source: serde_json::Error,
    },
    /// More events than one request may carry.
    #[error("the batch has more than {events_max} events")]
    TooMany {
        /// How many it may carry.
        events_max: usize,
    },
    /// Events that break rules: index in the batch and reason, the first twenty.
    #[error("{} in the body: {}", how_many(.0.len()), .0[0].1)]
    Events(Vec<(usize, EventError)>),
}

fn how_many(faults: usize) -> Cow<'static, str> {
    match faults {
        1 => "one event is invalid".into(),
        FAULTS_MAX.. => {
            format!("{FAULTS_MAX} events or more are invalid, the first {FAULTS_MAX} are listed")
                .into()
        }
        _ => "events are invalid".into(),
    }
}

/// The event in this body (`application/cloudevents+json`). Its data shares the body's memory.
pub fn from_structured(body: &Bytes) -> Result<Event, DecodeError> {
    let mut json = serde_json::Deserializer::from_slice(body);
    EventSeed { body }
        .deserialize(&mut json)
        .and_then(|event| json.end().map(|()| event))
        .map_err(|source| DecodeError::Syntax {
            expected: "a CloudEvent in JSON",
            index: None,
            source,
        })?
        .map_err(|error| DecodeError::Events(vec![(0, error)]))
}

/// The events in this body (`application/cloudevents-batch+json`), or all that is wrong with them. Their data shares
/// the body's memory.
pub fn from_batch(body: &Bytes, events_max: usize) -> Result<Vec<Event>, DecodeError> {
    let mut batch = Batch {
        body,
        events_max,
        seen: 0,
        full: false,
        events: Vec::new(),
        faults: Vec::new(),
    };
    let mut json = serde_json::Deserializer::from_slice(body);
    let read = json.deserialize_seq(&mut batch).and_then(|()| json.end());
    if batch.full {
        return Err(DecodeError::TooMany { events_max });
    }
    if let Err(source) = read {
        let index = Some(batch.seen);
        return Err(DecodeError::Syntax {
            expected: "an array of CloudEvents in JSON",
            index,
            source,
        });
    }
    if batch.faults.is_empty() {
        Ok(batch.events)
    } else {
        Err(DecodeError::Events(batch.faults))
    }
}

/// Reads an array, one event at a time, so that its memory is bounded before it is used.
struct Batch<'b> {
    body: &'b Bytes,
    events_max: usize,
    seen: usize,
    full: bool,
    events: Vec<Event>,
    faults: Vec<(usize, EventError)>,
}

impl<'de> Visitor<'de> for &mut Batch<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of CloudEvents")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while let Some(event) = seq.next_element_seed(EventSeed { body: self.body })? {
            if self.seen == self.events_max {
                self.full = true;
                return Err(A::Error::custom("too many events"));
            }
            match event {
                // The batch will be refused: what is good in it needs no memory.
                Ok(event) if self.faults.is_empty() => self.events.push(event),
                Ok(_) => {}
                Err(error) if self.faults.len() < FAULTS_MAX => {
                    self.faults.push((self.seen, error))
                }
                Err(_) => {}
            }
            self.seen += 1;
        }
        Ok(())
    }
}

/// Reads one object. What breaks the rules of events is a value, so that the reader can go on with the next event.
struct EventSeed<'b> {
    body: &'b Bytes,
}

impl<'de> DeserializeSeed<'de> for EventSeed<'_> {
    type Value = Result<Event, EventError>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> Visitor<'de> for EventSeed<'_> {
    type Value = Result<Event, EventError>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a CloudEvent")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Members::default();
        let mut fault = None;
        while let Some((Name(name), value)) = map.next_entry::<Name<'de>, &'de RawValue>()? {
            if fault.is_none() {
                fault = members.add(&name, value.get()).err();
            }
        }
        Ok(match fault {
            Some(fault) => Err(fault),
            None => members.finish(self.body),
        })
    }
}

/// The members of one object; the values are JSON texts within the body.
#[derive(Default)]
struct Members<'de> {
    attributes: Attributes,
    data: Option<&'de str>,
    data_base64: Option<&'de str>,
}

impl<'de> Members<'de> {
    fn add(&mut self, name: &str, value: &'de str) -> Result<(), EventError> {
        let slot = match name {
            "data" => &mut self.data,
            "data_base64" => &mut self.data_base64,
            _ => return self.attributes.add(name, attribute(name, value)?),
        };
        match slot.replace(value) {
            Some(_) => Err(EventError::Repeated(name.to_owned())),
            None => Ok(()),
        }
    }

    fn finish(self, body: &Bytes) -> Result<Event, EventError> {
        let mut event = self.attributes.finish()?;
        // A null is a member that is not there, for data as for attributes.
        let data = self.data.filter(|data| *data != "null");
        let data_base64 = self.data_base64.filter(|data| *data != "null");
        event.data = match (data, data_base64) {
            (None, None) => None,
            (Some(_), Some(_)) => return Err(EventError::DataTwice),
            (Some(data), None) => {
                let media_type = event
                    .datacontenttype
                    .get_or_insert_with(|| "application/json".to_owned());
                if is_json(media_type) {
                    Some(body.slice_ref(data.as_bytes()))
                } else {
                    match text(data) {
                        Some(text) => Some(Bytes::from(text.into_owned())),
                        None => return Err(EventError::DataNotText(media_type.clone())),
                    }
                }
            }
            (None, Some(data)) => {
                let decoded = text(data).and_then(|text| BASE64.decode(text.as_bytes()).ok());
                Some(Bytes::from(decoded.ok_or(EventError::Base64)?))
            }
        };
        Ok(event)
    }
}

/// The canonical string of an attribute's JSON value; none for null.
fn attribute(name: &str, value: &str) -> Result<Option<String>, EventError> {
    if value == "null" {
        return Ok(None);
    }
    if let Some(text) = text(value) {
        return Ok(Some(text.into_owned()));
    }
    if Attributes::is_core(name) {
        return Err(EventError::NotText(name.to_owned()));
    }
    match value {
        "true" | "false" => Ok(Some(value.to_owned())),
        // Through the number, so that `-0` becomes `0`.
        _ => match value.parse::<i32>() {
            Ok(number) => Ok(Some(number.to_string())),
            Err(_) => Err(EventError::Type(name.to_owned())),
        },
    }
}

/// The text of a JSON string; none for another JSON value. The value is known to be well-formed, except that escapes
/// may spell half a surrogate pair.
fn text(value: &str) -> Option<Cow<'_, str>> {
    let inner = value.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') {
        serde_json::from_str(value).ok().map(Cow::Owned)
    } else {
        Some(Cow::Borrowed(inner))
    }
}

/// This event in the JSON format, without line breaks. Data that is JSON stays as it is, digit by digit.
#[must_use]
pub fn to_json(event: &Event) -> Box<RawValue> {
    serde_json::value::to_raw_value(&Structured(event))
        .expect("text, and JSON that was parsed, serialise")
}

struct Structured<'a>(&'a Event);

impl Serialize for Structured<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let event = self.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("specversion", SPEC_VERSION)?;
        map.serialize_entry("id", &event.id)?;
        map.serialize_entry("source", &event.source)?;
        map.serialize_entry("type", &event.ty)?;
        let optional = [
            ("subject", &event.subject),
            ("time", &event.time),
            ("datacontenttype", &event.datacontenttype),
            ("dataschema", &event.dataschema),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                map.serialize_entry(name, value)?;
            }
        }
        for (name, value) in &event.extensions {
            map.serialize_entry(name, value)?;
        }
        if let Some(data) = &event.data {
            match data_member(event.datacontenttype.as_deref(), data) {
                Data::Json(json) => map.serialize_entry("data", &json)?,
                Data::Text(text) => map.serialize_entry("data", text)?,
                Data::Base64(text) => map.serialize_entry("data_base64", &text)?,
            }
        }
        map.end()
    }
}

enum Data<'a> {
    Json(Box<RawValue>),
    Text(&'a str),
    Base64(String),
}

/// How data is written so that a reader gets the same bytes back, line breaks between JSON tokens aside. Without a
/// content type the format takes data as JSON.
fn data_member<'a>(media_type: Option<&str>, data: &'a Bytes) -> Data<'a> {
    match str::from_utf8(data) {
        Ok(text) if media_type.is_none_or(is_json) => match on_one_line(text) {
            Some(json) => Data::Json(json),
            None => Data::Base64(BASE64.encode(data)),
        },
        Ok(text) => Data::Text(text),
        Err(_) => Data::Base64(BASE64.encode(data)),
    }
}

/// This text where it is JSON; none where it is not, or a null, which would be read as no data.
fn on_one_line(text: &str) -> Option<Box<RawValue>> {
    let text = text.trim_matches([' ', '\t', '\n', '\r']);
    let json = RawValue::from_string(text.to_owned()).ok()?;
    if json.get() == "null" {
        return None;
    }
    if !text.contains(['\n', '\r']) {
        return Some(json);
    }
    // In JSON they can only stand between tokens; as spaces they leave the value what it is.
    let line = text.replace(['\n', '\r'], " ");
    RawValue::from_string(line).ok()
}
