//! A value of a sequence: the value of [`Key::State`](super::key::Key::State).
//!
//! `version u8, expires at u64 (zero: never), value`.

use bytes::Bytes;
use weir_core::time::Millis;

use super::codec::{DecodeError, Input};

const VERSION: u8 = 1;
/// Bytes before the value: version and expiry.
const HEADER: usize = 9;

/// A stored value and when it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StateValue {
    pub(super) expires: Option<Millis>,
    pub(super) value: Bytes,
}

impl StateValue {
    pub(super) fn is_expired(&self, now: Millis) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }
}

/// Appends the encoded value.
pub(super) fn encode_into(out: &mut Vec<u8>, expires: Option<Millis>, value: &[u8]) {
    out.push(VERSION);
    // Zero stands for never; an expiry at the epoch's first millisecond is as past as one a millisecond later.
    let expires = expires.map_or(0, |expires| expires.0.max(1));
    out.extend_from_slice(&expires.to_le_bytes());
    out.extend_from_slice(value);
}

pub(super) fn decode(bytes: &[u8]) -> Result<StateValue, DecodeError> {
    let mut input = Input::versioned("state value", Bytes::copy_from_slice(bytes), VERSION)?;
    let expires = Some(Millis(input.u64()?)).filter(|expires| expires.0 != 0);
    Ok(StateValue {
        expires,
        value: input.rest(),
    })
}

/// The bytes of the value, without a copy of it.
pub(super) fn value_bytes(bytes: &[u8]) -> Result<usize, DecodeError> {
    match bytes.first() {
        Some(&VERSION) if bytes.len() >= HEADER => Ok(bytes.len() - HEADER),
        Some(_) | None => decode(bytes).map(|stored| stored.value.len()),
    }
}

/// Whether compaction may drop the value. One that cannot be read is kept: the read that needs it says so.
pub(super) fn is_expired(bytes: &[u8], now: Millis) -> bool {
    match bytes.split_first_chunk::<HEADER>() {
        Some(([VERSION, expires @ ..], _)) => {
            let expires = u64::from_le_bytes(*expires);
            expires != 0 && expires <= now.0
        }
        Some(_) | None => false,
    }
}

#[cfg(test)]
mod tests;
