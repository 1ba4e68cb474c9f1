//! The schema of the store: every key that it holds, in one enum.
//!
//! The first byte tells the kind. Numbers are big-endian, so that the order of bytes is the order of numbers and a
//! partition is one contiguous range.

use super::codec::DecodeError;

/// A column family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    /// Topics, subscriptions, batch headers: small, read when the store opens.
    Meta,
    /// Record batches, in blob files.
    Log,
    /// Progress and inbox blocks.
    Ledger,
    /// State of sequences, read by point.
    State,
}

impl Family {
    pub(super) const ALL: [Self; 4] = [Self::Meta, Self::Log, Self::Ledger, Self::State];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Meta => "meta",
            Self::Log => "log",
            Self::Ledger => "ledger",
            Self::State => "state",
        }
    }
}

/// A kind of key that belongs to one subscription: after the kind's byte comes the subscription's number.
#[derive(Clone, Copy, Debug)]
pub(super) struct GroupKind {
    kind: u8,
    pub(super) family: Family,
    /// For people: what such entries are.
    pub(super) name: &'static str,
}

/// All of them, but for the subscription itself: what deleting a subscription deletes. A test holds it against
/// [`Key::group`].
pub(super) const OF_GROUP: [GroupKind; 3] = [
    GroupKind {
        kind: 6,
        family: Family::Ledger,
        name: "progress",
    },
    GroupKind {
        kind: 7,
        family: Family::Ledger,
        name: "inbox",
    },
    GroupKind {
        kind: 8,
        family: Family::State,
        name: "state",
    },
];

impl GroupKind {
    /// What the keys of this subscription start with.
    pub(super) fn prefix(self, group: u32) -> [u8; 5] {
        let [a, b, c, d] = group.to_be_bytes();
        [self.kind, a, b, c, d]
    }
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
    /// To unit number, cursors and open attempts.
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
}

/// Length of the common prefix of all keys of one partition: kind, topic or group, partition.
pub(super) const PARTITION_PREFIX: usize = 9;

impl<'a> Key<'a> {
    /// Where the key is kept.
    pub(super) fn family(&self) -> Family {
        match self {
            Self::Topic { .. }
            | Self::Group { .. }
            | Self::LogStart { .. }
            | Self::BatchHeader { .. } => Family::Meta,
            Self::Batch { .. } => Family::Log,
            Self::Progress { .. } | Self::InboxBlock { .. } => Family::Ledger,
            Self::State { .. } => Family::State,
        }
    }

    /// The subscription that it belongs to.
    #[cfg(test)]
    fn group(&self) -> Option<u32> {
        match *self {
            Self::Topic { .. }
            | Self::LogStart { .. }
            | Self::BatchHeader { .. }
            | Self::Batch { .. } => None,
            Self::Group { group }
            | Self::Progress { group, .. }
            | Self::InboxBlock { group, .. }
            | Self::State { group, .. } => Some(group),
        }
    }

    fn kind(&self) -> u8 {
        match self {
            Self::Topic { .. } => 1,
            Self::Group { .. } => 2,
            Self::LogStart { .. } => 3,
            Self::BatchHeader { .. } => 4,
            Self::Batch { .. } => 5,
            Self::Progress { .. } => 6,
            Self::InboxBlock { .. } => 7,
            Self::State { .. } => 8,
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(24);
        self.encode_into(&mut out);
        out
    }

    /// Appends the encoded key.
    pub(super) fn encode_into(&self, out: &mut Vec<u8>) {
        out.push(self.kind());
        let mut pair = |a: u32, b: u32| {
            out.extend_from_slice(&a.to_be_bytes());
            out.extend_from_slice(&b.to_be_bytes());
        };
        match *self {
            Self::Topic { topic: id } | Self::Group { group: id } => {
                out.extend_from_slice(&id.to_be_bytes())
            }
            Self::LogStart {
                topic: id,
                partition,
            }
            | Self::Progress {
                group: id,
                partition,
            } => {
                pair(id, partition);
            }
            Self::BatchHeader {
                topic: id,
                partition,
                base: number,
            }
            | Self::Batch {
                topic: id,
                partition,
                base: number,
            }
            | Self::InboxBlock {
                group: id,
                partition,
                unit: number,
            } => {
                pair(id, partition);
                out.extend_from_slice(&number.to_be_bytes());
            }
            Self::State {
                group,
                partition,
                tenant,
                key,
                name,
            } => {
                pair(group, partition);
                // Lengths first, so that no sequence's prefix is the prefix of another's.
                for field in [tenant.as_bytes(), key] {
                    let len =
                        u32::try_from(field.len()).expect("tenants and keys are far below 4 GiB");
                    out.extend_from_slice(&len.to_be_bytes());
                    out.extend_from_slice(field);
                }
                out.extend_from_slice(name.as_bytes());
            }
        }
    }

    /// Reads a key that [`Self::encode_into`] wrote.
    pub(super) fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        Self::parse(bytes).ok_or(DecodeError::Malformed("key"))
    }

    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (&kind, mut rest) = bytes.split_first()?;
        let key = match kind {
            1 => Self::Topic {
                topic: u32_off(&mut rest)?,
            },
            2 => Self::Group {
                group: u32_off(&mut rest)?,
            },
            3 => Self::LogStart {
                topic: u32_off(&mut rest)?,
                partition: u32_off(&mut rest)?,
            },
            6 => Self::Progress {
                group: u32_off(&mut rest)?,
                partition: u32_off(&mut rest)?,
            },
            4 | 5 | 7 => {
                let (id, partition) = (u32_off(&mut rest)?, u32_off(&mut rest)?);
                let (number, after) = rest.split_first_chunk::<8>()?;
                rest = after;
                let number = u64::from_be_bytes(*number);
                match kind {
                    4 => Self::BatchHeader {
                        topic: id,
                        partition,
                        base: number,
                    },
                    5 => Self::Batch {
                        topic: id,
                        partition,
                        base: number,
                    },
                    _ => Self::InboxBlock {
                        group: id,
                        partition,
                        unit: number,
                    },
                }
            }
            8 => {
                let (group, partition) = (u32_off(&mut rest)?, u32_off(&mut rest)?);
                let tenant = str::from_utf8(field_off(&mut rest)?).ok()?;
                let key = field_off(&mut rest)?;
                let name = str::from_utf8(std::mem::take(&mut rest)).ok()?;
                Self::State {
                    group,
                    partition,
                    tenant,
                    key,
                    name,
                }
            }
            _ => return None,
        };
        rest.is_empty().then_some(key)
    }
}

fn u32_off(rest: &mut &[u8]) -> Option<u32> {
    let (number, after) = rest.split_first_chunk::<4>()?;
    *rest = after;
    Some(u32::from_be_bytes(*number))
}

fn field_off<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = usize::try_from(u32_off(rest)?).ok()?;
    let (field, after) = rest.split_at_checked(len)?;
    *rest = after;
    Some(field)
}

#[cfg(test)]
mod tests;
