//! All partitions of a subscription together, at one moment.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value, json};
use weir_core::event::FailureKind;
use weir_core::identity::Hash128;
use weir_core::inbox;
use weir_core::partition::{Counters, Counts, Gauges};
use weir_core::unit::Fate;

use super::{State, SubscriptionStatus, levels};
use crate::bus::Bus;
use crate::clock;
use crate::fleet::HandlerRecord;
use crate::metrics::Histogram;
use crate::pipeline::GateStatus;

/// A subscription at one moment.
pub(in crate::status) struct Summary<'a> {
    status: &'a SubscriptionStatus,
    pub(in crate::status) state: State,
    /// How many this host serves.
    pub(in crate::status) partitions: usize,
    pub(in crate::status) gate: GateStatus,
    /// Records without a durable fate, by topic; none where it is not known how far all its partitions reach.
    pub(in crate::status) lag: Vec<(Arc<str>, Option<u64>)>,
    /// Since the host started.
    pub(in crate::status) counted: Counters,
    pub(in crate::status) open: u64,
    pub(in crate::status) running: u64,
    pub(in crate::status) retrying: u64,
    /// Partitions whose events the gate holds back.
    pub(in crate::status) held_back: u64,
    /// Positions from the first open one to the last admitted, where they are most.
    pub(in crate::status) span: u64,
    pub(in crate::status) parked: Counts,
    /// Those in memory.
    pub(in crate::status) timers: u64,
    pub(in crate::status) inbox_ids: u64,
    /// How long ids are kept, where that is shortest; none without an inbox.
    pub(in crate::status) inbox_window: Option<Duration>,
}

impl SubscriptionStatus {
    /// Everything that is shown of the subscription.
    pub(in crate::status) fn summary(&self, bus: &dyn Bus) -> Summary<'_> {
        let partitions = self.partitions();
        let mut counted = *self.past();
        for status in partitions.values() {
            counted += status.counters;
        }
        let share = self.lock_share().clone();
        let gauge = |of: fn(&Gauges) -> usize| {
            let owned = partitions
                .iter()
                .filter(|(partition, _)| share.has(**partition));
            owned
                .map(|(_, status)| of(&status.gauges) as u64)
                .sum::<u64>()
        };
        let topics = self.deployment.source_topics();
        let mut lag: Vec<_> = topics
            .iter()
            .map(|topic| (Arc::clone(topic), Some(0)))
            .collect();
        // What the group has not given to this host is behind with whoever has it.
        let behind = share
            .partitions()
            .filter(|partition| !bus.is_shared() || share.owned.contains(partition));
        for partition in behind {
            let of_topics = self.lag_of(bus, partition, partitions.get(&partition));
            for ((_, total), lag) in lag.iter_mut().zip(of_topics) {
                *total = total.zip(lag).map(|(total, lag)| total + lag);
            }
        }
        let cuts = partitions.values().filter_map(|one| one.gauges.inbox_cut);
        let window = cuts.min().unwrap_or(inbox::Config::default().window);
        let spans = partitions.values().map(|one| one.gauges.span);
        Summary {
            status: self,
            state: self.state(&partitions),
            partitions: share.partitions().count(),
            gate: self.gate.status(clock::now()),
            lag,
            counted,
            open: gauge(|gauges| gauges.open),
            running: gauge(|gauges| gauges.running),
            retrying: gauge(|gauges| gauges.retrying),
            held_back: gauge(|gauges| usize::from(gauges.held_back)),
            span: spans.max().unwrap_or(0),
            parked: levels::total(partitions.values().map(|one| one.gauges.parked)),
            timers: gauge(|gauges| gauges.timers),
            inbox_ids: gauge(|gauges| gauges.inbox_ids),
            inbox_window: self.deployment.manifest.inbox.then_some(window),
        }
    }
}

impl Summary<'_> {
    pub(in crate::status) fn group(&self) -> &str {
        self.status.group()
    }

    pub(in crate::status) fn tenant(&self) -> &str {
        &self.status.tenant
    }

    pub(in crate::status) fn handler(&self) -> &str {
        &self.status.handler
    }

    pub(in crate::status) fn commits(&self) -> &Histogram {
        self.status.commits()
    }

    /// Log lines of the handler that were not written.
    pub(in crate::status) fn dropped_lines(&self) -> u64 {
        self.status.dropped_lines.load(Ordering::Relaxed)
    }

    pub(in crate::status) fn version(&self) -> &str {
        &self.status.deployment.manifest.version
    }

    pub(in crate::status) fn digest(&self) -> String {
        let digest = self.status.digest.lock();
        digest.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What its ids take in the ledger, before compression.
    pub(in crate::status) fn inbox_bytes(&self) -> u64 {
        self.inbox_ids * size_of::<Hash128>() as u64
    }

    /// Of all topics.
    fn lag(&self) -> Option<u64> {
        self.lag.iter().map(|(_, lag)| *lag).sum()
    }

    /// For the other hosts.
    pub(in crate::status) fn to_record(&self) -> HandlerRecord {
        // A guard within the expression would live as long as all of it.
        let of = self.status.lock_share().of;
        HandlerRecord {
            group: self.group().to_owned(),
            tenant: self.tenant().to_owned(),
            name: self.handler().to_owned(),
            version: self.version().to_owned(),
            digest: self.digest(),
            state: self.state.name().to_owned(),
            of,
            partitions: self.status.given(),
            stopped: !self.status.stopped().is_empty(),
            lag: self.lag(),
            open: self.open,
            parked_events: self.parked.events,
            held_sequences: self.parked.held,
        }
    }

    pub(in crate::status) fn to_json(&self) -> Value {
        let fates = |counts: &[u64; 6]| by_name(Fate::ALL.map(Fate::name), counts);
        let lag: Map<String, Value> = self
            .lag
            .iter()
            .map(|(topic, lag)| (topic.to_string(), (*lag).into()))
            .collect();
        let deployment = &self.status.deployment;
        let topics = deployment.source_topics().iter().map(|topic| &**topic);
        json!({
            "name": self.handler(),
            "tenant": self.tenant(),
            "version": self.version(),
            "digest": self.digest(),
            "group": &*deployment.scope.group,
            "topics": topics.collect::<Vec<_>>(),
            "partitions": self.partitions,
            "state": self.state.name(),
            "reason": self.state.reason(),
            "paused": self.gate.paused,
            "breaker": self.gate.breaker.name(),
            "breaker_command": self.status.steering().breaker.name(),
            "breaker_cause": self.gate.cause.map(weir_core::breaker::Cause::name),
            "lag": self.lag(),
            "lag_by_topic": lag,
            "fates": fates(&self.counted.fates),
            "later_fates": fates(&self.counted.later),
            "fallback": self.counted.fallback,
            "commands": self.counted.commands,
            "attempts": self.counted.attempts,
            "failures": self.counted.failures.iter().sum::<u64>(),
            "failures_by_kind": by_name(FailureKind::ALL.map(FailureKind::name), &self.counted.failures),
            "redelivered": self.counted.redelivered,
            "dropped_log_lines": self.dropped_lines(),
            "open": self.open,
            "running": self.running,
            "retrying": self.retrying,
            "held_back_partitions": self.held_back,
            "span": self.span,
            "parked_sequences": self.parked.sequences,
            "held_sequences": self.parked.held,
            "parked_events": self.parked.events,
            "parked_bytes": self.parked.bytes,
            "parked_longest": self.parked.longest,
            "timers": self.timers,
            "inbox_ids": self.inbox_ids,
            "inbox_bytes": self.inbox_bytes(),
            "inbox_window_s": self.inbox_window.map(|window| window.as_secs()),
        })
    }
}

fn by_name<const N: usize>(names: [&str; N], counts: &[u64; N]) -> Map<String, Value> {
    let pairs = names.into_iter().zip(counts);
    pairs
        .map(|(name, count)| (name.to_owned(), (*count).into()))
        .collect()
}
