//! `[limits]`: what an attempt and its instance may take, and how often there may be one.

use std::time::Duration;

use super::failures::{self, RateLimit};
use crate::config::document::Section;

/// Linear memory of an instance: what the runtimes of all languages start within.
pub const MEMORY_MIB: u64 = 64;
/// What all attempts of a handler may write to the log in a second, when they do so for long: as much as one attempt may at
/// once. About 5 GiB a day, which the rotation of a disk's logs is made for.
const LOG_KIB_PER_S: u64 = 64;
/// A manifest may ask for this much: for a handler whose log is its purpose, and a disk that takes it.
const LOG_KIB_PER_S_MAX: u64 = 16 << 10;
/// A manifest may ask for this much: a bound of what one handler can take from the others.
pub const MEMORY_MIB_MAX: u64 = 256;
/// CPU time of an attempt: a hundred times what usual handlers need.
pub const CPU: Duration = Duration::from_millis(250);
/// Wall time of an attempt whose host calls wait.
pub const WALL: Duration = Duration::from_secs(10);

/// Limits of an attempt and its instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Linear memory of an instance.
    pub memory_bytes: usize,
    /// Bytes of log a second of all attempts together, when they write for long.
    pub log_bytes_per_s: usize,
    /// CPU time of an attempt.
    pub cpu: Duration,
    /// Wall time of an attempt.
    pub wall: Duration,
}

pub(super) fn read(mut section: Section<'_>) -> (Limits, Option<RateLimit>) {
    let memory_mib = section
        .number("memory_mib", 1..=MEMORY_MIB_MAX)
        .unwrap_or(MEMORY_MIB);
    let log_kib = section
        .number("log_kib_per_s", 1..=LOG_KIB_PER_S_MAX)
        .unwrap_or(LOG_KIB_PER_S);
    let limits = Limits {
        memory_bytes: usize::try_from(memory_mib << 20).unwrap_or(usize::MAX),
        log_bytes_per_s: usize::try_from(log_kib << 10).unwrap_or(usize::MAX),
        cpu: section
            .number("cpu_ms", 1..=60_000)
            .map_or(CPU, Duration::from_millis),
        wall: section
            .number("wall_ms", 1..=600_000)
            .map_or(WALL, Duration::from_millis),
    };
    if limits.wall < limits.cpu {
        section.fault(
            "wall_ms",
            format!("must be at least cpu_ms, {}", limits.cpu.as_millis()),
        );
    }
    let rate = failures::read_rate(&mut section);
    section.close();
    (limits, rate)
}
