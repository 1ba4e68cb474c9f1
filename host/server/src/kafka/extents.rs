//! How far partitions can be read, kept fresh by a thread: what status and watchdog ask every second must not wait for a
//! broker. What stands behind the first open transaction is not there yet: nobody reads it, and nobody is late with it.
//!
//! Each broker is asked by itself for the partitions that it leads: one that does not answer, or a partition that nobody
//! leads, leaves those of others as fresh as they were.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use weir_core::time::Millis;

use super::clients::Logged;
use super::cluster::Cluster;
use super::records::number;
use super::waiting::pause;
use crate::clock;

/// Between two answers.
const EXTENTS_EVERY: Duration = Duration::from_secs(1);
/// For a broker to answer: those of the others are not asked for meanwhile.
const BROKER_ANSWER: Duration = Duration::from_secs(3);
/// At once: librdkafka looks each partition up in the list of all that are asked for.
const ASKED_MAX: usize = 64;
/// What no broker has said for so long is not known any more.
const KNOWN: Duration = Duration::from_secs(30);
/// No transaction may be open for longer, unless the cluster was told otherwise (`transaction.max.timeout.ms`): what is has
/// lost its end.
const OPEN: Duration = Duration::from_mins(15);
/// What nobody has asked for in this time is no longer kept fresh.
const WANTED: Duration = Duration::from_secs(60);

/// A topic and the number of a partition.
type TopicPartition = (Arc<str>, u32);
type Offsets = HashMap<TopicPartition, u64>;
/// The first offset, and the one after the last.
type Bounds = (u64, u64);

#[derive(Default)]
pub(super) struct Extents {
    known: Mutex<HashMap<TopicPartition, Extent>>,
    /// Offsets without records, from the first up to the second, as readers found them.
    empty: Mutex<HashMap<TopicPartition, (u64, u64)>>,
}

struct Extent {
    /// When a broker has said it.
    said: Option<(Instant, Bounds)>,
    /// Where an open transaction ends what can be read, and since when there.
    open: Option<(u64, Instant)>,
    /// When the broker was asked for that, on the clock that sleep of the machine counts for.
    asked: Millis,
    wanted: Instant,
}

impl Extents {
    /// What was known a moment ago; what was not asked for lately will be in a moment.
    pub(super) fn get(&self, topic: &str, partition: u32) -> Option<Bounds> {
        self.at(Instant::now(), &(topic.into(), partition))
    }

    fn at(&self, now: Instant, place: &TopicPartition) -> Option<Bounds> {
        let said = {
            let mut known = lock(&self.known);
            let extent = known.entry(place.clone()).or_insert(Extent {
                said: None,
                open: None,
                asked: Millis(0),
                wanted: now,
            });
            extent.wanted = now;
            extent.said
        };
        let (_, bounds) = said.filter(|(at, _)| now.saturating_duration_since(*at) < KNOWN)?;
        Some(self.without_empty(place, bounds))
    }

    /// What a broker has just said of all that is there, without what readers found to be empty at its end.
    pub(super) fn adjusted(&self, topic: &str, partition: u32, bounds: Bounds) -> Bounds {
        self.without_empty(&(topic.into(), partition), bounds)
    }

    /// The offset of a transaction that is open for longer than any may be, and for how long it has been seen.
    pub(super) fn left_open(&self, topic: &str, partition: u32) -> Option<(u64, Duration)> {
        let known = lock(&self.known);
        let extent = known.get(&(topic.into(), partition))?;
        let ((offset, since), (said, _)) = extent.open.zip(extent.said)?;
        let open = said.saturating_duration_since(since);
        Some((offset, open)).filter(|_| open > OPEN && said.elapsed() < KNOWN)
    }

    /// Where the partition ended when a broker was asked for it; none while a transaction is open, behind which there may be
    /// records that are older.
    pub(super) fn end(&self, topic: &str, partition: u32) -> Option<(u64, Millis)> {
        let place = (topic.into(), partition);
        let _wanted = self.at(Instant::now(), &place);
        let known = lock(&self.known);
        let extent = known.get(&place)?;
        let (_, (_, end)) = extent.said.filter(|_| extent.open.is_none())?;
        Some((end, extent.asked))
    }

    /// A reader has found no record from `from` up to `to`.
    pub(super) fn note_end(&self, topic: &Arc<str>, partition: u32, from: u64, to: u64) {
        lock(&self.empty).insert((Arc::clone(topic), partition), (from, to));
    }

    fn without_empty(&self, place: &TopicPartition, (first, end): Bounds) -> Bounds {
        match lock(&self.empty).get(place) {
            Some(&(from, to)) if to == end => (first, from.max(first)),
            Some(_) | None => (first, end),
        }
    }

    fn wanted(&self) -> Vec<TopicPartition> {
        let mut known = lock(&self.known);
        known.retain(|_, extent| extent.wanted.elapsed() < WANTED);
        known.keys().cloned().collect()
    }

    fn refresh(&self, cluster: &Cluster) {
        let places = self.wanted();
        let leader =
            |(topic, partition): &TopicPartition| cluster.metadata.leader(topic, *partition);
        if places.iter().any(|place| leader(place).is_none()) {
            // It may have one by now: a topic that was just made has none for a moment.
            let asked = cluster
                .metadata
                .refresh(&cluster.asking, EXTENTS_EVERY, BROKER_ANSWER);
            if let Err(error) = asked {
                tracing::debug!(%error, "cannot ask who leads partitions");
            }
        }
        let mut led = BTreeMap::<i32, Vec<TopicPartition>>::new();
        for place in places {
            if let Some(leader) = leader(&place) {
                led.entry(leader).or_default().push(place);
            }
        }
        for (broker, places) in led {
            for some in places.chunks(ASKED_MAX) {
                match ask(cluster, some) {
                    Ok(said) => self.take(Instant::now(), said),
                    Err(error) => {
                        tracing::debug!(%error, broker, "cannot ask how far partitions reach");
                        break;
                    }
                }
            }
        }
    }

    fn take(&self, now: Instant, said: Vec<Said>) {
        let mut known = lock(&self.known);
        for one in said {
            let Said {
                place,
                asked,
                bounds,
                end,
            } = one;
            let Some(extent) = known.get_mut(&place) else {
                continue;
            };
            let (_, readable) = bounds;
            extent.said = Some((now, bounds));
            extent.asked = asked;
            extent.open = match extent.open {
                _ if readable >= end => None,
                Some((offset, since)) if offset == readable => Some((offset, since)),
                Some(_) | None => Some((readable, now)),
            };
        }
    }
}

/// What a broker knows of a partition.
struct Said {
    place: TopicPartition,
    /// Before it said so.
    asked: Millis,
    /// Of what can be read.
    bounds: Bounds,
    /// With all that is not committed.
    end: u64,
}

/// Asks a broker about partitions that it leads; answers what it knew.
fn ask(cluster: &Cluster, places: &[TopicPartition]) -> Result<Vec<Said>, KafkaError> {
    let offsets = |client: &BaseConsumer<Logged>, of: Offset| -> Result<Offsets, KafkaError> {
        let mut list = TopicPartitionList::with_capacity(places.len());
        for (topic, partition) in places {
            list.add_partition(topic, number(*partition))
                .set_offset(of)?;
        }
        let answered = client.offsets_for_times(list, BROKER_ANSWER)?;
        let elements = answered.elements();
        let found = elements.iter().filter_map(|one| {
            let (Ok(()), Offset::Offset(offset)) = (one.error(), one.offset()) else {
                return None;
            };
            let partition = u32::try_from(one.partition()).ok()?;
            Some(((one.topic().into(), partition), u64::try_from(offset).ok()?))
        });
        Ok(found.collect())
    };
    let asked = clock::now();
    let first = offsets(&cluster.looking, Offset::Beginning)?;
    // In this order: what is written in between is taken for open until the next time, and not the reverse.
    let readable = offsets(&cluster.looking, Offset::End)?;
    let end = offsets(&cluster.asking, Offset::End)?;
    let said = |place: &TopicPartition| {
        Some(Said {
            place: place.clone(),
            asked,
            bounds: (*first.get(place)?, *readable.get(place)?),
            end: *end.get(place)?,
        })
    };
    Ok(places.iter().filter_map(said).collect())
}

/// Keeps them fresh as long as the cluster is used.
pub(super) fn spawn(cluster: &Arc<Cluster>) -> std::io::Result<()> {
    let cluster: Weak<Cluster> = Arc::downgrade(cluster);
    let run = move || {
        while let Some(cluster) = cluster.upgrade() {
            cluster.extents.refresh(&cluster);
            drop(cluster);
            pause(EXTENTS_EVERY);
        }
    };
    let thread = std::thread::Builder::new().name("weir-extents".to_owned());
    thread.spawn(run).map(drop)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
