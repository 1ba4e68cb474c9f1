//! What a partition of a subscription stands on: the topics and the settings that there were when its start was
//! committed. It lies in the ledger with the positions, so that every owner meets the same.
//!
//! `version u8, ordering u8, inbox u8, across topics u8, length of the inbox key u16, inbox key, length of the mapping u16,
//! mapping, (topic id 16 bytes, partitions u32)*`, in the order of the subscription; no key or mapping is one of no length.
//! Version 1 has nothing between inbox and topics, version 2 no mapping.

use std::sync::Arc;

use weir_core::partition::Ordering;

use super::native::Description;
use crate::bus::SubscribeError;
use crate::ledger::{Fixed, Scope};

const VERSION: u8 = 3;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) fixed: Fixed,
    pub(super) topics: Vec<Description>,
}

impl Origin {
    pub(super) fn encode(&self) -> Vec<u8> {
        let ordering = match self.fixed.ordering {
            Ordering::Key => 0,
            Ordering::Partition => 1,
            Ordering::None => 2,
        };
        let Fixed {
            inbox,
            across_topics,
            ..
        } = self.fixed;
        let mut out = vec![VERSION, ordering, inbox.into(), across_topics.into()];
        for text in [&self.fixed.inbox_key, &self.fixed.mapping] {
            let text = text.as_deref().unwrap_or_default();
            let length = u16::try_from(text.len()).expect("a manifest has no longer texts");
            out.extend_from_slice(&length.to_le_bytes());
            out.extend_from_slice(text.as_bytes());
        }
        for topic in &self.topics {
            out.extend_from_slice(&topic.id.to_be_bytes());
            out.extend_from_slice(&topic.partitions.to_le_bytes());
        }
        out
    }

    /// None of what this version does not know.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (version, ordering, inbox, rest) = match bytes {
            [version @ 1..=VERSION, ordering, inbox, rest @ ..] => {
                (*version, ordering, inbox, rest)
            }
            _ => return None,
        };
        let (across_topics, inbox_key, mapping, topics) = match (version, rest) {
            (1, topics) => (false, None, None, topics),
            (2, [across_topics, rest @ ..]) => {
                let (key, topics) = text(rest)?;
                (*across_topics != 0, key, None, topics)
            }
            (_, [across_topics, rest @ ..]) => {
                let (key, rest) = text(rest)?;
                let (mapping, topics) = text(rest)?;
                (*across_topics != 0, key, mapping, topics)
            }
            _ => return None,
        };
        let ordering = match ordering {
            0 => Ordering::Key,
            1 => Ordering::Partition,
            2 => Ordering::None,
            _ => return None,
        };
        let (topics, []) = topics.as_chunks::<20>() else {
            return None;
        };
        let topic = |bytes: &[u8; 20]| {
            let (id, partitions) = bytes.split_at(16);
            Some(Description {
                id: u128::from_be_bytes(id.try_into().ok()?),
                partitions: u32::from_le_bytes(partitions.try_into().ok()?),
            })
        };
        Some(Self {
            fixed: Fixed {
                ordering,
                across_topics,
                inbox: *inbox != 0,
                inbox_key,
                mapping,
            },
            topics: topics.iter().map(topic).collect::<Option<_>>()?,
        })
    }

    /// Whether what was kept may go on as this. A topic that is another one is for [`super::restore::lost`] to say.
    pub(super) fn check(&self, kept: &Self, scope: &Scope) -> Result<(), SubscribeError> {
        let group = || scope.group.to_string();
        let topics = scope
            .topics
            .iter()
            .zip(self.topics.iter().zip(&kept.topics));
        for (topic, (found, stored)) in topics {
            if found.partitions != stored.partitions {
                return Err(SubscribeError::PartitionCount {
                    group: group(),
                    topic: topic.to_string(),
                    stored: stored.partitions,
                    found: found.partitions,
                });
            }
        }
        match kept.fixed.change_to(&self.fixed) {
            Some(setting) => Err(SubscribeError::Fixed {
                group: group(),
                setting,
            }),
            None => Ok(()),
        }
    }

    /// Whether a topic at this index is another one than was kept.
    pub(super) fn is_remade(&self, kept: &Self, index: usize) -> bool {
        let ids = [self, kept].map(|origin| origin.topics.get(index).map(|topic| topic.id));
        ids[0] != ids[1]
    }
}

/// A text with its length before it, and what follows.
fn text(bytes: &[u8]) -> Option<(Option<Arc<str>>, &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    let (text, rest) = rest.split_at_checked(u16::from_le_bytes(*length).into())?;
    let text = str::from_utf8(text).ok()?;
    Some((
        Some(text).filter(|text| !text.is_empty()).map(Arc::from),
        rest,
    ))
}

#[cfg(test)]
mod tests;
