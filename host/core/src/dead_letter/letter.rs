//! A dead letter read back: our headers, and the record that died.

use std::sync::Arc;

use super::{DEAD_AT, FIRST, ID, PREFIXES, TIMESTAMP};
use crate::event::{Header, Record};
use crate::identity::Hash128;
use crate::time::Millis;
use crate::unit::Origin;

/// What the headers of a dead letter say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// Its identity: the same for each death of an event.
    pub id: Hash128,
    /// Where the event stood.
    pub origin: Origin,
    /// Whether its sequence waited for an operator when it died.
    pub held: bool,
    /// Kind of failure.
    pub class: String,
    /// Code within the class.
    pub code: String,
    /// For people.
    pub message: String,
    /// Counted attempts.
    pub attempts: u32,
    /// How often it was replayed before it died.
    pub replays: u32,
    /// Its sequence, as people may see it; none for an event without a key.
    pub sequence: Option<String>,
    /// When it died.
    pub dead_at: Millis,
    /// All of our headers, those above too.
    pub headers: Vec<Header>,
}

/// A record of a dead-letter topic that Weir did not write.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("header {0:?} of a dead letter is absent or malformed")]
pub struct NotALetter(pub &'static str);

/// What [`super::to_record`] wrote of a record, and the record itself as it was: key, value, headers and timestamp.
///
/// Ours are the last headers of these names. What the record had under them before it died comes first, stays in it,
/// and is not interpreted.
///
/// # Errors
/// When the record was not written by [`super::to_record`].
pub fn from_record(mut record: Record) -> Result<(Letter, Record), NotALetter> {
    let first = record.headers.iter().rposition(|(name, _)| name == FIRST);
    let headers = record.headers.split_off(first.ok_or(NotALetter(FIRST))?);
    let is_ours = |name: &str| PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    if !headers.iter().all(|(name, _)| is_ours(name)) {
        return Err(NotALetter(FIRST));
    }
    let find = |name: &'static str| {
        let (_, value) = headers.iter().find(|(known, _)| known == name)?;
        str::from_utf8(value.as_ref()?).ok()
    };
    let text = |name| find(name).map(str::to_owned).ok_or(NotALetter(name));
    // Letters of earlier versions have none.
    if find(TIMESTAMP).is_some() {
        record.timestamp_ms = number(find, TIMESTAMP)?;
    }
    let letter = Letter {
        id: find(ID)
            .and_then(Hash128::from_uuid)
            .ok_or(NotALetter(ID))?,
        origin: Origin {
            topic: Arc::from(text(FIRST)?),
            partition: number(find, "__dlq.errors.partition")?,
            offset: number(find, "__dlq.errors.offset")?,
        },
        held: text("weir.dlq.disposition")? == super::HELD,
        class: text("weir.dlq.class")?,
        code: text("weir.dlq.code")?,
        message: text("__dlq.errors.message")?,
        attempts: number(find, "weir.dlq.attempts")?,
        replays: number(find, "weir.dlq.replays")?,
        sequence: find("weir.dlq.sequence").map(str::to_owned),
        // A topic may stamp its records itself.
        dead_at: find(DEAD_AT)
            .and_then(Millis::from_rfc3339)
            .ok_or(NotALetter(DEAD_AT))?,
        headers,
    };
    Ok((letter, record))
}

fn number<'a, T: std::str::FromStr>(
    find: impl Fn(&'static str) -> Option<&'a str>,
    name: &'static str,
) -> Result<T, NotALetter> {
    let number = find(name).and_then(|text| text.parse().ok());
    number.ok_or(NotALetter(name))
}
