//! The ids that one unit of work marked: the value of [`Key::InboxBlock`](super::key::Key::InboxBlock).
//!
//! `version u8, stream time u64, staged at u64, id [u8; 16]*`; the unit's number is in the key.

use bytes::Bytes;
use weir_core::identity::Hash128;
use weir_core::time::Millis;
use weir_core::unit::{InboxBlock, Marked, Unit};

use super::codec::{DecodeError, Input};

const VERSION: u8 = 1;
/// Version and both times.
const HEAD_BYTES: usize = 1 + 8 + 8;

/// The block of a unit; none when it marks nothing.
pub(super) fn encode_unit(unit: &Unit) -> Option<Vec<u8>> {
    let mut marks = unit
        .completions
        .iter()
        .filter_map(|completion| completion.mark)
        .peekable();
    marks.peek()?;
    let mut out = Vec::with_capacity(HEAD_BYTES + 16 * unit.completions.len());
    out.push(VERSION);
    out.extend_from_slice(&unit.stream_time.0.to_le_bytes());
    out.extend_from_slice(&unit.staged_at.0.to_le_bytes());
    marks.for_each(|Hash128(id)| out.extend_from_slice(&id));
    Some(out)
}

pub(super) fn decode(unit: u64, bytes: &[u8]) -> Result<InboxBlock, DecodeError> {
    let (marked, mut input) = open(Bytes::copy_from_slice(bytes))?;
    let mut ids = Vec::with_capacity((bytes.len() - HEAD_BYTES) / 16);
    while !input.is_empty() {
        ids.push(Hash128(input.array()?));
    }
    Ok(InboxBlock {
        unit,
        stream_time: marked.stream_time,
        staged_at: marked.staged_at,
        ids: ids.into(),
    })
}

/// When the unit of a block was staged, if it marked this id. Thousands of blocks are looked through: none is copied.
pub(super) fn find(bytes: &[u8], id: Hash128) -> Result<Option<Marked>, DecodeError> {
    let ids = bytes.get(HEAD_BYTES..).unwrap_or_default();
    if !ids.chunks_exact(16).any(|marked| *marked == id.0) {
        return Ok(None);
    }
    let head = Bytes::copy_from_slice(&bytes[..HEAD_BYTES]);
    open(head).map(|(marked, _)| Some(marked))
}

fn open(bytes: Bytes) -> Result<(Marked, Input), DecodeError> {
    let mut input = Input::versioned("inbox block", bytes, VERSION)?;
    let marked = Marked {
        stream_time: Millis(input.u64()?),
        staged_at: Millis(input.u64()?),
    };
    Ok((marked, input))
}

#[cfg(test)]
mod tests;
