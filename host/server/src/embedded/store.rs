//! RocksDB: how it is set up, what is asked of its files before it may touch them, and what happens when it cannot write.

use std::path::Path;

use rocksdb::checkpoint::Checkpoint;
use rocksdb::compaction_filter::Decision;
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, DBCompressionType,
    DBPinnableSlice, DBRawIterator, DBRecoveryMode, ErrorKind, Options, ReadOptions, WriteBatch,
    WriteOptions,
};

use super::codec::DecodeError;
use super::damage::{self, Damaged};
use super::key::{Family, Key};
use super::mark::Mark;
use super::state;
use super::trust::Trust;
use crate::clock::now;
use crate::fail::{self, Point};

/// Decoded blocks of all families together; blobs are read past it.
const BLOCK_CACHE_BYTES: usize = 64 << 20;
/// Record batches wait here for their blob file: large enough that a flush is a long sequential write.
const LOG_BUFFER_BYTES: usize = 64 << 20;
const LEDGER_BUFFER_BYTES: usize = 16 << 20;
const STATE_BUFFER_BYTES: usize = 32 << 20;
const META_BUFFER_BYTES: usize = 8 << 20;
const PARK_BUFFER_BYTES: usize = 16 << 20;
const TIMER_BUFFER_BYTES: usize = 16 << 20;
/// A file in which this share of so many keys in a row are removals is compacted soon: parks and timers are read from
/// the front, where what left has left its removals.
const REMOVALS_WINDOW: usize = 4096;
const REMOVALS_SHARE: f64 = 0.5;
/// Beyond it the oldest buffers are flushed: bounds the disk that the journal takes and the time of a start.
const JOURNAL_BYTES_MAX: u64 = 256 << 20;
/// Smaller batches lie beside their keys: a blob file of tiny values costs more reads than compaction saves writes.
const BLOB_BYTES_MIN: u64 = 1024;
const BLOB_FILE_BYTES: u64 = 64 << 20;

/// Reading the store failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    /// RocksDB says so: an I/O error or a wrong checksum.
    #[error("read the store")]
    Rocks(#[from] rocksdb::Error),
    /// What it gave is not what we write.
    #[error("understand a stored value")]
    Decode(#[from] DecodeError),
}

/// The store could not be opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum StoreError {
    /// RocksDB says so.
    #[error("open RocksDB")]
    Rocks(#[from] rocksdb::Error),
    /// It is not what was written.
    #[error(transparent)]
    Damaged(#[from] Damaged),
}

impl StoreError {
    /// With its cause, where the system's errors are told.
    pub(super) fn text(&self) -> String {
        crate::handlers::chain(self)
    }
}

/// What compaction does with state that has expired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expired {
    Goes,
    /// Of a store of copies: a unit removes it, and learns from its being there that nobody has.
    Stays,
}

pub(super) struct Store {
    db: DB,
    mark: Mark,
    synced: WriteOptions,
    /// Of a store of copies.
    trust: Option<Trust>,
}

impl Store {
    /// Opens a store, or makes one where there is none. One that lacks anything that was acknowledged is refused: what
    /// can be seen without RocksDB is looked at first, because RocksDB deletes the files that its manifest does not name.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        Self::open_by(path, Expired::Goes)
    }

    fn open_by(path: &Path, expired: Expired) -> Result<Self, StoreError> {
        let damage::Checked {
            acknowledged,
            suspect,
        } = damage::check_files(path)?;
        let mut options = db_options();
        options.create_if_missing(acknowledged.is_none());
        if let Some(suspect) = suspect {
            // It ends there; all before it was read and is whole.
            options.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
            damage::check_suspect(acknowledged, last_write(&options, path, expired)?, suspect)?;
        }
        let db = open_families(&options, path, expired)?;
        damage::check_sequence(acknowledged, db.latest_sequence_number())?;
        Self::new(db, path)
    }

    /// Opens a store up to where its journal is damaged.
    pub(super) fn open_until_damage(path: &Path) -> Result<Self, StoreError> {
        let mut options = db_options();
        options.create_if_missing(false);
        options.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
        // It would ask for journals that are given up.
        options.set_track_and_verify_wals_in_manifest(false);
        let db = open_families(&options, path, Expired::Goes)?;
        Self::new(db, path)
    }

    fn new(db: DB, path: &Path) -> Result<Self, StoreError> {
        let mark = Mark::open(path, db.latest_sequence_number()).map_err(Damaged::Mark)?;
        let mut synced = WriteOptions::default();
        synced.set_sync(true);
        Ok(Self {
            db,
            mark,
            synced,
            trust: None,
        })
    }

    /// As [`Self::open`], of a store that can be had again.
    pub(super) fn open_copy(path: &Path) -> Result<Self, StoreError> {
        Ok(Self {
            trust: Some(Trust::new(path)),
            ..Self::open_by(path, Expired::Stays)?
        })
    }

    /// A part of it could not be read, for this reason; a store of copies is not used again.
    pub(super) fn give_up(&self, error: &(dyn std::error::Error + 'static)) {
        if let Some(trust) = &self.trust {
            trust.lose(error);
        }
    }

    /// Whether it is a store of copies of which a part could not be read.
    pub(super) fn is_given_up(&self) -> bool {
        self.trust.as_ref().is_some_and(Trust::is_lost)
    }

    /// The number of the last write.
    pub(super) fn sequence(&self) -> u64 {
        self.db.latest_sequence_number()
    }

    /// Reads everything in a family, past the caches, and every table's filter.
    pub(super) fn read_through(
        &self,
        family: Family,
        mut each: impl FnMut(&[u8], &[u8]),
    ) -> Result<(), rocksdb::Error> {
        let mut options = ReadOptions::default();
        options.fill_cache(false);
        let mut iterator = self.db.raw_iterator_cf_opt(self.family(family), options);
        iterator.seek_to_first();
        while let Some((key, value)) = iterator.item() {
            each(key, value);
            iterator.next();
        }
        iterator.status()?;
        for file in self.db.live_files()? {
            if file.column_family_name == family.name()
                && let Some(key) = file.start_key
            {
                self.db.get_pinned_cf(self.family(family), key)?;
            }
        }
        Ok(())
    }

    pub(super) fn family(&self, family: Family) -> &ColumnFamily {
        self.db
            .cf_handle(family.name())
            .expect("opened with all families")
    }

    pub(super) fn get(&self, key: &Key) -> Result<Option<DBPinnableSlice<'_>>, rocksdb::Error> {
        self.db
            .get_pinned_cf(self.family(key.family()), key.encode())
    }

    /// The same of a key that is encoded.
    pub(super) fn get_raw(
        &self,
        family: Family,
        key: &[u8],
    ) -> Result<Option<DBPinnableSlice<'_>>, rocksdb::Error> {
        self.db.get_pinned_cf(self.family(family), key)
    }

    /// An iterator over the keys with `prefix`; seek before use.
    pub(super) fn iterate(&self, family: Family, prefix: &[u8]) -> DBRawIterator<'_> {
        let mut options = ReadOptions::default();
        options.set_iterate_range(rocksdb::PrefixRange(prefix));
        self.db.raw_iterator_cf_opt(self.family(family), options)
    }

    /// Calls `each` with all keys that start with `prefix` and their values, in order, until it answers false.
    pub(super) fn scan<E: From<ReadError>>(
        &self,
        family: Family,
        prefix: &[u8],
        mut each: impl FnMut(Key, &[u8]) -> Result<bool, E>,
    ) -> Result<(), E> {
        self.scan_from(family, prefix, prefix, &mut each)
    }

    /// As [`Self::scan`], beginning at the key `from`.
    pub(super) fn scan_from<E: From<ReadError>>(
        &self,
        family: Family,
        prefix: &[u8],
        from: &[u8],
        mut each: impl FnMut(Key, &[u8]) -> Result<bool, E>,
    ) -> Result<(), E> {
        let mut iterator = self.iterate(family, prefix);
        iterator.seek(from);
        while let Some((key, value)) = iterator.item() {
            if !each(Key::decode(key).map_err(ReadError::from)?, value)? {
                return Ok(());
            }
            iterator.next();
        }
        Ok(iterator.status().map_err(ReadError::from)?)
    }

    pub(super) fn put(&self, batch: &mut WriteBatch, key: &Key, value: &[u8]) {
        batch.put_cf(self.family(key.family()), key.encode(), value);
    }

    /// Deletes the keys from `from` on and before `to`, of one kind.
    pub(super) fn delete_range(&self, batch: &mut WriteBatch, from: &Key, to: &Key) {
        batch.delete_range_cf(self.family(from.family()), from.encode(), to.encode());
    }

    /// Writes the batch and syncs the journal. After a failure nobody can know what the journal holds (a second sync
    /// may report success over pages that were dropped), so the process ends by abort: what was acknowledged is
    /// synced, and the next start reads what is there.
    pub(super) fn write_synced(&self, batch: WriteBatch) {
        if fail::fails(Point::StoreWritten) {
            drop(self.db.write(batch));
            fail::kill();
        }
        fail::hang(Point::SyncHangs);
        if let Err(error) = self.db.write_opt(batch, &self.synced) {
            die("write to the store", &error);
        }
        fail::pass(Point::StoreSynced);
        if let Err(error) = self.mark.advance(|| self.sequence()) {
            die("mark what is acknowledged", &error);
        }
    }

    /// Writes what may be lost, because it can be had again: what a loss of power leaves is all writes up to one.
    pub(super) fn write_unsynced(&self, batch: WriteBatch) {
        if let Err(error) = self.db.write(batch) {
            // A compaction has met a block that cannot be read, and would again.
            if error.kind() == ErrorKind::Corruption {
                self.give_up(&error);
            }
            die("write to the store", &error);
        }
    }

    pub(super) fn delete(&self, batch: &mut WriteBatch, key: &Key) {
        batch.delete_cf(self.family(key.family()), key.encode());
    }

    /// Deletes all keys that start with `prefix`.
    pub(super) fn delete_prefix(&self, batch: &mut WriteBatch, family: Family, prefix: &[u8]) {
        let end = rocksdb::IterateBounds::into_bounds(rocksdb::PrefixRange(prefix)).1;
        let end = end.expect("no kind is the last byte of all");
        batch.delete_range_cf(self.family(family), prefix, &end);
    }

    /// A copy of everything that was committed, in a directory that does not exist.
    pub(super) fn checkpoint(&self, path: &Path) -> Result<(), rocksdb::Error> {
        Checkpoint::new(&self.db)?.create_checkpoint(path)
    }

    /// Rewrites a family, so that what was deleted gives its disk space back.
    pub(super) fn compact(&self, family: Family) {
        self.db
            .compact_range_cf::<&[u8], &[u8]>(self.family(family), None, None);
    }

    /// Bytes on disk and in buffers.
    pub(super) fn bytes(&self, family: Family) -> u64 {
        const PARTS: [&str; 3] = [
            "rocksdb.live-sst-files-size",
            "rocksdb.live-blob-file-size",
            "rocksdb.cur-size-all-mem-tables",
        ];
        let part = |name| {
            self.db
                .property_int_value_cf(self.family(family), name)
                .ok()
                .flatten()
                .unwrap_or(0)
        };
        PARTS.into_iter().map(part).sum()
    }
}

/// Ends the process at once, with the reason on standard error whatever the log does with it.
#[expect(
    clippy::print_stderr,
    reason = "the log may be buffered, and nothing runs after this"
)]
pub(super) fn die(what: &str, error: &(dyn std::error::Error + 'static)) -> ! {
    tracing::error!(error, "cannot {what}, stopping");
    eprintln!(
        "weir: cannot {what}: {error}; what was acknowledged is safe; free the cause and start again"
    );
    std::process::abort()
}

fn open_families(options: &Options, path: &Path, expired: Expired) -> Result<DB, rocksdb::Error> {
    DB::open_cf_descriptors(options, path, families(expired))
}

/// The number of the last write that a store holds, of which no file is changed.
fn last_write(options: &Options, path: &Path, expired: Expired) -> Result<u64, rocksdb::Error> {
    let db = DB::open_cf_descriptors_read_only(options, path, families(expired), false)?;
    Ok(db.latest_sequence_number())
}

fn families(expired: Expired) -> [ColumnFamilyDescriptor; Family::ALL.len()] {
    let cache = Cache::new_lru_cache(BLOCK_CACHE_BYTES);
    Family::ALL.map(|family| {
        ColumnFamilyDescriptor::new(family.name(), family_options(family, &cache, expired))
    })
}

fn db_options() -> Options {
    let mut options = Options::default();
    options.create_missing_column_families(true);
    // A write that was cut off at the end of the journal was never acknowledged; damage anywhere else is refused.
    options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    options.set_paranoid_checks(true);
    // A journal that is gone, or shorter than when it was closed, is refused.
    options.set_track_and_verify_wals_in_manifest(true);
    options.set_max_total_wal_size(JOURNAL_BYTES_MAX);
    options.set_max_background_jobs(2);
    // Write back while a file grows, so that a flush or compaction does not leave one long sync to the committer.
    options.set_bytes_per_sync(1 << 20);
    options.set_max_open_files(1024);
    options.set_keep_log_file_num(4);
    options.set_max_log_file_size(4 << 20);
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    #[cfg(test)]
    options.enable_statistics();
    options
}

fn family_options(family: Family, cache: &Cache, expired: Expired) -> Options {
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(cache);
    blocks.set_cache_index_and_filter_blocks(true);
    blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);
    let mut options = Options::default();
    options.set_compression_type(DBCompressionType::Lz4);
    match family {
        Family::Meta => options.set_write_buffer_size(META_BUFFER_BYTES),
        Family::Ledger => options.set_write_buffer_size(LEDGER_BUFFER_BYTES),
        Family::Log => {
            options.set_write_buffer_size(LOG_BUFFER_BYTES);
            options.set_max_write_buffer_number(4);
            keep_in_blobs(&mut options);
        }
        Family::Park => {
            options.set_write_buffer_size(PARK_BUFFER_BYTES);
            keep_in_blobs(&mut options);
            compact_removals(&mut options);
        }
        Family::Timer => {
            options.set_write_buffer_size(TIMER_BUFFER_BYTES);
            // Setting a timer asks for the one before, and most have none.
            blocks.set_bloom_filter(10.0, false);
            compact_removals(&mut options);
        }
        Family::State => {
            options.set_write_buffer_size(STATE_BUFFER_BYTES);
            // Most events of a new key ask for a name that is not there.
            blocks.set_bloom_filter(10.0, false);
            if expired == Expired::Goes {
                options.set_compaction_filter("expired", |_level, _key, value| {
                    if state::is_expired(value, now()) {
                        Decision::Remove
                    } else {
                        Decision::Keep
                    }
                });
            }
        }
    }
    options.set_block_based_table_factory(&blocks);
    options
}

fn keep_in_blobs(options: &mut Options) {
    options.set_enable_blob_files(true);
    options.set_min_blob_size(BLOB_BYTES_MIN);
    options.set_blob_file_size(BLOB_FILE_BYTES);
    options.set_blob_compression_type(DBCompressionType::Lz4);
    options.set_enable_blob_gc(true);
}

fn compact_removals(options: &mut Options) {
    let trigger = 0;
    options.add_compact_on_deletion_collector_factory(REMOVALS_WINDOW, trigger, REMOVALS_SHARE);
}

#[cfg(test)]
mod tests;
