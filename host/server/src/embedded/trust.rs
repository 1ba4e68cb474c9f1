//! Whether a store that can be had again, one of copies, may still be used.
//!
//! RocksDB looks at a block when it reads it. Where it cannot, the store is given up as a whole: what the disk has done to one
//! block it may have done to others, and a compaction that meets the block ends all writing.

use std::error::Error;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// In the folder of a store that was given up.
const FILE: &str = "UNREADABLE";

/// Of one store.
pub(super) struct Trust {
    file: PathBuf,
    lost: AtomicBool,
}

impl Trust {
    pub(super) fn new(store: &Path) -> Self {
        Self {
            file: store.join(FILE),
            lost: AtomicBool::new(false),
        }
    }

    /// Whether the process before has given the store up.
    pub(super) fn is_lost_in(store: &Path) -> bool {
        store.join(FILE).exists()
    }

    pub(super) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }

    /// Nobody goes on from what is in the store, and the next process makes it anew.
    pub(super) fn lose(&self, error: &(dyn Error + 'static)) {
        if self.lost.swap(true, Ordering::Relaxed) {
            return;
        }
        tracing::error!(
            error,
            "the local copy of the ledgers cannot be read: start the host anew, and it makes the copy anew"
        );
        if let Err(error) = File::create(&self.file) {
            let file = self.file.display();
            tracing::error!(%error, %file, "cannot note it: delete the folder while no host runs");
        }
    }
}
