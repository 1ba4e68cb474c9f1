//! The local copy of a ledger that lies elsewhere: the same keys and values, written without a sync.
//!
//! What a unit writes under keys of its own is made once ([`Embedded::copy_stage`]) and goes both into the changelog and,
//! when the unit is committed there, into this store, from where all reads are answered. Keys of the changelog leave
//! out what is this store's own: the number of the subscription, and the partition, which is the changelog's too. What
//! follows from other entries (timers by due time) is not in the changelog and is made anew.
//!
//! The copy is never trusted over a change of owner: the new one clears it and fills it from the changelog.

use std::sync::Arc;

use rocksdb::WriteBatch;
use weir_core::unit::{Cursor, Unit};

use super::Embedded;
use super::key::{Key, Kind, PARTITION_PREFIX};
use super::ledger::failed;
use super::progress::{self, Progress};
use super::store::{ReadError, Store};
use super::timer;
use super::writes::{UnitWriter, Writes};
use crate::ledger::{LedgerError, Scope};

/// What is put aside before it is written: a restore of a million small entries is some hundred writes.
const BATCH_BYTES: usize = 1 << 20;
/// The kinds of which a partition's copy consists.
const KINDS: [Kind; 9] = [
    Kind::Begun,
    Kind::Progress,
    Kind::InboxBlock,
    Kind::State,
    Kind::ParkedEvent,
    Kind::ParkedHead,
    Kind::Timer,
    Kind::Due,
    Kind::Letter,
];

/// What one unit changes.
pub(crate) struct Changes(Writes);

impl Changes {
    /// Calls `each` with every entry of the changelog: its key, its value (none: it is gone), and whether it is a parked
    /// event, of which there are many and large ones; until one fails.
    pub(crate) fn each<E>(
        &self,
        mut each: impl FnMut(&[u8], Option<&[u8]>, bool) -> Result<(), E>,
    ) -> Result<(), E> {
        let entries = self.0.iter().filter(|(key, _)| key[0] != Kind::Due as u8);
        for (key, value) in entries {
            each(&relative(key), value, key[0] == Kind::ParkedEvent as u8)?;
        }
        Ok(())
    }
}

impl Embedded {
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
        let mut writer = UnitWriter::new(&self.inner.store, group, partition, unit.staged_at);
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
            }
            for (sequence, parked) in &unit.heads {
                writer.head(sequence, *parked)?;
            }
            writer.progress(unit);
            if let Some(origin) = origin {
                writer.begun(origin);
            }
            Ok(writer.finish())
        };
        stage()
            .map(Changes)
            .map_err(|error| failed("what a unit changes", scope, error))
    }

    /// Makes the changes of a committed unit visible to reads.
    pub(crate) fn copy_write(&self, changes: &Changes) {
        let store = &self.inner.store;
        let mut batch = WriteBatch::default();
        changes.0.add_to(store, &mut batch);
        store.write_unsynced(batch);
    }

    /// Forgets the copy of a partition; what is loaded takes its place.
    pub(crate) fn copy_clear(&self, scope: &Scope, partition: u32) -> Result<Loader, LedgerError> {
        let group = self.copy_group(scope)?;
        let store = Arc::clone(&self.inner.store);
        let mut batch = WriteBatch::default();
        for kind in KINDS {
            store.delete_prefix(
                &mut batch,
                kind.family(),
                &kind.of_partition(group, partition),
            );
        }
        Ok(Loader {
            store,
            group,
            partition,
            batch,
        })
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

/// Fills the copy of one partition from its changelog.
pub(crate) struct Loader {
    store: Arc<Store>,
    group: u32,
    partition: u32,
    batch: WriteBatch,
}

impl Loader {
    /// The next entry, in the order of the changelog; false when it is none of ours.
    pub(crate) fn push(&mut self, key: &[u8], value: Option<&[u8]>) -> bool {
        let known = key.first().and_then(|&first| {
            KINDS
                .into_iter()
                .find(|&kind| kind as u8 == first && kind != Kind::Due)
        });
        let Some(kind) = known else {
            return false;
        };
        let mut full = kind.of_partition(self.group, self.partition).to_vec();
        full.extend_from_slice(&key[1..]);
        if Key::decode(&full).is_err() {
            return false;
        }
        let family = self.store.family(kind.family());
        match value.filter(|value| !value.is_empty()) {
            Some(value) => self.batch.put_cf(family, &full, value),
            None => self.batch.delete_cf(family, &full),
        }
        if self.batch.size_in_bytes() >= BATCH_BYTES {
            self.store.write_unsynced(std::mem::take(&mut self.batch));
        }
        true
    }

    /// Everything was loaded: makes what follows from it.
    pub(crate) fn finish(mut self) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        self.store.write_unsynced(std::mem::take(&mut self.batch));
        let (group, partition) = (self.group, self.partition);
        let prefix = Kind::Timer.of_partition(group, partition);
        let mut batch = WriteBatch::default();
        self.store.scan(
            Kind::Timer.family(),
            &prefix,
            |key, value| -> Result<bool, ReadError> {
                let timer::Setting { due, id } = timer::decode_setting(value)?;
                let by_due = Key::Due {
                    group,
                    partition,
                    due,
                    id,
                };
                self.store.put(&mut batch, &by_due, &key.encode());
                Ok(true)
            },
        )?;
        self.store.write_unsynced(batch);
        Ok(())
    }
}

/// Without the subscription's number and the partition.
fn relative(key: &[u8]) -> Vec<u8> {
    let mut relative = Vec::with_capacity(key.len() + 1 - PARTITION_PREFIX);
    relative.push(key[0]);
    relative.extend_from_slice(&key[PARTITION_PREFIX..]);
    relative
}
