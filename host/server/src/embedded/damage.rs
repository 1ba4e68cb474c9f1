//! What is asked of a store's files before it is used, and how its answer is told.

use std::io;
use std::path::{Path, PathBuf};

use super::journal::{self, Damage};
use super::mark::{self, Acknowledged, MarkError};

/// The store is not what was acknowledged.
#[derive(Debug, thiserror::Error)]
pub(super) enum Damaged {
    /// A file cannot be looked at.
    #[error("look at the files of the store")]
    Look(#[source] io::Error),
    /// The mark cannot be opened or written.
    #[error("open the mark of the store")]
    Mark(#[source] io::Error),
    /// The mark is not one.
    #[error(transparent)]
    NoMark(#[from] MarkError),
    /// The file that names the manifest is gone, and with it everything.
    #[error("{0} is gone: without it no file of the store is known")]
    NoCurrent(PathBuf),
    /// The manifest or a journal.
    #[error("{} is damaged at byte {}: {}", .0.file.display(), .0.at, .0.what)]
    File(Damage),
    /// The journal ends too soon.
    #[error("{missing} acknowledged writes are missing at the end of the journal")]
    Short {
        /// How many.
        missing: u64,
    },
}

/// What is known of files that nothing speaks against.
#[derive(Debug, Default)]
pub(super) struct Checked {
    /// None: the store is new, or a restored copy.
    pub(super) acknowledged: Option<Acknowledged>,
    /// Damage, unless the store holds all that was acknowledged without it.
    pub(super) suspect: Option<Damage>,
}

/// Looks at all that RocksDB trusts too much.
pub(super) fn check_files(store: &Path) -> Result<Checked, Damaged> {
    let acknowledged = mark::read(store)?;
    let current = store.join("CURRENT");
    if !current.try_exists().map_err(Damaged::Look)? {
        // A store in the making has neither a mark nor tables.
        let tables = journal::files(store, "sst").map_err(Damaged::Look)?;
        if acknowledged.is_some() || !tables.is_empty() {
            return Err(Damaged::NoCurrent(current));
        }
        return Ok(Checked::default());
    }
    let manifest = journal::manifest(store).map_err(Damaged::Look)?;
    let journals = journal::journals(store).map_err(Damaged::Look)?;
    match manifest.or(journals.damage) {
        Some(damage) => Err(Damaged::File(damage)),
        None => Ok(Checked {
            acknowledged,
            suspect: journals.suspect,
        }),
    }
}

/// Whether a store whose last write has the number `found` holds all that was acknowledged.
pub(super) fn check_sequence(
    acknowledged: Option<Acknowledged>,
    found: u64,
) -> Result<(), Damaged> {
    match acknowledged {
        Some(Acknowledged { sequence, .. }) if sequence > found => Err(Damaged::Short {
            missing: sequence - found,
        }),
        Some(_) | None => Ok(()),
    }
}

/// Whether the last record of a journal, which is not readable, was torn by a crash: a store that ends before it, with the write
/// `found`, holds all that was acknowledged. Where nobody noted what that was, it is damage.
pub(super) fn check_suspect(
    acknowledged: Option<Acknowledged>,
    found: u64,
    suspect: Damage,
) -> Result<(), Damaged> {
    match acknowledged {
        Some(Acknowledged { sequence, .. }) if sequence <= found => {
            let Damage { file, at, what } = suspect;
            tracing::warn!(file = %file.display(), at, what, "a write that nobody was told of was torn, left away");
            Ok(())
        }
        Some(_) | None => Err(Damaged::File(suspect)),
    }
}
