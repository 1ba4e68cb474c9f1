//! Topics and subscriptions by number: the values of [`Key::Topic`](super::key::Key::Topic) and
//! [`Key::Group`](super::key::Key::Group).
//!
//! `version u8, name, partitions u32` and `version u8, name, topics varint, (topic name, partitions u32)*, fixed optional
//! (ordering u8, inbox u8, across topics u8, inbox key optional text)`. Of a subscription, version 3 knows no more of `fixed`
//! than ordering and inbox, version 2 ends before it, and version 1 has no numbers of partitions either.

use std::num::NonZeroU32;
use std::sync::Arc;

use bytes::Bytes;
use weir_core::partition::Ordering;

use super::codec::{DecodeError, Input, put_bytes, put_option, put_varint};
use crate::ledger::Fixed;

const TOPIC_VERSION: u8 = 1;
const GROUP_VERSION: u8 = 5;

/// A subscription as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StoredGroup {
    pub(super) name: Arc<str>,
    /// In the subscription's order.
    pub(super) topics: Arc<[Arc<str>]>,
    /// How many partitions each topic had when the subscription first started; none: nobody noted it.
    pub(super) partitions: Vec<Option<NonZeroU32>>,
    /// None: it has not joined yet, or nobody noted it.
    pub(super) fixed: Option<Fixed>,
}

pub(super) fn encode_topic(name: &str, partitions: u32) -> Vec<u8> {
    let mut out = vec![TOPIC_VERSION];
    put_bytes(&mut out, name.as_bytes());
    out.extend_from_slice(&partitions.to_le_bytes());
    out
}

pub(super) fn decode_topic(bytes: &[u8]) -> Result<(Arc<str>, u32), DecodeError> {
    let mut input = Input::versioned("topic", Bytes::copy_from_slice(bytes), TOPIC_VERSION)?;
    let topic = (input.string()?.into(), input.u32()?);
    input.finish()?;
    Ok(topic)
}

pub(super) fn encode_group(group: &StoredGroup) -> Vec<u8> {
    let mut out = vec![GROUP_VERSION];
    put_bytes(&mut out, group.name.as_bytes());
    put_varint(&mut out, group.topics.len() as u64);
    for (topic, partitions) in group.topics.iter().zip(&group.partitions) {
        put_bytes(&mut out, topic.as_bytes());
        let partitions = partitions.map_or(0, NonZeroU32::get);
        out.extend_from_slice(&partitions.to_le_bytes());
    }
    put_option(&mut out, group.fixed.as_ref(), |out, fixed| {
        let ordering = match fixed.ordering {
            Ordering::Key => 0,
            Ordering::Partition => 1,
            Ordering::None => 2,
        };
        out.extend_from_slice(&[ordering, fixed.inbox.into(), fixed.across_topics.into()]);
        put_option(out, fixed.inbox_key.as_ref(), |out, key| {
            put_bytes(out, key.as_bytes());
        });
        put_option(out, fixed.mapping.as_ref(), |out, mapping| {
            put_bytes(out, mapping.as_bytes());
        });
    });
    out
}

pub(super) fn decode_group(bytes: &[u8]) -> Result<StoredGroup, DecodeError> {
    let older = bytes
        .first()
        .copied()
        .filter(|version| (1..GROUP_VERSION).contains(version));
    let version = older.unwrap_or(GROUP_VERSION);
    let mut input = Input::versioned("subscription", Bytes::copy_from_slice(bytes), version)?;
    let name = input.string()?.into();
    let (mut topics, mut partitions) = (Vec::new(), Vec::new());
    for _ in 0..input.count(1)? {
        topics.push(input.string()?.into());
        let number = if version > 1 { input.u32()? } else { 0 };
        partitions.push(NonZeroU32::new(number));
    }
    let fixed = match version {
        1 | 2 => None,
        _ => input.option(|input| fixed(input, version))?,
    };
    input.finish()?;
    Ok(StoredGroup {
        name,
        topics: topics.into(),
        partitions,
        fixed,
    })
}

fn fixed(input: &mut Input, version: u8) -> Result<Fixed, DecodeError> {
    let ordering = match input.u8()? {
        0 => Ordering::Key,
        1 => Ordering::Partition,
        2 => Ordering::None,
        _ => return Err(input.malformed()),
    };
    let inbox = input.bool()?;
    let (across_topics, inbox_key) = match version {
        3 => (false, None),
        _ => (input.bool()?, input.option(Input::string)?.map(Arc::from)),
    };
    let mapping = match version {
        3 | 4 => None,
        _ => input.option(Input::string)?.map(Arc::from),
    };
    Ok(Fixed {
        ordering,
        across_topics,
        inbox,
        inbox_key,
        mapping,
    })
}

#[cfg(test)]
mod tests;
