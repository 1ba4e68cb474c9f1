//! Timers: the values of [`Key::Timer`](super::key::Key::Timer) and [`Key::Due`](super::key::Key::Due).
//!
//! ```text
//! timer = version u8, due u64, identity [u8; 16], topic, partition optional varint, partition hash u32, record
//! due   = the key of the timer, whose kind says its version too
//! ```
//!
//! [`super::batch`] says what a record is.

use bytes::Bytes;
use weir_core::identity::Hash128;
use weir_core::time::Millis;
use weir_core::unit::{OutRecord, Timer, TimerKey};

use super::batch::{put_record, record};
use super::codec::{DecodeError, Input, put_bytes, put_option, put_varint};
use super::key::Key;

const VERSION: u8 = 1;

/// When a timer fires and which setting it is: with its partition the key of its [`Key::Due`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) due: Millis,
    pub(super) id: Hash128,
}

impl Setting {
    /// Where it stands by due time.
    pub(super) fn key(self, group: u32, partition: u32) -> Key<'static> {
        let Self { due, id } = self;
        Key::Due {
            group,
            partition,
            due,
            id,
        }
    }
}

impl From<&Timer> for Setting {
    fn from(timer: &Timer) -> Self {
        Self {
            due: timer.due,
            id: timer.id,
        }
    }
}

/// Appends the encoded timer and answers the encoded size of its record.
pub(super) fn encode_into(out: &mut Vec<u8>, timer: &Timer) -> usize {
    out.push(VERSION);
    out.extend_from_slice(&timer.due.0.to_le_bytes());
    out.extend_from_slice(&timer.id.0);
    put_bytes(out, timer.out.topic.as_bytes());
    put_option(out, timer.out.partition, |out, partition| {
        put_varint(out, partition.into())
    });
    out.extend_from_slice(&timer.out.partition_hash.to_le_bytes());
    put_record(out, &timer.out.record)
}

pub(super) fn decode(bytes: &[u8]) -> Result<Timer, DecodeError> {
    let mut input = Input::versioned("timer", Bytes::copy_from_slice(bytes), VERSION)?;
    let Setting { due, id } = setting(&mut input)?;
    let timer = Timer {
        id,
        due,
        out: OutRecord {
            topic: input.string()?.into(),
            partition: input.option(Input::varint_of)?,
            partition_hash: input.u32()?,
            record: record(&mut input)?,
        },
    };
    input.finish()?;
    Ok(timer)
}

/// The setting alone, without a copy of the record.
pub(super) fn decode_setting(bytes: &[u8]) -> Result<Setting, DecodeError> {
    let head = Bytes::copy_from_slice(&bytes[..bytes.len().min(1 + 8 + 16)]);
    setting(&mut Input::versioned("timer", head, VERSION)?)
}

fn setting(input: &mut Input) -> Result<Setting, DecodeError> {
    Ok(Setting {
        due: Millis(input.u64()?),
        id: Hash128(input.array()?),
    })
}

/// Whose entry by due time it is.
pub(super) fn decode_due(bytes: &[u8]) -> Result<TimerKey, DecodeError> {
    match Key::decode(bytes) {
        Ok(Key::Timer { sequence, slot, .. }) => Ok(TimerKey {
            sequence: sequence.into(),
            slot: slot.into(),
        }),
        Ok(_) | Err(_) => Err(DecodeError::Malformed("due time of a timer")),
    }
}

#[cfg(test)]
mod tests;
