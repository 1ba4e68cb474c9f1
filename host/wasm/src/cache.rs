//! Compiled components on disk: `<digest>-<engine hash>.cwasm`, a 32-byte MAC and then the code.
//!
//! Loading an entry runs native code, so an entry is used only when its MAC is right: keyed BLAKE3 over the entry's
//! name and code, so that neither a changed file nor a file of another component passes.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{Timespec, Timestamps, UTIME_NOW, futimens};
use tracing::warn;

use crate::engine::SandboxConfig;

const MAC_BYTES: usize = 32;

/// Entries that are kept, those that were used last: more than a host has handlers, and few enough that what older versions
/// and older programs left does not fill a disk.
const ENTRIES_MAX: usize = 1_000;

/// Creates the folder, for its owner alone.
pub(crate) fn create_dir(path: &Path) -> Result<(), io::Error> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
}

/// Forgets what has not been used for longest, and what a start that was killed left half written. No error is worth
/// keeping a host from its start.
pub(crate) fn prune(path: &Path) {
    if let Err(error) = try_prune(path, ENTRIES_MAX) {
        warn!(path = %path.display(), %error, "cannot clean the cache of compiled code");
    }
}

fn try_prune(path: &Path, max: usize) -> Result<(), io::Error> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(path)? {
        let path = entry?.path();
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("tmp") => fs::remove_file(&path)?,
            Some("cwasm") => entries.push((fs::metadata(&path)?.modified()?, path)),
            Some(_) | None => {}
        }
    }
    entries.sort_unstable_by(|a, b| b.cmp(a));
    for (_, path) in entries.into_iter().skip(max) {
        fs::remove_file(path)?;
    }
    Ok(())
}

/// By the clock of the file system.
const NOW: Timestamps = Timestamps {
    last_access: Timespec {
        tv_sec: 0,
        tv_nsec: UTIME_NOW,
    },
    last_modification: Timespec {
        tv_sec: 0,
        tv_nsec: UTIME_NOW,
    },
};

/// One place in the cache.
#[derive(Clone)]
pub(crate) struct Entry {
    path: PathBuf,
    name: String,
    key: [u8; 32],
}

impl Entry {
    pub(crate) fn new(config: &SandboxConfig, digest: &str, engine_hash: &str) -> Self {
        let name = format!("{digest}-{engine_hash}.cwasm");
        Self {
            path: config.cache_dir.join(&name),
            name,
            key: config.cache_key,
        }
    }

    /// The code, when there is an entry and its MAC is right.
    pub(crate) fn read(&self) -> Option<Vec<u8>> {
        let mut bytes = match fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                warn!(path = %self.path.display(), %error, "cannot read compiled code, compiling again");
                return None;
            }
        };
        let authentic = bytes
            .split_first_chunk::<MAC_BYTES>()
            .is_some_and(|(mac, code)| {
                // `blake3::Hash` compares in constant time.
                self.mac(code) == blake3::Hash::from_bytes(*mac)
            });
        if !authentic {
            warn!(path = %self.path.display(), "compiled code was changed or comes from elsewhere, compiling again");
            return None;
        }
        bytes.drain(..MAC_BYTES);
        // When it was used last; that it cannot be noted costs a compilation some day.
        drop(File::open(&self.path).map(|file| futimens(file, &NOW)));
        Some(bytes)
    }

    /// Keeps `code`. A full disk costs a compilation at the next start, no more.
    pub(crate) fn write(&self, code: &[u8]) {
        if let Err(error) = self.try_write(code) {
            warn!(path = %self.path.display(), %error, "cannot keep compiled code");
        }
    }

    fn try_write(&self, code: &[u8]) -> Result<(), io::Error> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let temporary = self
            .path
            .with_extension(format!("{}-{number}.tmp", std::process::id()));
        let written = File::create(&temporary).and_then(|mut file| {
            file.write_all(self.mac(code).as_bytes())?;
            file.write_all(code)
        });
        let renamed = written.and_then(|()| fs::rename(&temporary, &self.path));
        if renamed.is_err() {
            // Best effort: the error that matters is the first.
            drop(fs::remove_file(&temporary));
        }
        renamed
    }

    fn mac(&self, code: &[u8]) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(&(self.name.len() as u64).to_le_bytes());
        hasher.update(self.name.as_bytes());
        hasher.update(code);
        hasher.finalize()
    }
}

#[cfg(test)]
mod tests;
