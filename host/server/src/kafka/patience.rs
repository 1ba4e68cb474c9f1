//! Why a partition cannot go on, and how long that is borne before it is believed. Both deliveries go by it.

use std::time::{Duration, Instant};

use rdkafka::error::KafkaError;

use super::cluster::Cluster;
use super::gap::Gap;
use super::share::{Leave, Share};
use super::turns::Tried;
use crate::bus::SubscribeError;

/// A ledger topic that lacks what the positions tell of is read again for so long: its records do not come back, but a
/// broker that has just started may not show all of them.
const GAP: Duration = Duration::from_secs(30);
/// After a restore that failed.
pub(super) const RETRY: Duration = Duration::from_secs(1);

/// Why a partition could not be restored.
#[derive(Debug, thiserror::Error)]
pub(super) enum RestoreError {
    #[error("the host is no longer a member of the group")]
    NoMember,
    #[error("wait for stable positions: {0}")]
    Offsets(KafkaError),
    #[error("ask how far {topic} reaches: {error}")]
    Bounds { topic: String, error: KafkaError },
    /// Of those that the ledger lies in. It is not made anew here: what was in it people have to know of first.
    #[error("there is no topic {topic}")]
    Absent { topic: String },
    #[error("read {topic}: {error}")]
    Read { topic: String, error: KafkaError },
    #[error("{topic} has an entry that this version does not know")]
    Unknown { topic: String },
    #[error(transparent)]
    Gap(Gap),
    #[error(transparent)]
    Changed(SubscribeError),
    /// Says what to do.
    #[error("{0}")]
    Full(String),
    #[error("the local copy: {0}")]
    Copy(Box<dyn std::error::Error + Send + Sync>),
}

impl RestoreError {
    /// Whether nothing but a person changes it.
    fn is_final(&self) -> bool {
        match self {
            Self::NoMember | Self::Unknown { .. } | Self::Changed(_) | Self::Copy(_) => true,
            // Tried again for a while, before it is believed.
            Self::Offsets(_)
            | Self::Bounds { .. }
            | Self::Absent { .. }
            | Self::Read { .. }
            | Self::Full(_)
            | Self::Gap(_) => false,
        }
    }
}

/// How long the cluster may be silent about a partition.
pub(super) struct Patience {
    partition: u32,
    epoch: u64,
    /// Whatever keeps the partition from its start for longer is worth a look.
    since: Instant,
    /// Since when each answer has been that something is not there.
    missed: Option<Instant>,
}

impl Patience {
    /// With a partition that this host owns.
    pub(super) fn new(share: &Share, partition: u32) -> Option<Self> {
        Some(Self {
            partition,
            epoch: share.tenure.epoch(partition)?,
            since: Instant::now(),
            missed: None,
        })
    }

    /// Whether what is not there has not been there for so long that this is believed.
    fn is_missed(&mut self, error: &RestoreError) -> bool {
        let is_miss = matches!(error, RestoreError::Gap(_) | RestoreError::Absent { .. });
        self.missed = self.missed.filter(|_| is_miss);
        is_miss && self.missed.get_or_insert_with(Instant::now).elapsed() > GAP
    }

    /// One try, to be repeated where the cluster did not answer and this host still owns the partition; blocks.
    pub(super) fn attempt<T>(
        &mut self,
        share: &Share,
        work: impl Fn() -> Result<T, RestoreError>,
    ) -> Tried<Result<T, RestoreError>> {
        let tried = self.attempt_once(share, work);
        if matches!(tried, Tried::Done(_)) {
            share.hinder((self.partition, self.epoch), None);
        }
        tried
    }

    fn attempt_once<T>(
        &mut self,
        share: &Share,
        work: impl Fn() -> Result<T, RestoreError>,
    ) -> Tried<Result<T, RestoreError>> {
        if !share.tenure.owns(self.partition, self.epoch) {
            return Tried::Done(Err(RestoreError::NoMember));
        }
        let done = work();
        let is_missed = done.as_ref().is_err_and(|error| self.is_missed(error));
        match done {
            Err(error @ RestoreError::Gap(_)) if is_missed => Tried::Done(Err(error)),
            Err(RestoreError::Changed(error)) => {
                share.leave(Leave::Refuse(error));
                Tried::Done(Err(RestoreError::NoMember))
            }
            Err(RestoreError::Absent { topic }) if is_missed => {
                share.leave(Leave::Refuse(SubscribeError::UnknownTopic(topic)));
                Tried::Done(Err(RestoreError::NoMember))
            }
            Err(error) if !error.is_final() => {
                let (group, partition) = (&*share.scope.group, self.partition);
                if self.since.elapsed() > GAP {
                    tracing::warn!(%error, group, partition, "cannot restore yet");
                    share.hinder((partition, self.epoch), Some(error.to_string()));
                } else {
                    tracing::debug!(%error, group, partition, "cannot restore yet");
                }
                Tried::Again
            }
            done => Tried::Done(done),
        }
    }
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
