//! The data directory: one process owns it, and it says in which format it is.
//!
//! | entry | what |
//! |---|---|
//! | `LOCK` | locked exclusively while a host runs; holds its process id |
//! | `FORMAT` | number of the layout; written last when a directory is made |
//! | `host-id` | name of this host, made once, and a checksum: another name would leave open what it has begun elsewhere |
//! | `cache.key` | 32 random bytes, mode 0600: the key of the MAC on cached machine code |
//! | `store/` | RocksDB, and the mark of what was acknowledged |
//! | `cache/` | compiled components |
//! | `before-format-N/` | copy from before the migration to format N |
//! | `last-start` | which start of a host on a cluster was the last on this directory |
//! | `versions/` | components and manifests that were deployed, by group and digests |

pub mod backup;
pub(crate) mod copy;
mod format;

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::{fs, io};

use rustix::fs::FlockOperation;

use self::format::{OLDEST, STEPS};

pub use self::format::FORMAT;

/// What may lie in a directory that becomes a data directory: what a start that was killed left, and what a freshly
/// made file system holds.
const NOT_FOREIGN: [&str; 5] = ["LOCK", "host-id", "cache.key", "FORMAT", "lost+found"];

/// The same of folders, as long as they are empty.
const FOLDERS: [&str; 2] = ["store", "cache"];

/// Says that there was a store: one that is empty from then on has been lost, or its volume is not mounted.
const STORE_MADE: &str = "store.made";

/// See [`DataDir::last_start`].
const LAST_START: &str = "last-start";

/// An open data directory; the lock is held until it is dropped.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    host_id: String,
    cache_key: [u8; 32],
    _lock: File,
}

/// Why a data directory could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another process has it.
    #[error(
        "data directory {path} is in use by process {pid}: stop that host, or choose another directory by --data"
    )]
    InUse {
        /// The directory.
        path: PathBuf,
        /// What the lock file says.
        pid: String,
    },
    /// A newer program wrote it, or one that is too old.
    #[error(
        "data directory {path} has format {found}, this program reads {OLDEST} up to {FORMAT}: run the version that wrote it, or a newer one"
    )]
    Format {
        /// The directory.
        path: PathBuf,
        /// Content of `FORMAT`.
        found: String,
    },
    /// It holds files of somebody else.
    #[error(
        "{path} is not a data directory and not empty (it holds {entry:?}): choose another one by --data"
    )]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// One of the entries.
        entry: String,
    },
    /// A file of it has the wrong length or content.
    #[error("{path} is damaged: {remedy}", remedy = remedy(path))]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// There is none.
    #[error("there is no data directory {path}: name the host's by --data")]
    Absent {
        /// The directory.
        path: PathBuf,
    },
    /// The file system said no.
    #[error("{what} {path}")]
    Io {
        /// What was attempted.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
}

impl DataDir {
    /// Opens the directory, and makes it where there is none. One that others may enter is tightened to mode 0700:
    /// it is ours, as its `FORMAT` or its emptiness shows, and payloads lie in it.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, DataDirError> {
        let path = path.as_ref();
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(io_error("make", path))?;
        let path = path.canonicalize().map_err(io_error("resolve", path))?;
        let found = format::read(&path)?;
        if found.is_none() {
            check_ours(&path)?;
        }
        tighten(&path)?;
        let lock = lock(&path)?;
        let host_id = host_id(&path.join("host-id"))?;
        let cache_key = cache_key(&path.join("cache.key"))?;
        let (store, cache) = (path.join("store"), path.join("cache"));
        let was_made = path.join(STORE_MADE).exists();
        let is_lost = !store.is_dir() || (was_made && !store.join("CURRENT").exists());
        if found.is_some() && is_lost {
            return Err(DataDirError::Damaged { path: store });
        }
        for sub in [&store, &cache] {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(sub)
                .map_err(io_error("make", sub))?;
        }
        match found {
            None => write_durably(&path.join("FORMAT"), format!("{FORMAT}\n").as_bytes())?,
            Some(found) => {
                if let Some(copy) = format::migrate(&path, found, OLDEST, STEPS)? {
                    tracing::info!(copy = %copy.display(), "the data directory has a new format, as it was it is kept");
                }
            }
        }
        Ok(Self {
            path,
            host_id,
            cache_key,
            _lock: lock,
        })
    }

    /// Remembers that there is a store now.
    pub fn note_store(&self) -> Result<(), DataDirError> {
        let made = self.path.join(STORE_MADE);
        if made.exists() {
            return Ok(());
        }
        write_durably(&made, b"")
    }

    /// Opens a directory that a host has made; makes none.
    pub fn open_existing(path: impl AsRef<Path>) -> Result<Self, DataDirError> {
        let path = path.as_ref();
        match format::read(path)? {
            Some(_) => Self::open(path),
            None => Err(DataDirError::Absent {
                path: path.to_owned(),
            }),
        }
    }

    /// Which start of a host on a cluster was the last here; none is known of a directory that is new.
    #[must_use]
    pub fn last_start(&self) -> Option<String> {
        fs::read_to_string(self.path.join(LAST_START)).ok()
    }

    /// Remembers this start.
    pub fn note_start(&self, start: &str) -> Result<(), DataDirError> {
        write_durably(&self.path.join(LAST_START), start.as_bytes())
    }

    /// The directory itself, absolute.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Name of this host, made once: 16 hexadecimal digits.
    #[must_use]
    pub fn host_id(&self) -> &str {
        &self.host_id
    }

    /// The key of the MAC on cached machine code.
    #[must_use]
    pub fn cache_key(&self) -> &[u8; 32] {
        &self.cache_key
    }

    /// Where the embedded store lies.
    #[must_use]
    pub fn store_path(&self) -> PathBuf {
        self.path.join("store")
    }

    /// Where the versions of handlers lie.
    #[must_use]
    pub fn versions_path(&self) -> PathBuf {
        self.path.join("versions")
    }

    /// Where the local copy of what a cluster keeps lies: apart, so that neither is ever taken for the other.
    #[must_use]
    pub fn copy_path(&self) -> PathBuf {
        self.path.join("copy")
    }

    /// Where compiled components lie.
    #[must_use]
    pub fn cache_path(&self) -> PathBuf {
        self.path.join("cache")
    }
}

/// Refuses a directory with files of somebody else: `--data /tmp` must not close `/tmp` to everybody.
fn check_ours(path: &Path) -> Result<(), DataDirError> {
    for entry in fs::read_dir(path).map_err(io_error("list", path))? {
        let name = entry.map_err(io_error("list", path))?.file_name();
        let known = name.to_str().map(|name| name.trim_end_matches(".new"));
        let is_known = known.is_some_and(|known| NOT_FOREIGN.contains(&known))
            || (FOLDERS.iter().any(|folder| name == *folder) && is_empty(&path.join(&name)));
        if !is_known {
            let entry = name.to_string_lossy().into_owned();
            return Err(DataDirError::Foreign {
                path: path.to_owned(),
                entry,
            });
        }
    }
    Ok(())
}

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none())
}

fn tighten(path: &Path) -> Result<(), DataDirError> {
    let mode = fs::metadata(path)
        .map_err(io_error("look at", path))?
        .permissions()
        .mode();
    if mode & 0o077 != 0 {
        tracing::warn!(path = %path.display(), "data directory was open to others, mode is set to 0700");
        fs::set_permissions(path, Permissions::from_mode(0o700))
            .map_err(io_error("set mode 0700 on", path))?;
    }
    Ok(())
}

fn lock(path: &Path) -> Result<File, DataDirError> {
    let name = path.join("LOCK");
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600);
    let mut file = options.open(&name).map_err(io_error("open", &name))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut pid = String::new();
            file.read_to_string(&mut pid)
                .map_err(io_error("read", &name))?;
            return Err(DataDirError::InUse {
                path: path.to_owned(),
                pid: pid.trim().to_owned(),
            });
        }
        Err(error) => return Err(io_error("lock", &name)(error.into())),
    }
    file.set_len(0)
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .map_err(io_error("write", &name))?;
    Ok(file)
}

fn host_id(path: &Path) -> Result<String, DataDirError> {
    let bytes = read_or_make(path, || {
        let id = format!("{:016x}", u64::from_be_bytes(random(path)?));
        Ok(format!("{id} {}\n", id_sum(&id)).into_bytes())
    })?;
    let text = str::from_utf8(&bytes).unwrap_or_default().trim_end();
    match text.split_once(' ') {
        Some((id, sum)) if sum == id_sum(id) => Ok(id.to_owned()),
        Some(_) | None => Err(DataDirError::Damaged {
            path: path.to_owned(),
        }),
    }
}

/// Four bytes of the BLAKE3 of the name, in hexadecimal.
fn id_sum(id: &str) -> String {
    blake3::hash(id.as_bytes()).to_hex()[..8].to_owned()
}

fn cache_key(path: &Path) -> Result<[u8; 32], DataDirError> {
    let bytes = read_or_make(path, || Ok(random::<32>(path)?.to_vec()))?;
    bytes
        .try_into()
        .map_err(|_length: Vec<u8>| DataDirError::Damaged {
            path: path.to_owned(),
        })
}

fn random<const N: usize>(path: &Path) -> Result<[u8; N], DataDirError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| {
        io_error("draw random bytes for", path)(io::Error::other(error.to_string()))
    })?;
    Ok(bytes)
}

fn read_or_make(
    path: &Path,
    make: impl FnOnce() -> Result<Vec<u8>, DataDirError>,
) -> Result<Vec<u8>, DataDirError> {
    match fs::read(path) {
        Ok(bytes) => Ok(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let bytes = make()?;
            write_durably(path, &bytes)?;
            Ok(bytes)
        }
        Err(error) => Err(io_error("read", path)(error)),
    }
}

/// Writes a file of mode 0600 so that after a crash it is there as a whole or not at all.
fn write_durably(path: &Path, bytes: &[u8]) -> Result<(), DataDirError> {
    let new = path.with_file_name(format!(
        "{}.new",
        path.file_name()
            .and_then(|name| name.to_str())
            .expect("named by this module")
    ));
    let parent = path.parent().expect("lies in the data directory");
    let write = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        File::open(parent)?.sync_all()
    };
    write().map_err(io_error("write", path))
}

/// What to do about a file of this module that is damaged.
fn remedy(path: &Path) -> &'static str {
    match path.file_name().and_then(|name| name.to_str()) {
        Some("cache.key") => "remove it, and the next start compiles all handlers again",
        Some("host-id") => {
            "take it from a backup of the data directory; without one remove it, and the host gets another name"
        }
        Some("store") => {
            "it is gone or empty: mount its volume, restore a backup of the data directory, or put store.damaged-* back in \
             its place"
        }
        Some(_) | None => "take it from a backup of the data directory",
    }
}

fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DataDirError {
    move |source| DataDirError::Io {
        what,
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests;
