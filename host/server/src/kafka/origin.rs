//! What a partition of a subscription stands on: the topics and the settings that there were when its start was
//! committed. It lies in the ledger with the positions, so that every owner meets the same.
//!
//! `version u8, ordering u8, inbox u8, across topics u8, length of the inbox key u16, inbox key, length of the mapping u16,
//! mapping, topics`; no key or mapping is one of no length. `topics` are, in the order of the subscription,
//! `(topic id 16 bytes, partitions u32, length of the name u16, name)*`. Version 1 has nothing between inbox and topics,
//! version 2 no mapping, version 3 topics without names.

use std::sync::Arc;

use weir_core::partition::Ordering;

use super::native::Description;
use crate::bus::SubscribeError;
use crate::ledger::{Fixed, Scope};

const VERSION: u8 = 4;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) fixed: Fixed,
    pub(super) topics: Vec<Description>,
    /// What the topics are called; none of what an older version has kept.
    pub(super) names: Option<Arc<[Arc<str>]>>,
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
            put_text(&mut out, text.as_deref().unwrap_or_default());
        }
        let names = self.names.iter().flat_map(|names| names.iter());
        for (topic, name) in self.topics.iter().zip(names) {
            out.extend_from_slice(&topic.id.to_be_bytes());
            out.extend_from_slice(&topic.partitions.to_le_bytes());
            put_text(&mut out, name);
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
        let (mut described, mut names) = (Vec::new(), Vec::new());
        let mut rest = topics;
        while let Some((id, after)) = rest.split_first_chunk() {
            let (partitions, after) = after.split_first_chunk()?;
            described.push(Description {
                id: u128::from_be_bytes(*id),
                partitions: u32::from_le_bytes(*partitions),
            });
            rest = after;
            if version == VERSION {
                let (name, after) = text(rest)?;
                names.push(name?);
                rest = after;
            }
        }
        if !rest.is_empty() {
            return None;
        }
        Some(Self {
            fixed: Fixed {
                ordering,
                across_topics,
                inbox: *inbox != 0,
                inbox_key,
                mapping,
            },
            topics: described,
            names: (version == VERSION).then(|| names.into()),
        })
    }

    /// Whether what was kept may go on as this. A topic that is another one is for [`super::restore::lost`] to say.
    pub(super) fn check(&self, kept: &Self, scope: &Scope) -> Result<(), SubscribeError> {
        let group = || scope.group.to_string();
        let others = |names: &Arc<[Arc<str>]>| *names != scope.topics;
        if kept.topics.len() != scope.topics.len() || kept.names.as_ref().is_some_and(others) {
            return Err(SubscribeError::Fixed {
                group: group(),
                setting: kept.topics_changed_to(scope),
            });
        }
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

    /// The topics that a handler reads, without the last, which has its commands, as they are and were.
    fn topics_changed_to(&self, scope: &Scope) -> String {
        let shown = |names: &[Arc<str>]| match names {
            [own @ .., _commands] => own.join(", "),
            [] => String::new(),
        };
        let was = match &self.names {
            Some(names) => shown(names),
            None => format!("a list of {}", self.topics.len().saturating_sub(1)),
        };
        format!("subscribe.topics ({}, and was {was})", shown(&scope.topics))
    }

    /// Whether a topic at this index is another one than was kept.
    pub(super) fn is_remade(&self, kept: &Self, index: usize) -> bool {
        let ids = [self, kept].map(|origin| origin.topics.get(index).map(|topic| topic.id));
        ids[0] != ids[1]
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    let length = u16::try_from(text.len()).expect("a manifest has no longer texts");
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(text.as_bytes());
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
