//! Fills the copy of one partition from its changelog.
//!
//! A copy that is gone on with has a checkpoint all the while, so each batch leaves it as some units would: what follows from
//! an entry goes with it. One that is made anew has none until all of it is there, and what follows is made at the end.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use rocksdb::WriteBatch;

use super::{KINDS, is_logged};
use crate::clock::now;
use crate::embedded::Inner;
use crate::embedded::key::{Key, Kind, PARTITION_PREFIX};
use crate::embedded::park::StoredSequence;
use crate::embedded::state;
use crate::embedded::store::ReadError;
use crate::embedded::timer::{self, Setting};
use crate::embedded::writes::NOTED;

/// What is put aside before it is written: a restore of a million small entries is some hundred writes.
const BATCH_BYTES: usize = 1 << 20;
/// Parked sequences that are looked at one by one: where more have changed, all are.
const HEADS_MAX: usize = 1 << 16;

/// Fills the copy of one partition.
pub(crate) struct Loader {
    inner: Arc<Inner>,
    group: u32,
    partition: u32,
    batch: WriteBatch,
    /// The timers of the batch; none where due times are made at the end.
    settings: Option<HashMap<Vec<u8>, Option<Setting>>>,
    /// The parked sequences that were read, as they stand in keys; none: all of the copy.
    heads: Option<BTreeSet<Vec<u8>>>,
}

/// Why an entry is not loaded.
pub(crate) enum Unloaded {
    /// It is none of ours.
    Unknown,
    /// The disk has no room; says what to do.
    Full(String),
    /// What is there cannot be read.
    Copy(Box<dyn std::error::Error + Send + Sync>),
}

/// Parked events of which a sequence tells, and which are not there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Missing {
    pub(crate) sequences: u64,
    pub(crate) events: u64,
}

impl Loader {
    /// Goes on with a copy where its checkpoint has it.
    pub(super) fn resume(inner: &Arc<Inner>, group: u32, partition: u32) -> Self {
        Self {
            inner: Arc::clone(inner),
            group,
            partition,
            batch: WriteBatch::default(),
            settings: Some(HashMap::new()),
            heads: Some(BTreeSet::new()),
        }
    }

    /// Forgets a copy; what is loaded takes its place.
    pub(super) fn clear(inner: &Arc<Inner>, group: u32, partition: u32) -> Self {
        let mut loader = Self {
            settings: None,
            heads: None,
            ..Self::resume(inner, group, partition)
        };
        for kind in KINDS {
            let prefix = kind.of_partition(group, partition);
            let batch = &mut loader.batch;
            inner.store.delete_prefix(batch, kind.family(), &prefix);
        }
        // At once, and not with what is read first: whatever happens next, nothing of it is taken for whole.
        loader.write();
        loader
    }

    /// The next entry, in the order of its log.
    pub(crate) fn push(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), Unloaded> {
        let known = key.first().and_then(|&first| {
            let mut kinds = KINDS.into_iter();
            kinds.find(|&kind| kind as u8 == first && is_logged(kind))
        });
        let Some(kind) = known else {
            return Err(Unloaded::Unknown);
        };
        let mut full = kind.of_partition(self.group, self.partition).to_vec();
        full.extend_from_slice(&key[1..]);
        if Key::decode(&full).is_err() {
            return Err(Unloaded::Unknown);
        }
        let value = value.filter(|value| !value.is_empty());
        if kind == Kind::Timer {
            let moved = self.move_due(&full, value);
            moved.map_err(|error| Unloaded::Copy(error.into()))?;
        }
        if kind == Kind::ParkedHead {
            self.note_head(&key[1..]);
        }
        if kind == Kind::State
            && let Some(value) = value
        {
            self.note_expiry(&full, value);
        }
        let family = self.inner.store.family(kind.family());
        match value {
            Some(value) => self.batch.put_cf(family, &full, value),
            None => self.batch.delete_cf(family, &full),
        }
        self.write_full().map_err(Unloaded::Full)
    }

    /// Everything was loaded: makes what follows from it, and says what is not there.
    pub(crate) fn finish(mut self) -> Result<Missing, Box<dyn std::error::Error + Send + Sync>> {
        self.write();
        if self.settings.is_none() {
            self.make_due()?;
        }
        Ok(self.missing()?)
    }

    /// Writes the due time of a timer in the place of what it had.
    fn move_due(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), ReadError> {
        let Some(settings) = &mut self.settings else {
            return Ok(());
        };
        let store = &self.inner.store;
        let after = value.map(timer::decode_setting).transpose()?;
        let before = match settings.insert(key.to_vec(), after) {
            Some(in_batch) => in_batch,
            None => {
                let stored = store.get_raw(Kind::Timer.family(), key)?;
                stored
                    .map(|value| timer::decode_setting(&value))
                    .transpose()?
            }
        };
        if let Some(setting) = before {
            let due = setting.key(self.group, self.partition);
            store.delete(&mut self.batch, &due);
        }
        if let Some(setting) = after {
            let due = setting.key(self.group, self.partition);
            store.put(&mut self.batch, &due, key);
        }
        Ok(())
    }

    /// Notes when a value expires, if it does: the next unit after that removes it.
    fn note_expiry(&mut self, key: &[u8], value: &[u8]) {
        let (
            Some(expires),
            Ok(Key::State {
                tenant, key, name, ..
            }),
        ) = (state::expires(value), Key::decode(key))
        else {
            return;
        };
        let life = expires.0.saturating_sub(now().0);
        let noted = Key::Expiry {
            group: self.group,
            partition: self.partition,
            at: state::look_at(expires, Duration::from_millis(life)),
            tenant,
            key,
            name,
        };
        self.inner.store.put(&mut self.batch, &noted, NOTED);
    }

    /// Makes the due times of all timers.
    fn make_due(&mut self) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let (group, partition) = (self.group, self.partition);
        let inner = Arc::clone(&self.inner);
        let prefix = Kind::Timer.of_partition(group, partition);
        let mut timers = inner.store.iterate(Kind::Timer.family(), &prefix);
        timers.seek(prefix);
        while let Some((key, value)) = timers.item() {
            let setting = timer::decode_setting(value)?;
            let due = setting.key(group, partition);
            inner.store.put(&mut self.batch, &due, key);
            self.write_full()?;
            timers.next();
        }
        timers.status()?;
        self.write();
        Ok(())
    }

    fn note_head(&mut self, sequence: &[u8]) {
        if let Some(heads) = &mut self.heads {
            heads.insert(sequence.to_vec());
            if heads.len() > HEADS_MAX {
                self.heads = None;
            }
        }
    }

    /// Compares the parked events with what their sequences tell of them, where one of the two was read.
    fn missing(&self) -> Result<Missing, ReadError> {
        let (store, kind) = (&self.inner.store, Kind::ParkedHead);
        let prefix = kind.of_partition(self.group, self.partition);
        let mut missing = Missing::default();
        match &self.heads {
            Some(heads) => {
                for sequence in heads {
                    let key = [&prefix, &**sequence].concat();
                    if let Some(head) = store.get_raw(kind.family(), &key)? {
                        missing.add(self.missing_of(sequence, &head)?);
                    }
                }
            }
            None => {
                let mut heads = store.iterate(kind.family(), &prefix);
                heads.seek(prefix);
                while let Some((key, head)) = heads.item() {
                    missing.add(self.missing_of(&key[PARTITION_PREFIX..], head)?);
                    heads.next();
                }
                heads.status()?;
            }
        }
        Ok(missing)
    }

    fn missing_of(&self, sequence: &[u8], head: &[u8]) -> Result<u64, ReadError> {
        let head = StoredSequence::decode(head)?;
        let prefix = Kind::ParkedEvent.of_partition(self.group, self.partition);
        let prefix = [&prefix, sequence].concat();
        let from = [&*prefix, &head.first.to_be_bytes()].concat();
        let mut missing = head.sequence.count;
        let mut events = (self.inner.store).iterate(Kind::ParkedEvent.family(), &prefix);
        events.seek(from);
        while missing > 0 && events.valid() {
            missing -= 1;
            events.next();
        }
        events.status()?;
        Ok(missing)
    }

    /// Writes what is put aside when that is much.
    fn write_full(&mut self) -> Result<(), String> {
        if self.batch.size_in_bytes() >= BATCH_BYTES {
            self.inner.disk.check_units()?;
            self.write();
        }
        Ok(())
    }

    fn write(&mut self) {
        let batch = std::mem::take(&mut self.batch);
        self.inner.store.write_unsynced(batch);
        if let Some(settings) = &mut self.settings {
            settings.clear();
        }
    }
}

impl Missing {
    fn add(&mut self, events: u64) {
        self.sequences += u64::from(events > 0);
        self.events += events;
    }
}
