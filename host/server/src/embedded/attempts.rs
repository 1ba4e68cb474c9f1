//! What a record, a parked event or a timer is called and how often it failed: parts of several stored values.
//!
//! ```text
//! item     = 0 topic varint, offset varint | 1 number varint | 2 identity [u8; 16]
//! attempts = counted varint, traps varint, failures varint, crashes varint, first failed optional, aging since optional
//! optional = 0 | 1 value
//! ```

use weir_core::identity::Hash128;
use weir_core::time::Millis;
use weir_core::unit::{Active, Attempts, ItemId, Position};

use super::codec::{DecodeError, Input, put_option, put_varint};

const RECORD: u8 = 0;
const PARKED: u8 = 1;
const TIMER: u8 = 2;

pub(super) fn put_item(out: &mut Vec<u8>, item: ItemId) {
    match item {
        ItemId::Record(Position { topic, offset }) => {
            out.push(RECORD);
            put_varint(out, topic.into());
            put_varint(out, offset);
        }
        ItemId::Parked(number) => {
            out.push(PARKED);
            put_varint(out, number);
        }
        ItemId::Timer(Hash128(id)) => {
            out.push(TIMER);
            out.extend_from_slice(&id);
        }
    }
}

pub(super) fn item(input: &mut Input) -> Result<ItemId, DecodeError> {
    match input.u8()? {
        RECORD => Ok(ItemId::Record(Position {
            topic: input.varint_of()?,
            offset: input.varint()?,
        })),
        PARKED => input.varint().map(ItemId::Parked),
        TIMER => input.array().map(|id| ItemId::Timer(Hash128(id))),
        _ => Err(input.malformed()),
    }
}

pub(super) fn put_attempts(out: &mut Vec<u8>, attempts: &Attempts) {
    for count in [
        attempts.counted,
        attempts.traps,
        attempts.failures,
        attempts.crashes,
    ] {
        put_varint(out, count.into());
    }
    put_option(out, attempts.first_failed, |out, Millis(at)| {
        put_varint(out, at)
    });
    put_option(out, attempts.aging_since, |out, Active(at)| {
        put_varint(out, at)
    });
}

pub(super) fn attempts(input: &mut Input) -> Result<Attempts, DecodeError> {
    Ok(Attempts {
        counted: input.varint_of()?,
        traps: input.varint_of()?,
        failures: input.varint_of()?,
        crashes: input.varint_of()?,
        first_failed: input.option(|input| input.varint().map(Millis))?,
        aging_since: input.option(|input| input.varint().map(Active))?,
    })
}

#[cfg(test)]
pub(super) mod tests;
