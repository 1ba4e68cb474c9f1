//! The schema of the store: every key that it holds, in one enum.
//!
//! The first byte tells the kind. Numbers are big-endian, so that the order of bytes is the order of numbers and a
//! partition is one contiguous range.

mod kind;
mod parts;

use weir_core::identity::Hash128;
use weir_core::time::Millis;
use weir_core::unit::SequenceKey;

use super::codec::DecodeError;
pub(super) use kind::{Family, GroupKind, Kind, OF_GROUP};
pub(super) use parts::{Sequence, Slot};
use parts::{array_off, field_off, put_field, u32_off, u64_off};

/// A sequence as it stands in keys of every store and changelog, for those who ask another host about it.
pub(crate) fn sequence_to_bytes(sequence: &SequenceKey) -> Vec<u8> {
    let mut out = Vec::new();
    Sequence::from(sequence).put(&mut out);
    out
}

/// The sequence that [`sequence_to_bytes`] has written.
pub(crate) fn sequence_from_bytes(mut bytes: &[u8]) -> Option<SequenceKey> {
    let sequence = Sequence::take(&mut bytes)?;
    bytes.is_empty().then(|| sequence.into())
}

/// Every kind of key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key<'a> {
    /// To its name and number of partitions.
    Topic { topic: u32 },
    /// A subscription; to its name and topics.
    Group { group: u32 },
    /// To the first kept offset; none is zero.
    LogStart { topic: u32, partition: u32 },
    /// To count, size and time of the batch at the same offset, so that retention reads no records.
    BatchHeader {
        topic: u32,
        partition: u32,
        base: u64,
    },
    /// To the records from offset `base` on.
    Batch {
        topic: u32,
        partition: u32,
        base: u64,
    },
    /// To unit number, cursors, open attempts and what else one unit leaves to the next.
    Progress { group: u32, partition: u32 },
    /// To the ids that a unit marked.
    InboxBlock {
        group: u32,
        partition: u32,
        unit: u64,
    },
    /// To a value of a sequence. With an empty name it is the prefix of all names of the sequence.
    State {
        group: u32,
        partition: u32,
        tenant: &'a str,
        key: &'a [u8],
        name: &'a str,
    },
    /// To an event that was set aside: a sequence is one range, in the order in which its events are tried.
    ParkedEvent {
        group: u32,
        partition: u32,
        sequence: Sequence<'a>,
        number: u64,
    },
    /// To count and next attempt of a parked sequence.
    ParkedHead {
        group: u32,
        partition: u32,
        sequence: Sequence<'a>,
    },
    /// To a timer.
    Timer {
        group: u32,
        partition: u32,
        sequence: Sequence<'a>,
        slot: Slot<'a>,
    },
    /// To the key of the timer that is due then: the timers of a partition in the order in which they fire.
    Due {
        group: u32,
        partition: u32,
        due: Millis,
        id: Hash128,
    },
    /// To the status of a dead letter.
    Letter {
        group: u32,
        partition: u32,
        id: Hash128,
    },
    /// Of a local copy of a ledger: a value that has expired by then, unless it was set again.
    Expiry {
        group: u32,
        partition: u32,
        at: Millis,
        tenant: &'a str,
        key: &'a [u8],
        name: &'a str,
    },
    /// Of a local copy of a ledger; to how far it is with its changelog.
    Checkpoint { group: u32, partition: u32 },
    /// To an operator's pause and command to the breaker.
    Steering { group: u32 },
    /// To what a replay job is to do; written once.
    Job { group: u32, job: u64 },
    /// To how far it is.
    JobProgress { group: u32, job: u64 },
    /// A partition that has positions; to the numbers of the topics in which they are.
    Begun { group: u32, partition: u32 },
}

/// Length of the common prefix of all keys of one partition: kind, topic or group, partition.
pub(super) const PARTITION_PREFIX: usize = 9;

impl<'a> Key<'a> {
    /// Where the key is kept.
    pub(super) fn family(&self) -> Family {
        self.kind().family()
    }

    fn kind(&self) -> Kind {
        match self {
            Self::Topic { .. } => Kind::Topic,
            Self::Group { .. } => Kind::Group,
            Self::LogStart { .. } => Kind::LogStart,
            Self::BatchHeader { .. } => Kind::BatchHeader,
            Self::Batch { .. } => Kind::Batch,
            Self::Progress { .. } => Kind::Progress,
            Self::InboxBlock { .. } => Kind::InboxBlock,
            Self::State { .. } => Kind::State,
            Self::ParkedEvent { .. } => Kind::ParkedEvent,
            Self::ParkedHead { .. } => Kind::ParkedHead,
            Self::Timer { .. } => Kind::Timer,
            Self::Due { .. } => Kind::Due,
            Self::Expiry { .. } => Kind::Expiry,
            Self::Letter { .. } => Kind::Letter,
            Self::Steering { .. } => Kind::Steering,
            Self::Job { .. } => Kind::Job,
            Self::JobProgress { .. } => Kind::JobProgress,
            Self::Begun { .. } => Kind::Begun,
            Self::Checkpoint { .. } => Kind::Checkpoint,
        }
    }

    /// The number of the topic or subscription.
    fn id(&self) -> u32 {
        match *self {
            Self::Topic { topic: id }
            | Self::LogStart { topic: id, .. }
            | Self::BatchHeader { topic: id, .. }
            | Self::Batch { topic: id, .. }
            | Self::Group { group: id }
            | Self::Steering { group: id }
            | Self::Job { group: id, .. }
            | Self::JobProgress { group: id, .. }
            | Self::Progress { group: id, .. }
            | Self::InboxBlock { group: id, .. }
            | Self::State { group: id, .. }
            | Self::ParkedEvent { group: id, .. }
            | Self::ParkedHead { group: id, .. }
            | Self::Timer { group: id, .. }
            | Self::Due { group: id, .. }
            | Self::Letter { group: id, .. }
            | Self::Begun { group: id, .. }
            | Self::Expiry { group: id, .. }
            | Self::Checkpoint { group: id, .. } => id,
        }
    }

    fn partition(&self) -> Option<u32> {
        match *self {
            Self::Topic { .. }
            | Self::Group { .. }
            | Self::Steering { .. }
            | Self::Job { .. }
            | Self::JobProgress { .. } => None,
            Self::LogStart { partition, .. }
            | Self::BatchHeader { partition, .. }
            | Self::Batch { partition, .. }
            | Self::Progress { partition, .. }
            | Self::InboxBlock { partition, .. }
            | Self::State { partition, .. }
            | Self::ParkedEvent { partition, .. }
            | Self::ParkedHead { partition, .. }
            | Self::Timer { partition, .. }
            | Self::Due { partition, .. }
            | Self::Letter { partition, .. }
            | Self::Begun { partition, .. }
            | Self::Expiry { partition, .. }
            | Self::Checkpoint { partition, .. } => Some(partition),
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(24);
        self.encode_into(&mut out);
        out
    }

    /// Appends the encoded key.
    pub(super) fn encode_into(&self, out: &mut Vec<u8>) {
        out.push(self.kind() as u8);
        out.extend_from_slice(&self.id().to_be_bytes());
        if let Some(partition) = self.partition() {
            out.extend_from_slice(&partition.to_be_bytes());
        }
        match *self {
            Self::Topic { .. }
            | Self::Group { .. }
            | Self::LogStart { .. }
            | Self::Progress { .. }
            | Self::Begun { .. }
            | Self::Checkpoint { .. }
            | Self::Steering { .. } => {}
            Self::BatchHeader { base: number, .. }
            | Self::Batch { base: number, .. }
            | Self::InboxBlock { unit: number, .. }
            | Self::Job { job: number, .. }
            | Self::JobProgress { job: number, .. } => {
                out.extend_from_slice(&number.to_be_bytes());
            }
            Self::State {
                tenant, key, name, ..
            } => {
                put_field(out, tenant.as_bytes());
                put_field(out, key);
                out.extend_from_slice(name.as_bytes());
            }
            Self::ParkedEvent {
                sequence, number, ..
            } => {
                sequence.put(out);
                out.extend_from_slice(&number.to_be_bytes());
            }
            Self::ParkedHead { sequence, .. } => sequence.put(out),
            Self::Timer { sequence, slot, .. } => {
                sequence.put(out);
                slot.put(out);
            }
            Self::Due {
                due: Millis(due),
                id: Hash128(id),
                ..
            } => {
                out.extend_from_slice(&due.to_be_bytes());
                out.extend_from_slice(&id);
            }
            Self::Expiry {
                at: Millis(at),
                tenant,
                key,
                name,
                ..
            } => {
                out.extend_from_slice(&at.to_be_bytes());
                put_field(out, tenant.as_bytes());
                put_field(out, key);
                out.extend_from_slice(name.as_bytes());
            }
            Self::Letter {
                id: Hash128(id), ..
            } => out.extend_from_slice(&id),
        }
    }

    /// Reads a key that [`Self::encode_into`] wrote.
    pub(super) fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        Self::parse(bytes).ok_or(DecodeError::Malformed("key"))
    }

    fn parse_state(group: u32, rest: &mut &'a [u8]) -> Option<Self> {
        Some(Self::State {
            group,
            partition: u32_off(rest)?,
            tenant: str::from_utf8(field_off(rest)?).ok()?,
            key: field_off(rest)?,
            name: str::from_utf8(std::mem::take(rest)).ok()?,
        })
    }

    fn parse_parked_event(group: u32, rest: &mut &'a [u8]) -> Option<Self> {
        Some(Self::ParkedEvent {
            group,
            partition: u32_off(rest)?,
            sequence: Sequence::take(rest)?,
            number: u64_off(rest)?,
        })
    }

    fn parse_due(group: u32, rest: &mut &'a [u8]) -> Option<Self> {
        Some(Self::Due {
            group,
            partition: u32_off(rest)?,
            due: Millis(u64_off(rest)?),
            id: Hash128(array_off(rest)?),
        })
    }

    fn parse_expiry(group: u32, rest: &mut &'a [u8]) -> Option<Self> {
        Some(Self::Expiry {
            group,
            partition: u32_off(rest)?,
            at: Millis(u64_off(rest)?),
            tenant: str::from_utf8(field_off(rest)?).ok()?,
            key: field_off(rest)?,
            name: str::from_utf8(std::mem::take(rest)).ok()?,
        })
    }

    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (&kind, mut rest) = bytes.split_first()?;
        let kind = Kind::ALL.into_iter().find(|known| *known as u8 == kind)?;
        let id = u32_off(&mut rest)?;
        let key = match kind {
            Kind::Topic => Self::Topic { topic: id },
            Kind::Group => Self::Group { group: id },
            Kind::LogStart => Self::LogStart {
                topic: id,
                partition: u32_off(&mut rest)?,
            },
            Kind::BatchHeader => Self::BatchHeader {
                topic: id,
                partition: u32_off(&mut rest)?,
                base: u64_off(&mut rest)?,
            },
            Kind::Batch => Self::Batch {
                topic: id,
                partition: u32_off(&mut rest)?,
                base: u64_off(&mut rest)?,
            },
            Kind::Progress => Self::Progress {
                group: id,
                partition: u32_off(&mut rest)?,
            },
            Kind::Begun => Self::Begun {
                group: id,
                partition: u32_off(&mut rest)?,
            },
            Kind::Checkpoint => Self::Checkpoint {
                group: id,
                partition: u32_off(&mut rest)?,
            },
            Kind::InboxBlock => Self::InboxBlock {
                group: id,
                partition: u32_off(&mut rest)?,
                unit: u64_off(&mut rest)?,
            },
            Kind::State => Self::parse_state(id, &mut rest)?,
            Kind::ParkedEvent => Self::parse_parked_event(id, &mut rest)?,
            Kind::ParkedHead => Self::ParkedHead {
                group: id,
                partition: u32_off(&mut rest)?,
                sequence: Sequence::take(&mut rest)?,
            },
            Kind::Timer => Self::Timer {
                group: id,
                partition: u32_off(&mut rest)?,
                sequence: Sequence::take(&mut rest)?,
                slot: Slot::take(&mut rest)?,
            },
            Kind::Due => Self::parse_due(id, &mut rest)?,
            Kind::Expiry => Self::parse_expiry(id, &mut rest)?,
            Kind::Letter => Self::Letter {
                group: id,
                partition: u32_off(&mut rest)?,
                id: Hash128(array_off(&mut rest)?),
            },
            Kind::Steering => Self::Steering { group: id },
            Kind::Job => Self::Job {
                group: id,
                job: u64_off(&mut rest)?,
            },
            Kind::JobProgress => Self::JobProgress {
                group: id,
                job: u64_off(&mut rest)?,
            },
        };
        rest.is_empty().then_some(key)
    }
}

#[cfg(test)]
mod tests;
