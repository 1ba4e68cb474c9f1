//! `[mapping]`: what becomes an event that is none by itself, as records of others on Kafka.
//!
//! Key, value and headers of the record stay what they are, wherever it goes. The event is made of it again each time it is
//! read, from the record and the place where it first stood, so that it is the same on every attempt and host.

use std::cell::OnceCell;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;
use weir_core::binding::is_attribute_name;
use weir_core::event::{Event, Record};
use weir_core::unit::Origin;

use super::field::{NAME_BYTES_MAX, is_pointer, scalar};
use crate::cloudevents::{self, EXTENSIONS_MAX, EventError};
use crate::config::Faults;
use crate::config::document::{Document, Section};

/// Attributes that a manifest may map, but for those that the host sets.
const ATTRIBUTES: [&str; 7] = [
    "type",
    "source",
    "id",
    "subject",
    "time",
    "datacontenttype",
    "dataschema",
];
/// What becomes the key, and the type of a record without a value.
const KEY: &str = "key";
const TOMBSTONE: &str = "tombstone";
const CONTENT_TYPE: &str = "content-type";

/// Of a mapping as it is shown: a ledger keeps it, to tell when it is another.
const MAPPING_BYTES_MAX: usize = 16 << 10;

/// How a record becomes an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// In the order of [`ATTRIBUTES`], then extensions by name.
    attributes: Vec<(Arc<str>, Part)>,
    key: Option<Part>,
    tombstone: Option<Part>,
}

/// Where a value is in a record.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// In the last header of this name.
    Header(Arc<str>),
    /// In the value, which is JSON, at this pointer (RFC 6901).
    Pointer(Arc<str>),
    /// The record's key.
    Key,
    /// The same for all records.
    Text(Arc<str>),
}

/// Why a record does not become an event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MappingError {
    /// It lacks what an event must have.
    #[error("the record has no {part}, which mapping.{attribute} asks for")]
    Absent {
        /// Which attribute.
        attribute: Arc<str>,
        /// Where it was looked for.
        part: String,
    },
    /// What it has there is no text.
    #[error("{part}, which mapping.{attribute} asks for, is no {expected}")]
    NotText {
        /// Which attribute.
        attribute: Arc<str>,
        /// Where it was looked for.
        part: String,
        /// What it would have to be.
        expected: &'static str,
    },
    /// Its value is no JSON.
    #[error("the value is no JSON, which mapping.{attribute} asks for: {message}")]
    NotJson {
        /// Which attribute.
        attribute: Arc<str>,
        /// Where it went wrong.
        message: String,
    },
    /// What it has breaks a rule of events.
    #[error("what is mapped is no event: {0}")]
    Invalid(EventError),
}

impl MappingError {
    /// Stable, lower-case: dead letters are grouped by it.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Absent { .. } => "mapping-absent",
            Self::NotText { .. } => "mapping-not-text",
            Self::NotJson { .. } => "mapping-not-json",
            Self::Invalid(_) => "mapping-invalid",
        }
    }
}

impl Mapping {
    /// Reads the section from a text of its own.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(file: &Path, text: &str) -> Result<Self, Faults> {
        let document = Document::parse(file, text)?;
        let mapping = read(document.root());
        document.faults().check()?;
        Ok(mapping.expect("the top of a document is there"))
    }

    /// The event that a record becomes; none for one without a value that the manifest leaves out.
    ///
    /// A record without an id has its place and timestamp for one, and the topic for a source: no other record of the topic has
    /// the same, nor one at its place after the topic was made anew, unless producers gave both the same timestamp.
    ///
    /// # Errors
    /// It lacks a type or source, or something in it is not what the manifest says.
    pub fn event(&self, record: &Record, origin: &Origin) -> Result<Option<Event>, MappingError> {
        let reading = Reading::new(record);
        let ty = match (&record.value, &self.tombstone) {
            (None, None) => return Ok(None),
            (None, Some(tombstone)) => Some(tombstone),
            (Some(_), _) => None,
        };
        let mut found: Vec<(&str, String)> = Vec::with_capacity(self.attributes.len() + 2);
        for (name, part) in &self.attributes {
            let part = match ty {
                Some(tombstone) if &**name == "type" => tombstone,
                Some(_) | None => part,
            };
            match reading.text(name, part)? {
                Some(text) => found.push((name, text)),
                None if matches!(&**name, "type" | "source") => {
                    return Err(MappingError::Absent {
                        attribute: Arc::clone(name),
                        part: part.shown(),
                    });
                }
                None => {}
            }
        }
        let is_set =
            |found: &[(&str, String)], name: &str| found.iter().any(|(set, _)| *set == name);
        let topic = || format!("/kafka/{}", origin.topic);
        let is_named_by_place = !is_set(&found, "id");
        if is_named_by_place {
            found.retain(|(name, _)| *name != "source");
            let Origin {
                partition, offset, ..
            } = origin;
            let id = format!("{partition}-{offset}-{}", record.timestamp_ms);
            found.push(("id", id));
        }
        if !is_set(&found, "source") {
            found.push(("source", topic()));
        }
        if !is_set(&found, "datacontenttype")
            && let Some(media_type) = reading.content_type()
        {
            found.push(("datacontenttype", media_type));
        }
        let mut event = cloudevents::from_attributes(found).map_err(MappingError::Invalid)?;
        event.data = record.value.clone();
        event.is_named_by_place = is_named_by_place;
        if let Some(key) = &self.key {
            event.mapped_key = reading.text(&KEY.into(), key)?.map(Bytes::from);
        }
        Ok(Some(event))
    }

    /// All of it on one line, the same for the same mapping: it is kept with the subscription.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        let attributes = self.attributes.iter().map(|(name, part)| (&**name, part));
        let key = self.key.iter().map(|part| (KEY, part));
        let tombstone = self.tombstone.iter().map(|part| (TOMBSTONE, part));
        for (name, part) in attributes.chain(key).chain(tombstone) {
            let space = if text.is_empty() { "" } else { ", " };
            let _ = write!(text, "{space}{name} = {}", part.shown());
        }
        text
    }
}

impl Part {
    fn shown(&self) -> String {
        match self {
            Self::Header(name) => format!("header {name:?}"),
            Self::Pointer(pointer) => format!("pointer {pointer:?}"),
            Self::Key => "record key".to_owned(),
            Self::Text(text) => format!("text {text:?}"),
        }
    }
}

/// A record whose value is parsed once, if at all.
struct Reading<'a> {
    record: &'a Record,
    json: OnceCell<Result<Value, String>>,
}

impl<'a> Reading<'a> {
    fn new(record: &'a Record) -> Self {
        Self {
            record,
            json: OnceCell::new(),
        }
    }

    /// The text of this part; none where it is absent, null or empty.
    fn text(&self, attribute: &Arc<str>, part: &Part) -> Result<Option<String>, MappingError> {
        let not_text = |expected| MappingError::NotText {
            attribute: Arc::clone(attribute),
            part: part.shown(),
            expected,
        };
        let utf8 = |bytes: &Bytes| {
            let text = str::from_utf8(bytes).map(str::to_owned);
            text.map_err(|_place| not_text("UTF-8"))
        };
        let text = match part {
            Part::Text(text) => Some(text.to_string()),
            Part::Key => self.record.key.as_ref().map(utf8).transpose()?,
            Part::Header(name) => self.header(name).map(utf8).transpose()?,
            Part::Pointer(pointer) => match self.json(attribute)? {
                Some(json) => match json.pointer(pointer) {
                    None | Some(Value::Null) => None,
                    Some(value) => {
                        Some(scalar(value).ok_or_else(|| not_text("text and no whole number"))?)
                    }
                },
                None => None,
            },
        };
        Ok(text.filter(|text| !text.is_empty()))
    }

    /// Of several headers of a name the last counts, as Kafka has it.
    fn header(&self, name: &str) -> Option<&Bytes> {
        let mut headers = self.record.headers.iter().rev();
        let (_, value) = headers.find(|(known, _)| known == name)?;
        value.as_ref()
    }

    /// None of a record without a value.
    fn json(&self, attribute: &Arc<str>) -> Result<Option<&Value>, MappingError> {
        let Some(value) = &self.record.value else {
            return Ok(None);
        };
        let parsed = self
            .json
            .get_or_init(|| serde_json::from_slice(value).map_err(|error| error.to_string()));
        match parsed {
            Ok(json) => Ok(Some(json)),
            Err(message) => Err(MappingError::NotJson {
                attribute: Arc::clone(attribute),
                message: message.clone(),
            }),
        }
    }

    /// The media type that the record names, if it is one.
    fn content_type(&self) -> Option<String> {
        let mut headers = self.record.headers.iter().rev();
        let is_named = |name: &str| name.eq_ignore_ascii_case(CONTENT_TYPE);
        let (_, value) = headers.find(|(name, _)| is_named(name))?;
        let text = str::from_utf8(value.as_ref()?).ok()?;
        cloudevents::is_media_type_of_data(text).then(|| text.to_owned())
    }
}

/// The section, where the manifest has one.
pub(super) fn read(mut section: Section<'_>) -> Option<Mapping> {
    if !section.is_present() {
        return None;
    }
    let mut attributes = Vec::new();
    for name in ATTRIBUTES {
        let value = section.value(name);
        match read_part(&section, name, value) {
            Some(Part::Text(_)) if name == "id" => {
                section.fault(
                    "id",
                    "is one text for all: they would be repeats of the first",
                );
            }
            Some(part) => attributes.push((Arc::from(name), part)),
            None if name == "type" && value.is_none() => {
                let message = "is missing: write type = { text = \"OrderChanged\" }, { header = \"..\" } or \
                               { pointer = \"/..\" }";
                section.fault("type", message);
            }
            None => {}
        }
    }
    let value = section.value(KEY);
    let key = read_part(&section, KEY, value);
    if let Some(Part::Text(_)) = key {
        section.fault(
            KEY,
            "is one text for all: ordering = \"partition\" keeps them in order",
        );
    }
    let value = section.value(TOMBSTONE);
    let tombstone = read_part(&section, TOMBSTONE, value);
    if let Some(Part::Pointer(_)) = tombstone {
        section.fault(
            TOMBSTONE,
            "is a pointer, and a record without a value has nothing to point at",
        );
    }
    let extensions = section.section("extensions");
    let mut names = extensions.names();
    names.sort_unstable();
    if names.len() > EXTENSIONS_MAX {
        extensions.fault("", format!("has more than {EXTENSIONS_MAX} attributes"));
    }
    for name in names {
        if let Some(why) = refusal(name) {
            extensions.fault(name, why);
        } else if let Some(part) = read_part(&extensions, name, extensions.free_value(name)) {
            attributes.push((name.into(), part));
        }
    }
    let mapping = Mapping {
        attributes,
        key,
        tombstone,
    };
    let bytes = mapping.text().len();
    if bytes > MAPPING_BYTES_MAX {
        let message = format!(
            "is {bytes} bytes as it is shown: must be at most {MAPPING_BYTES_MAX}, with fewer or shorter texts"
        );
        section.fault("", message);
    }
    section.close();
    Some(mapping)
}

/// Why no extension may be set under this name.
fn refusal(name: &str) -> Option<&'static str> {
    let is_context = ATTRIBUTES.contains(&name) || matches!(name, "specversion" | "data");
    if !is_attribute_name(name) || name.len() > cloudevents::NAME_BYTES_MAX {
        Some("is no name of an attribute: names are lower-case letters and digits")
    } else if is_context {
        Some("is no extension: write it under [mapping] itself")
    } else if name == "partitionkey" {
        Some("orders nothing here: write mapping.key")
    } else if name.starts_with("weir") || name == "causationid" {
        Some("is set by the host alone")
    } else {
        None
    }
}

/// One table with one entry.
fn read_part(section: &Section<'_>, name: &str, value: Option<&toml::Value>) -> Option<Part> {
    const RULE: &str = "one of { header = \"kind\" }, { pointer = \"/order/kind\" }, { record = \"key\" } and \
                        { text = \"OrderChanged\" }";
    let mut entries = value?.as_table().into_iter().flatten();
    let (first, more) = (entries.next(), entries.next());
    let word = first.and_then(|(word, text)| Some((word.as_str(), text.as_str()?)));
    let text = word.map_or("", |(_, text)| text);
    let part = match word {
        Some(_) if text.is_empty() || text.len() > NAME_BYTES_MAX || more.is_some() => None,
        Some(("header", _)) => Some(Part::Header(text.into())),
        Some(("pointer", _)) if is_pointer(text) => Some(Part::Pointer(text.into())),
        Some(("pointer", _)) => {
            let message = format!(
                "has the pointer {text:?}: it must begin with /, and have ~0 for ~ and ~1 for / in a name"
            );
            section.fault(name, message);
            return None;
        }
        Some(("record", "key")) => Some(Part::Key),
        Some(("text", _)) => Some(Part::Text(text.into())),
        Some(_) | None => None,
    };
    if part.is_none() {
        let message = format!("must be {RULE}, with a text of 1 to {NAME_BYTES_MAX} bytes");
        section.fault(name, message);
    }
    part
}

#[cfg(test)]
mod tests;
