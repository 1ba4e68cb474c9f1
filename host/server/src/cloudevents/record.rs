//! The Kafka protocol binding: an event in a record, in either mode. The binary one is the core's.

use bytes::Bytes;
use weir_core::binding::{self, BindingError};
use weir_core::event::{Event, Record};

use super::json::{self, DecodeError};
use super::{EventError, check, essence};

/// The event formats that the structured mode is read in; without a suffix it is the same.
const JSON: [&str; 2] = ["application/cloudevents+json", "application/cloudevents"];

/// Why a record carries no event.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// It has no mark of one, or breaks a rule of the binary mode.
    #[error(transparent)]
    Binary(BindingError),
    /// It has one in the binary mode that breaks a rule of all events.
    #[error(transparent)]
    Invalid(EventError),
    /// It has one in a format that is not read here.
    #[error(
        "content-type {0:?} is none that is read: an event in one record is application/cloudevents+json"
    )]
    Format(String),
    /// What stands in its value is none.
    #[error(transparent)]
    Structured(DecodeError),
}

impl RecordError {
    /// Stable, lower-case: dead letters are grouped by it.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Binary(error) => error.code(),
            Self::Invalid(_) => "invalid-event",
            Self::Format(_) => "event-format",
            Self::Structured(_) => "structured",
        }
    }
}

/// The event that a record carries.
///
/// # Errors
/// It carries none, or one that breaks a rule.
pub fn from_record(record: &Record) -> Result<Event, RecordError> {
    let event = said_by(record)?;
    check(&event).map_err(RecordError::Invalid)?;
    Ok(event)
}

/// The same, of which in the binary mode only that it can be read was looked at: for a record of this host's own, and to
/// know whose one is that is no good.
///
/// # Errors
/// It carries none.
pub fn said_by(record: &Record) -> Result<Event, RecordError> {
    let media_type = match binding::from_record(record) {
        Err(BindingError::Structured(media_type)) => media_type,
        event => return event.map_err(RecordError::Binary),
    };
    let essence = essence(&media_type);
    if !JSON.iter().any(|json| json.eq_ignore_ascii_case(essence)) {
        return Err(RecordError::Format(media_type));
    }
    let value = record.value.clone().unwrap_or_default();
    json::from_structured(&value).map_err(RecordError::Structured)
}

/// An event in the JSON format, for a record in the structured mode.
#[must_use]
pub fn to_structured(event: &Event) -> Bytes {
    let json: Box<str> = json::to_json(event).into();
    Bytes::from(String::from(json))
}
