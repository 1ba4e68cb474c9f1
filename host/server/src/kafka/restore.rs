//! Brings the local copy of a partition's ledger up to what is committed.
//!
//! First the committed offsets are waited for until they are stable: no transaction of another owner is open over them,
//! so no unit of his can still become committed. Markers of a transaction reach the offsets and the changelog one after
//! the other, so the changelog may still lag, which is for [`super::changelog`] to wait for.
//!
//! Reading begins where the copy's checkpoint is, if it can be trusted; why that is enough is said in
//! [`crate::embedded`]'s `copy.rs` and in [`super::copies`]. What is restored so must end with the very unit that the
//! group has committed. Where it does not, the copy is made anew before that is believed. What the whole log lacks then is
//! a [`super::gap`].

use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer as _;
use weir_core::unit::Cursor;

use super::changelog::{Changelogs, STABLE};
use super::clients::Clients;
use super::cluster::Cluster;
use super::copies::{Copies, PartitionCopy};
use super::gap::Found;
use super::offsets;
use super::origin::Origin;
use super::own_topics::CHECKPOINT_AGE_MAX;
use super::patience::{RestoreError, bounds};
use super::reading::AGAIN;
use super::share::Share;
use super::waiting::{ANSWER, pause};
use crate::clock::now;
use crate::embedded::{Checkpoint, Embedded, Missing, Reached};
use crate::fail::{self, Point};
use crate::ledger::{LostPosition, Stood};
use crate::names;

/// With what a partition is restored.
#[derive(Clone, Copy)]
pub(super) struct Loading<'a> {
    pub(super) clients: &'a Clients,
    pub(super) cluster: &'a Cluster,
    pub(super) copies: &'a Copies,
    pub(super) share: &'a Share,
}

/// What is in the copy when all was read.
struct Filled {
    unit: u64,
    /// That were read.
    entries: u64,
    /// How far.
    logs: [Reached; 2],
    missing: Missing,
}

impl Loading<'_> {
    /// Makes the local copy of one partition what is committed, unless it is.
    pub(super) fn load(self, partition: u32) -> Result<(), RestoreError> {
        let copy = self.copies.of(&self.share.scope, partition);
        // An earlier assignment of this partition may still be loading what nobody wants any more.
        let mut loaded = copy.loading();
        let epoch = self.share.tenure.epoch(partition);
        let epoch = epoch.ok_or(RestoreError::NoMember)?;
        if *loaded != Some(epoch) {
            self.load_once(&copy, partition, epoch)?;
            if !self.share.tenure.owns(partition, epoch) {
                return Err(RestoreError::NoMember);
            }
            *loaded = Some(epoch);
        }
        Ok(())
    }

    fn load_once(
        self,
        copy: &PartitionCopy,
        partition: u32,
        epoch: u64,
    ) -> Result<(), RestoreError> {
        let Self { copies, share, .. } = self;
        let (started, at) = (Instant::now(), now());
        let offsets = committed_unit(share, partition)?;
        let group = &*share.scope.group;
        let logs = Changelogs::look(self.cluster, group, partition)?;
        if !copy.take(epoch) {
            return Err(RestoreError::NoMember);
        }
        let resumed = match self.checkpoint(partition, &logs) {
            Some(from) => self.resume(partition, &logs, from, offsets)?,
            None => None,
        };
        let is_resumed = resumed.is_some();
        let filled = match resumed {
            Some(filled) => filled,
            None => self.fill(partition, &logs, None)?,
        };
        let kept = origin(&copies.store, share, partition)?;
        let found = Found {
            offsets,
            unit: filled.unit,
            entries: filled.entries,
            has_begun: kept.is_some(),
            missing: filled.missing,
            extents: logs.extents,
        };
        if let Some(gap) = found.gap() {
            return Err(RestoreError::Gap(gap));
        }
        if let Some(kept) = kept {
            let checked = share.origin.check(&kept, &share.scope);
            checked.map_err(RestoreError::Changed)?;
        }
        let checkpoint = Checkpoint {
            at,
            logs: filled.logs,
        };
        copies
            .loaded(&share.scope, partition, filled.unit, checkpoint)
            .map_err(|error| RestoreError::Copy(error.into()))?;
        tracing::debug!(
            group,
            partition,
            unit = filled.unit,
            from = if is_resumed { "checkpoint" } else { "log" },
            entries = filled.entries,
            ms = started.elapsed().as_millis(),
            "ledger restored"
        );
        Ok(())
    }

    /// From where the copy may be read on.
    fn checkpoint(self, partition: u32, logs: &Changelogs) -> Option<Checkpoint> {
        let group = &*self.share.scope.group;
        let kept = self
            .copies
            .store
            .copy_checkpoint(&self.share.scope, partition);
        let kept = kept.unwrap_or_else(|error| {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, group, partition, "the local copy is made anew");
            None
        })?;
        let slept = match fail::holds(Point::CheckpointsOld) {
            true => CHECKPOINT_AGE_MAX,
            false => Duration::ZERO,
        };
        if let Some(flaw) = kept.flaw(logs.extents, now() + slept, CHECKPOINT_AGE_MAX) {
            tracing::debug!(?flaw, group, partition, "the local copy is made anew");
            return None;
        }
        Some(kept)
    }

    /// Reads on from a checkpoint; none when what comes of it cannot be trusted.
    fn resume(
        self,
        partition: u32,
        logs: &Changelogs,
        from: Checkpoint,
        offsets: u64,
    ) -> Result<Option<Filled>, RestoreError> {
        let group = &*self.share.scope.group;
        match self.fill(partition, logs, Some(from)) {
            Ok(Filled {
                missing: Missing { events: 1.., .. },
                ..
            }) => tracing::warn!(
                group,
                partition,
                "the local copy lacks parked events, and is made anew"
            ),
            // A group that has forgotten its offsets names no unit.
            Ok(filled) if filled.unit == offsets || offsets == 0 => return Ok(Some(filled)),
            Ok(Filled { unit: copied, .. }) => tracing::warn!(
                group,
                partition,
                copied,
                offsets,
                "the local copy does not end with the last unit, and is made anew"
            ),
            Err(error @ (RestoreError::Copy(_) | RestoreError::Unknown { .. })) => {
                tracing::warn!(%error, group, partition, "the local copy is made anew");
            }
            Err(error) => return Err(error),
        }
        Ok(None)
    }

    /// Fills the copy from here on, or from the beginning of the logs.
    fn fill(
        self,
        partition: u32,
        logs: &Changelogs,
        from: Option<Checkpoint>,
    ) -> Result<Filled, RestoreError> {
        let (store, scope) = (&self.copies.store, &self.share.scope);
        store.copy_room().map_err(RestoreError::Full)?;
        let loader = match from {
            Some(_) => store.copy_resume(scope, partition),
            None => store.copy_clear(scope, partition),
        };
        let mut loader = loader.map_err(|error| RestoreError::Copy(error.into()))?;
        let from = match from {
            Some(kept) => kept.logs.map(|log| log.next),
            None => logs.extents.map(|log| log.first),
        };
        let push = |key: &[u8], value: Option<&[u8]>| loader.push(key, value);
        let (entries, next) = logs.read(self.clients, from, push)?;
        let missing = loader.finish().map_err(RestoreError::Copy)?;
        let (unit, _) = copied(store, self.share, partition)?;
        let reached = |log: usize| Reached {
            topic: logs.extents[log].topic,
            next: next[log],
        };
        Ok(Filled {
            unit,
            entries,
            logs: [reached(0), reached(1)],
            missing,
        })
    }
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
        let remade = kept
            .as_ref()
            .is_some_and(|kept| share.origin.is_remade(kept, index));
        let stood = match (remade, is_known) {
            (true, _) => Stood::OnAnother(cursor.frontier),
            (false, false) => Stood::Nowhere,
            (false, true) => Stood::At(cursor.frontier),
        };
        lost.extend(LostPosition::of(topic, stood, bounds[index]));
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
    let epoch = share
        .tenure
        .epoch(partition)
        .ok_or(RestoreError::NoMember)?;
    let deadline = Instant::now() + STABLE;
    loop {
        if !share.tenure.owns(partition, epoch) {
            return Err(RestoreError::NoMember);
        }
        let asked = share.partitions_of([partition]);
        let committed = consumer
            .committed_offsets(asked, ANSWER)
            .and_then(|list| offsets::units(&list));
        match committed {
            Ok(units) => return Ok(units.get(&partition).copied().unwrap_or_default()),
            Err(error) if Instant::now() > deadline => return Err(RestoreError::Offsets(error)),
            Err(error) => {
                let group = &*share.scope.group;
                tracing::debug!(%error, group, partition, "positions are not stable yet");
                pause(AGAIN);
            }
        }
    }
}
