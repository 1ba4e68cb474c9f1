//! What a manifest says about failures: the breaker, the rate, dead letters.

use std::num::NonZeroU32;
use std::time::Duration;

use weir_core::breaker::{Config, WhileOpen};
use weir_core::partition::{OnDead, Ordering};

use super::choice;
use crate::config::document::Section;

/// How many attempts of a handler may start on a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// On average.
    pub per_second: NonZeroU32,
    /// At once, after a pause.
    pub burst: NonZeroU32,
}

/// The breaker and the name of the fallback handler.
pub(super) fn read_breaker(mut section: Section<'_>) -> (Config, Option<String>) {
    const OPEN_S_MAX: u64 = 3_600;
    let mut config = Config {
        while_open: choice(
            &mut section,
            "while_open",
            &[
                ("pause", WhileOpen::Pause),
                ("park", WhileOpen::Park),
                ("fallback", WhileOpen::Fallback),
            ],
        ),
        ..Config::default()
    };
    if let Some(percent) = section.number("failure_percent", 1..=100) {
        config.failure_percent = usize::try_from(percent).unwrap_or(100);
    }
    let mut seconds = |key, into: &mut Duration| {
        if let Some(seconds) = section.number(key, 1..=OPEN_S_MAX) {
            *into = Duration::from_secs(seconds);
        }
    };
    seconds("window_s", &mut config.window);
    seconds("open_s", &mut config.open_for);
    seconds("open_max_s", &mut config.open_max);
    if config.open_max < config.open_for {
        section.fault(
            "open_max_s",
            format!("must be at least open_s, {}", config.open_for.as_secs()),
        );
    }
    let fallback = section.text("fallback").map(str::to_owned);
    match (&fallback, config.while_open) {
        (None, WhileOpen::Fallback) => section.fault(
            "fallback",
            "is missing: name the handler that takes the events while the breaker is open",
        ),
        (Some(_), WhileOpen::Pause | WhileOpen::Park) => section.fault(
            "fallback",
            "is not used: write while_open = \"fallback\", or remove it",
        ),
        (None, WhileOpen::Pause | WhileOpen::Park) | (Some(_), WhileOpen::Fallback) => {}
    }
    section.close();
    (config, fallback)
}

/// Reads `rate_per_second` and `rate_burst` of `[limits]`.
pub(super) fn read_rate(section: &mut Section<'_>) -> Option<RateLimit> {
    const RATE_MAX: u64 = 1_000_000;
    let mut positive = |key| {
        let number = section.number(key, 1..=RATE_MAX)?;
        NonZeroU32::new(u32::try_from(number).ok()?)
    };
    let (per_second, burst) = (positive("rate_per_second"), positive("rate_burst"));
    if burst.is_some() && per_second.is_none() {
        section.fault("rate_burst", "needs rate_per_second: write both");
    }
    let per_second = per_second?;
    Some(RateLimit {
        per_second,
        burst: burst.unwrap_or(per_second),
    })
}

/// `dead_letter = "stop"`, or the section with `on_dead`.
pub(super) fn read_dead_letter(root: &mut Section<'_>) -> OnDead {
    if let Some(value) = root.value("dead_letter").filter(|value| !value.is_table()) {
        if value.as_str() != Some("stop") {
            let message = "must be \"stop\", which lets a dying event stop its partition, or a section \
                           with on_dead = \"release\" or \"hold\"";
            root.fault("dead_letter", message);
        }
        return OnDead::Stop;
    }
    let mut section = root.section("dead_letter");
    let on_dead = choice(
        &mut section,
        "on_dead",
        &[("release", OnDead::Release), ("hold", OnDead::Hold)],
    );
    section.close();
    on_dead
}

/// `ordering = "key"`, or the section with `by` and `across_topics`.
pub(super) fn read_ordering(root: &mut Section<'_>) -> (Ordering, bool) {
    let words = [
        ("key", Ordering::Key),
        ("partition", Ordering::Partition),
        ("none", Ordering::None),
    ];
    if root
        .value("ordering")
        .is_some_and(|value| !value.is_table())
    {
        return (choice(root, "ordering", &words), false);
    }
    let mut section = root.section("ordering");
    let by = choice(&mut section, "by", &words);
    let across_topics = section.boolean("across_topics").unwrap_or(false);
    section.close();
    (by, across_topics)
}
