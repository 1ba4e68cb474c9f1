//! `[emit]`: where a handler may publish, under which source and key, and in which mode.

use weir_core::emission::ComposedKey;
use weir_core::event::Event;

use super::field::Values;
use super::{Field, choice, read_topics};
use crate::cloudevents::check_attribute;
use crate::config::Config;
use crate::config::document::Section;
use crate::names;

/// Fields of one key: more of them tell nothing apart that fewer do not.
const KEY_FIELDS_MAX: usize = 8;

/// What a manifest says of emissions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Emit {
    /// Full names of the topics it may publish to.
    pub topics: Vec<String>,
    /// The `source` of what it emits.
    pub source: String,
    /// What composes the key of an emission whose handler names none; none: it has the input's.
    pub key: Option<KeyFields>,
    /// How events are written.
    pub mode: Mode,
}

/// How an event is written into a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Attributes as headers, data as the value.
    #[default]
    Binary,
    /// All of it as JSON in the value.
    Structured,
}

impl Mode {
    /// The word for it in a manifest.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Binary => "binary",
            Self::Structured => "structured",
        }
    }
}

/// The fields that compose a key, after the tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFields(Vec<Field>);

impl KeyFields {
    /// What the manifest says.
    #[must_use]
    pub fn texts(&self) -> Vec<&str> {
        self.0.iter().map(Field::text).collect()
    }
}

impl ComposedKey for KeyFields {
    /// `tenant:value:value`, with `%` and `:` of a value as `%25` and `%3A`: two keys are equal only when all their parts
    /// are.
    fn of(&self, tenant: &str, event: &Event) -> Result<String, String> {
        let (mut key, values) = (escaped(tenant), Values::of(event));
        for field in &self.0 {
            let value = values.get(field).filter(|value| !value.is_empty());
            let Some(value) = value else {
                let name = field.text();
                return Err(format!(
                    "`[emit] key` asks for {name:?}, and the emission has no text and no whole number there"
                ));
            };
            key.push(':');
            key.push_str(&escaped(&value));
        }
        Ok(key)
    }
}

fn escaped(part: &str) -> String {
    part.replace('%', "%25").replace(':', "%3A")
}

pub(super) fn read(mut section: Section<'_>, config: &Config, handler: &str) -> Emit {
    let topics = read_topics(&mut section, config).unwrap_or_default();
    for (index, topic) in topics.iter().enumerate() {
        if names::is_dlq_topic(topic) {
            section.fault(
                &format!("topics[{index}]"),
                format!("{topic:?} is for dead letters: emit to another topic"),
            );
        }
    }
    let written = section.text("source");
    if let Some(source) = written
        && (check_attribute("source", source).is_err() || source.contains(char::is_whitespace))
    {
        section.fault(
            "source",
            format!("is {source:?}: must be a URI reference, as in \"/weir/billing\""),
        );
    }
    let source = written.map_or_else(|| format!("/weir/{handler}"), str::to_owned);
    let key = read_key(&mut section);
    let modes = [Mode::Binary, Mode::Structured].map(|mode| (mode.name(), mode));
    let mode = choice(&mut section, "mode", &modes);
    section.close();
    Emit {
        topics,
        source,
        key,
        mode,
    }
}

fn read_key(section: &mut Section<'_>) -> Option<KeyFields> {
    let written = section.texts("key")?;
    if !(1..=KEY_FIELDS_MAX).contains(&written.len()) {
        let message = format!(
            "has {} fields: must have 1 to {KEY_FIELDS_MAX}; the tenant comes first by itself",
            written.len()
        );
        section.fault("key", message);
    }
    let mut fields = Vec::new();
    for (index, text) in written.into_iter().enumerate() {
        match Field::parse(text) {
            // It is the key, told once it is there.
            Some(Field::Attribute(name)) if &*name == "partitionkey" => {
                let message = "is the key itself: name what it is to be made of";
                section.fault(&format!("key[{index}]"), message);
            }
            Some(field) => fields.push(field),
            None => section.fault(
                &format!("key[{index}]"),
                format!("is {text:?}: must be {}", Field::RULE),
            ),
        }
    }
    Some(KeyFields(fields))
}

#[cfg(test)]
mod tests;
