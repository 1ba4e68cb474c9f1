//! What became of a dead letter: the value of [`Key::Letter`](super::key::Key::Letter).
//!
//! `version u8, status u8, since u64`.

use bytes::Bytes;
use weir_core::time::Millis;
use weir_core::unit::LetterStatus;

use super::codec::{DecodeError, Input};

const VERSION: u8 = 1;

/// Appends the encoded status and when the letter got it.
pub(super) fn encode_into(out: &mut Vec<u8>, status: LetterStatus, since: Millis) {
    let status = match status {
        LetterStatus::Dead => 0,
        LetterStatus::Replaying => 1,
        LetterStatus::Done => 2,
        LetterStatus::Dropped => 3,
    };
    out.extend_from_slice(&[VERSION, status]);
    out.extend_from_slice(&since.0.to_le_bytes());
}

pub(super) fn decode(bytes: &[u8]) -> Result<(LetterStatus, Millis), DecodeError> {
    let mut input = Input::versioned("letter", Bytes::copy_from_slice(bytes), VERSION)?;
    let status = match input.u8()? {
        0 => LetterStatus::Dead,
        1 => LetterStatus::Replaying,
        2 => LetterStatus::Done,
        3 => LetterStatus::Dropped,
        _ => return Err(input.malformed()),
    };
    let since = Millis(input.u64()?);
    input.finish()?;
    Ok((status, since))
}

#[cfg(test)]
mod tests;
