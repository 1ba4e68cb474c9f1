//! The host's figures as a page of metrics.

use std::sync::atomic::Ordering;
use std::time::Duration;

use weir_core::breaker;
use weir_core::event::FailureKind;
use weir_core::unit::Fate;

use super::HostStatus;
use super::subscription::{State, Summary};
use crate::http::View;
use crate::metrics::Kind::{self, Counter, Gauge};
use crate::metrics::Page;

/// Writes what `view` may see.
pub(super) fn write(host: &HostStatus, view: &View, page: &mut Page) {
    let mut handlers = host.summaries();
    handlers.retain(|one| view.sees(one.tenant()));
    write_host(host, page);
    write_alarms(host, view, page);
    write_fates(&handlers, page);
    write_attempts(&handlers, page);
    write_deployed(&handlers, page);
    write_gates(&handlers, page);
    write_levels(&handlers, page);
    write_parked(&handlers, page);
    write_topics(host, page);
    if view.is_whole() {
        write_disk(host, page);
    }
}

fn write_host(host: &HostStatus, page: &mut Page) {
    page.family(
        "weir_build_info",
        Gauge,
        "Always 1; the labels say what runs.",
    )
    .sample(
        &[
            ("version", env!("CARGO_PKG_VERSION")),
            ("host_id", &host.host_id),
        ],
        1,
    );
    page.family("weir_uptime_seconds", Gauge, "Time since the host started.")
        .sample(&[], host.started.elapsed().as_secs_f64());
    page.family(
        "weir_ready",
        Gauge,
        "1 while the host takes events, 0 while it starts or stops.",
    )
    .sample(&[], u8::from(host.ready.load(Ordering::Acquire)));
}

fn write_alarms(host: &HostStatus, view: &View, page: &mut Page) {
    let mut family = page.family("weir_alarm", Gauge, "1 for each alarm that is raised.");
    for raised in host.raised(view) {
        let partition = raised.site.partition().map(|number| number.to_string());
        let labels = [
            ("alarm", raised.alarm.code()),
            ("severity", raised.alarm.severity().name()),
            ("tenant", raised.site.tenant().unwrap_or_default()),
            ("handler", raised.site.handler().unwrap_or_default()),
            ("partition", partition.as_deref().unwrap_or_default()),
        ];
        family.sample(&labels, 1);
    }
}

fn write_fates(handlers: &[Summary<'_>], page: &mut Page) {
    type Figure = (&'static str, &'static str, fn(&Summary<'_>) -> [u64; 6]);
    let figures: [Figure; 2] = [
        (
            "weir_events_total",
            "Events by their fate, durable ones only.",
            |one| one.counted.fates,
        ),
        (
            "weir_later_events_total",
            "Parked events and timers by their fate, durable ones only.",
            |one| one.counted.later,
        ),
    ];
    for (name, help, of) in figures {
        let names = Fate::ALL.map(Fate::name);
        by_name(page, handlers, name, Counter, help, ("fate", names), of);
    }
    type Count = (&'static str, &'static str, fn(&Summary<'_>) -> u64);
    let counts: [Count; 3] = [
        (
            "weir_fallback_events_total",
            "Handled events that the fallback took.",
            |one| one.counted.fallback,
        ),
        (
            "weir_commands_total",
            "Commands of an operator that were obeyed or found moot.",
            |one| one.counted.commands,
        ),
        (
            "weir_redelivered_records_total",
            "Records that the bus delivered again.",
            |one| one.counted.redelivered,
        ),
    ];
    for (name, help, of) in counts {
        each(page, handlers, name, Counter, help, of);
    }
}

fn write_attempts(handlers: &[Summary<'_>], page: &mut Page) {
    each(
        page,
        handlers,
        "weir_attempts_total",
        Counter,
        "Attempts started.",
        |one| one.counted.attempts,
    );
    by_name(
        page,
        handlers,
        "weir_attempt_failures_total",
        Counter,
        "Attempts that failed, by kind.",
        ("kind", FailureKind::ALL.map(FailureKind::name)),
        |one| one.counted.failures,
    );
    each(
        page,
        handlers,
        "weir_dropped_log_lines_total",
        Counter,
        "Log lines of the handler that were not written, because it wrote too many.",
        |one| one.dropped_lines(),
    );
    let mut family = page.family(
        "weir_commit_seconds",
        Kind::Histogram,
        "Time until the ledger answered a unit of work.",
    );
    for one in handlers {
        family.histogram(
            &[("tenant", one.tenant()), ("handler", one.handler())],
            one.commits(),
        );
    }
}

fn write_deployed(handlers: &[Summary<'_>], page: &mut Page) {
    let mut family = page.family(
        "weir_handler_info",
        Gauge,
        "Always 1; the labels say what is deployed.",
    );
    for one in handlers {
        let labels = [
            ("tenant", one.tenant()),
            ("handler", one.handler()),
            ("version", one.version()),
            ("digest", &one.digest()),
        ];
        family.sample(&labels, 1);
    }
}

fn write_gates(handlers: &[Summary<'_>], page: &mut Page) {
    by_name(
        page,
        handlers,
        "weir_subscription_state",
        Gauge,
        "1 for the state in which the subscription is.",
        ("state", State::NAMES),
        |one| State::NAMES.map(|state| (state == one.state.name()).into()),
    );
    by_name(
        page,
        handlers,
        "weir_breaker_state",
        Gauge,
        "1 for the state in which the handler's breaker is.",
        ("state", breaker::State::NAMES),
        |one| breaker::State::NAMES.map(|state| (state == one.gate.breaker.name()).into()),
    );
    type Figure = (&'static str, &'static str, fn(&Summary<'_>) -> u64);
    let figures: [Figure; 2] = [
        (
            "weir_paused",
            "1 while an operator lets events wait.",
            |one| one.gate.paused.into(),
        ),
        (
            "weir_held_back_partitions",
            "Partitions whose events a pause, the breaker or the rate limit holds back.",
            |one| one.held_back,
        ),
    ];
    for (name, help, of) in figures {
        each(page, handlers, name, Gauge, help, of);
    }
}

fn write_parked(handlers: &[Summary<'_>], page: &mut Page) {
    type Figure = (&'static str, &'static str, fn(&Summary<'_>) -> u64);
    let figures: [Figure; 6] = [
        (
            "weir_parked_sequences",
            "Sequences that are set aside.",
            |one| one.parked.sequences,
        ),
        (
            "weir_held_sequences",
            "Of them, those that wait for an operator.",
            |one| one.parked.held,
        ),
        (
            "weir_parked_events",
            "Events of sequences that are set aside.",
            |one| one.parked.events,
        ),
        ("weir_parked_bytes", "Their bytes.", |one| one.parked.bytes),
        (
            "weir_parked_longest_events",
            "Events of the longest sequence that is set aside.",
            |one| one.parked.longest,
        ),
        (
            "weir_timers",
            "Timers in memory; the ledger may hold more of a partition with more than fit.",
            |one| one.timers,
        ),
    ];
    for (name, help, of) in figures {
        each(page, handlers, name, Gauge, help, of);
    }
}

fn write_levels(handlers: &[Summary<'_>], page: &mut Page) {
    let mut family = page.family(
        "weir_lag_records",
        Gauge,
        "Records that have no durable fate.",
    );
    for one in handlers {
        let known = one
            .lag
            .iter()
            .filter_map(|(topic, lag)| Some((topic, (*lag)?)));
        for (topic, lag) in known {
            family.sample(
                &[
                    ("tenant", one.tenant()),
                    ("handler", one.handler()),
                    ("topic", topic),
                ],
                lag,
            );
        }
    }
    type Figure = (&'static str, &'static str, fn(&Summary<'_>) -> u64);
    let figures: [Figure; 5] = [
        (
            "weir_open_events",
            "Events that were read and have no durable fate.",
            |one| one.open,
        ),
        ("weir_running_attempts", "Attempts that run.", |one| {
            one.running
        }),
        (
            "weir_retrying_events",
            "Events that wait for a retry.",
            |one| one.retrying,
        ),
        (
            "weir_open_span_positions",
            "Positions from the first open one to the last admitted, of the partition where they are most.",
            |one| one.span,
        ),
        ("weir_inbox_ids", "Ids in the inbox.", |one| one.inbox_ids),
    ];
    for (name, help, of) in figures {
        each(page, handlers, name, Gauge, help, of);
    }
    let mut family = page.family(
        "weir_inbox_window_seconds",
        Gauge,
        "How long the inbox keeps an id, in the partition where that is shortest.",
    );
    for one in handlers {
        if let Some(window) = one
            .inbox_window
            .map(|window: Duration| window.as_secs_f64())
        {
            family.sample(
                &[("tenant", one.tenant()), ("handler", one.handler())],
                window,
            );
        }
    }
}

fn write_topics(host: &HostStatus, page: &mut Page) {
    let topics = host.topics();
    let mut family = page.family("weir_topic_records", Gauge, "Records that the topic keeps.");
    for topic in &topics {
        if let Some((records, _)) = host.records(topic) {
            family.sample(&[("topic", &topic.name)], records);
        }
    }
}

fn write_disk(host: &HostStatus, page: &mut Page) {
    let usage = host.store.disk_usage();
    let bytes_of =
        |page: &mut Page, name, help, label, all: &mut dyn Iterator<Item = (&str, u64)>| {
            let mut family = page.family(name, Gauge, help);
            all.for_each(|(of, bytes)| family.sample(&[(label, of)], bytes));
        };
    let help = "Bytes of records that the topic keeps, before compression.";
    let mut topics = usage.topics.iter().map(|(topic, bytes)| (&**topic, *bytes));
    bytes_of(page, "weir_topic_bytes", help, "topic", &mut topics);
    let help = "Bytes of the store on disk and in its buffers, by family of keys.";
    bytes_of(
        page,
        "weir_store_bytes",
        help,
        "family",
        &mut usage.families.into_iter(),
    );
    if let Ok(space) = host.store.disk_space() {
        page.family(
            "weir_disk_free_bytes",
            Gauge,
            "Free space of the disk below the data directory.",
        )
        .sample(&[], space.free);
        page.family(
            "weir_disk_reserve_bytes",
            Gauge,
            "Free space below which no events are taken in.",
        )
        .sample(&[], space.reserve);
    }
}

/// One figure of every handler.
fn each(
    page: &mut Page,
    handlers: &[Summary<'_>],
    name: &'static str,
    kind: Kind,
    help: &str,
    of: fn(&Summary<'_>) -> u64,
) {
    let mut family = page.family(name, kind, help);
    for one in handlers {
        family.sample(
            &[("tenant", one.tenant()), ("handler", one.handler())],
            of(one),
        );
    }
}

/// Figures of every handler, one for each name of a label.
fn by_name<const N: usize>(
    page: &mut Page,
    handlers: &[Summary<'_>],
    name: &'static str,
    kind: Kind,
    help: &str,
    (label, names): (&str, [&str; N]),
    of: impl Fn(&Summary<'_>) -> [u64; N],
) {
    let mut family = page.family(name, kind, help);
    for one in handlers {
        for (value, figure) in names.into_iter().zip(of(one)) {
            let labels = [
                ("tenant", one.tenant()),
                ("handler", one.handler()),
                (label, value),
            ];
            family.sample(&labels, figure);
        }
    }
}
