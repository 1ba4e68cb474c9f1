//! What is kept of a subscription at least once: committed offsets, and beside each the number of the last unit and the
//! topic that it stands on.
//!
//! `unit`, or `unit topic-id partitions`, with the id in hexadecimal digits, is the metadata of an offset. The first is what
//! a transaction writes, so that a group which changes from one delivery to the other finds what it had.

use std::collections::HashMap;

use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use weir_core::unit::{Cursor, Restore};

use super::cluster::Cluster;
use super::committers::Request;
use super::native::Description;
use super::patience::{self, RestoreError};
use super::records::{number, offset};
use super::share::Share;
use super::waiting::ANSWER;
use crate::bus::SubscribeError;
use crate::ledger::{LostPosition, Stood};

/// The metadata of one topic's offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OffsetMetadata {
    pub(super) unit: u64,
    pub(super) topic: Option<Description>,
}

impl OffsetMetadata {
    pub(super) fn encode(&self) -> String {
        match &self.topic {
            None => self.unit.to_string(),
            Some(Description { id, partitions }) => {
                format!("{} {id:032x} {partitions}", self.unit)
            }
        }
    }

    /// None of an offset that others have set.
    pub(super) fn decode(text: &str) -> Option<Self> {
        let mut parts = text.split(' ');
        let unit = parts.next().and_then(|unit| unit.parse().ok())?;
        let topic = match (parts.next(), parts.next()) {
            (Some(id), Some(partitions)) => u128::from_str_radix(id, 16)
                .ok()
                .zip(partitions.parse().ok())
                .map(|(id, partitions)| Description { id, partitions }),
            _ => None,
        };
        Some(Self { unit, topic })
    }
}

/// An offset that others have set is a position all the same, so it counts as that of a first unit.
const OF_OTHERS: OffsetMetadata = OffsetMetadata {
    unit: 1,
    topic: None,
};

/// The number of the last unit that the group has committed of each partition of `list`, as the broker has answered it;
/// where all offsets are of others, or none is there, there is none.
pub(super) fn units(list: &TopicPartitionList) -> Result<HashMap<u32, u64>, KafkaError> {
    let mut units = HashMap::new();
    for element in list.elements() {
        element.error()?;
        let found = OffsetMetadata::decode(element.metadata()).map(|metadata| metadata.unit);
        if let (Ok(partition), Some(found)) = (u32::try_from(element.partition()), found) {
            let known = units.entry(partition).or_insert(found);
            *known = found.max(*known);
        }
    }
    Ok(units)
}

/// What units commit: of all topics of their partitions, of those too that have not moved. `topic` is what is said of a
/// topic beside its position.
pub(super) fn positions<'a>(
    share: &Share,
    requests: impl IntoIterator<Item = &'a Request>,
    topic: impl Fn(usize) -> Option<Description>,
) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for request in requests {
        let (partition, unit) = (request.partition, &request.unit);
        for (index, name) in share.topics_of(partition) {
            let index = usize::from(index);
            let Some(cursor) = unit.cursors.get(index) else {
                continue;
            };
            let metadata = OffsetMetadata {
                unit: unit.number,
                topic: topic(index),
            };
            let mut element = list.add_partition(name, number(partition));
            element.set_metadata(metadata.encode());
            element
                .set_offset(Offset::Offset(offset(cursor.frontier)))
                .expect("an absolute offset is always taken");
        }
    }
    list
}

/// An offset with its metadata; none where none is committed.
type Kept = Option<(u64, OffsetMetadata)>;

/// The committed offset of each topic of a partition, by index in the subscription's order.
fn committed(share: &Share, partition: u32) -> Result<Vec<(u16, Kept)>, RestoreError> {
    let consumer = share.consumer().ok_or(RestoreError::NoMember)?;
    let found = consumer
        .committed_offsets(share.partitions_of([partition]), ANSWER)
        .map_err(RestoreError::Offsets)?;
    let mut committed = Vec::new();
    for (index, topic) in share.topics_of(partition) {
        let element = found.find_partition(topic, number(partition));
        let kept: Kept = match element {
            None => None,
            Some(element) => {
                element.error().map_err(RestoreError::Offsets)?;
                match element.offset() {
                    Offset::Offset(offset) => u64::try_from(offset)
                        .ok()
                        .map(|offset| (offset, OffsetMetadata::decode(element.metadata())))
                        .map(|(offset, metadata)| (offset, metadata.unwrap_or(OF_OTHERS))),
                    Offset::Beginning
                    | Offset::End
                    | Offset::Stored
                    | Offset::Invalid
                    | Offset::OffsetTail(_) => None,
                }
            }
        };
        committed.push((index, kept));
    }
    Ok(committed)
}

/// Where a partition goes on; unit zero of one that nothing was committed of.
pub(super) fn restore(share: &Share, partition: u32) -> Result<Restore, RestoreError> {
    let mut restored = Restore {
        cursors: vec![Cursor::default(); share.scope.topics.len()],
        ..Restore::default()
    };
    for (index, kept) in committed(share, partition)? {
        if let Some((offset, metadata)) = kept {
            restored.unit = restored.unit.max(metadata.unit);
            restored.cursors[usize::from(index)].frontier = offset;
        }
    }
    Ok(restored)
}

/// The positions from which a partition cannot go on.
///
/// With a topic that is deleted Kafka forgets its offsets. A group without any is a new one, unless this process knows
/// another topic by that name.
pub(super) fn lost(
    cluster: &Cluster,
    share: &Share,
    partition: u32,
) -> Result<Vec<LostPosition>, RestoreError> {
    let committed = committed(share, partition)?;
    let is_new = |(topic, kept): &(u16, Kept)| {
        kept.is_none() && !share.origin.is_remade(&share.first, usize::from(*topic))
    };
    if committed.iter().all(is_new) {
        return refuse_grown(share).map(|()| Vec::new());
    }
    let bounds = patience::bounds(cluster, share, partition)?;
    let mut lost = Vec::new();
    for (topic, kept) in committed {
        let index = usize::from(topic);
        let found = share.origin.topics[index].description;
        let stood = match kept.map(|(offset, metadata)| (offset, metadata.topic)) {
            None => Stood::Nowhere,
            Some((offset, None)) => Stood::At(offset),
            Some((offset, Some(stood_on))) if stood_on.id != found.id => Stood::OnAnother(offset),
            Some((offset, Some(stood_on))) => {
                unchanged(share, &share.scope.topics[index], stood_on, found)?;
                Stood::At(offset)
            }
        };
        lost.extend(LostPosition::of(topic, stood, bounds[index]));
    }
    Ok(lost)
}

/// A partition of which nothing is committed is new with its whole group, or has been added to its topic.
fn refuse_grown(share: &Share) -> Result<(), RestoreError> {
    let consumer = share.consumer().ok_or(RestoreError::NoMember)?;
    let largest = share.origin.topics.iter();
    let largest = largest.map(|topic| topic.description.partitions).max();
    let all = share.partitions_of(0..largest.unwrap_or_default());
    let kept = consumer
        .committed_offsets(all, ANSWER)
        .map_err(RestoreError::Offsets)?;
    let elements = kept.elements();
    for (name, topic) in share.scope.topics.iter().zip(&share.origin.topics) {
        let of_topic = elements.iter().filter(|one| one.topic() == &**name);
        for element in of_topic {
            element.error().map_err(RestoreError::Offsets)?;
            let stood_on = OffsetMetadata::decode(element.metadata()).and_then(|kept| kept.topic);
            if let Some(stood_on) = stood_on {
                unchanged(share, name, stood_on, topic.description)?;
            }
        }
    }
    Ok(())
}

/// Refuses a topic that has another number of partitions than when a position in it was committed.
fn unchanged(
    share: &Share,
    topic: &str,
    stood_on: Description,
    found: Description,
) -> Result<(), RestoreError> {
    if stood_on.id != found.id || stood_on.partitions == found.partitions {
        return Ok(());
    }
    Err(RestoreError::Changed(SubscribeError::PartitionCount {
        group: share.scope.group.to_string(),
        topic: topic.to_owned(),
        stored: stood_on.partitions,
        found: found.partitions,
    }))
}

#[cfg(test)]
mod tests;
