//! Brings the local copy of a partition's ledger up to what is committed.
//!
//! First the committed offsets are waited for until they are stable: no transaction of another owner is open over them,
//! so no unit of his can still become committed. Markers of a transaction reach the offsets and the changelog one after
//! the other, so the changelog may still lag: its high watermark is asked for through a client that sees open
//! transactions, and nothing is read before its last stable offset has passed that. Only then an end that is told is
//! the end [KAFKA-10167].

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use rdkafka::config::FromClientConfigAndContext as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use weir_core::unit::Cursor;

use super::clients::{Clients, Logged};
use super::cluster::{ANSWER, Cluster, pause};
use super::origin::Origin;
use super::records::number;
use super::share::{Leave, Share};
use crate::bus::SubscribeError;
use crate::embedded::Embedded;
use crate::ledger::{Loss, LostPosition};
use crate::names;

/// An open transaction ends within its timeout; a broker that was restarted needs longer.
const STABLE: Duration = Duration::from_secs(120);
/// Between two records of a changelog that is not at its end.
const SILENCE: Duration = Duration::from_secs(30);
/// A ledger topic that lacks what the positions tell of is read again for so long: its records do not come back, but a
/// broker that has just started may not show all of them.
const GAP: Duration = Duration::from_secs(30);
/// Between two looks at what the cluster has still to write.
const AGAIN: Duration = Duration::from_millis(20);
/// After a restore that failed.
const RETRY: Duration = Duration::from_secs(1);

/// Why a partition could not be restored.
#[derive(Debug, thiserror::Error)]
pub(super) enum RestoreError {
    #[error("the host is no longer a member of the group")]
    NoMember,
    #[error("wait for stable positions: {0}")]
    Offsets(KafkaError),
    #[error("ask how far {topic} reaches: {error}")]
    Bounds { topic: String, error: KafkaError },
    #[error("read {topic}: {error}")]
    Read { topic: String, error: KafkaError },
    #[error("{topic} has an entry that this version does not know")]
    Unknown { topic: String },
    #[error(
        "the last unit is {offsets} by the positions and {ledger} by the {entries} entries of the ledger topic up to \
         offset {end}; was it made anew?"
    )]
    Gap {
        offsets: u64,
        ledger: u64,
        entries: u64,
        end: u64,
    },
    #[error(transparent)]
    Changed(SubscribeError),
    #[error("the local copy: {0}")]
    Copy(Box<dyn std::error::Error + Send + Sync>),
}

impl RestoreError {
    /// Whether nothing but a person changes it.
    fn is_final(&self) -> bool {
        match self {
            Self::NoMember | Self::Unknown { .. } | Self::Changed(_) | Self::Copy(_) => true,
            // Tried again for a while, before it is believed.
            Self::Offsets(_) | Self::Bounds { .. } | Self::Read { .. } | Self::Gap { .. } => false,
        }
    }
}

/// Tries again what the cluster did not answer, as long as this host owns the partition; blocks.
pub(super) fn patiently<T>(
    share: &Share,
    partition: u32,
    work: impl Fn() -> Result<T, RestoreError>,
) -> Result<T, RestoreError> {
    let epoch = share.epoch(partition).ok_or(RestoreError::NoMember)?;
    let believed = Instant::now() + GAP;
    loop {
        if !share.owns(partition, epoch) {
            return Err(RestoreError::NoMember);
        }
        match work() {
            Err(error @ RestoreError::Gap { .. }) if Instant::now() > believed => {
                return Err(error);
            }
            Err(RestoreError::Changed(error)) => {
                share.leave(Leave::Refuse(error));
                return Err(RestoreError::NoMember);
            }
            Err(error) if !error.is_final() => {
                tracing::warn!(%error, group = &*share.scope.group, partition, "cannot restore yet");
                pause(RETRY);
            }
            done => return done,
        }
    }
}

/// Makes the local copy of one partition what is committed, unless it is.
pub(super) fn load(
    clients: &Clients,
    cluster: &Cluster,
    copy: &Embedded,
    share: &Share,
    partition: u32,
) -> Result<(), RestoreError> {
    let loading = share.loading(partition);
    // An earlier assignment of this partition may still be loading what nobody wants any more.
    let mut loaded = loading.lock().unwrap_or_else(PoisonError::into_inner);
    let epoch = share.epoch(partition).ok_or(RestoreError::NoMember)?;
    if *loaded != Some(epoch) {
        load_once(clients, cluster, copy, share, partition)?;
        if !share.owns(partition, epoch) {
            return Err(RestoreError::NoMember);
        }
        *loaded = Some(epoch);
    }
    Ok(())
}

fn load_once(
    clients: &Clients,
    cluster: &Cluster,
    copy: &Embedded,
    share: &Share,
    partition: u32,
) -> Result<(), RestoreError> {
    let started = Instant::now();
    let offsets = committed_unit(share, partition)?;
    let group = &share.scope.group;
    let mut loader = share
        .replace_copy(partition, || copy.copy_clear(&share.scope, partition))
        .ok_or(RestoreError::NoMember)?
        .map_err(|error| RestoreError::Copy(error.into()))?;
    let (mut entries, mut end) = (0, 0);
    for topic in [names::ledger_topic(group), names::park_topic(group)] {
        let bounds = |error| RestoreError::Bounds {
            topic: topic.clone(),
            error,
        };
        let (first, high) = cluster.watermarks(&topic, partition).map_err(bounds)?;
        if first == high {
            continue;
        }
        let consumer =
            BaseConsumer::from_config_and_context(&clients.reading(), Logged).map_err(bounds)?;
        wait_until_stable(&consumer, &topic, partition, high, STABLE).map_err(bounds)?;
        let found = read(&consumer, &topic, partition, |key, value| {
            loader.push(key, value)
        })?;
        entries += found;
        end = end.max(high);
    }
    loader.finish().map_err(RestoreError::Copy)?;
    let (ledger, _) = copied(copy, share, partition)?;
    // The number in the committed offsets is what fences trust: the ledger must not be behind it.
    if offsets > ledger {
        return Err(RestoreError::Gap {
            offsets,
            ledger,
            entries,
            end,
        });
    }
    if let Some(kept) = origin(copy, share, partition)? {
        let checked = share.origin.check(&kept, &share.scope);
        checked.map_err(RestoreError::Changed)?;
    }
    tracing::debug!(
        group = &**group,
        partition,
        unit = ledger,
        entries,
        ms = started.elapsed().as_millis(),
        "ledger restored"
    );
    Ok(())
}

/// The positions from which a partition cannot go on.
///
/// The group forgets the offsets of a topic that it is not subscribed to, which are all but the commands', when nothing was
/// committed of a partition for a week. The ledger has the positions too; so one is missing only where none of the
/// partition's offsets is that of the last unit.
pub(super) fn lost(
    cluster: &Cluster,
    copy: &Embedded,
    share: &Share,
    partition: u32,
) -> Result<Vec<LostPosition>, RestoreError> {
    let (unit, cursors) = copied(copy, share, partition)?;
    if unit == 0 {
        return Ok(Vec::new());
    }
    let is_known = committed_unit(share, partition)? == unit;
    let kept = origin(copy, share, partition)?;
    let bounds = bounds(cluster, share, partition)?;
    let mut lost = Vec::new();
    for (topic, _) in share.topics_of(partition) {
        let index = usize::from(topic);
        let Some(cursor) = cursors.get(index) else {
            continue;
        };
        let (first, end) = bounds[index];
        let remade = kept
            .as_ref()
            .is_some_and(|kept| share.origin.is_remade(kept, index));
        let cause = match (remade, is_known) {
            (true, _) => Loss::Remade(cursor.frontier),
            (false, false) => Loss::Missing,
            (false, true) => {
                lost.extend(LostPosition::of(topic, cursor.frontier, (first, end)));
                continue;
            }
        };
        lost.push(LostPosition {
            topic,
            cause,
            first,
            end,
        });
    }
    Ok(lost)
}

/// On what the partition stands by its ledger.
fn origin(copy: &Embedded, share: &Share, partition: u32) -> Result<Option<Origin>, RestoreError> {
    let stored = copy
        .copy_origin(&share.scope, partition)
        .map_err(|error| RestoreError::Copy(error.into()))?;
    let unknown = || RestoreError::Unknown {
        topic: names::ledger_topic(&share.scope.group),
    };
    stored
        .map(|bytes| Origin::decode(&bytes).ok_or_else(unknown))
        .transpose()
}

/// How far each topic of the subscription reaches in a partition; nothing of one that has no such partition.
pub(super) fn bounds(
    cluster: &Cluster,
    share: &Share,
    partition: u32,
) -> Result<Vec<(u64, u64)>, RestoreError> {
    let mut bounds = vec![(0, 0); share.scope.topics.len()];
    for (index, topic) in share.topics_of(partition) {
        let found = cluster.watermarks(topic, partition);
        bounds[usize::from(index)] = found.map_err(|error| RestoreError::Bounds {
            topic: topic.to_string(),
            error,
        })?;
    }
    Ok(bounds)
}

/// The number of the last unit in the copy, and where it left the topics.
fn copied(
    copy: &Embedded,
    share: &Share,
    partition: u32,
) -> Result<(u64, Vec<Cursor>), RestoreError> {
    copy.copy_progress(&share.scope, partition)
        .map_err(|error| RestoreError::Copy(error.into()))
}

/// The number of the last unit that the group has committed of a partition, once no transaction is open over its
/// offsets; zero where it has committed none.
fn committed_unit(share: &Share, partition: u32) -> Result<u64, RestoreError> {
    let consumer = share.consumer().ok_or(RestoreError::NoMember)?;
    let epoch = share.epoch(partition).ok_or(RestoreError::NoMember)?;
    let deadline = Instant::now() + STABLE;
    loop {
        if !share.owns(partition, epoch) {
            return Err(RestoreError::NoMember);
        }
        let asked = share.partitions_of([partition]);
        let committed = consumer.committed_offsets(asked, ANSWER).and_then(|list| {
            let mut unit = 0;
            for element in list.elements() {
                element.error()?;
                // At least once another word follows.
                let number = element.metadata().split(' ').next();
                let number = number.and_then(|number| number.parse().ok());
                unit = unit.max(number.unwrap_or_default());
            }
            Ok(unit)
        });
        match committed {
            Ok(unit) => return Ok(unit),
            Err(error) if Instant::now() > deadline => return Err(RestoreError::Offsets(error)),
            Err(_) => pause(AGAIN),
        }
    }
}

/// Waits until what was written before `high` is committed or aborted.
pub(super) fn wait_until_stable(
    consumer: &BaseConsumer<Logged>,
    topic: &str,
    partition: u32,
    high: u64,
    patience: Duration,
) -> Result<(), KafkaError> {
    let deadline = Instant::now() + patience;
    loop {
        // This client reads what is committed, so for it a partition ends at the last stable offset.
        let error = match consumer.fetch_watermarks(topic, number(partition), ANSWER) {
            Ok((_, stable)) if u64::try_from(stable).is_ok_and(|stable| stable >= high) => {
                return Ok(());
            }
            Ok(_) => KafkaError::OffsetFetch(RDKafkaErrorCode::UnstableOffsetCommit),
            Err(error) => error,
        };
        if Instant::now() > deadline {
            return Err(error);
        }
        pause(AGAIN);
    }
}

/// Hands over all entries up to the end; answers how many.
fn read(
    consumer: &BaseConsumer<Logged>,
    topic: &str,
    partition: u32,
    mut entry: impl FnMut(&[u8], Option<&[u8]>) -> bool,
) -> Result<u64, RestoreError> {
    let failed = |error| RestoreError::Read {
        topic: topic.to_owned(),
        error,
    };
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, number(partition), Offset::Beginning)
        .map_err(failed)?;
    consumer.assign(&list).map_err(failed)?;
    let (mut entries, mut heard) = (0, Instant::now());
    loop {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                if !entry(message.key().unwrap_or_default(), message.payload()) {
                    return Err(RestoreError::Unknown {
                        topic: topic.to_owned(),
                    });
                }
                entries += 1;
                heard = Instant::now();
            }
            Some(Err(KafkaError::PartitionEOF(_))) => {
                consumer.unassign().map_err(failed)?;
                return Ok(entries);
            }
            Some(Err(error)) if heard.elapsed() > SILENCE => return Err(failed(error)),
            None if heard.elapsed() > SILENCE => {
                return Err(failed(KafkaError::MessageConsumption(
                    RDKafkaErrorCode::OperationTimedOut,
                )));
            }
            Some(Err(_)) | None => {}
        }
    }
}
