//! What the host knows of itself: `weir status`, `/livez`, `/readyz`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use serde_json::{Value, json};
use weir_core::partition::{Counters, Partition};
use weir_core::unit::Fate;

use crate::bus::Bus;
use crate::handlers::Deployment;
use crate::http::StatusSource;

/// What one partition last reported.
#[derive(Clone, Debug, Default)]
struct PartitionStatus {
    counters: Counters,
    open: usize,
    retrying: usize,
    inbox_ids: usize,
    frontiers: Vec<u64>,
}

/// What one subscription reports while it runs.
pub struct SubscriptionStatus {
    deployment: Deployment,
    digest: String,
    /// Partition numbers that will report.
    expected: u32,
    partitions: Mutex<BTreeMap<u32, PartitionStatus>>,
    stopped: Mutex<Option<String>>,
}

impl SubscriptionStatus {
    /// Of a subscription whose partitions have not reported.
    #[must_use]
    pub fn new(deployment: Deployment, digest: &str, expected: u32) -> Self {
        let partitions = Mutex::new(BTreeMap::new());
        Self {
            deployment,
            digest: digest.to_owned(),
            expected,
            partitions,
            stopped: Mutex::new(None),
        }
    }

    /// Takes over what a partition's machine says.
    pub fn update(&self, partition: u32, machine: &Partition) {
        let mut partitions = self
            .partitions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let status = partitions.entry(partition).or_default();
        let gauges = machine.gauges(crate::clock::now());
        status.counters = machine.counters();
        status.open = gauges.open;
        status.retrying = gauges.retrying;
        status.inbox_ids = gauges.inbox_ids;
        status.frontiers.clear();
        status.frontiers.extend(machine.frontiers());
    }

    /// A partition of this subscription stopped for this reason; it stays so until the host starts anew.
    pub fn stop(&self, reason: String) {
        self.stopped
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert(reason);
    }

    /// Whether every partition has restored what its ledger holds and serves.
    fn serves(&self) -> bool {
        let partitions = self
            .partitions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        partitions.len() >= self.expected as usize
    }

    /// Records that have no durable fate; of a partition that has not reported, all.
    fn lag(&self, bus: &dyn Bus, partitions: &BTreeMap<u32, PartitionStatus>) -> u64 {
        let lag_of = |partition: u32| {
            let frontiers = partitions
                .get(&partition)
                .map(|status| status.frontiers.as_slice());
            let topics = self.deployment.source_topics().iter().enumerate();
            topics
                .filter_map(|(index, topic)| {
                    let (first, end) = bus.bounds(topic, partition)?;
                    let frontier = frontiers
                        .and_then(|frontiers| frontiers.get(index))
                        .copied();
                    Some(end.saturating_sub(frontier.unwrap_or(first)))
                })
                .sum::<u64>()
        };
        (0..self.expected).map(lag_of).sum()
    }

    fn stopped(&self) -> Option<String> {
        self.stopped
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn to_json(&self, bus: &dyn Bus) -> Value {
        let partitions = self
            .partitions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let sum = |of: &dyn Fn(&PartitionStatus) -> u64| partitions.values().map(of).sum::<u64>();
        let fates: serde_json::Map<String, Value> = Fate::ALL
            .iter()
            .map(|fate| {
                (
                    fate.name().to_owned(),
                    sum(&|status| status.counters.fates[*fate as usize]).into(),
                )
            })
            .collect();
        let topics = self.deployment.source_topics();
        let stopped = self.stopped();
        json!({
            "name": self.deployment.manifest.name,
            "version": self.deployment.manifest.version,
            "digest": self.digest,
            "group": &*self.deployment.scope.group,
            "topics": topics.iter().map(|topic| &**topic).collect::<Vec<_>>(),
            "state": if stopped.is_some() { "stopped" } else { "running" },
            "reason": stopped,
            "lag": self.lag(bus, &partitions),
            "fates": fates,
            "attempts": sum(&|status| status.counters.attempts),
            "failures": sum(&|status| status.counters.failures),
            "redelivered": sum(&|status| status.counters.redelivered),
            "open": sum(&|status| status.open as u64),
            "retrying": sum(&|status| status.retrying as u64),
            "inbox_ids": sum(&|status| status.inbox_ids as u64),
        })
    }
}

/// The status of the whole host.
pub struct HostStatus {
    /// Of the data directory.
    pub host_id: String,
    /// Where it is.
    pub data_dir: String,
    /// The bus whose topics are shown.
    pub bus: Arc<dyn Bus>,
    /// When the host started.
    pub started: Instant,
    /// Set once all subscriptions run, taken back when the host drains.
    pub ready: AtomicBool,
    /// One per handler, in the order of their names.
    pub subscriptions: Vec<Arc<SubscriptionStatus>>,
}

impl HostStatus {
    fn topics(&self) -> Vec<Value> {
        let one = |topic: crate::bus::Topic| {
            let bounds = (0..topic.partitions)
                .filter_map(|partition| self.bus.bounds(&topic.name, partition));
            let (first, end) =
                bounds.fold((0, 0), |sum, (first, end)| (sum.0 + first, sum.1 + end));
            json!({ "name": &*topic.name, "partitions": topic.partitions, "records": end - first, "total": end })
        };
        self.bus.topics().into_iter().map(one).collect()
    }
}

impl StatusSource for HostStatus {
    fn status(&self) -> Value {
        let alarms: Vec<String> = self
            .subscriptions
            .iter()
            .filter_map(|status| status.stopped())
            .collect();
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "host_id": self.host_id,
            "data_dir": self.data_dir,
            "uptime_s": self.started.elapsed().as_secs(),
            "ready": self.ready.load(Ordering::Acquire),
            "alarms": alarms,
            "topics": self.topics(),
            "handlers": self.subscriptions.iter().map(|status| status.to_json(&*self.bus)).collect::<Vec<_>>(),
        })
    }

    fn live(&self) -> bool {
        true
    }

    fn ready(&self) -> Result<(), String> {
        if !self.ready.load(Ordering::Acquire) {
            return Err("the host starts or stops".to_owned());
        }
        if let Some(status) = self
            .subscriptions
            .iter()
            .find(|status| !status.serves() && status.stopped().is_none())
        {
            return Err(format!(
                "handler {} starts",
                status.deployment.manifest.name
            ));
        }
        let stopped = self.subscriptions.iter().find_map(|status| {
            status
                .stopped()
                .map(|reason| format!("handler {}: {reason}", status.deployment.manifest.name))
        });
        stopped.map_or(Ok(()), Err)
    }
}
