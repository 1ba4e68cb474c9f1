//! What the machine can do at best, and what a process took of it.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
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

/// CPU that a process has used so far, user and system together; none where the system does not tell.
///
/// Source: fields 14 and 15 of `/proc/PID/stat`, in ticks of 10 ms (proc_pid_stat(5)).
pub(super) fn cpu_time(pid: u32) -> Option<Duration> {
    cpu_of(Path::new(&format!("/proc/{pid}")))
}

/// The same of those threads of a process whose name has this part; nothing where the system does not tell.
///
/// Source: `/proc/PID/task` has a folder for each thread (proc_pid_task(5)).
pub(super) fn cpu_of_threads(pid: u32, name: &str) -> Duration {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else {
        return Duration::ZERO;
    };
    let threads = threads.flatten().map(|thread| thread.path());
    let is_it = |thread: &PathBuf| {
        std::fs::read_to_string(thread.join("comm")).is_ok_and(|comm| comm.contains(name))
    };
    let named = threads.filter(is_it);
    named.filter_map(|thread| cpu_of(&thread)).sum()
}

/// Of a process or a thread, by its folder.
fn cpu_of(folder: &Path) -> Option<Duration> {
    let stat = std::fs::read_to_string(folder.join("stat")).ok()?;
    // The name, in parentheses, may hold anything; the third field follows it.
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut ticks = fields
        .split(' ')
        .skip(11)
        .map_while(|field| field.parse::<u64>().ok());
    Some(Duration::from_millis((ticks.next()? + ticks.next()?) * 10))
}

/// Memory of a process that is in no file, in KiB.
///
/// Source: `RssAnon` of `/proc/PID/status` (proc_pid_status(5)).
pub(super) fn resident_kib(pid: u32) -> anyhow::Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = std::fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"));
    let value = line.and_then(|line| line.trim().strip_suffix(" kB"));
    value
        .context("no RssAnon")?
        .parse()
        .context("RssAnon is a number")
}
