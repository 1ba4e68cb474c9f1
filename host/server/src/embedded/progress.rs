//! Where a subscription stands in a partition: the value of [`Key::Progress`](super::key::Key::Progress).
//!
//! ```text
//! version u8, unit u64, stream time u64,
//! cursors varint, (frontier varint, ranges varint, (gap varint, length varint)*)*,
//! open varint, (topic varint, offset varint, attempts varint, traps varint, first failed varint)*
//! ```
//!
//! A range is stored by its distance from what precedes it, and its length.

use bytes::Bytes;
use weir_core::time::Millis;
use weir_core::unit::{Cursor, OpenAttempts, Position, Unit};

use super::codec::{DecodeError, Input, put_varint};

const VERSION: u8 = 1;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    pub(super) unit: u64,
    pub(super) stream_time: Millis,
    pub(super) cursors: Vec<Cursor>,
    pub(super) open: Vec<OpenAttempts>,
}

/// The value after a unit of work.
pub(super) fn encode_unit(unit: &Unit) -> Vec<u8> {
    encode(unit.number, unit.stream_time, &unit.cursors, &unit.open)
}

fn encode(unit: u64, stream_time: Millis, cursors: &[Cursor], open: &[OpenAttempts]) -> Vec<u8> {
    let mut out = Vec::with_capacity(32 + 8 * cursors.len() + 16 * open.len());
    out.push(VERSION);
    out.extend_from_slice(&unit.to_le_bytes());
    out.extend_from_slice(&stream_time.0.to_le_bytes());
    put_varint(&mut out, cursors.len() as u64);
    for cursor in cursors {
        put_varint(&mut out, cursor.frontier);
        put_varint(&mut out, cursor.completed.len() as u64);
        let mut at = cursor.frontier;
        for &(from, to) in &cursor.completed {
            put_varint(&mut out, from - at);
            put_varint(&mut out, to - from);
            at = to;
        }
    }
    put_varint(&mut out, open.len() as u64);
    for open in open {
        put_varint(&mut out, open.position.topic.into());
        put_varint(&mut out, open.position.offset);
        put_varint(&mut out, open.attempts.into());
        put_varint(&mut out, open.traps.into());
        put_varint(&mut out, open.first_failed.0);
    }
    out
}

pub(super) fn decode(bytes: &[u8]) -> Result<Progress, DecodeError> {
    let mut input = Input::versioned("progress", Bytes::copy_from_slice(bytes), VERSION)?;
    let (unit, stream_time) = (input.u64()?, Millis(input.u64()?));
    let count = input.count(2)?;
    let mut cursors = Vec::with_capacity(count);
    for _ in 0..count {
        let frontier = input.varint()?;
        let ranges = input.count(2)?;
        let mut completed = Vec::with_capacity(ranges);
        let mut at = frontier;
        for _ in 0..ranges {
            let from = at
                .checked_add(input.varint()?)
                .ok_or_else(|| input.malformed())?;
            at = from
                .checked_add(input.varint()?)
                .ok_or_else(|| input.malformed())?;
            completed.push((from, at));
        }
        cursors.push(Cursor {
            frontier,
            completed,
        });
    }
    let count = input.count(5)?;
    let mut open = Vec::with_capacity(count);
    for _ in 0..count {
        open.push(OpenAttempts {
            position: Position {
                topic: u16::try_from(input.varint()?).map_err(|_range| input.malformed())?,
                offset: input.varint()?,
            },
            attempts: u32::try_from(input.varint()?).map_err(|_range| input.malformed())?,
            traps: u32::try_from(input.varint()?).map_err(|_range| input.malformed())?,
            first_failed: Millis(input.varint()?),
        });
    }
    input.finish()?;
    Ok(Progress {
        unit,
        stream_time,
        cursors,
        open,
    })
}

#[cfg(test)]
mod tests;
