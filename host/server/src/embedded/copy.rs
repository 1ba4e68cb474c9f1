//! The local copy of a ledger that lies elsewhere: the same keys and values, written without a sync.
//!
//! What a unit writes under keys of its own is made once ([`Embedded::copy_stage`]) and goes both into the changelog and,
//! when the unit is committed there, into this store, from where all reads are answered. Keys of the changelog leave
//! out what is this store's own: the number of the subscription, and the partition, which is the changelog's too. What
//! follows from other entries (timers by due time, state by expiry) is not in the changelog and is made anew.
//!
//! # Going on from a checkpoint
//!
//! A [`Checkpoint`] says of both topics of a changelog that the copy holds all that is committed before an offset. A new
//! owner whose copy has one reads on from there; else the copy is cleared, and all is read. That both ways end in the
//! same copy rests on four things.
//!
//! - **The copy is the changelog up to there.** A checkpoint is written in one batch with what it speaks of: with the
//!   changes of a unit that is known to be committed, or, after a restore, when all that was read is there. All batches
//!   go through one journal, which a crash cuts off and never thins out: what is left of it after a kill or a loss of power
//!   is all batches up to one. A journal with a gap is refused when the store is opened, and a copy that is refused is
//!   made anew ([`Embedded::open_copy`]), and so is one of which a part could not be read.
//! - **Reading twice is reading once.** Entries are values by key, so for each key the last one counts. What the copy
//!   has already of what follows the checkpoint (a unit whose place the broker did not tell, a restore that was cut off)
//!   is written again in the order of the log and ends as it was. The due time of a timer is written with it, in the place
//!   of that which it had in the copy, so that one that was replaced meanwhile leaves none.
//! - **Nothing is missing behind it.** Removals stay in a compacted log for some days after they were written, and what
//!   follows a checkpoint was written after its time; so nobody goes on from one that is older than half of those days
//!   ([`Checkpoint::flaw`]). State that has expired is removed by a unit like any other, some time after.
//! - **Nobody else writes.** Whose changes a copy takes is for [`crate::kafka`] to say.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use rocksdb::WriteBatch;
use weir_core::unit::{Cursor, Unit};

mod loader;

pub(crate) use super::checkpoint::{Checkpoint, Extent, Log, Reached};
use super::key::{Key, Kind, PARTITION_PREFIX};
use super::ledger::failed;
use super::progress::{self, Progress};
use super::store::{ReadError, Store};
use super::trust::Trust;
use super::writes::{UnitWriter, Writes};
use super::{Embedded, EmbeddedConfig, OpenError, PurgeError};
use crate::handlers::chain;
use crate::ledger::{LedgerError, Scope};
pub(crate) use loader::{Loader, Missing, Unloaded};

/// The kinds of which a partition's copy consists.
const KINDS: [Kind; 11] = [
    Kind::Checkpoint,
    Kind::Begun,
    Kind::Progress,
    Kind::InboxBlock,
    Kind::State,
    Kind::Expiry,
    Kind::ParkedEvent,
    Kind::ParkedHead,
    Kind::Timer,
    Kind::Due,
    Kind::Letter,
];

/// Whether entries of this kind stand in the changelog.
fn is_logged(kind: Kind) -> bool {
    !matches!(kind, Kind::Due | Kind::Expiry | Kind::Checkpoint)
}

/// What one unit changes.
pub(crate) struct Changes {
    group: u32,
    partition: u32,
    writes: Writes,
    /// How many of the writes there are with those of each completion.
    ends: Vec<usize>,
}

impl Changes {
    /// Calls `each` with every entry of the changelog until one fails: in which topic it stands, which completion of the
    /// unit it is of (none: of all), its key, and its value; none: it is gone.
    pub(crate) fn each<E>(
        &self,
        mut each: impl FnMut((Log, Option<usize>), &[u8], Option<&[u8]>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut completion = 0;
        for (index, (key, value)) in self.writes.iter().enumerate() {
            while self.ends.get(completion).is_some_and(|end| *end <= index) {
                completion += 1;
            }
            let log = match key[0] {
                kind if kind == Kind::Due as u8 || kind == Kind::Expiry as u8 => continue,
                kind if kind == Kind::ParkedEvent as u8 => Log::Park,
                _ => Log::Ledger,
            };
            let of = (completion < self.ends.len()).then_some(completion);
            each((log, of), &relative(key), value)?;
        }
        Ok(())
    }
}

impl Embedded {
    /// Opens the store of copies in `path`. One that cannot be opened, or could not be read, is made anew: all of it can be
    /// had again.
    pub(crate) fn open_copy(path: &Path, config: EmbeddedConfig) -> Result<Self, OpenError> {
        let open = |config| Self::open_by(path, config, Store::open_copy);
        let why = if Trust::is_lost_in(path) {
            "a part of it could not be read".to_owned()
        } else {
            match open(config.clone()) {
                Ok(store) => return Ok(store),
                Err(error) => chain(&error),
            }
        };
        tracing::warn!(why, "the local copy of the ledgers is made anew");
        match std::fs::remove_dir_all(path) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(OpenError {
                path: path.to_owned(),
                remedy: "it is a copy of what the cluster keeps: delete it",
                source: source.into(),
            }),
            Ok(()) | Err(_) => open(config),
        }
    }

    /// Forgets the copies of all subscriptions but these. None of them is served yet. Blocks.
    pub(crate) fn copy_retain(&self, scopes: &[Scope]) -> Result<(), PurgeError> {
        for (group, _) in self.inner.catalog.groups() {
            let is_kept =
                |scope: &&Scope| scope.group == group.name && scope.topics == group.topics;
            if !scopes.iter().any(|scope| is_kept(&scope)) {
                self.purge_subscription(&group.name)?;
            }
        }
        Ok(())
    }

    /// What a unit writes beside its records, and on what the partition stands from it on, where that is given. Reads
    /// the copy where a change depends on what is there.
    pub(crate) fn copy_stage(
        &self,
        scope: &Scope,
        partition: u32,
        unit: &Unit,
        origin: Option<&[u8]>,
    ) -> Result<Changes, LedgerError> {
        let group = self.copy_group(scope)?;
        let writer = UnitWriter::new(&self.inner.store, group, partition, unit.staged_at);
        let mut writer = writer.noting_expiry();
        let mut ends = Vec::with_capacity(unit.completions.len());
        let stage = || -> Result<Writes, ReadError> {
            for completion in &unit.completions {
                writer.state(completion);
                for change in &completion.output.timers {
                    writer.timer(change)?;
                }
                if let Some(parking) = &completion.output.parking {
                    writer.parking(&completion.sequence, parking);
                }
                writer.letter(completion)?;
                ends.push(writer.count());
            }
            for (sequence, parked) in &unit.heads {
                writer.head(sequence, *parked)?;
            }
            writer.expired()?;
            writer.progress(unit);
            if let Some(origin) = origin {
                writer.begun(origin);
            }
            Ok(writer.finish())
        };
        let writes = stage()
            .map_err(|error| failed("what a unit changes", scope, error))
            .inspect_err(|error| self.copy_give_up(error))?;
        Ok(Changes {
            group,
            partition,
            writes,
            ends,
        })
    }

    /// Makes the changes of a committed unit visible to reads, and says how far the copy is with them; none: nobody knows.
    pub(crate) fn copy_write(&self, changes: &Changes, checkpoint: Option<&Checkpoint>) {
        let Changes {
            group,
            partition,
            ref writes,
            ends: _,
        } = *changes;
        let store = &self.inner.store;
        let mut batch = WriteBatch::default();
        writes.add_to(store, &mut batch);
        mark(store, &mut batch, (group, partition), checkpoint);
        store.write_unsynced(batch);
    }

    /// How far the copy of a partition is; none of one that is not whole.
    pub(crate) fn copy_checkpoint(
        &self,
        scope: &Scope,
        partition: u32,
    ) -> Result<Option<Checkpoint>, LedgerError> {
        let group = self.copy_group(scope)?;
        if self.inner.store.is_given_up() {
            return Ok(None);
        }
        let read = || -> Result<Option<Checkpoint>, ReadError> {
            let stored = self
                .inner
                .store
                .get(&Key::Checkpoint { group, partition })?;
            Ok(stored.map(|value| Checkpoint::decode(&value)).transpose()?)
        };
        read().map_err(|error| failed("a checkpoint", scope, error))
    }

    /// Says how far the copy of a partition is; none: nobody knows, and the next owner makes it anew.
    pub(crate) fn copy_mark(
        &self,
        scope: &Scope,
        partition: u32,
        checkpoint: Option<&Checkpoint>,
    ) -> Result<(), LedgerError> {
        let group = self.copy_group(scope)?;
        let store = &self.inner.store;
        let mut batch = WriteBatch::default();
        mark(store, &mut batch, (group, partition), checkpoint);
        store.write_unsynced(batch);
        Ok(())
    }

    /// Whether there is room for what a copy takes; else what to do.
    pub(crate) fn copy_room(&self) -> Result<(), String> {
        self.inner.disk.check_units()
    }

    /// Takes up the copy of a partition where its checkpoint has it.
    pub(crate) fn copy_resume(&self, scope: &Scope, partition: u32) -> Result<Loader, LedgerError> {
        let group = self.copy_group(scope)?;
        Ok(Loader::resume(&self.inner, group, partition))
    }

    /// Forgets the copy of a partition; what is loaded takes its place.
    pub(crate) fn copy_clear(&self, scope: &Scope, partition: u32) -> Result<Loader, LedgerError> {
        let group = self.copy_group(scope)?;
        Ok(Loader::clear(&self.inner, group, partition))
    }

    /// The partitions of which there is anything.
    pub(crate) fn copy_partitions(&self) -> Result<Vec<(Scope, u32)>, LedgerError> {
        let mut all = Vec::new();
        for (group, _) in self.inner.catalog.groups() {
            let scope = Scope {
                group: Arc::clone(&group.name),
                topics: group.topics.iter().map(Arc::clone).collect(),
            };
            let found = partitions(&self.inner.store, group.id)
                .map_err(|error| failed("which partitions there are", &scope, error))?;
            all.extend(
                found
                    .into_iter()
                    .map(|partition| (scope.clone(), partition)),
            );
        }
        Ok(all)
    }

    /// The copy cannot be read: nobody goes on from it, and it is made anew when it is opened next.
    pub(crate) fn copy_give_up(&self, error: &LedgerError) {
        self.inner.store.give_up(error);
    }

    /// The number of the last unit, and where it left the topics.
    pub(crate) fn copy_progress(
        &self,
        scope: &Scope,
        partition: u32,
    ) -> Result<(u64, Vec<Cursor>), LedgerError> {
        let group = self.copy_group(scope)?;
        let read = || -> Result<Progress, ReadError> {
            let stored = self.inner.store.get(&Key::Progress { group, partition })?;
            Ok(match stored {
                Some(value) => progress::decode(&value)?,
                None => Progress::default(),
            })
        };
        let progress = read().map_err(|error| failed("progress", scope, error))?;
        Ok((progress.unit, progress.cursors))
    }

    /// On what the partition stands.
    pub(crate) fn copy_origin(
        &self,
        scope: &Scope,
        partition: u32,
    ) -> Result<Option<Vec<u8>>, LedgerError> {
        let group = self.copy_group(scope)?;
        let origin = self.inner.store.get(&Key::Begun { group, partition });
        let origin = origin.map_err(|error| failed("on what a partition stands", scope, error))?;
        Ok(origin.map(|value| value.to_vec()))
    }

    fn copy_group(&self, scope: &Scope) -> Result<u32, LedgerError> {
        let (catalog, store) = (&self.inner.catalog, &self.inner.store);
        let group = catalog.group(store, &scope.group, &scope.topics);
        group
            .map(|group| group.id)
            .map_err(|error| failed("the subscription", scope, error))
    }
}

/// Those of a subscription that have an entry of any kind, each found by one look.
fn partitions(store: &Store, group: u32) -> Result<BTreeSet<u32>, ReadError> {
    let mut found = BTreeSet::new();
    for kind in KINDS {
        let prefix = &kind.of_partition(group, 0)[..PARTITION_PREFIX - size_of::<u32>()];
        let mut iterator = store.iterate(kind.family(), prefix);
        iterator.seek(prefix);
        while let Some(key) = iterator.key() {
            let Some(partition) = key[prefix.len()..].first_chunk() else {
                break;
            };
            let partition = u32::from_be_bytes(*partition);
            found.insert(partition);
            match partition.checked_add(1) {
                Some(next) => iterator.seek(kind.of_partition(group, next)),
                None => break,
            }
        }
        iterator.status()?;
    }
    Ok(found)
}

fn mark(
    store: &Store,
    batch: &mut WriteBatch,
    (group, partition): (u32, u32),
    checkpoint: Option<&Checkpoint>,
) {
    let key = Key::Checkpoint { group, partition };
    match checkpoint {
        Some(checkpoint) => store.put(batch, &key, &checkpoint.encode()),
        None => store.delete(batch, &key),
    }
}

/// Without the subscription's number and the partition.
fn relative(key: &[u8]) -> Vec<u8> {
    let mut relative = Vec::with_capacity(key.len() + 1 - PARTITION_PREFIX);
    relative.push(key[0]);
    relative.extend_from_slice(&key[PARTITION_PREFIX..]);
    relative
}
