//! `FORMAT`: in which layout a data directory is, and how one of an older layout becomes one of this.

use std::path::{Path, PathBuf};
use std::{fs, io};

use super::{DataDirError, copy, io_error, write_durably};

/// Makes a directory of one format one of the next. It may be cut off anywhere and begins anew then, on what the first
/// try left.
pub(super) type Step = fn(&Path) -> io::Result<()>;

/// The oldest format that is read.
pub(super) const OLDEST: u32 = 1;
/// One for each format from the oldest on but the newest. A released format that is left out here can no longer be read;
/// `tests/data/formats` holds a directory of each.
pub(super) const STEPS: &[Step] = &[];

/// The layout that this program writes and the newest that it reads.
#[expect(clippy::cast_possible_truncation, reason = "a handful")]
pub const FORMAT: u32 = OLDEST + STEPS.len() as u32;

/// The format of the directory, if it is one that can be read; none where there is no `FORMAT`.
pub(super) fn read(path: &Path) -> Result<Option<u32>, DataDirError> {
    let file = path.join("FORMAT");
    let found = match fs::read(&file) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).trim().to_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error("read", &file)(error)),
    };
    match found.parse::<u32>() {
        Ok(format) if (OLDEST..=FORMAT).contains(&format) => Ok(Some(format)),
        Ok(_) => Err(DataDirError::Format {
            path: path.to_owned(),
            found,
        }),
        Err(_) => Err(DataDirError::Damaged { path: file }),
    }
}

/// Brings a directory of format `found` through `steps`, of which the first leads from the format `oldest` on. Before
/// the first of them a copy is made beside what it is a copy of, and answered; `FORMAT` is written after the last.
pub(super) fn migrate(
    path: &Path,
    found: u32,
    oldest: u32,
    steps: &[Step],
) -> Result<Option<PathBuf>, DataDirError> {
    let due = steps.iter().zip(oldest + 1..).filter(|(_, to)| *to > found);
    let mut kept = None;
    let mut reached = found;
    for (step, to) in due {
        if kept.is_none() {
            let copy = path.join(format!("before-format-{to}"));
            if !copy.is_dir() {
                copy_all(path, &copy).map_err(io_error("copy the data directory to", &copy))?;
            }
            kept = Some(copy);
        }
        tracing::info!(to, "the data directory is brought to a newer format");
        step(path).map_err(io_error("bring to a newer format", path))?;
        reached = to;
    }
    if kept.is_some() {
        write_durably(&path.join("FORMAT"), format!("{reached}\n").as_bytes())?;
    }
    Ok(kept)
}

/// The copy appears as a whole. Compiled code is made again from the components.
fn copy_all(path: &Path, to: &Path) -> io::Result<()> {
    let half = to.with_extension("new");
    if half.exists() {
        fs::remove_dir_all(&half)?;
    }
    copy::make_dir(&half)?;
    for name in ["FORMAT", "host-id", "cache.key"] {
        copy::file(&path.join(name), &half.join(name))?;
    }
    copy::store(&path.join("store"), &half.join("store"))?;
    copy::versions(&path.join("versions"), &half.join("versions"))?;
    fs::rename(&half, to)?;
    copy::sync_dir(path)
}

#[cfg(test)]
mod tests;
