//! Topics and subscriptions by number: the values of [`Key::Topic`](super::key::Key::Topic) and
//! [`Key::Group`](super::key::Key::Group).
//!
//! `version u8, name, partitions u32` and `version u8, name, topics varint, topic name*`.

use std::sync::Arc;

use bytes::Bytes;

use super::codec::{DecodeError, Input, put_bytes, put_varint};

const VERSION: u8 = 1;

/// The topics of a subscription, in its order.
pub(super) type TopicNames = Arc<[Arc<str>]>;

pub(super) fn encode_topic(name: &str, partitions: u32) -> Vec<u8> {
    let mut out = vec![VERSION];
    put_bytes(&mut out, name.as_bytes());
    out.extend_from_slice(&partitions.to_le_bytes());
    out
}

pub(super) fn decode_topic(bytes: &[u8]) -> Result<(Arc<str>, u32), DecodeError> {
    let mut input = Input::versioned("topic", Bytes::copy_from_slice(bytes), VERSION)?;
    let topic = (input.string()?.into(), input.u32()?);
    input.finish()?;
    Ok(topic)
}

pub(super) fn encode_group(name: &str, topics: &[Arc<str>]) -> Vec<u8> {
    let mut out = vec![VERSION];
    put_bytes(&mut out, name.as_bytes());
    put_varint(&mut out, topics.len() as u64);
    topics
        .iter()
        .for_each(|topic| put_bytes(&mut out, topic.as_bytes()));
    out
}

pub(super) fn decode_group(bytes: &[u8]) -> Result<(Arc<str>, TopicNames), DecodeError> {
    let mut input = Input::versioned("subscription", Bytes::copy_from_slice(bytes), VERSION)?;
    let name = input.string()?.into();
    let count = input.count(1)?;
    let topics = (0..count)
        .map(|_| input.string().map(Arc::from))
        .collect::<Result<_, _>>()?;
    input.finish()?;
    Ok((name, topics))
}

#[cfg(test)]
mod tests;
