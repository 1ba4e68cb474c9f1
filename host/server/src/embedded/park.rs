//! Parked sequences and their events: the values of [`Key::ParkedHead`](super::key::Key::ParkedHead) and
//! [`Key::ParkedEvent`](super::key::Key::ParkedEvent).
//!
//! ```text
//! sequence = version u8, first varint, count varint, bytes varint, due varint, attempts, letter optional [u8; 16],
//!            held u8
//! event    = version u8, parked at varint, parked active varint, replays varint, letter optional [u8; 16],
//!            topic, partition varint, offset varint, record
//! ```
//!
//! No event of the sequence has a number below `first`: reading begins there, past what the events that left have left
//! behind, or emptying a long sequence would take the square of its length. [`super::batch`] says what a record is and
//! [`super::attempts`] what attempts are; the number of an event is in its key.

use bytes::Bytes;
use weir_core::identity::Hash128;
use weir_core::time::Millis;
use weir_core::unit::{Active, Head, Origin, ParkedEvent, ParkedSequence};

use super::attempts::{attempts, put_attempts};
use super::batch::{put_record, record};
use super::codec::{DecodeError, Input, put_bytes, put_option, put_varint};

const VERSION: u8 = 1;

/// A stored sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StoredSequence {
    /// No event has a lower number.
    pub(super) first: u64,
    pub(super) sequence: ParkedSequence,
}

impl StoredSequence {
    /// Appends the encoded value.
    pub(super) fn encode_into(&self, out: &mut Vec<u8>) {
        let ParkedSequence { count, bytes, head } = &self.sequence;
        out.push(VERSION);
        for number in [self.first, *count, *bytes, head.due.0] {
            put_varint(out, number);
        }
        put_attempts(out, &head.attempts);
        put_hash(out, head.letter);
        out.push(head.held.into());
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let bytes = Bytes::copy_from_slice(bytes);
        let mut input = Input::versioned("parked sequence", bytes, VERSION)?;
        let stored = Self {
            first: input.varint()?,
            sequence: ParkedSequence {
                count: input.varint()?,
                bytes: input.varint()?,
                head: Head {
                    due: Millis(input.varint()?),
                    attempts: attempts(&mut input)?,
                    letter: input.option(hash)?,
                    held: input.bool()?,
                },
            },
        };
        input.finish()?;
        Ok(stored)
    }
}

/// Appends the encoded event.
pub(super) fn encode_event_into(out: &mut Vec<u8>, event: &ParkedEvent) {
    out.push(VERSION);
    put_varint(out, event.parked_at.0);
    put_varint(out, event.parked_active.0);
    put_varint(out, event.replays.into());
    put_hash(out, event.letter);
    put_bytes(out, event.origin.topic.as_bytes());
    put_varint(out, event.origin.partition.into());
    put_varint(out, event.origin.offset);
    put_record(out, &event.record);
}

pub(super) fn decode_event(number: u64, bytes: &[u8]) -> Result<ParkedEvent, DecodeError> {
    let bytes = Bytes::copy_from_slice(bytes);
    let mut input = Input::versioned("parked event", bytes, VERSION)?;
    let event = ParkedEvent {
        number,
        parked_at: Millis(input.varint()?),
        parked_active: Active(input.varint()?),
        replays: input.varint_of()?,
        letter: input.option(hash)?,
        origin: Origin {
            topic: input.string()?.into(),
            partition: input.varint_of()?,
            offset: input.varint()?,
        },
        record: record(&mut input)?,
    };
    input.finish()?;
    Ok(event)
}

fn put_hash(out: &mut Vec<u8>, id: Option<Hash128>) {
    put_option(out, id, |out, Hash128(id)| out.extend_from_slice(&id));
}

fn hash(input: &mut Input) -> Result<Hash128, DecodeError> {
    input.array().map(Hash128)
}

#[cfg(test)]
mod tests;
