//! The reserve of free disk that intake leaves to commits and compaction.

use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How long an answer of the file system is used again. A disk that writes 2 GB/s takes 200 MB in it, a fifth of the
/// reserve.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);
/// The reserve is this much, or a twentieth of the disk where that is less.
const RESERVE_BYTES_MAX: u64 = 1 << 30;

pub(super) struct Disk {
    path: PathBuf,
    /// Bytes; none: the rule above.
    reserve: Option<u64>,
    checked: Mutex<Option<(Instant, Result<(), String>)>>,
}

impl Disk {
    pub(super) fn new(path: PathBuf, reserve: Option<u64>) -> Self {
        Self {
            path,
            reserve,
            checked: Mutex::new(None),
        }
    }

    /// Whether intake may go on; else what is wrong and what to do, for people.
    pub(super) fn check(&self) -> Result<(), String> {
        let mut checked = self.checked.lock().expect("nothing panics under this lock");
        if let Some((at, answer)) = &*checked
            && at.elapsed() < CHECK_INTERVAL
        {
            return answer.clone();
        }
        let answer = self.ask();
        if let (Err(message), Some((_, Ok(()))) | None) = (&answer, &*checked) {
            tracing::error!(message, "intake is stopped");
        }
        if let (Ok(()), Some((_, Err(_)))) = (&answer, &*checked) {
            tracing::info!("intake goes on, the disk has room again");
        }
        *checked = Some((Instant::now(), answer.clone()));
        answer
    }

    fn ask(&self) -> Result<(), String> {
        let path = self.path.display();
        let disk = rustix::fs::statvfs(&self.path).map_err(|error| {
            format!("the free space of the disk under {path} cannot be read: {error}")
        })?;
        let (free, total) = (disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize);
        let reserve = self
            .reserve
            .unwrap_or_else(|| RESERVE_BYTES_MAX.min(total / 20));
        if free >= reserve {
            return Ok(());
        }
        Err(format!(
            "the disk under {path} has {} MiB free and {} MiB are kept in reserve: free space, move the data directory to a larger disk, or shorten the retention; nothing that was accepted is lost",
            free >> 20,
            reserve >> 20
        ))
    }
}
