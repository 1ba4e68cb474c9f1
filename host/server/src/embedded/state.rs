//! A value of a sequence: the value of [`Key::State`](super::key::Key::State).
//!
//! `version u8, expires at u64 (zero: never), value`.

use std::time::Duration;

use bytes::Bytes;
use weir_core::time::Millis;

use super::codec::{DecodeError, Input};

const VERSION: u8 = 1;
/// Bytes before the value: version and expiry.
const HEADER: usize = 9;

/// Between two looks for what has expired, at least.
const STEP_MS_MIN: u64 = 1_000;
/// A name that is set again and again is looked for so often in the time that it lives, and up to twice as often.
const STEPS: u64 = 16;

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

/// When to look whether a value that expires then is still the same: after it, by a part of its life. Values of one name that
/// expire about the same time have the same.
pub(super) fn look_at(expires: Millis, life: Duration) -> Millis {
    let life = u64::try_from(life.as_millis()).unwrap_or(u64::MAX);
    let step = (life / STEPS).next_power_of_two().max(STEP_MS_MIN);
    Millis((expires.0 / step).saturating_add(1).saturating_mul(step))
}

/// When a value expires, without a copy of it.
pub(super) fn expires(bytes: &[u8]) -> Option<Millis> {
    let (header, _) = bytes.split_first_chunk::<HEADER>()?;
    let [VERSION, expires @ ..] = header else {
        return None;
    };
    Some(Millis(u64::from_le_bytes(*expires))).filter(|expires| expires.0 != 0)
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
    expires(bytes).is_some_and(|expires| expires <= now)
}

#[cfg(test)]
mod tests;
