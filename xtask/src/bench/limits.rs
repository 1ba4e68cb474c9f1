//! What the machine can do at best.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;

/// How many appends of one page a second reach the disk, one after the other.
pub(super) fn syncs_per_s(folder: &Path) -> anyhow::Result<f64> {
    const PAGE: [u8; 4096] = [0x5a; 4096];
    const TIME: Duration = Duration::from_secs(2);
    let path = folder.join("fsync-rate");
    let mut file = File::create(&path).with_context(|| format!("create {}", path.display()))?;
    let started = Instant::now();
    let mut syncs = 0_u32;
    while started.elapsed() < TIME {
        file.write_all(&PAGE)
            .and_then(|()| file.sync_data())
            .context("sync a page")?;
        syncs += 1;
    }
    let time = started.elapsed();
    std::fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))?;
    Ok(f64::from(syncs) / time.as_secs_f64())
}
