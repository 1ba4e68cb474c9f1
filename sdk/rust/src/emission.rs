//! Events that a handler emits.

use std::time::Duration;

use serde::{Serialize, de::DeserializeOwned};

use crate::{Result, bindings::weir::handler::types};

/// Most events have less: a buffer that grows is copied each time.
const JSON_BYTES: usize = 1 << 10;

/// One event to publish when the attempt is committed.
///
/// What is not said here the host fills in: the id is the same on every attempt, the source comes from the manifest,
/// the key is that of the input.
#[derive(Clone, Debug, PartialEq)]
#[must_use = "an emission is published only when the handler returns it"]
pub struct Emission(types::Emission);

impl Emission {
    /// An event of this `type`, without data, with the key of the input.
    pub fn new(ty: impl Into<String>) -> Self {
        Self(types::Emission {
            type_: ty.into(),
            topic: None,
            key: types::EmissionKey::Inherit,
            id: None,
            subject: None,
            time: None,
            datacontenttype: None,
            dataschema: None,
            extensions: Vec::new(),
            data: None,
            delay_ms: None,
        })
    }

    /// Carries a value as JSON.
    ///
    /// # Errors
    /// The value has no JSON form, such as a map with keys that are not strings.
    pub fn json(self, value: &(impl Serialize + ?Sized)) -> Result<Self> {
        let mut data = Vec::with_capacity(JSON_BYTES);
        serde_json::to_writer(&mut data, value)?;
        Ok(self.data("application/json", data))
    }

    /// Carries bytes of this media type.
    pub fn data(mut self, datacontenttype: impl Into<String>, data: impl Into<Vec<u8>>) -> Self {
        self.0.datacontenttype = Some(datacontenttype.into());
        self.0.data = Some(data.into());
        self
    }

    /// Goes to this topic. Needed only when the manifest's `[emit]` names several.
    pub fn topic(mut self, topic: impl Into<String>) -> Self {
        self.0.topic = Some(topic.into());
        self
    }

    /// Is ordered by this text instead of the input's key.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.0.key = types::EmissionKey::Text(key.into());
        self
    }

    /// Is ordered by these bytes instead of the input's key.
    pub fn key_bytes(mut self, key: impl Into<Vec<u8>>) -> Self {
        self.0.key = types::EmissionKey::Binary(key.into());
        self
    }

    /// Has no key: any partition, no order.
    pub fn keyless(mut self) -> Self {
        self.0.key = types::EmissionKey::Keyless;
        self
    }

    /// Has this id instead of the derived one. Give every attempt of an event the same.
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.0.id = Some(id.into());
        self
    }

    /// Is about this, within its source.
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        self.0.subject = Some(subject.into());
        self
    }

    /// Happened at this time, RFC 3339.
    pub fn time(mut self, time: impl Into<String>) -> Self {
        self.0.time = Some(time.into());
        self
    }

    /// Has data that follows this schema, a URI.
    pub fn dataschema(mut self, dataschema: impl Into<String>) -> Self {
        self.0.dataschema = Some(dataschema.into());
        self
    }

    /// Has this extension attribute: a lower-case name, a value in canonical string form. A `partitionkey` orders it, as
    /// [`key`](Self::key) does, and is refused beside another key.
    pub fn extension(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.0.extensions.push((name.into(), value.into()));
        self
    }

    /// Is published not before this long after the commit, in whole milliseconds, and under the same id as without a
    /// delay. It cannot be taken back: what may be has a [`Timer`](crate::Timer). Needs the grant `timers`.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.0.delay_ms = Some(crate::grants::milliseconds(delay));
        self
    }

    /// Its `type`.
    pub fn ty(&self) -> &str {
        &self.0.type_
    }

    #[cfg(not(target_family = "wasm"))]
    pub(crate) fn delay_ms(&self) -> Option<u64> {
        self.0.delay_ms
    }

    /// Reads its data back from JSON.
    ///
    /// # Errors
    /// It has no data, or data of another shape.
    pub fn parse_json<T: DeserializeOwned>(&self) -> Result<T> {
        Ok(serde_json::from_slice(
            self.0.data.as_deref().unwrap_or_default(),
        )?)
    }
}

impl From<Emission> for types::Emission {
    fn from(emission: Emission) -> Self {
        emission.0
    }
}

/// What a handler may return when it succeeds: nothing, one emission, perhaps one, or several.
pub trait IntoEmissions {
    /// The emissions in the order in which they are published.
    fn into_emissions(self) -> Vec<Emission>;
}

impl IntoEmissions for () {
    fn into_emissions(self) -> Vec<Emission> {
        Vec::new()
    }
}

impl IntoEmissions for Emission {
    fn into_emissions(self) -> Vec<Emission> {
        vec![self]
    }
}

impl IntoEmissions for Option<Emission> {
    fn into_emissions(self) -> Vec<Emission> {
        self.into_iter().collect()
    }
}

impl IntoEmissions for Vec<Emission> {
    fn into_emissions(self) -> Vec<Emission> {
        self
    }
}

impl<const N: usize> IntoEmissions for [Emission; N] {
    fn into_emissions(self) -> Vec<Emission> {
        self.into()
    }
}
