//! The ids that one unit of work marked: the value of [`Key::InboxBlock`](super::key::Key::InboxBlock).
//!
//! `version u8, stream time u64, staged at u64, id [u8; 16]*`; the unit's number is in the key.

use bytes::Bytes;
use weir_core::identity::Hash128;
use weir_core::time::Millis;
use weir_core::unit::{InboxBlock, Unit};

use super::codec::{DecodeError, Input};

const VERSION: u8 = 1;

/// The block of a unit; none when it marks nothing.
pub(super) fn encode_unit(unit: &Unit) -> Option<Vec<u8>> {
    let mut marks = unit
        .completions
        .iter()
        .filter_map(|completion| completion.mark)
        .peekable();
    marks.peek()?;
    let mut out = Vec::with_capacity(17 + 16 * unit.completions.len());
    out.push(VERSION);
    out.extend_from_slice(&unit.stream_time.0.to_le_bytes());
    out.extend_from_slice(&unit.staged_at.0.to_le_bytes());
    marks.for_each(|Hash128(id)| out.extend_from_slice(&id));
    Some(out)
}

pub(super) fn decode(unit: u64, bytes: &[u8]) -> Result<InboxBlock, DecodeError> {
    let mut input = Input::versioned("inbox block", Bytes::copy_from_slice(bytes), VERSION)?;
    let (stream_time, staged_at) = (Millis(input.u64()?), Millis(input.u64()?));
    let mut ids = Vec::with_capacity(bytes.len() / 16);
    while !input.is_empty() {
        ids.push(Hash128(input.array()?));
    }
    Ok(InboxBlock {
        unit,
        stream_time,
        staged_at,
        ids,
    })
}

#[cfg(test)]
mod tests;
