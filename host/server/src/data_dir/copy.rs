//! Copies of what lies in a data directory. Of a store that nobody writes to, tables and blob files never change once they
//! are written, so they are linked.

use std::fs::{DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::{fs, io};

use crate::versions;

/// Files of these extensions are written once.
const UNCHANGING: [&str; 2] = ["sst", "blob"];

/// Copies a store into a directory that does not exist; all of it is on disk when it returns.
pub(crate) fn store(from: &Path, to: &Path) -> io::Result<()> {
    make_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        let is_unchanging = target
            .extension()
            .is_some_and(|extension| UNCHANGING.iter().any(|name| extension == *name));
        // A file system without links has room for copies or says that it has not.
        if !(is_unchanging && fs::hard_link(entry.path(), &target).is_ok()) {
            file(&entry.path(), &target)?;
        }
    }
    sync_dir(to)
}

/// Copies the versions of handlers, where there are any, into a directory that does not exist; all of it is on disk when
/// it returns. One that a running host forgets meanwhile is left out.
pub(crate) fn versions(from: &Path, to: &Path) -> io::Result<()> {
    if !from.is_dir() {
        return Ok(());
    }
    make_dir(to)?;
    for handler in fs::read_dir(from)? {
        let handler = handler?;
        let target = to.join(handler.file_name());
        make_dir(&target)?;
        for version in fs::read_dir(handler.path())? {
            let version = version?;
            if version.file_name() == versions::NEW {
                continue;
            }
            let target = target.join(version.file_name());
            match tree(&version.path(), &target) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    fs::remove_dir_all(&target)?;
                }
                copied => copied?,
            }
        }
        sync_dir(&target)?;
    }
    sync_dir(to)
}

fn tree(from: &Path, to: &Path) -> io::Result<()> {
    make_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            tree(&entry.path(), &target)?;
        } else {
            file(&entry.path(), &target)?;
        }
    }
    sync_dir(to)
}

pub(crate) fn file(from: &Path, to: &Path) -> io::Result<()> {
    fs::copy(from, to)?;
    File::open(to)?.sync_all()
}

pub(crate) fn make_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)
}

pub(crate) fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
