//! What became of a dead letter: the value of [`Key::Letter`](super::key::Key::Letter).
//!
//! `version u8, status u8, since u64, died optional u64`; version 1 ends before `died`.

use bytes::Bytes;
use weir_core::time::Millis;
use weir_core::unit::LetterStatus;

use super::codec::{DecodeError, Input, put_option};

const VERSION: u8 = 2;

/// What is kept of a letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StoredLetter {
    pub(super) status: LetterStatus,
    /// When it got the status.
    pub(super) since: Millis,
    /// The time of its latest record, which is the one that counts; none where an older version wrote it.
    pub(super) died: Option<Millis>,
}

impl StoredLetter {
    pub(super) fn encode_into(self, out: &mut Vec<u8>) {
        let status = match self.status {
            LetterStatus::Dead => 0,
            LetterStatus::Replaying => 1,
            LetterStatus::Done => 2,
            LetterStatus::Dropped => 3,
        };
        out.extend_from_slice(&[VERSION, status]);
        out.extend_from_slice(&self.since.0.to_le_bytes());
        put_option(out, self.died, |out, Millis(died)| {
            out.extend_from_slice(&died.to_le_bytes());
        });
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut input = Input::new("letter", Bytes::copy_from_slice(bytes));
        let found = input.u8()?;
        if !(1..=VERSION).contains(&found) {
            return Err(DecodeError::Version {
                what: "letter",
                found,
                supported: VERSION,
            });
        }
        let status = match input.u8()? {
            0 => LetterStatus::Dead,
            1 => LetterStatus::Replaying,
            2 => LetterStatus::Done,
            3 => LetterStatus::Dropped,
            _ => return Err(input.malformed()),
        };
        let since = Millis(input.u64()?);
        let died = match found {
            1 => None,
            _ => input.option(Input::u64)?.map(Millis),
        };
        input.finish()?;
        Ok(Self {
            status,
            since,
            died,
        })
    }
}

#[cfg(test)]
mod tests;
