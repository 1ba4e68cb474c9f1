//! A copy of a data directory: made beside a running host, recognisable when only half of it is there.
//!
//! | entry | what |
//! |---|---|
//! | `store/` | a checkpoint of the store: hard links where the file system has them |
//! | `host-id`, `FORMAT`, `versions/` | as in the data directory |
//! | `BACKUP` | JSON: of what, when, how many files and bytes; written last |
//!
//! `cache/` and `cache.key` stay behind: machine code is made again from the components, and a copy that travels holds
//! no key. Configuration and the handlers' own folders are not in a data directory and so not in its copy.

use std::collections::BTreeSet;
use std::fs::{DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::{fs, io};

use serde::{Deserialize, Serialize};

use super::{DataDir, FORMAT, copy, write_durably};
use crate::clock::now;

/// Says that the copy is whole.
pub const FILE: &str = "BACKUP";
/// What a freshly made file system holds.
const LOST_AND_FOUND: &str = "lost+found";
const STORE: &str = "store";
const VERSIONS: &str = "versions";
const HOST_ID: &str = "host-id";
const FORMAT_FILE: &str = "FORMAT";

/// What a copy says of itself.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Backup {
    /// Format of the data directory.
    pub format: u32,
    /// Whose data.
    pub host_id: String,
    /// When the copy was made, RFC 3339.
    pub made_at: String,
    /// Version of the program that made it.
    pub weir: String,
    /// Files beside `BACKUP`.
    pub files: u64,
    /// Bytes in them.
    pub bytes: u64,
}

/// Why no copy was made.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// A relative path means another place to the host than to whoever asks.
    #[error(
        "{path} is not an absolute path: the host writes the copy, and it works in another directory"
    )]
    Relative {
        /// What was asked.
        path: PathBuf,
    },
    /// Something is there.
    #[error("{path} is not an empty directory: name one that does not exist")]
    NotEmpty {
        /// The target.
        path: PathBuf,
    },
    /// A copy must outlive what it is a copy of.
    #[error("{path} lies in the data directory itself: name a place outside, best on another disk")]
    Inside {
        /// The target.
        path: PathBuf,
    },
    /// The store could not be copied; what is there of it is no copy.
    #[error("copy the store to {path}: {source}; what is there is no copy, remove it")]
    Store {
        /// Where to.
        path: PathBuf,
        /// Cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The file system said no.
    #[error("{what} {path}: {source}")]
    Io {
        /// What was attempted.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
}

/// Why a copy was not restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// No copy, or half of one.
    #[error(
        "{path} has no {FILE}: it is no copy of a data directory, or one that was not finished"
    )]
    NoBackup {
        /// What was named.
        path: PathBuf,
    },
    /// A newer program made it.
    #[error(
        "the copy {path} has format {found}, this program reads up to {FORMAT}: restore it with the version that made it, or a newer one"
    )]
    Format {
        /// The copy.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// It is not what its `BACKUP` says.
    #[error("the copy {path} is damaged: {what}")]
    Damaged {
        /// The copy.
        path: PathBuf,
        /// What differs.
        what: String,
    },
    /// The data directory holds something.
    #[error(
        "{path} is not empty: a copy is restored into a new data directory, so move this one away or name another by --data"
    )]
    NotEmpty {
        /// The data directory.
        path: PathBuf,
    },
    /// The file system said no.
    #[error("{what} {path}: {source}")]
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
    /// Copies what matters of this directory to `target`, which must be absolute and absent or empty; `checkpoint` writes the
    /// store's part into the path it is given. Everything is on disk when it returns.
    pub fn back_up<E: Into<Box<dyn std::error::Error + Send + Sync>>>(
        &self,
        target: &Path,
        checkpoint: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<Backup, BackupError> {
        let io = |what, path: &Path| {
            let path = path.to_owned();
            move |source| BackupError::Io { what, path, source }
        };
        if !target.is_absolute() {
            return Err(BackupError::Relative {
                path: target.to_owned(),
            });
        }
        if !make_empty(target).map_err(io("make", target))? {
            return Err(BackupError::NotEmpty {
                path: target.to_owned(),
            });
        }
        let target = target.canonicalize().map_err(io("resolve", target))?;
        if target.starts_with(&self.path) {
            // What was made is empty, and whoever asked may want it gone.
            drop(fs::remove_dir(&target));
            return Err(BackupError::Inside { path: target });
        }
        let store = target.join(STORE);
        checkpoint(&store).map_err(|error| BackupError::Store {
            path: store,
            source: error.into(),
        })?;
        for name in [HOST_ID, FORMAT_FILE] {
            let (from, to) = (self.path.join(name), target.join(name));
            fs::copy(from, &to).map_err(io("write", &to))?;
        }
        let versions = target.join(VERSIONS);
        copy::versions(&self.versions_path(), &versions).map_err(io("write", &versions))?;
        let entries = files(&target).map_err(io("list", &target))?;
        entries
            .iter()
            .try_for_each(|file| sync(&file.path))
            .map_err(io("sync", &target))?;
        for folder in [&target.join(STORE), &target] {
            sync(folder).map_err(io("sync", folder))?;
        }
        let backup = Backup {
            format: FORMAT,
            host_id: self.host_id.clone(),
            made_at: made_at(),
            weir: env!("CARGO_PKG_VERSION").to_owned(),
            files: entries.len() as u64,
            bytes: entries.iter().map(|file| file.bytes).sum(),
        };
        let text = serde_json::to_vec_pretty(&backup).expect("texts and numbers serialise");
        let file = target.join(FILE);
        write_durably(&file, &text).map_err(|error| BackupError::Io {
            what: "write",
            path: file,
            source: io::Error::other(error),
        })?;
        Ok(backup)
    }
}

/// Makes a data directory of the copy in `from`; `to` must be absent or empty. A host that is started on a directory
/// whose restore was cut off refuses it, because `FORMAT` comes last.
pub fn restore(from: &Path, to: &Path) -> Result<Backup, RestoreError> {
    let io = |what, path: &Path| {
        let path = path.to_owned();
        move |source| RestoreError::Io { what, path, source }
    };
    let backup = read(from)?;
    let entries: Vec<_> = files(from)
        .map_err(io("list", from))?
        .into_iter()
        .filter(|file| file.name != Path::new(FILE))
        .collect();
    let bytes: u64 = entries.iter().map(|file| file.bytes).sum();
    if (entries.len() as u64, bytes) != (backup.files, backup.bytes) {
        let what = format!(
            "it has {} files with {bytes} bytes, {} with {} were written",
            entries.len(),
            backup.files,
            backup.bytes
        );
        return Err(RestoreError::Damaged {
            path: from.to_owned(),
            what,
        });
    }
    if !make_empty(to).map_err(io("make", to))? {
        return Err(RestoreError::NotEmpty {
            path: to.to_owned(),
        });
    }
    let mut folders = BTreeSet::new();
    for file in entries
        .iter()
        .filter(|file| file.name != Path::new(FORMAT_FILE))
    {
        let target = to.join(&file.name);
        let folder = file.name.parent().unwrap_or(Path::new(""));
        make(&to.join(folder)).map_err(io("make", to))?;
        folders.extend(folder.ancestors().map(|folder| to.join(folder)));
        // Copied, not linked: the store goes on writing to some of its files, and the copy must stay what it is.
        fs::copy(&file.path, &target)
            .and_then(|_bytes| sync(&target))
            .map_err(io("write", &target))?;
    }
    for folder in &folders {
        sync(folder).map_err(io("sync", folder))?;
    }
    let format = to.join(FORMAT_FILE);
    write_durably(&format, format!("{}\n", backup.format).as_bytes()).map_err(|error| {
        RestoreError::Io {
            what: "write",
            path: format,
            source: io::Error::other(error),
        }
    })?;
    Ok(backup)
}

fn read(from: &Path) -> Result<Backup, RestoreError> {
    let file = from.join(FILE);
    let text = match fs::read(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(RestoreError::NoBackup {
                path: from.to_owned(),
            });
        }
        Err(source) => {
            return Err(RestoreError::Io {
                what: "read",
                path: file,
                source,
            });
        }
    };
    // The format is looked at first: a newer one may say more, or say it otherwise.
    let value: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
    let newer = value["format"]
        .as_u64()
        .and_then(|format| u32::try_from(format).ok());
    if let Some(found) = newer.filter(|format| *format > FORMAT) {
        return Err(RestoreError::Format {
            path: from.to_owned(),
            found,
        });
    }
    serde_json::from_value(value).map_err(|error| RestoreError::Damaged {
        path: from.to_owned(),
        what: format!("its {FILE} cannot be read: {error}"),
    })
}

/// A file of a copy: its name from the copy's folder on.
struct Entry {
    name: PathBuf,
    path: PathBuf,
    bytes: u64,
}

/// All files of a copy, those of its folders too.
fn files(copy: &Path) -> io::Result<Vec<Entry>> {
    let (mut found, mut folders) = (Vec::new(), vec![PathBuf::new()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(copy.join(&folder))? {
            let entry = entry?;
            let (name, metadata) = (folder.join(entry.file_name()), entry.metadata()?);
            if metadata.is_file() {
                found.push(Entry {
                    name,
                    path: entry.path(),
                    bytes: metadata.len(),
                });
            } else if metadata.is_dir() && name != Path::new(LOST_AND_FOUND) {
                folders.push(name);
            }
        }
    }
    Ok(found)
}

/// Makes the directory; false when it is there and holds something.
fn make_empty(path: &Path) -> io::Result<bool> {
    match fs::read_dir(path) {
        Ok(mut entries) => {
            let is_empty =
                entries.all(|entry| entry.is_ok_and(|entry| entry.file_name() == LOST_AND_FOUND));
            if is_empty {
                fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
            }
            Ok(is_empty)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => make(path).map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Ok(false),
        Err(error) => Err(error),
    }
}

fn make(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Files and directories alike.
fn sync(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn made_at() -> String {
    let millis = i64::try_from(now().0).unwrap_or(i64::MAX);
    let time = jiff::Timestamp::from_millisecond(millis).unwrap_or_default();
    time.to_string()
}

#[cfg(test)]
mod tests;
