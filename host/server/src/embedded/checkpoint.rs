//! How far the local copy of a ledger is with its changelog: the value of [`Key::Checkpoint`](super::key::Key::Checkpoint).
//!
//! `version u8, at u64, (topic id u128, next u64)` of the ledger and of what is parked.

use std::time::Duration;

use bytes::Bytes;
use weir_core::time::Millis;

use super::codec::{DecodeError, Input};

/// A copy of version 1 does not say when its state expires.
const VERSION: u8 = 2;

/// The topics that a changelog consists of; the discriminant is its place in a [`Checkpoint`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Log {
    /// All but the parked events.
    Ledger = 0,
    /// Parked events, of which there are many and large ones.
    Park = 1,
}

/// What the copy of a partition holds: of each topic of its changelog all that is committed before an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    /// No later than the first entry that it may lack was written.
    pub(crate) at: Millis,
    /// By [`Log`].
    pub(crate) logs: [Reached; 2],
}

/// How far the copy is with one topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reached {
    /// Which topic: one that was made anew has another id.
    pub(crate) topic: u128,
    /// One past the last entry that the copy holds.
    pub(crate) next: u64,
}

/// A topic's partition as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) topic: u128,
    /// The first offset.
    pub(crate) first: u64,
    /// The high watermark.
    pub(crate) end: u64,
}

impl Checkpoint {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        out.extend_from_slice(&self.at.0.to_le_bytes());
        for Reached { topic, next } in self.logs {
            out.extend_from_slice(&topic.to_le_bytes());
            out.extend_from_slice(&next.to_le_bytes());
        }
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut input = Input::versioned("checkpoint", Bytes::copy_from_slice(bytes), VERSION)?;
        let at = Millis(input.u64()?);
        let mut logs = [Reached::default(); 2];
        for log in &mut logs {
            log.topic = u128::from_le_bytes(input.array()?);
            log.next = input.u64()?;
        }
        input.finish()?;
        Ok(Self { at, logs })
    }

    /// Why nobody may go on from here; none when all that the copy lacks is still in these topics, removals too.
    pub(crate) fn flaw(&self, found: [Extent; 2], now: Millis, age_max: Duration) -> Option<Flaw> {
        let is_other = |(reached, found): (&Reached, &Extent)| reached.topic != found.topic;
        let is_outside = |(reached, found): (&Reached, &Extent)| {
            !(found.first..=found.end).contains(&reached.next)
        };
        let mut pairs = self.logs.iter().zip(&found);
        if pairs.clone().any(is_other) {
            Some(Flaw::OtherTopic)
        } else if pairs.any(is_outside) {
            Some(Flaw::Outside)
        } else if self.is_old(now, age_max) {
            Some(Flaw::Old)
        } else {
            None
        }
    }

    /// Whether what it says may lack removals.
    pub(crate) fn is_old(&self, now: Millis, age_max: Duration) -> bool {
        let age = now.0.checked_sub(self.at.0).map(Duration::from_millis);
        age.is_none_or(|age| age >= age_max)
    }

    /// How far the copy is with a unit that was staged at this time, of whose entries these are the last.
    pub(crate) fn after(&self, staged_at: Millis, last: [Option<u64>; 2]) -> Self {
        let mut next = Self {
            at: staged_at,
            ..*self
        };
        for (log, last) in next.logs.iter_mut().zip(last) {
            log.next = last.map_or(log.next, |last| log.next.max(last + 1));
        }
        next
    }
}

/// What is wrong with a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// A topic was made anew.
    OtherTopic,
    /// A topic begins after the position, or ends before it.
    Outside,
    /// The removal of an entry may be gone from the topic by now, or the clock has gone back behind it.
    Old,
}

#[cfg(test)]
mod tests;
