//! `[inbox]`: whether repeats of an event are dropped, and what tells an event from others.

use std::sync::Arc;

use serde_json::Value;
use weir_core::event::Event;
use weir_core::inbox::IdempotencyKey;

use crate::config::document::Section;

/// It is stored with the subscription.
const KEY_BYTES_MAX: usize = 256;

/// Where an event has the key that its producer gives to what must happen once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InboxKey {
    /// In an attribute of this name, of the context or an extension.
    Attribute(Arc<str>),
    /// In its data, which are JSON, at this pointer (RFC 6901).
    Pointer(Arc<str>),
}

impl InboxKey {
    /// Reads what a manifest says: a pointer begins with a slash, an attribute does not.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text.len() > KEY_BYTES_MAX {
            return None;
        }
        if text.starts_with('/') {
            return Some(Self::Pointer(text.into()));
        }
        let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let is_attribute = !text.is_empty() && text.bytes().all(is_name);
        is_attribute.then(|| Self::Attribute(text.into()))
    }

    /// What the manifest says.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Attribute(text) | Self::Pointer(text) => text,
        }
    }
}

impl IdempotencyKey for InboxKey {
    fn of(&self, event: &Event) -> Option<String> {
        match self {
            Self::Attribute(name) => event.attribute(name).map(str::to_owned),
            Self::Pointer(pointer) => {
                let data: Value = serde_json::from_slice(event.data.as_ref()?).ok()?;
                match data.pointer(pointer)? {
                    Value::String(text) => Some(text.clone()),
                    // Others were rounded when they were read, and two of them may look like one.
                    Value::Number(number) if number.is_i64() || number.is_u64() => {
                        Some(number.to_string())
                    }
                    Value::Number(_)
                    | Value::Null
                    | Value::Bool(_)
                    | Value::Array(_)
                    | Value::Object(_) => None,
                }
            }
        }
    }
}

/// Whether there is an inbox, and its key.
pub(super) fn read(mut section: Section<'_>) -> (bool, Option<InboxKey>) {
    let enabled = section.boolean("enabled").unwrap_or(true);
    let written = section.text("key");
    let key = written.and_then(InboxKey::parse);
    match (written, &key) {
        (Some(text), None) => {
            let message = format!(
                "is {text:?}: must be the name of an attribute, as in \"orderid\", or a pointer into data of JSON, \
                 as in \"/order/id\""
            );
            section.fault("key", message);
        }
        (Some(_), Some(_)) if !enabled => {
            section.fault(
                "key",
                "is not used without an inbox: remove it, or enabled = false",
            );
        }
        (Some(_) | None, _) => {}
    }
    section.close();
    (enabled, key)
}

#[cfg(test)]
mod tests;
