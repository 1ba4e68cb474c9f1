//! The parts of keys that are of any length: written so that none is the beginning of another.

use bytes::Bytes;
use weir_core::identity::Hash128;
use weir_core::unit::{ItemId, Position, SequenceKey, TimerSlot};

const KEYED: u8 = 0;
const ALONE_RECORD: u8 = 1;
const ALONE_PARKED: u8 = 2;
const ALONE_TIMER: u8 = 3;

const NAMED: u8 = 0;
const EMISSION: u8 = 1;

/// A [`SequenceKey`] in a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::embedded) enum Sequence<'a> {
    Alone(ItemId),
    Keyed { tenant: &'a str, key: &'a [u8] },
}

/// A [`TimerSlot`] in a key. The last part: with an empty name it is the prefix of all slots of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::embedded) enum Slot<'a> {
    Named(&'a str),
    Emission(&'a str),
}

impl<'a> From<&'a SequenceKey> for Sequence<'a> {
    fn from(sequence: &'a SequenceKey) -> Self {
        match sequence {
            SequenceKey::Alone(item) => Self::Alone(*item),
            SequenceKey::Keyed { tenant, key } => Self::Keyed { tenant, key },
        }
    }
}

impl From<Sequence<'_>> for SequenceKey {
    fn from(sequence: Sequence<'_>) -> Self {
        match sequence {
            Sequence::Alone(item) => Self::Alone(item),
            Sequence::Keyed { tenant, key } => Self::Keyed {
                tenant: tenant.into(),
                key: Bytes::copy_from_slice(key),
            },
        }
    }
}

impl<'a> From<&'a TimerSlot> for Slot<'a> {
    fn from(slot: &'a TimerSlot) -> Self {
        match slot {
            TimerSlot::Named(name) => Self::Named(name),
            TimerSlot::Emission(id) => Self::Emission(id),
        }
    }
}

impl From<Slot<'_>> for TimerSlot {
    fn from(slot: Slot<'_>) -> Self {
        match slot {
            Slot::Named(name) => Self::Named(name.into()),
            Slot::Emission(id) => Self::Emission(id.into()),
        }
    }
}

impl<'a> Sequence<'a> {
    pub(super) fn put(self, out: &mut Vec<u8>) {
        match self {
            Self::Keyed { tenant, key } => {
                out.push(KEYED);
                put_field(out, tenant.as_bytes());
                put_field(out, key);
            }
            Self::Alone(ItemId::Record(Position { topic, offset })) => {
                out.push(ALONE_RECORD);
                out.extend_from_slice(&topic.to_be_bytes());
                out.extend_from_slice(&offset.to_be_bytes());
            }
            Self::Alone(ItemId::Parked(number)) => {
                out.push(ALONE_PARKED);
                out.extend_from_slice(&number.to_be_bytes());
            }
            Self::Alone(ItemId::Timer(Hash128(id))) => {
                out.push(ALONE_TIMER);
                out.extend_from_slice(&id);
            }
        }
    }

    pub(super) fn take(rest: &mut &'a [u8]) -> Option<Self> {
        Some(match u8_off(rest)? {
            KEYED => Self::Keyed {
                tenant: str::from_utf8(field_off(rest)?).ok()?,
                key: field_off(rest)?,
            },
            ALONE_RECORD => Self::Alone(ItemId::Record(Position {
                topic: u16::from_be_bytes(array_off(rest)?),
                offset: u64_off(rest)?,
            })),
            ALONE_PARKED => Self::Alone(ItemId::Parked(u64_off(rest)?)),
            ALONE_TIMER => Self::Alone(ItemId::Timer(Hash128(array_off(rest)?))),
            _ => return None,
        })
    }
}

impl<'a> Slot<'a> {
    pub(super) fn put(self, out: &mut Vec<u8>) {
        let (kind, name) = match self {
            Self::Named(name) => (NAMED, name),
            Self::Emission(id) => (EMISSION, id),
        };
        out.push(kind);
        out.extend_from_slice(name.as_bytes());
    }

    pub(super) fn take(rest: &mut &'a [u8]) -> Option<Self> {
        let kind = u8_off(rest)?;
        let name = str::from_utf8(std::mem::take(rest)).ok()?;
        match kind {
            NAMED => Some(Self::Named(name)),
            EMISSION => Some(Self::Emission(name)),
            _ => None,
        }
    }
}

/// The length first, so that no field is the beginning of a longer one.
pub(super) fn put_field(out: &mut Vec<u8>, field: &[u8]) {
    let len = u32::try_from(field.len()).expect("tenants and keys are far below 4 GiB");
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(field);
}

pub(super) fn field_off<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = usize::try_from(u32_off(rest)?).ok()?;
    let (field, after) = rest.split_at_checked(len)?;
    *rest = after;
    Some(field)
}

pub(super) fn array_off<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (array, after) = rest.split_first_chunk::<N>()?;
    *rest = after;
    Some(*array)
}

pub(super) fn u32_off(rest: &mut &[u8]) -> Option<u32> {
    array_off(rest).map(u32::from_be_bytes)
}

pub(super) fn u64_off(rest: &mut &[u8]) -> Option<u64> {
    array_off(rest).map(u64::from_be_bytes)
}

fn u8_off(rest: &mut &[u8]) -> Option<u8> {
    array_off(rest).map(|[byte]| byte)
}
