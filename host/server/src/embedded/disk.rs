//! The reserve of free disk: intake leaves it to commits and compaction, and commits leave the last of it to compaction.

use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How long an answer of the file system is used again. A disk that writes 2 GB/s takes 200 MB in it, a fifth of the
/// reserve.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);
/// The reserve is this much, or a twentieth of the disk where that is less.
const RESERVE_BYTES_MAX: u64 = 1 << 30;
/// Units of work stop at this part of the reserve. A write that fails ends the process, so none is tried where it may:
/// an eighth is two of the largest buffers, which a flush writes whatever else happens.
const UNITS_SHARE: u64 = 8;

/// The disk below the data directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskSpace {
    /// Bytes that may still be written.
    pub free: u64,
    /// Bytes of those that are left to commits and compaction.
    pub reserve: u64,
}

pub(super) struct Disk {
    path: PathBuf,
    /// Bytes; none: the rule above.
    reserve: Option<u64>,
    checked: Mutex<Option<(Instant, Result<(), String>)>>,
    /// The same of units of work.
    units: Mutex<Option<(Instant, Result<(), String>)>>,
}

impl Disk {
    pub(super) fn new(path: PathBuf, reserve: Option<u64>) -> Self {
        Self {
            path,
            reserve,
            checked: Mutex::new(None),
            units: Mutex::new(None),
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

    /// Whether units of work may be committed; else what is wrong and what to do, for people.
    pub(super) fn check_units(&self) -> Result<(), String> {
        let mut checked = self.units.lock().expect("nothing panics under this lock");
        if let Some((at, answer)) = &*checked
            && at.elapsed() < CHECK_INTERVAL
        {
            return answer.clone();
        }
        let answer = self.ask_units();
        *checked = Some((Instant::now(), answer.clone()));
        answer
    }

    /// Asks the file system.
    pub(super) fn space(&self) -> std::io::Result<DiskSpace> {
        let disk = rustix::fs::statvfs(&self.path)?;
        let (free, total) = (disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize);
        let reserve = self
            .reserve
            .unwrap_or_else(|| RESERVE_BYTES_MAX.min(total / 20));
        Ok(DiskSpace { free, reserve })
    }

    fn ask_units(&self) -> Result<(), String> {
        // Intake has stopped and said so when the file system does not answer; a commit may still succeed.
        let Ok(DiskSpace { free, reserve }) = self.space() else {
            return Ok(());
        };
        if free >= reserve / UNITS_SHARE {
            return Ok(());
        }
        Err(format!(
            "the disk under {} has {} MiB free, too little to commit: free space, and the handlers go on by themselves",
            self.path.display(),
            free >> 20
        ))
    }

    fn ask(&self) -> Result<(), String> {
        let path = self.path.display();
        let DiskSpace { free, reserve } = self.space().map_err(|error| {
            format!("the free space of the disk under {path} cannot be read: {error}")
        })?;
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
