//! How far the journal was acknowledged, kept outside of it: a journal that was cut off looks like one that a crash has
//! torn, and only this tells the two apart.
//!
//! The file `MARK` is written after each sync of the journal and not synced itself, which would halve the rate. So it is
//! exact after the end of a process, and after a loss of power as old as what the system had not written back yet (half a
//! minute): it may say too little, never too much.
//!
//! ```text
//! mark = "WEIRMARK", sequence u64, time u64 (ms), first 8 bytes of the BLAKE3 of the rest
//! ```

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use weir_core::time::Millis;

use crate::clock::now;

pub(super) const NAME: &str = "MARK";
const MAGIC: &[u8; 8] = b"WEIRMARK";
const SIZE: usize = 8 * 4;

/// The last write that somebody was told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Acknowledged {
    /// Its sequence number.
    pub(super) sequence: u64,
    /// When.
    pub(super) at: Millis,
}

/// The file, while the store is open.
#[derive(Debug)]
pub(super) struct Mark {
    file: File,
    /// What it says.
    sequence: Mutex<u64>,
}

/// Why the mark of a store was not read.
#[derive(Debug, thiserror::Error)]
pub(super) enum MarkError {
    #[error("read {0}")]
    Io(PathBuf, #[source] io::Error),
    #[error("{0} is damaged")]
    Damaged(PathBuf),
}

/// What the mark of this store says; none where there is no mark: the store is new, or a restored copy.
pub(super) fn read(store: &Path) -> Result<Option<Acknowledged>, MarkError> {
    let path = store.join(NAME);
    match std::fs::read(&path) {
        Ok(bytes) => Acknowledged::decode(&bytes)
            .map(Some)
            .ok_or(MarkError::Damaged(path)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(MarkError::Io(path, error)),
    }
}

impl Acknowledged {
    fn encode(self) -> [u8; SIZE] {
        let mut bytes = [0; SIZE];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..16].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.at.0.to_le_bytes());
        let sum = sum(&bytes[..24]);
        bytes[24..].copy_from_slice(&sum);
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; SIZE] = bytes.try_into().ok()?;
        let ([magic, sequence, at, found], []) = bytes.as_chunks::<8>() else {
            return None;
        };
        let is_ours = magic == MAGIC && *found == sum(&bytes[..24]);
        is_ours.then(|| Self {
            sequence: u64::from_le_bytes(*sequence),
            at: Millis(u64::from_le_bytes(*at)),
        })
    }
}

fn sum(bytes: &[u8]) -> [u8; 8] {
    let hash = blake3::hash(bytes);
    *hash.as_bytes().first_chunk().expect("a hash has 32 bytes")
}

impl Mark {
    /// Opens the mark of a store that holds everything up to `sequence`, and makes it where there is none.
    pub(super) fn open(store: &Path, sequence: u64) -> io::Result<Self> {
        let mut options = File::options();
        options.write(true).create(true).truncate(false);
        let file = options.open(store.join(NAME))?;
        let mark = Self {
            file,
            sequence: Mutex::new(sequence),
        };
        // Of a store without a write too: a host that could not go on before its first one finds it at its next start.
        mark.write(sequence)?;
        mark.file.sync_all()?;
        File::open(store)?.sync_all()?;
        Ok(mark)
    }

    /// Everything up to what `sequence` answers is synced. Asked under the lock, so that the mark never goes back.
    pub(super) fn advance(&self, sequence: impl FnOnce() -> u64) -> io::Result<()> {
        let mut last = self
            .sequence
            .lock()
            .expect("nothing panics under this lock");
        let sequence = sequence();
        if sequence == *last {
            return Ok(());
        }
        *last = sequence;
        self.write(sequence)
    }

    fn write(&self, sequence: u64) -> io::Result<()> {
        let acknowledged = Acknowledged {
            sequence,
            at: now(),
        };
        self.file.write_all_at(&acknowledged.encode(), 0)
    }
}
