//! One value of an event, by its name: an attribute, or what a pointer finds in its data.

use std::cell::OnceCell;
use std::sync::Arc;

use serde_json::Value;
use weir_core::binding::is_attribute_name;
use weir_core::event::Event;
use weir_core::inbox::IdempotencyKey;

/// A name is stored with the subscription.
pub(super) const NAME_BYTES_MAX: usize = 256;

/// Where in an event a value is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    /// In an attribute of this name, of the context or an extension.
    Attribute(Arc<str>),
    /// In its data, which are JSON, at this pointer (RFC 6901).
    Pointer(Arc<str>),
}

impl Field {
    /// What must be written, for people.
    pub(super) const RULE: &str = "the name of an attribute, as in \"orderid\", or a pointer into data of JSON, as in \
                                   \"/order/id\"";

    /// Reads what a manifest says: a pointer begins with a slash, an attribute does not.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text.len() > NAME_BYTES_MAX {
            return None;
        }
        if is_pointer(text) {
            return Some(Self::Pointer(text.into()));
        }
        is_attribute_name(text).then(|| Self::Attribute(text.into()))
    }

    /// What the manifest says.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Attribute(text) | Self::Pointer(text) => text,
        }
    }
}

/// Whether this is a pointer of RFC 6901 to a part of the data.
pub(super) fn is_pointer(text: &str) -> bool {
    let mut escapes = text.split('~').skip(1);
    text.starts_with('/') && escapes.all(|rest| rest.starts_with(['0', '1']))
}

impl IdempotencyKey for Field {
    fn of(&self, event: &Event) -> Option<String> {
        Values::of(event).get(self)
    }
}

/// The values of an event, whose data are parsed once, if at all.
pub(super) struct Values<'a> {
    event: &'a Event,
    data: OnceCell<Option<Value>>,
}

impl<'a> Values<'a> {
    pub(super) fn of(event: &'a Event) -> Self {
        Self {
            event,
            data: OnceCell::new(),
        }
    }

    pub(super) fn get(&self, field: &Field) -> Option<String> {
        match field {
            Field::Attribute(name) => self.event.attribute(name).map(str::to_owned),
            Field::Pointer(pointer) => {
                let parse = || serde_json::from_slice(self.event.data.as_ref()?).ok();
                scalar(self.data.get_or_init(parse).as_ref()?.pointer(pointer)?)
            }
        }
    }
}

/// A text or a whole number as a text. Other numbers were rounded when they were read, and two of them may look like one.
pub(super) fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) if number.is_i64() || number.is_u64() => Some(number.to_string()),
        Value::Number(_) | Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
            None
        }
    }
}

#[cfg(test)]
mod tests;
