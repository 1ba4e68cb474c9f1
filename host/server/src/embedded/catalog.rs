//! Topics and subscriptions of the store, in memory: what every event looks up.

mod extent;
mod group;

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard};

use dashmap::DashMap;
use rocksdb::WriteBatch;

pub(super) use self::extent::{PartitionLog, TopicLog, each_header};
pub(super) use self::group::Group;
pub use self::group::RegisterError;
use super::key::{Family, Key};
use super::names::{self, StoredGroup};
use super::progress;
use super::store::{ReadError, Store};
use crate::bus::EnsureTopicError;
use crate::ledger::Fixed;
use crate::names::{commands_topic, dlq_topic, is_dlq_topic};

/// As Kafka has it, so that a topic can move there.
const TOPIC_NAME_BYTES_MAX: usize = 249;
/// Each partition of a subscription has a state machine; thousands of them on one machine are a mistake.
const PARTITIONS_MAX: u32 = 1024;

/// The numbers that the next topic and subscription get.
#[derive(Debug)]
pub(super) struct NextIds {
    topic: u32,
    group: u32,
}

/// All topics and subscriptions.
pub(super) struct Catalog {
    topics: DashMap<Arc<str>, Arc<TopicLog>>,
    groups: DashMap<Arc<str>, Arc<Group>>,
    /// Held while a topic or subscription is made.
    making: Mutex<NextIds>,
}

impl Catalog {
    /// Reads all of it; every batch header once, which is what bounds a start.
    pub(super) fn load(store: &Store) -> Result<Self, ReadError> {
        let catalog = Self {
            topics: DashMap::new(),
            groups: DashMap::new(),
            making: Mutex::new(NextIds { topic: 1, group: 1 }),
        };
        let mut next = NextIds { topic: 1, group: 1 };
        store.scan(
            Family::Meta,
            &[1],
            |key, value| -> Result<bool, ReadError> {
                if let Key::Topic { topic } = key {
                    let (name, count) = names::decode_topic(value)?;
                    let log = TopicLog::load(store, topic, Arc::clone(&name), count)?;
                    catalog.topics.insert(name, Arc::new(log));
                    next.topic = topic + 1;
                }
                Ok(true)
            },
        )?;
        let mut by_id = HashMap::new();
        store.scan(
            Family::Meta,
            &[2],
            |key, value| -> Result<bool, ReadError> {
                if let Key::Group { group } = key {
                    let mut stored = names::decode_group(value)?;
                    for (topic, partitions) in stored.topics.iter().zip(&mut stored.partitions) {
                        *partitions = partitions.or_else(|| catalog.count(topic));
                    }
                    let entry = Arc::new(Group::new(group, stored));
                    by_id.insert(group, Arc::clone(&entry));
                    catalog.groups.insert(Arc::clone(&entry.name), entry);
                    next.group = group + 1;
                }
                Ok(true)
            },
        )?;
        let progress_of_all = &Key::Progress {
            group: 0,
            partition: 0,
        }
        .encode()[..1];
        store.scan(
            Family::Ledger,
            progress_of_all,
            |key, value| -> Result<bool, ReadError> {
                if let Key::Progress { group, partition } = key
                    && let Some(group) = by_id.get(&group)
                {
                    let cursors = progress::decode(value)?.cursors;
                    group.advance(
                        partition,
                        cursors.iter().map(|cursor| cursor.frontier).collect(),
                    );
                }
                Ok(true)
            },
        )?;
        *catalog.making() = next;
        Ok(catalog)
    }

    pub(super) fn topic(&self, name: &str) -> Option<Arc<TopicLog>> {
        self.topics.get(name).map(|entry| Arc::clone(&entry))
    }

    fn count(&self, topic: &str) -> Option<NonZeroU32> {
        NonZeroU32::new(self.topic(topic)?.count())
    }

    /// All topics, by name.
    pub(super) fn topics(&self) -> Vec<Arc<TopicLog>> {
        let mut topics: Vec<_> = self.topics.iter().map(|entry| Arc::clone(&entry)).collect();
        topics.sort_by(|a, b| a.name.cmp(&b.name));
        topics
    }

    pub(super) fn ensure_topic(
        &self,
        store: &Store,
        name: &str,
        partitions: u32,
    ) -> Result<(), EnsureTopicError> {
        let mut making = self.making();
        if let Some(found) = self.topic(name).map(|topic| topic.count()) {
            let wanted = partitions;
            let different = EnsureTopicError::PartitionCount {
                name: name.to_owned(),
                found,
                wanted,
            };
            return if found == wanted {
                Ok(())
            } else {
                Err(different)
            };
        }
        check_topic(name, partitions).map_err(EnsureTopicError::Invalid)?;
        let (id, name) = (making.topic, Arc::<str>::from(name));
        let log = TopicLog::load(store, id, Arc::clone(&name), partitions).map_err(|error| {
            EnsureTopicError::Store {
                name: name.as_ref().to_owned(),
                source: error.into(),
            }
        })?;
        let mut batch = WriteBatch::default();
        store.put(
            &mut batch,
            &Key::Topic { topic: id },
            &names::encode_topic(&name, partitions),
        );
        store.write_synced(batch);
        making.topic += 1;
        self.topics.insert(name, Arc::new(log));
        Ok(())
    }

    /// The subscription of this name, made when there is none.
    pub(super) fn group(
        &self,
        store: &Store,
        name: &Arc<str>,
        topics: &Arc<[Arc<str>]>,
    ) -> Result<Arc<Group>, RegisterError> {
        let found = self.groups.get(name).map(|entry| Arc::clone(&entry));
        let group = found.unwrap_or_else(|| self.make_group(store, name, topics));
        // A subscription at least once takes no commands: their topic comes and goes with the delivery.
        let commands = commands_topic(name);
        let own = |topics: &Arc<[Arc<str>]>| {
            let own = topics.iter().filter(|topic| ***topic != *commands);
            own.map(Arc::clone).collect::<Vec<_>>()
        };
        if group.topics != *topics && own(&group.topics) != own(topics) {
            return Err(RegisterError::Topics {
                group: Arc::clone(name),
                wanted: Arc::clone(topics),
                stored: Arc::clone(&group.topics),
            });
        }
        Ok(group)
    }

    /// Whether the topics of a subscription have the partitions that they had when it first started.
    pub(super) fn check_partitions(&self, group: &Group) -> Result<(), RegisterError> {
        for (topic, stored) in group.topics.iter().zip(&group.partitions) {
            if let (Some(stored), Some(found)) = (*stored, self.count(topic))
                && stored != found
            {
                return Err(RegisterError::Partitions {
                    topic: Arc::clone(topic),
                    stored: stored.get(),
                    found: found.get(),
                });
            }
        }
        Ok(())
    }

    /// What is fixed for a subscription: `wanted`, where nothing was kept before.
    pub(super) fn fix(&self, store: &Store, group: &Group, wanted: Fixed) -> Fixed {
        let _held = self.making();
        let kept = group.fixed.get_or_init(|| {
            let stored = StoredGroup {
                name: Arc::clone(&group.name),
                topics: Arc::clone(&group.topics),
                partitions: group.partitions.clone(),
                fixed: Some(wanted.clone()),
            };
            write_group(store, group.id, &stored);
            wanted
        });
        kept.clone()
    }

    fn make_group(&self, store: &Store, name: &Arc<str>, topics: &Arc<[Arc<str>]>) -> Arc<Group> {
        let mut making = self.making();
        if let Some(entry) = self.groups.get(name) {
            return Arc::clone(&entry);
        }
        let id = making.group;
        let stored = StoredGroup {
            name: Arc::clone(name),
            topics: Arc::clone(topics),
            partitions: topics.iter().map(|topic| self.count(topic)).collect(),
            fixed: None,
        };
        write_group(store, id, &stored);
        making.group += 1;
        let group = Arc::new(Group::new(id, stored));
        self.groups.insert(Arc::clone(name), Arc::clone(&group));
        group
    }

    /// Gives a topic other partitions, as only an editor of the store can.
    #[cfg(test)]
    pub(super) fn repartition(&self, store: &Store, name: &str, partitions: u32) {
        let known = self.topic(name).expect("a topic");
        let log = TopicLog::load(store, known.id, Arc::clone(&known.name), partitions);
        let log = Arc::new(log.expect("a store that can be read"));
        self.topics.insert(Arc::clone(&log.name), log);
    }

    /// Puts another, empty topic in the place of one, as only an editor of the store can.
    #[cfg(test)]
    pub(super) fn remake(&self, store: &Store, name: &str) {
        let known = self.topic(name).expect("a topic");
        let mut making = self.making();
        let log = TopicLog::load(store, making.topic, Arc::clone(&known.name), known.count());
        making.topic += 1;
        let log = Arc::new(log.expect("a store that can be read"));
        self.topics.insert(Arc::clone(&log.name), log);
    }

    /// The number of the subscription of this name.
    pub(super) fn group_id(&self, name: &str) -> Option<u32> {
        self.groups.get(name).map(|group| group.id)
    }

    /// All subscriptions, each with the number of its partitions.
    pub(super) fn groups(&self) -> Vec<(Arc<Group>, u32)> {
        let partitions = |group: &Group| {
            let counts = group.topics.iter().filter_map(|topic| self.count(topic));
            counts.max().map_or(0, NonZeroU32::get)
        };
        let groups = self.groups.iter().map(|entry| Arc::clone(&entry));
        groups
            .map(|group| (Arc::clone(&group), partitions(&group)))
            .collect()
    }

    /// The subscription whose dead letters this topic takes.
    pub(super) fn dead_letters_of(&self, topic: &str) -> Option<Arc<Group>> {
        if !is_dlq_topic(topic) {
            return None;
        }
        let is_of = |group: &Group| {
            let mut topics = group.topics.iter();
            topics.any(|own| dlq_topic(&group.name, own) == topic)
        };
        let mut groups = self.groups.iter();
        groups
            .find(|group| is_of(group))
            .map(|group| Arc::clone(&group))
    }

    /// The names of all subscriptions, sorted.
    pub(super) fn group_names(&self) -> Vec<String> {
        let names = self.groups.iter().map(|group| group.name.to_string());
        let mut names: Vec<_> = names.collect();
        names.sort_unstable();
        names
    }

    /// The subscription is no longer in the store. Its number is not given again while the store is open, because what
    /// is kept by number elsewhere would be taken for the new one's.
    pub(super) fn forget_group(&self, name: &str) {
        self.groups.remove(name);
    }

    /// While it is held no subscription is made or deployed.
    pub(super) fn hold_subscriptions(&self) -> MutexGuard<'_, NextIds> {
        self.making()
    }

    fn making(&self) -> MutexGuard<'_, NextIds> {
        self.making.lock().expect("nothing panics under this lock")
    }

    /// Retention waits for this subscription.
    pub(super) fn deploy(&self, group: &Group) {
        let _held = self.hold_subscriptions();
        group.deployed.store(true, Ordering::Release);
    }

    /// Retention stops to wait for this subscription.
    pub(super) fn release_group(&self, name: &str) {
        if let Some(group) = self.groups.get(name) {
            group.deployed.store(false, Ordering::Release);
        }
    }

    /// The first offset of a partition that a deployed subscription still needs. One that has committed nothing needs
    /// all that is kept.
    pub(super) fn floor(&self, topic: &TopicLog, partition: u32, log: &PartitionLog) -> u64 {
        let readers = self
            .groups
            .iter()
            .filter(|group| group.deployed.load(Ordering::Acquire))
            .filter_map(|group| {
                let index = group.topics.iter().position(|name| *name == topic.name)?;
                Some(
                    group
                        .frontier(index, partition)
                        .unwrap_or_else(|| log.start()),
                )
            });
        readers.min().unwrap_or_else(|| log.end())
    }
}

fn write_group(store: &Store, group: u32, stored: &StoredGroup) {
    let mut batch = WriteBatch::default();
    store.put(
        &mut batch,
        &Key::Group { group },
        &names::encode_group(stored),
    );
    store.write_synced(batch);
}

fn check_topic(name: &str, partitions: u32) -> Result<(), String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if name.is_empty()
        || name.len() > TOPIC_NAME_BYTES_MAX
        || !name.bytes().all(allowed)
        || [".", ".."].contains(&name)
    {
        return Err(format!(
            "topic name {name:?}: 1 to {TOPIC_NAME_BYTES_MAX} letters, digits, dots, underscores and hyphens are allowed"
        ));
    }
    if !(1..=PARTITIONS_MAX).contains(&partitions) {
        return Err(format!(
            "topic {name:?} with {partitions} partitions: 1 to {PARTITIONS_MAX} are allowed"
        ));
    }
    Ok(())
}
