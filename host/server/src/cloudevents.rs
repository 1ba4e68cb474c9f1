//! CloudEvents 1.0 as they come over HTTP and in records: the JSON format (structured and batched) and the binary mode.
//!
//! An [`Event`] that leaves this module keeps the rules that all formats share: [`check_attribute`] holds those of one
//! attribute, [`Attributes`], in which most decoders collect them, those of all together. Sizes are bounded here, except those that the configuration sets.

mod binary;
mod json;
mod record;

use weir_core::binding::{self, SPEC_VERSION};
use weir_core::event::Event;

pub use binary::{check_headers, from_http, has_attributes};
pub use json::{DecodeError, from_batch, from_structured, to_json};
pub use record::{RecordError, from_record, said_by, to_structured};

/// Bytes of an extension's name. The specification asks for 20 and does not forbid more.
pub const NAME_BYTES_MAX: usize = 64;
pub use weir_core::binding::{ATTRIBUTE_BYTES_MAX, EXTENSIONS_MAX};

/// Why something is no valid event. The message says which attribute and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    /// A required attribute is absent, or one that must not be empty is.
    #[error("attribute {0:?} is missing or empty")]
    Missing(&'static str),
    /// Another version of CloudEvents.
    #[error("specversion is {0:?}, supported is \"1.0\"")]
    Version(String),
    /// A name is given twice.
    #[error("{0:?} is given twice")]
    Repeated(String),
    /// Not a name of an attribute.
    #[error("{0:?} is no attribute name: 1 to {NAME_BYTES_MAX} lower-case letters and digits")]
    Name(String),
    /// A core attribute that is not a string.
    #[error("attribute {0:?} is not a string")]
    NotText(String),
    /// An extension of a type that attributes cannot have.
    #[error("extension {0:?} is neither a string nor a boolean nor an integer of 32 bits")]
    Type(String),
    /// A control character in the text of an attribute.
    #[error("attribute {0:?} contains a control character")]
    Control(String),
    /// The value of an attribute is too long.
    #[error("attribute {0:?} is longer than {ATTRIBUTE_BYTES_MAX} bytes")]
    TooLong(String),
    /// Too many extensions.
    #[error("there are more than {EXTENSIONS_MAX} extension attributes")]
    TooManyExtensions,
    /// `time` is not an instant.
    #[error("time {0:?} is not RFC 3339, for example 1997-01-01T00:00:00Z")]
    Time(String),
    /// `datacontenttype` is not a media type that data can have.
    #[error("datacontenttype {0:?} is not the media type of data, for example application/json")]
    MediaType(String),
    /// Both ways to give data.
    #[error("\"data\" and \"data_base64\" exclude each other")]
    DataTwice,
    /// `data` of a type that JSON cannot hold.
    #[error("\"data\" of datacontenttype {0:?} must be a string, or given as \"data_base64\"")]
    DataNotText(String),
    /// `data_base64` is not what it says.
    #[error("\"data_base64\" is not a string of Base64 with padding")]
    Base64,
    /// A header that says something else than the event in the body.
    #[error("header {0:?} and the event in the body disagree")]
    Disagrees(String),
    /// A header that does not decode to text.
    #[error("header {0:?} is not percent-encoded UTF-8")]
    Header(String),
}

/// The attributes of an event while they come in, in any order. A value of none was given as null: unset, but a
/// second one of that name is a repeat all the same.
#[derive(Default)]
struct Attributes {
    core: [Option<Option<String>>; CORE.len()],
    extensions: Vec<(String, Option<String>)>,
}

const CORE: [&str; 8] = [
    "specversion",
    "id",
    "source",
    "type",
    "subject",
    "time",
    "datacontenttype",
    "dataschema",
];

/// Attributes that are not set rather than empty. Of the last two, which choose where an event goes, an empty one would be
/// neither a choice nor its absence.
const NOT_EMPTY: [&str; 7] = [
    "id",
    "source",
    "type",
    "subject",
    "dataschema",
    "partitionkey",
    "tenantid",
];

/// Whether an attribute of this name may have this value, whatever stands beside it.
///
/// # Errors
/// The first rule that it breaks.
pub fn check_attribute(name: &str, value: &str) -> Result<(), EventError> {
    check_name(name)?;
    if value.len() > ATTRIBUTE_BYTES_MAX {
        return Err(EventError::TooLong(name.to_owned()));
    }
    if has_control(value) {
        return Err(EventError::Control(name.to_owned()));
    }
    if value.is_empty()
        && let Some(name) = NOT_EMPTY.iter().find(|known| **known == name)
    {
        return Err(EventError::Missing(name));
    }
    match name {
        "time" if !is_rfc3339(value) => Err(EventError::Time(value.to_owned())),
        "datacontenttype" if !is_media_type_of_data(value) => {
            Err(EventError::MediaType(value.to_owned()))
        }
        _ => Ok(()),
    }
}

/// Nearly all values are ASCII, of which nothing has to be decoded: each event passes here.
fn has_control(value: &str) -> bool {
    let is_plain = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
    !value.bytes().all(is_plain) && value.chars().any(char::is_control)
}

fn check_name(name: &str) -> Result<(), EventError> {
    // The formats carry data beside the attributes, so an attribute cannot have its name.
    if name != "data" && name.len() <= NAME_BYTES_MAX && binding::is_attribute_name(name) {
        return Ok(());
    }
    let shown: String = name.chars().take(NAME_BYTES_MAX).collect();
    Err(EventError::Name(shown))
}

/// Whether all attributes of an event keep the rules.
///
/// # Errors
/// The first that does not.
fn check(event: &Event) -> Result<(), EventError> {
    let context = [
        ("id", Some(&event.id)),
        ("source", Some(&event.source)),
        ("type", Some(&event.ty)),
        ("subject", event.subject.as_ref()),
        ("time", event.time.as_ref()),
        ("datacontenttype", event.datacontenttype.as_ref()),
        ("dataschema", event.dataschema.as_ref()),
    ];
    let context = context.into_iter();
    let context = context.filter_map(|(name, value)| Some((name, value?)));
    let extensions = event.extensions.iter();
    context
        .chain(extensions.map(|(name, value)| (name.as_str(), value)))
        .try_for_each(|(name, value)| check_attribute(name, value))
}

impl Attributes {
    fn is_core(name: &str) -> bool {
        CORE.contains(&name)
    }

    fn add(&mut self, name: &str, value: Option<String>) -> Result<(), EventError> {
        match &value {
            Some(value) => check_attribute(name, value)?,
            None => check_name(name)?,
        }
        if let Some(index) = CORE.iter().position(|known| *known == name) {
            return match self.core[index].replace(value) {
                Some(_) => Err(EventError::Repeated(name.to_owned())),
                None => Ok(()),
            };
        }
        if self.extensions.iter().any(|(known, _)| known == name) {
            return Err(EventError::Repeated(name.to_owned()));
        }
        if !binding::has_room_for(&self.extensions, name) {
            return Err(EventError::TooManyExtensions);
        }
        self.extensions.push((name.to_owned(), value));
        Ok(())
    }

    /// The event without data.
    fn finish(self) -> Result<Event, EventError> {
        let [
            version,
            id,
            source,
            ty,
            subject,
            time,
            datacontenttype,
            dataschema,
        ] = self.core.map(Option::flatten);
        let version = required("specversion", version)?;
        if version != SPEC_VERSION {
            return Err(EventError::Version(version));
        }
        Ok(Event {
            id: required("id", id)?,
            source: required("source", source)?,
            ty: required("type", ty)?,
            subject,
            time,
            datacontenttype,
            dataschema,
            extensions: self
                .extensions
                .into_iter()
                .filter_map(|(name, value)| Some((name, value?)))
                .collect(),
            data: None,
            mapped_key: None,
            is_named_by_place: false,
        })
    }
}

/// The event of these attributes, without data.
///
/// # Errors
/// The first that breaks a rule.
pub fn from_attributes<'a>(
    attributes: impl IntoIterator<Item = (&'a str, String)>,
) -> Result<Event, EventError> {
    let mut collected = Attributes::default();
    collected.add("specversion", Some(SPEC_VERSION.to_owned()))?;
    for (name, value) in attributes {
        collected.add(name, Some(value))?;
    }
    collected.finish()
}

fn required(name: &'static str, value: Option<String>) -> Result<String, EventError> {
    value
        .filter(|value| !value.is_empty())
        .ok_or(EventError::Missing(name))
}

/// The shape of RFC 3339 is checked by hand, because the parser also takes other forms of ISO 8601; the parser then
/// checks the ranges of date and time. Each event passes here: nothing is allocated.
fn is_rfc3339(time: &str) -> bool {
    let bytes = time.as_bytes();
    let Some((start, rest)) = bytes.split_at_checked(19) else {
        return false;
    };
    let shape = start
        .iter()
        .zip(b"dddd-dd-ddTdd:dd:dd")
        .all(|(byte, expected)| match expected {
            b'd' => byte.is_ascii_digit(),
            _ => byte.eq_ignore_ascii_case(expected),
        });
    // A fraction may have any number of digits, but one at least.
    let digits = rest.strip_prefix(b".").map_or(0, |rest| {
        rest.iter().take_while(|byte| byte.is_ascii_digit()).count()
    });
    let zone = match rest.first() {
        Some(b'.') if digits == 0 => return false,
        Some(b'.') => &rest[1 + digits..],
        _ => rest,
    };
    let is_zone = match zone {
        [b'Z' | b'z'] => true,
        [b'+' | b'-', h1, h2, b':', m1, m2] => {
            let are_digits = [h1, h2, m1, m2].into_iter().all(u8::is_ascii_digit);
            are_digits && [*h1, *h2] <= *b"23" && *m1 <= b'5'
        }
        _ => false,
    };
    shape && is_zone && time[..19].parse::<jiff::civil::DateTime>().is_ok()
}

/// `type/subtype` with or without parameters. An event within an event cannot be told from the structured mode once
/// it is a record, so its media type is none of data.
pub(crate) fn is_media_type_of_data(media_type: &str) -> bool {
    let essence = essence(media_type);
    let token = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b))
    };
    essence
        .split_once('/')
        .is_some_and(|(ty, subtype)| token(ty) && token(subtype))
        && !binding::is_structured(essence)
}

/// The media type without its parameters.
#[must_use]
pub fn essence(media_type: &str) -> &str {
    media_type.split(';').next().unwrap_or_default().trim()
}

/// Whether data of this media type is JSON, by the rule of the JSON event format.
pub(crate) fn is_json(media_type: &str) -> bool {
    let ends_with = |end: &str| {
        let essence = essence(media_type).as_bytes();
        essence.len() > end.len()
            && essence[essence.len() - end.len()..].eq_ignore_ascii_case(end.as_bytes())
    };
    ends_with("/json") || ends_with("+json")
}

#[cfg(test)]
mod tests;
