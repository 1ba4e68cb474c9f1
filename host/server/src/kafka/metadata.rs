//! Which topics the cluster has, and who leads their partitions: asked for by a thread as it ages, and at once where a
//! topic is not known.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;

use super::clients::Logged;
use super::cluster::Cluster;
use super::waiting::{ANSWER, pause};
use crate::bus::Topic;

/// Between two answers.
const REFRESH: Duration = Duration::from_secs(10);
/// A topic that an answer lacks is known for so much longer: brokers hear of topics one after the other.
const FORGOTTEN: Duration = Duration::from_secs(30);

/// What is known of all topics.
#[derive(Default)]
pub(super) struct Metadata {
    known: Mutex<Known>,
    /// Held by whoever asks: the others have the same answer.
    asking: Mutex<()>,
}

#[derive(Default)]
struct Known {
    topics: HashMap<Arc<str>, Entry>,
    /// When, and what came of it.
    asked: Option<(Instant, Result<(), KafkaError>)>,
}

struct Entry {
    /// By partition, the broker that leads it; none where nobody does.
    leaders: Vec<Option<i32>>,
    /// In an answer.
    seen: Instant,
}

impl Metadata {
    /// All but Kafka's own, by name.
    pub(super) fn topics(&self) -> Vec<Topic> {
        let known = lock(&self.known);
        let topics = known
            .topics
            .iter()
            .filter(|(name, _)| !name.starts_with("__"));
        let mut topics: Vec<_> = topics
            .map(|(name, entry)| Topic {
                name: Arc::clone(name),
                partitions: entry.count(),
            })
            .collect();
        topics.sort_by(|a, b| a.name.cmp(&b.name));
        topics
    }

    /// How many partitions a topic has, if it is known.
    pub(super) fn partitions(&self, topic: &str) -> Option<u32> {
        lock(&self.known).topics.get(topic).map(Entry::count)
    }

    /// Who leads a partition; none where nobody does, or it is not known.
    pub(super) fn leader(&self, topic: &str, partition: u32) -> Option<i32> {
        let known = lock(&self.known);
        *known.topics.get(topic)?.leaders.get(partition as usize)?
    }

    /// Asks again, unless it was asked less than `age` ago: then that answer counts, and that failure too.
    pub(super) fn refresh(
        &self,
        client: &BaseConsumer<Logged>,
        age: Duration,
        timeout: Duration,
    ) -> Result<(), KafkaError> {
        self.refresh_by(age, || {
            let metadata = client.fetch_metadata(None, timeout)?;
            Ok(metadata.topics().iter().map(described).collect())
        })
    }

    fn refresh_by(
        &self,
        age: Duration,
        ask: impl FnOnce() -> Result<Vec<Described>, KafkaError>,
    ) -> Result<(), KafkaError> {
        let _asking = lock(&self.asking);
        if let Some((at, outcome)) = &lock(&self.known).asked
            && at.elapsed() < age
        {
            return outcome.clone();
        }
        let answer = ask();
        let now = Instant::now();
        let mut known = lock(&self.known);
        let outcome = answer.map(|topics| known.take(topics, now));
        known.asked = Some((now, outcome.clone()));
        outcome
    }

    /// Notes a topic that was just made.
    pub(super) fn insert(&self, topic: &rdkafka::metadata::MetadataTopic) {
        // After an answer that may lack it.
        let _asking = lock(&self.asking);
        let now = Instant::now();
        lock(&self.known).insert(described(topic), now);
    }
}

/// A topic in an answer; without leaders where the cluster cannot say them at the moment.
type Described = (Arc<str>, Option<Vec<Option<i32>>>);

fn described(topic: &rdkafka::metadata::MetadataTopic) -> Described {
    let leader = |id: i32| (id >= 0).then_some(id);
    let partitions = topic.partitions().iter();
    let leaders = partitions.map(|one| leader(one.leader())).collect();
    let leaders = topic.error().is_none().then_some(leaders);
    (topic.name().into(), leaders)
}

/// Keeps it fresh as long as the cluster is used.
pub(super) fn spawn(cluster: &Arc<Cluster>) -> std::io::Result<()> {
    let cluster: Weak<Cluster> = Arc::downgrade(cluster);
    let run = move || {
        loop {
            pause(REFRESH);
            let Some(cluster) = cluster.upgrade() else {
                return;
            };
            let asked = cluster.metadata.refresh(&cluster.asking, REFRESH, ANSWER);
            let reason = cluster.reason();
            if let Err(error) = asked {
                tracing::debug!(%error, reason, "cannot ask for the topics");
            }
        }
    };
    let thread = std::thread::Builder::new().name("weir-metadata".to_owned());
    thread.spawn(run).map(drop)
}

impl Known {
    fn take(&mut self, topics: Vec<Described>, now: Instant) {
        for topic in topics {
            self.insert(topic, now);
        }
        let is_known = |entry: &Entry| now.duration_since(entry.seen) < FORGOTTEN;
        self.topics.retain(|_, entry| is_known(entry));
    }

    fn insert(&mut self, (name, leaders): Described, now: Instant) {
        if let Some(leaders) = leaders {
            let entry = Entry { leaders, seen: now };
            self.topics.insert(name, entry);
        }
    }
}

impl Entry {
    fn count(&self) -> u32 {
        u32::try_from(self.leaders.len()).unwrap_or(u32::MAX)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
