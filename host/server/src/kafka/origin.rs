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
    /// In the order of the subscription.
    pub(super) topics: Vec<Topic>,
}

/// A topic of a subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Topic {
    /// None of what an older version has kept.
    pub(super) name: Option<Arc<str>>,
    pub(super) description: Description,
}

impl Origin {
    /// What a subscription stands on whose topics are found so, in its order.
    pub(super) fn found(fixed: Fixed, scope: &Scope, topics: Vec<Description>) -> Self {
        let topics = scope
            .topics
            .iter()
            .zip(topics)
            .map(|(name, description)| Topic {
                name: Some(Arc::clone(name)),
                description,
            });
        Self {
            fixed,
            topics: topics.collect(),
        }
    }

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
        for Topic { name, description } in &self.topics {
            out.extend_from_slice(&description.id.to_be_bytes());
            out.extend_from_slice(&description.partitions.to_le_bytes());
            put_text(&mut out, name.as_deref().unwrap_or_default());
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
        let (mut described, mut rest) = (Vec::new(), topics);
        while let Some((id, after)) = rest.split_first_chunk() {
            let (partitions, after) = after.split_first_chunk()?;
            let (name, after) = match version {
                VERSION => text(after).filter(|(name, _)| name.is_some())?,
                _ => (None, after),
            };
            let description = Description {
                id: u128::from_be_bytes(*id),
                partitions: u32::from_le_bytes(*partitions),
            };
            described.push(Topic { name, description });
            rest = after;
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
        })
    }

    /// Whether what was kept may go on as this. A topic that is another one is for [`super::restore::lost`] to say.
    pub(super) fn check(&self, kept: &Self, scope: &Scope) -> Result<(), SubscribeError> {
        let group = || scope.group.to_string();
        let mut named = kept.topics.iter().zip(scope.topics.iter());
        let is_other =
            |(topic, name): (&Topic, _)| topic.name.as_ref().is_some_and(|own| own != name);
        if kept.topics.len() != scope.topics.len() || named.any(is_other) {
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
            let (found, stored) = (found.description, stored.description);
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
        let names: Option<Vec<_>> = self.topics.iter().map(|topic| topic.name.clone()).collect();
        let was = match names {
            Some(names) => shown(&names),
            None => format!("a list of {}", self.topics.len().saturating_sub(1)),
        };
        format!("subscribe.topics ({}, and was {was})", shown(&scope.topics))
    }

    /// Whether a topic at this index is another one than was kept.
    pub(super) fn is_remade(&self, kept: &Self, index: usize) -> bool {
        let ids =
            [self, kept].map(|origin| origin.topics.get(index).map(|topic| topic.description.id));
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
