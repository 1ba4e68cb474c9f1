//! How far partitions reach, kept fresh by a thread: what status and watchdog ask every second must not wait for a broker.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::clients::Logged;
use super::cluster::{ANSWER, Cluster, pause};
use super::records::number;

const REFRESH: Duration = Duration::from_secs(1);
/// What nobody has asked for in this time is no longer kept fresh.
const WANTED: Duration = Duration::from_secs(60);

/// A topic and the number of a partition.
type Place = (Arc<str>, u32);

#[derive(Default)]
pub(super) struct Extents {
    known: Mutex<HashMap<Place, Extent>>,
    /// Offsets without records, from the first up to the second, as readers found them.
    empty: Mutex<HashMap<Place, (u64, u64)>>,
}

#[derive(Clone, Copy)]
struct Extent {
    first: u64,
    end: u64,
    wanted: Instant,
}

impl Extents {
    /// What was known a moment ago; none of what was not asked for lately.
    pub(super) fn get(&self, topic: &str, partition: u32) -> Option<(u64, u64)> {
        let place = (Arc::from(topic), partition);
        let mut known = lock(&self.known);
        let extent = known.get_mut(&place)?;
        extent.wanted = Instant::now();
        let (first, end) = (extent.first, extent.end);
        drop(known);
        Some(self.without_empty(&place, first, end))
    }

    /// What a broker has just said.
    pub(super) fn set(&self, topic: &str, partition: u32, (first, end): (u64, u64)) -> (u64, u64) {
        let place = (Arc::from(topic), partition);
        let extent = Extent {
            first,
            end,
            wanted: Instant::now(),
        };
        lock(&self.known).insert(place.clone(), extent);
        self.without_empty(&place, first, end)
    }

    /// A reader has found no record from `from` up to `to`.
    pub(super) fn note_end(&self, topic: &Arc<str>, partition: u32, from: u64, to: u64) {
        lock(&self.empty).insert((Arc::clone(topic), partition), (from, to));
    }

    fn without_empty(&self, place: &Place, first: u64, end: u64) -> (u64, u64) {
        match lock(&self.empty).get(place) {
            Some(&(from, to)) if to == end => (first, from.max(first)),
            Some(_) | None => (first, end),
        }
    }

    fn refresh(&self, asking: &BaseConsumer<Logged>) -> Result<(), KafkaError> {
        let places: Vec<Place> = {
            let mut known = lock(&self.known);
            known.retain(|_, extent| extent.wanted.elapsed() < WANTED);
            known.keys().cloned().collect()
        };
        if places.is_empty() {
            return Ok(());
        }
        let ask = |of: Offset| -> Result<HashMap<Place, u64>, KafkaError> {
            let mut list = TopicPartitionList::with_capacity(places.len());
            for (topic, partition) in &places {
                list.add_partition_offset(topic, number(*partition), of)?;
            }
            let answered = asking.offsets_for_times(list, ANSWER)?;
            let elements = answered.elements();
            let found = elements.iter().filter_map(|one| {
                let Offset::Offset(offset) = one.offset() else {
                    return None;
                };
                let partition = u32::try_from(one.partition()).ok()?;
                Some(((one.topic().into(), partition), u64::try_from(offset).ok()?))
            });
            Ok(found.collect())
        };
        let (first, end) = (ask(Offset::Beginning)?, ask(Offset::End)?);
        let mut known = lock(&self.known);
        for (place, extent) in &mut *known {
            if let (Some(&first), Some(&end)) = (first.get(place), end.get(place)) {
                (extent.first, extent.end) = (first, end);
            }
        }
        Ok(())
    }
}

/// Keeps them fresh as long as the cluster is used.
pub(super) fn spawn(cluster: &Arc<Cluster>) -> std::io::Result<()> {
    let cluster: Weak<Cluster> = Arc::downgrade(cluster);
    let run = move || {
        while let Some(cluster) = cluster.upgrade() {
            if let Err(error) = cluster.extents.refresh(&cluster.asking) {
                tracing::debug!(%error, "cannot ask how far partitions reach");
            }
            drop(cluster);
            pause(REFRESH);
        }
    };
    let thread = std::thread::Builder::new().name("weir-extents".to_owned());
    thread.spawn(run).map(drop)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
