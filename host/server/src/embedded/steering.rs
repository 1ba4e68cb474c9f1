//! What an operator has commanded of a subscription: the value of [`Key::Steering`](super::key::Key::Steering).
//!
//! `version u8, paused bool, breaker u8`.

use bytes::Bytes;

use super::codec::{DecodeError, Input};
use crate::steering::{BreakerCommand, Steering};

const VERSION: u8 = 1;

pub(super) fn encode(steering: Steering) -> Vec<u8> {
    let breaker = match steering.breaker {
        BreakerCommand::Auto => 0,
        BreakerCommand::Open => 1,
        BreakerCommand::Close => 2,
    };
    vec![VERSION, u8::from(steering.paused), breaker]
}

pub(super) fn decode(bytes: &[u8]) -> Result<Steering, DecodeError> {
    let mut input = Input::versioned("steering", Bytes::copy_from_slice(bytes), VERSION)?;
    let paused = input.bool()?;
    let breaker = match input.u8()? {
        0 => BreakerCommand::Auto,
        1 => BreakerCommand::Open,
        2 => BreakerCommand::Close,
        _ => return Err(input.malformed()),
    };
    input.finish()?;
    Ok(Steering { paused, breaker })
}

#[cfg(test)]
mod tests;
