//! The `[retry]` section, the same in `weir.toml` and in manifests.

use std::time::Duration;

use weir_core::retry::Config;

use super::document::Section;

/// Reads the section; what it leaves out is as in `base`.
pub(crate) fn read(mut section: Section<'_>, base: &Config) -> Config {
    /// Longer delays are a sign of a wrong unit.
    const DELAY_MS_MAX: u64 = 7 * 24 * 3_600_000;
    const AGE_HOURS_MAX: u64 = 90 * 24;
    const ATTEMPTS_MAX: u64 = 1_000;
    let mut retry = base.clone();
    let mut delays = |key, into: &mut Vec<Duration>| {
        if let Some(list) = section.numbers(key, 1..=DELAY_MS_MAX) {
            *into = list.into_iter().map(Duration::from_millis).collect();
        }
    };
    delays("immediate_ms", &mut retry.immediate);
    delays("short_ms", &mut retry.short);
    delays("long_ms", &mut retry.long);
    if let Some(ms) = section.number("short_until_ms", 0..=DELAY_MS_MAX) {
        retry.short_until = Duration::from_millis(ms);
    }
    if let Some(hours) = section.number("age_hours", 1..=AGE_HOURS_MAX) {
        retry.age_max = Duration::from_hours(hours);
    }
    let mut count = |key, into: &mut u32| {
        if let Some(n) = section.number(key, 1..=ATTEMPTS_MAX) {
            *into = u32::try_from(n).unwrap_or(*into);
        }
    };
    count("attempts_max", &mut retry.attempts_max);
    count("traps_max", &mut retry.traps_max);
    if retry.long.is_empty() {
        section.fault(
            "long_ms",
            "is empty: must name at least one delay, the last one repeats",
        );
    }
    section.close();
    retry
}
