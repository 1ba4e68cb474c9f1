//! Events as records and back: the binary mode of the CloudEvents 1.0 Kafka protocol binding.
//!
//! Attributes are headers `ce_<name>`, the media type of the data is `content-type`, the data is the value. Each
//! record passes here at least twice, so nothing is allocated that is not kept. The structured mode needs a JSON
//! decoder and encoder and lives in the server.

use bytes::Bytes;

use crate::emission::HOPS;
use crate::event::{Event, EventRef, HeaderName, Record};
use crate::partition::TIMER_NAME;

/// The only version of CloudEvents that is spoken here.
pub const SPEC_VERSION: &str = "1.0";

/// Bytes of one attribute's value, and of a record key that Weir writes: room for long URIs and trace states, and a hundred
/// of them stay below the limit of an event.
pub const ATTRIBUTE_BYTES_MAX: usize = 8 << 10;

/// Extension attributes of one event, without [`HOSTS_OWN`]. Real events have fewer than ten; the bound keeps the search for
/// repeated names and the headers of a record small.
pub const EXTENSIONS_MAX: usize = 64;

/// Extensions that hosts add to what others made, so that they do not count: who has all of his own gets them too.
pub const HOSTS_OWN: [&str; 7] = [
    "correlationid",
    "causationid",
    "partitionkey",
    "tenantid",
    "traceparent",
    HOPS,
    TIMER_NAME,
];

/// What each attribute's header name starts with.
const PREFIX: &str = "ce_";
const CONTENT_TYPE: &str = "content-type";
/// Media types that mark the structured mode start with this.
const STRUCTURED: &str = "application/cloudevents";

/// The one that this host writes.
const STRUCTURED_JSON: &str = "application/cloudevents+json; charset=utf-8";

/// Why a record is not an event in binary mode.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BindingError {
    /// The record carries no CloudEvent at all.
    #[error("the record has no ce_ header and no content type of CloudEvents")]
    NotAnEvent,
    /// The value is a whole event in the format that the content type names.
    #[error("the record carries an event as {0:?}")]
    Structured(String),
    /// A version of CloudEvents that is not known.
    #[error("specversion {0:?} is not \"1.0\"")]
    Version(String),
    /// A required attribute is absent or empty.
    #[error("attribute {0:?} is absent or empty")]
    Missing(&'static str),
    /// One attribute is given twice.
    #[error("header {0:?} is given twice")]
    Repeated(String),
    /// The value of a header is not text.
    #[error("header {0:?} is not UTF-8")]
    NotUtf8(String),
    /// The name of an attribute breaks the rule for names.
    #[error("header {0:?} names no attribute: names are lower-case letters and digits")]
    Name(String),
    /// More extensions than an event may have.
    #[error("the record has more than {EXTENSIONS_MAX} extension attributes")]
    TooMany,
}

impl BindingError {
    /// Stable, lower-case: dead letters and metrics are grouped by it.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotAnEvent => "not-an-event",
            Self::Structured(_) => "structured",
            Self::Version(_) => "spec-version",
            Self::Missing(_) => "missing-attribute",
            Self::Repeated(_) => "repeated-attribute",
            Self::NotUtf8(_) => "not-utf8",
            Self::Name(_) => "attribute-name",
            Self::TooMany => "too-many-attributes",
        }
    }
}

/// Whether this media type says that a whole event is in the body, in structured or batched mode.
#[must_use]
pub fn is_structured(media_type: &str) -> bool {
    says_structured(media_type.as_bytes())
}

fn says_structured(media_type: &[u8]) -> bool {
    media_type
        .get(..STRUCTURED.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(STRUCTURED.as_bytes()))
}

/// Whether this is a name that CloudEvents allows for an attribute: lower-case letters and digits.
#[must_use]
pub fn is_attribute_name(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

/// Whether an event that has these extensions may have one more of this name.
#[must_use]
pub fn has_room_for<T>(extensions: &[(String, T)], name: &str) -> bool {
    let counts = |name: &str| !HOSTS_OWN.contains(&name);
    extensions.len() < EXTENSIONS_MAX
        || !counts(name)
        || extensions.iter().filter(|(name, _)| counts(name)).count() < EXTENSIONS_MAX
}

/// The header of an attribute that nearly every record has.
fn common_header(attribute: &str) -> Option<&'static str> {
    Some(match attribute {
        "specversion" => "ce_specversion",
        "id" => "ce_id",
        "source" => "ce_source",
        "type" => "ce_type",
        "subject" => "ce_subject",
        "time" => "ce_time",
        "dataschema" => "ce_dataschema",
        "correlationid" => "ce_correlationid",
        "causationid" => "ce_causationid",
        "partitionkey" => "ce_partitionkey",
        "tenantid" => "ce_tenantid",
        "traceparent" => "ce_traceparent",
        "weirhops" => "ce_weirhops",
        _ => return None,
    })
}

/// This name, without a copy where it is a common one.
#[must_use]
pub fn header_name(name: &str) -> HeaderName {
    let common = match name.strip_prefix(PREFIX) {
        Some(attribute) => common_header(attribute),
        None => (name == CONTENT_TYPE).then_some(CONTENT_TYPE),
    };
    common.map_or_else(|| HeaderName::Owned(name.to_owned()), HeaderName::Borrowed)
}

/// The record that carries this event. The caller has validated it: a `datacontenttype` of CloudEvents itself
/// ([`is_structured`]) would be read back as the structured mode.
#[must_use]
pub fn to_record(event: &Event, key: Option<Bytes>, timestamp_ms: u64) -> Record {
    write(&event.into(), event.data.clone(), key, timestamp_ms)
}

/// The same of an event whose parts lie elsewhere.
pub(crate) fn write(
    event: &EventRef<'_>,
    data: Option<Bytes>,
    key: Option<Bytes>,
    timestamp_ms: u64,
) -> Record {
    let context = [
        ("ce_specversion", Some(SPEC_VERSION)),
        ("ce_id", Some(event.id)),
        ("ce_source", Some(event.source)),
        ("ce_type", Some(event.ty)),
        ("ce_subject", event.subject),
        ("ce_time", event.time),
        ("ce_dataschema", event.dataschema),
        (CONTENT_TYPE, event.datacontenttype),
    ];
    let texts = || {
        let context = context.iter().filter_map(|(_, value)| *value);
        context.chain(event.extensions.iter().map(|(_, value)| &**value))
    };
    let bytes = texts().map(str::len).sum();
    let mut values = Vec::with_capacity(bytes);
    texts().for_each(|text| values.extend_from_slice(text.as_bytes()));
    let mut values = Parts::new(values);
    let mut headers = Vec::with_capacity(context.len() + event.extensions.len());
    for (name, value) in context {
        if let Some(value) = value {
            headers.push((name.into(), Some(values.next(value.len()))));
        }
    }
    for (name, value) in &event.extensions {
        headers.push((attribute_header(name), Some(values.next(value.len()))));
    }
    Record {
        key,
        value: data,
        headers,
        timestamp_ms,
    }
}

/// Values that lie in one buffer, one behind the other: a record has ten, and passes from thread to thread.
#[derive(Debug)]
pub struct Parts {
    buffer: Bytes,
    next: usize,
}

impl Parts {
    /// Of what was written into this buffer.
    #[must_use]
    pub fn new(buffer: Vec<u8>) -> Self {
        Self {
            buffer: buffer.into(),
            next: 0,
        }
    }

    /// The next value, of so many bytes.
    pub fn next(&mut self, bytes: usize) -> Bytes {
        let start = self.next;
        self.next += bytes;
        self.buffer.slice(start..self.next)
    }
}

/// The header of an extension attribute.
fn attribute_header(name: &str) -> HeaderName {
    let own = || HeaderName::Owned([PREFIX, name].concat());
    common_header(name).map_or_else(own, HeaderName::Borrowed)
}

/// The record that carries an event in the structured mode: `json` is the event.
#[must_use]
pub fn to_structured(json: Bytes, key: Option<Bytes>, timestamp_ms: u64) -> Record {
    let media_type = Bytes::from_static(STRUCTURED_JSON.as_bytes());
    Record {
        key,
        value: Some(json),
        headers: vec![(CONTENT_TYPE.into(), Some(media_type))],
        timestamp_ms,
    }
}

/// The event that this record carries in binary mode. Headers that are no attributes are left where they are; an
/// attribute whose header has no value is not set.
pub fn from_record(record: &Record) -> Result<Event, BindingError> {
    let mut event = Event {
        data: record.value.clone(),
        ..Event::default()
    };
    let (mut version, mut id, mut source, mut ty) = (None, None, None, None);
    let mut found = false;
    let (mut says_structured, mut fault) = (false, None);
    for (header, value) in &record.headers {
        let attribute = header.strip_prefix(PREFIX);
        found |= attribute.is_some();
        let Some(value) = value else {
            continue;
        };
        let slot = match attribute {
            Some(name) => match name {
                "specversion" => &mut version,
                "id" => &mut id,
                "source" => &mut source,
                "type" => &mut ty,
                "subject" => &mut event.subject,
                "time" => &mut event.time,
                "dataschema" => &mut event.dataschema,
                extension => {
                    add_extension(&mut event.extensions, header, extension, value)?;
                    continue;
                }
            },
            None if header.eq_ignore_ascii_case(CONTENT_TYPE) => {
                says_structured |= self::says_structured(value);
                // A record that is no event may have what it likes.
                let added = set(&mut event.datacontenttype, header, value);
                fault = fault.or(added.err());
                continue;
            }
            None => continue,
        };
        set(slot, header, value)?;
    }
    if !found && !says_structured {
        return Err(BindingError::NotAnEvent);
    }
    if let Some(fault) = fault {
        return Err(fault);
    }
    // The binding's rule: the content type decides the mode, whatever headers stand beside it.
    if let Some(media_type) = event.datacontenttype.take_if(|ty| is_structured(ty)) {
        return Err(BindingError::Structured(media_type));
    }
    let version = required(version, "specversion")?;
    if version != SPEC_VERSION {
        return Err(BindingError::Version(version));
    }
    event.id = required(id, "id")?;
    event.source = required(source, "source")?;
    event.ty = required(ty, "type")?;
    Ok(event)
}

/// Gives an attribute its value, which it may have once.
fn set(slot: &mut Option<String>, header: &str, value: &Bytes) -> Result<(), BindingError> {
    match slot.replace(text(header, value)?.to_owned()) {
        Some(_) => Err(BindingError::Repeated(header.to_owned())),
        None => Ok(()),
    }
}

fn add_extension(
    extensions: &mut Vec<(String, String)>,
    header: &str,
    name: &str,
    value: &Bytes,
) -> Result<(), BindingError> {
    // The content type has a header of its own, and data is the value.
    if !is_attribute_name(name) || matches!(name, "datacontenttype" | "data") {
        return Err(BindingError::Name(header.to_owned()));
    }
    // Events have a handful of extensions: a scan beats a set.
    if extensions.iter().any(|(known, _)| known == name) {
        return Err(BindingError::Repeated(header.to_owned()));
    }
    if !has_room_for(extensions, name) {
        return Err(BindingError::TooMany);
    }
    extensions.push((name.to_owned(), text(header, value)?.to_owned()));
    Ok(())
}

fn text<'a>(header: &str, value: &'a Bytes) -> Result<&'a str, BindingError> {
    // Where the bytes went wrong helps nobody; which header does.
    str::from_utf8(value)
        .ok()
        .ok_or_else(|| BindingError::NotUtf8(header.to_owned()))
}

fn required(value: Option<String>, name: &'static str) -> Result<String, BindingError> {
    value
        .filter(|value| !value.is_empty())
        .ok_or(BindingError::Missing(name))
}

#[cfg(test)]
mod tests;
