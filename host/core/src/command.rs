//! What an operator asks of a partition: put a dead letter back, give it up, or let its sequence go on.
//!
//! Commands travel in an internal topic with the subscription's partitions, so that whoever owns a partition obeys
//! them and no two hosts do. A command is the letter's own record with five headers of ours at its end; what the
//! letter itself carries under these names comes before them and means nothing.

use std::sync::Arc;

use bytes::Bytes;

use crate::event::Record;
use crate::identity::Hash128;
use crate::unit::Origin;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Run the letter again, at the end of its sequence or, where it is held, at its head.
    Replay,
    /// Give the letter up; a sequence that it holds goes on.
    Drop,
    /// Let the sequence go on that this letter holds; the letter stays dead.
    Release,
}

impl Kind {
    /// The word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Replay => "replay",
            Self::Drop => "drop",
            Self::Release => "release",
        }
    }
}

/// One command; the letter's record stands beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// What is asked.
    pub kind: Kind,
    /// Of which letter.
    pub letter: Hash128,
    /// How often the letter was replayed before.
    pub replays: u32,
    /// Where the letter's event stood.
    pub origin: Origin,
}

/// A record of the command topic that is no command.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("header {0:?} of a command is absent or malformed")]
pub struct NotACommand(pub &'static str);

const KIND: &str = "weir.command.kind";
const LETTER: &str = "weir.command.letter";
const REPLAYS: &str = "weir.command.replays";
const TOPIC: &str = "weir.command.topic";
/// Partition, offset and timestamp of the letter's event.
const PLACE: &str = "weir.command.place";
const HEADERS: [&str; 5] = [KIND, LETTER, REPLAYS, TOPIC, PLACE];

/// The record that carries `command` for the letter whose original record is `record`.
#[must_use]
pub fn to_record(command: &Command, mut record: Record, timestamp_ms: u64) -> Record {
    let Origin {
        topic,
        partition,
        offset,
    } = &command.origin;
    let values = [
        command.kind.name().to_owned(),
        command.letter.to_uuid(),
        command.replays.to_string(),
        (**topic).to_owned(),
        format!("{partition}/{offset}/{}", record.timestamp_ms),
    ];
    let ours = HEADERS.into_iter().zip(values);
    record
        .headers
        .extend(ours.map(|(name, value)| (name.into(), Some(Bytes::from(value)))));
    record.timestamp_ms = timestamp_ms;
    record
}

/// The command that a record carries, and the letter's original record.
///
/// # Errors
/// When it was not written by [`to_record`].
pub fn from_record(mut record: Record) -> Result<(Command, Record), NotACommand> {
    let count = record.headers.len();
    let start = count.checked_sub(HEADERS.len()).ok_or(NotACommand(KIND))?;
    let ours = record.headers.split_off(start);
    let mut values = [""; HEADERS.len()];
    for ((slot, name), (header, value)) in values.iter_mut().zip(HEADERS).zip(&ours) {
        let value = value.as_ref().filter(|_| header == name);
        let text = value.and_then(|value| str::from_utf8(value).ok());
        *slot = text.ok_or(NotACommand(name))?;
    }
    let [kind, letter, replays, topic, place] = values;
    let kinds = [Kind::Replay, Kind::Drop, Kind::Release];
    let kind = kinds.into_iter().find(|known| known.name() == kind);
    let (partition, offset, timestamp) = parts(place).ok_or(NotACommand(PLACE))?;
    let command = Command {
        kind: kind.ok_or(NotACommand(KIND))?,
        letter: Hash128::from_uuid(letter).ok_or(NotACommand(LETTER))?,
        replays: replays.parse().ok().ok_or(NotACommand(REPLAYS))?,
        origin: Origin {
            topic: Arc::from(topic),
            partition,
            offset,
        },
    };
    record.timestamp_ms = timestamp.unwrap_or(record.timestamp_ms);
    Ok((command, record))
}

/// Of a place; a command that waits since an earlier version has no timestamp there.
fn parts(place: &str) -> Option<(u32, u64, Option<u64>)> {
    let (partition, rest) = place.split_once('/')?;
    let (offset, timestamp) = match rest.split_once('/') {
        Some((offset, timestamp)) => (offset, Some(timestamp.parse().ok()?)),
        None => (rest, None),
    };
    Some((partition.parse().ok()?, offset.parse().ok()?, timestamp))
}

#[cfg(test)]
mod tests;
