//! Names that become wire formats: topics, groups, dead-letter topics. Fixed by tests.

use std::borrow::Cow;

use weir_core::identity::hash_128;

/// Kafka's limit for the name of a topic.
pub const NAME_BYTES_MAX: usize = 249;

/// The rule for topic names, for people.
pub const TOPIC_RULE: &str = "write three parts, `scope.topic.v1`, which the host completes to \
    `environment.domain.scope.topic.v1`; or all five parts; or `=name` for a literal name. \
    Letters, digits, `_` and `-` are allowed";

/// A name is not a topic name; says what it is and the rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is not a topic name: {TOPIC_RULE}")]
pub struct TopicNameError {
    /// What was written.
    pub name: String,
}

/// The full name of a topic as it is written in config and manifests.
///
/// # Errors
/// The name follows none of the three forms of [`TOPIC_RULE`].
pub fn expand_topic(name: &str, environment: &str, domain: &str) -> Result<String, TopicNameError> {
    let invalid = || TopicNameError {
        name: name.to_owned(),
    };
    if let Some(literal) = name.strip_prefix('=') {
        let allowed = !literal.is_empty() && literal.bytes().all(|b| is_part_byte(b) || b == b'.');
        // Kafka refuses these two.
        let reserved = literal == "." || literal == "..";
        return if allowed && !reserved && literal.len() <= NAME_BYTES_MAX {
            Ok(literal.to_owned())
        } else {
            Err(invalid())
        };
    }
    let parts: Vec<&str> = name.split('.').collect();
    if !parts
        .iter()
        .all(|part| !part.is_empty() && part.bytes().all(is_part_byte))
    {
        return Err(invalid());
    }
    let full = match parts.as_slice() {
        [_, _, version] if is_version(version) => format!("{environment}.{domain}.{name}"),
        [_, _, _, _, _] => name.to_owned(),
        _ => return Err(invalid()),
    };
    if full.len() <= NAME_BYTES_MAX {
        Ok(full)
    } else {
        Err(invalid())
    }
}

/// The consumer group of a handler; `tenant` owns the handler.
#[must_use]
pub fn group(environment: &str, tenant: &str, handler: &str) -> String {
    bounded(format!("weir.{environment}.{tenant}.{handler}"))
}

/// Where the dead letters of a group's topic go.
#[must_use]
pub fn dlq_topic(group: &str, topic: &str) -> String {
    bounded(format!("dlq.{group}.{topic}"))
}

/// Where operators' commands to the owners of a group's partitions go.
#[must_use]
pub fn commands_topic(group: &str) -> String {
    bounded(format!("_weir.{group}.commands"))
}

/// Where inbox, state, timers and positions of a group are kept.
#[must_use]
pub fn ledger_topic(group: &str) -> String {
    bounded(format!("_weir.{group}.ledger"))
}

/// Where parked events of a group are kept.
#[must_use]
pub fn park_topic(group: &str) -> String {
    bounded(format!("_weir.{group}.park"))
}

/// Where the hosts of an environment say what they are, and operators what all hosts are to do.
#[must_use]
pub fn control_topic(environment: &str) -> String {
    bounded(format!("_weir.{environment}.control"))
}

/// Under which name the `number`th producer of a host commits for a group.
#[must_use]
pub fn transactional_id(group: &str, host_id: &str, number: u32) -> String {
    format!("{group}.{host_id}.{number}")
}

/// Whether dead letters go to this topic.
#[must_use]
pub fn is_dlq_topic(topic: &str) -> bool {
    topic.starts_with("dlq.")
}

/// Whether this is of the inside of Weir (`_weir.`) or of Kafka (`__`): hosts' secrets, other tenants' letters and state
/// stand there, so that nobody reads or writes it through a host.
#[must_use]
pub fn is_internal_topic(topic: &str) -> bool {
    topic.starts_with("_weir.") || topic.starts_with("__")
}

/// Whether nobody writes to this topic through a host: dead letters, and what is internal. A record that others put
/// there would be taken for one of the host's own.
#[must_use]
pub fn is_own_topic(topic: &str) -> bool {
    is_dlq_topic(topic) || is_internal_topic(topic)
}

/// Whether this may name an environment, a domain, a tenant or a handler: `[a-z0-9-]`, at most 64 bytes.
#[must_use]
pub fn is_label(name: &str) -> bool {
    const BYTES_MAX: usize = 64;
    (1..=BYTES_MAX).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// The rule of [`is_label`], for people.
pub const LABEL_RULE: &str = "lower-case letters, digits and `-`, 1 to 64 of them";

/// Cuts what is too long and ends it with a hash of the whole, so that different names stay different.
fn bounded(name: String) -> String {
    const SUFFIX_BYTES: usize = 1 + 32;
    if name.len() <= NAME_BYTES_MAX {
        return name;
    }
    let kept = &name[..name.floor_char_boundary(NAME_BYTES_MAX - SUFFIX_BYTES)];
    format!("{kept}.{}", hash_128("weir.name.v1", &[name.as_bytes()]))
}

/// Control characters and escapes as text, so that what others wrote cannot drive a terminal.
#[must_use]
pub fn printable(text: &str) -> Cow<'_, str> {
    if text.chars().any(char::is_control) {
        let escape = |c: char| {
            if c.is_control() {
                c.escape_unicode().to_string()
            } else {
                c.to_string()
            }
        };
        Cow::Owned(text.chars().map(escape).collect())
    } else {
        Cow::Borrowed(text)
    }
}

fn is_version(part: &str) -> bool {
    part.strip_prefix('v')
        .is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

fn is_part_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

#[cfg(test)]
mod tests;
