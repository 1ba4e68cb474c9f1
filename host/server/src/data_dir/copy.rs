//! Copies of a store that nobody writes to: tables and blob files never change once they are written, so they are linked.

use std::fs::{DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::{fs, io};

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
