//! Replay jobs: the values of [`Key::Job`](super::key::Key::Job) and [`Key::JobProgress`](super::key::Key::JobProgress).
//!
//! Apart, because what a job is to do is written once, and how far it is many times.
//!
//! `version u8, created u64, rate u32, selection, sequences varint, (letters varint, (topic varint, partition varint,
//! offset varint, id [16])*)*` and `version u8, state u8, letters varint, step u8*, partitions varint, offset varint*`.

use std::num::NonZeroU32;

use bytes::Bytes;
use weir_core::identity::Hash128;
use weir_core::replay::{Fate, State, Step};
use weir_core::time::Millis;

use super::codec::{DecodeError, Input, put_bytes, put_varint};
use crate::jobs::{Plan, Planned, Progress};
use crate::letters::Place;

const VERSION: u8 = 1;
/// Three varints and an identity.
const PLANNED_BYTES_MIN: usize = 3 + 16;

pub(crate) fn encode_plan(plan: &Plan) -> Vec<u8> {
    let mut out = vec![VERSION];
    out.extend_from_slice(&plan.created.0.to_le_bytes());
    out.extend_from_slice(&plan.per_second.get().to_le_bytes());
    put_bytes(&mut out, plan.selection.as_bytes());
    put_varint(&mut out, plan.sequences.len() as u64);
    for letters in &plan.sequences {
        put_varint(&mut out, letters.len() as u64);
        for Planned { id, place } in letters {
            put_varint(&mut out, place.topic.into());
            put_varint(&mut out, place.partition.into());
            put_varint(&mut out, place.offset);
            out.extend_from_slice(&id.0);
        }
    }
    out
}

pub(crate) fn decode_plan(bytes: &[u8]) -> Result<Plan, DecodeError> {
    let mut input = Input::versioned("job", Bytes::copy_from_slice(bytes), VERSION)?;
    let created = Millis(input.u64()?);
    let per_second = NonZeroU32::new(input.u32()?).ok_or_else(|| input.malformed())?;
    let selection = input.string()?;
    let sequences = input.list(1 + PLANNED_BYTES_MIN, |input| {
        let letters = input.list(PLANNED_BYTES_MIN, |input| {
            let place = Place {
                topic: input.varint_of()?,
                partition: input.varint_of()?,
                offset: input.varint()?,
            };
            let id = Hash128(input.array()?);
            Ok(Planned { id, place })
        })?;
        if letters.is_empty() {
            return Err(input.malformed());
        }
        Ok(letters)
    })?;
    input.finish()?;
    Ok(Plan {
        created,
        per_second,
        selection,
        sequences,
    })
}

pub(crate) fn encode_progress(progress: &Progress) -> Vec<u8> {
    let state = match progress.state {
        State::Running => 0,
        State::Paused => 1,
        State::Cancelled => 2,
        State::Done => 3,
        State::FailedCanary => 4,
    };
    let mut out = vec![VERSION, state];
    put_varint(&mut out, progress.steps.len() as u64);
    out.extend(progress.steps.iter().map(|step| match step {
        Step::Left => 0,
        Step::Sent => 1,
        Step::Ended(Fate::Done) => 2,
        Step::Ended(Fate::Dropped) => 3,
        Step::Ended(Fate::Dead) => 4,
        Step::Ended(Fate::Missing) => 5,
    }));
    put_varint(&mut out, progress.commands.len() as u64);
    for offset in &progress.commands {
        put_varint(&mut out, *offset);
    }
    out
}

pub(crate) fn decode_progress(bytes: &[u8]) -> Result<Progress, DecodeError> {
    let bytes = Bytes::copy_from_slice(bytes);
    let mut input = Input::versioned("progress of a job", bytes, VERSION)?;
    let state = match input.u8()? {
        0 => State::Running,
        1 => State::Paused,
        2 => State::Cancelled,
        3 => State::Done,
        4 => State::FailedCanary,
        _ => return Err(input.malformed()),
    };
    let steps = input.list(1, |input| {
        Ok(match input.u8()? {
            0 => Step::Left,
            1 => Step::Sent,
            2 => Step::Ended(Fate::Done),
            3 => Step::Ended(Fate::Dropped),
            4 => Step::Ended(Fate::Dead),
            5 => Step::Ended(Fate::Missing),
            _ => return Err(input.malformed()),
        })
    })?;
    let commands = input.list(1, Input::varint)?;
    input.finish()?;
    Ok(Progress {
        state,
        steps,
        commands,
    })
}

#[cfg(test)]
mod tests;
