//! Events as a handler reads them.

use serde::de::DeserializeOwned;

use crate::{Failure, Result, bindings::weir::handler::types, timers};

/// The code of the failure when an event's data is not what the handler asks for.
pub const BAD_DATA: &str = "bad-data";

/// One CloudEvents 1.0 event with data of type `T`.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Event<T> {
    /// Identifies the event together with `source`.
    pub id: String,
    /// Where the event happened, a URI reference.
    pub source: String,
    /// `type`: what happened, such as `InvoiceCreated`.
    pub ty: String,
    /// What the event is about, within its source.
    pub subject: Option<String>,
    /// When it happened, RFC 3339.
    pub time: Option<String>,
    /// The media type of the data.
    pub datacontenttype: Option<String>,
    /// The schema of the data, a URI.
    pub dataschema: Option<String>,
    /// Extension attributes in their canonical string form.
    pub extensions: Vec<(String, String)>,
    /// What the event carries.
    pub data: T,
}

impl<T> Event<T> {
    /// The extension attribute of that name.
    pub fn extension(&self, name: &str) -> Option<&str> {
        self.extensions
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// The name of the timer that fired, if this event is a firing: `match event.timer() { Some("expire") => .. }`.
    /// The `id` is that of its setting and `time` is when it was due.
    pub fn timer(&self) -> Option<&str> {
        (self.ty == timers::TYPE)
            .then(|| self.extension(timers::NAME))
            .flatten()
    }
}

impl<T: Payload> Event<T> {
    pub(crate) fn decode(event: types::Event) -> Result<Self> {
        Ok(Self {
            data: T::from_data(event.data)?,
            id: event.id,
            source: event.source,
            ty: event.type_,
            subject: event.subject,
            time: event.time,
            datacontenttype: event.datacontenttype,
            dataschema: event.dataschema,
            extensions: event.extensions,
        })
    }
}

/// What an event's data can be read as: JSON of any [`DeserializeOwned`] type, or [`Raw`].
pub trait Payload: Sized {
    /// Reads the data. `None` is an event without data, which JSON types see as `null`.
    ///
    /// # Errors
    /// A permanent failure with the code [`BAD_DATA`]: no attempt can read it.
    fn from_data(data: Option<Vec<u8>>) -> Result<Self>;
}

impl<T: DeserializeOwned> Payload for T {
    fn from_data(data: Option<Vec<u8>>) -> Result<Self> {
        from_json(data.as_deref())
    }
}

fn from_json<T: DeserializeOwned>(data: Option<&[u8]>) -> Result<T> {
    serde_json::from_slice(data.unwrap_or(b"null"))
        .map_err(|cause| Failure::permanent(BAD_DATA, format!("event data: {cause}")))
}

/// An event's data as it came, whatever its media type. `None` is an event without data, such as a Kafka tombstone.
///
/// A handler of several types of events, timers among them, takes `Event<Raw>` and reads the data when it knows the type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raw(pub Option<Vec<u8>>);

impl Raw {
    /// Reads the data as JSON. No data is `null`.
    ///
    /// # Errors
    /// A permanent failure with the code [`BAD_DATA`].
    pub fn json<T: DeserializeOwned>(&self) -> Result<T> {
        from_json(self.0.as_deref())
    }
}

impl Payload for Raw {
    fn from_data(data: Option<Vec<u8>>) -> Result<Self> {
        Ok(Self(data))
    }
}
