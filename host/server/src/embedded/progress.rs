//! Where a subscription stands in a partition: the value of [`Key::Progress`](super::key::Key::Progress).
//!
//! ```text
//! version u8, unit u64, stream time u64,
//! cursors varint, (frontier varint, ranges varint, (gap varint, length varint)*)*,
//! open varint, (item, attempts)*,
//! lease varint, offset varint*, marked varint, item*, active varint, next parked varint
//! ```
//!
//! A range is stored by its distance from what precedes it, and its length. [`super::attempts`] says what an item,
//! attempts and an optional value are.

use bytes::Bytes;
use weir_core::time::Millis;
use weir_core::unit::{Active, Cursor, ItemId, OpenAttempts, Unit};

use super::attempts::{attempts, item, put_attempts, put_item};
use super::codec::{DecodeError, Input, put_varint};

const VERSION: u8 = 1;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    pub(super) unit: u64,
    pub(super) stream_time: Millis,
    pub(super) cursors: Vec<Cursor>,
    pub(super) open: Vec<OpenAttempts>,
    pub(super) lease: Vec<u64>,
    pub(super) marked: Vec<ItemId>,
    pub(super) active: Active,
    pub(super) next_parked: u64,
}

/// The value after a unit of work.
pub(super) fn encode_unit(unit: &Unit) -> Vec<u8> {
    let mut out = Vec::with_capacity(48 + 12 * unit.cursors.len() + 24 * unit.open.len());
    out.push(VERSION);
    out.extend_from_slice(&unit.number.to_le_bytes());
    out.extend_from_slice(&unit.stream_time.0.to_le_bytes());
    put_varint(&mut out, unit.cursors.len() as u64);
    for cursor in &unit.cursors {
        put_varint(&mut out, cursor.frontier);
        put_varint(&mut out, cursor.completed.len() as u64);
        let mut at = cursor.frontier;
        for &(from, to) in &cursor.completed {
            put_varint(&mut out, from - at);
            put_varint(&mut out, to - from);
            at = to;
        }
    }
    put_varint(&mut out, unit.open.len() as u64);
    for open in &unit.open {
        put_item(&mut out, open.item);
        put_attempts(&mut out, &open.attempts);
    }
    put_varint(&mut out, unit.lease.len() as u64);
    unit.lease
        .iter()
        .for_each(|&offset| put_varint(&mut out, offset));
    put_varint(&mut out, unit.marked.len() as u64);
    unit.marked
        .iter()
        .for_each(|&item| put_item(&mut out, item));
    put_varint(&mut out, unit.active.0);
    put_varint(&mut out, unit.next_parked);
    out
}

pub(super) fn decode(bytes: &[u8]) -> Result<Progress, DecodeError> {
    let mut input = Input::versioned("progress", Bytes::copy_from_slice(bytes), VERSION)?;
    let progress = Progress {
        unit: input.u64()?,
        stream_time: Millis(input.u64()?),
        cursors: input.list(2, cursor)?,
        open: input.list(8, |input| {
            Ok(OpenAttempts {
                item: item(input)?,
                attempts: attempts(input)?,
            })
        })?,
        lease: input.list(1, Input::varint)?,
        marked: input.list(1, item)?,
        active: Active(input.varint()?),
        next_parked: input.varint()?,
    };
    input.finish()?;
    Ok(progress)
}

fn cursor(input: &mut Input) -> Result<Cursor, DecodeError> {
    let frontier = input.varint()?;
    let mut at = frontier;
    let mut on = |input: &mut Input| {
        at = at
            .checked_add(input.varint()?)
            .ok_or_else(|| input.malformed())?;
        Ok(at)
    };
    let completed = input.list(2, |input| Ok((on(input)?, on(input)?)))?;
    Ok(Cursor {
        frontier,
        completed,
    })
}

#[cfg(test)]
mod tests;
