//! What one subscription reports while it runs.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value, json};
use weir_core::inbox;
use weir_core::partition::{Counters, Gauges, Partition};
use weir_core::unit::Fate;

use super::site_of;
use crate::alarm::{Alarm, Alarms};
use crate::bus::{Bus, FetchError};
use crate::clock;
use crate::handlers::{Deployment, chain};
use crate::http::SubscriptionReadiness;
use crate::metrics::Histogram;
use crate::pipeline::PipelineError;
use crate::steering::Steering;

/// What one partition last reported.
#[derive(Clone, Debug, Default)]
struct PartitionStatus {
    counters: Counters,
    gauges: Gauges,
    /// By topic of the subscription.
    frontiers: Vec<u64>,
    /// Found by the watchdog.
    stalled: bool,
}

/// Where a subscription stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Every partition serves.
    Ready,
    /// Partitions restore what their ledger holds.
    Starting,
    /// An operator lets events wait.
    Paused,
    /// A partition serves and gets nowhere.
    Stalled,
    /// A partition serves no more, for this reason.
    Stopped(String),
}

impl State {
    /// All names, for metrics.
    pub(super) const NAMES: [&str; 5] = ["ready", "starting", "paused", "stalled", "stopped"];

    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Ready => Self::NAMES[0],
            Self::Starting => Self::NAMES[1],
            Self::Paused => Self::NAMES[2],
            Self::Stalled => Self::NAMES[3],
            Self::Stopped(_) => Self::NAMES[4],
        }
    }

    fn reason(&self) -> Option<String> {
        match self {
            Self::Ready => None,
            Self::Starting => Some("partitions restore what the ledger holds".to_owned()),
            Self::Paused => Some("paused".to_owned()),
            Self::Stalled => Some(Alarm::Stalled.meaning().to_owned()),
            Self::Stopped(reason) => Some(reason.clone()),
        }
    }
}

/// Why partitions stopped; none is the whole subscription.
type Stops = BTreeMap<Option<u32>, String>;

/// What one subscription reports while it runs.
pub struct SubscriptionStatus {
    deployment: Deployment,
    tenant: Arc<str>,
    handler: Arc<str>,
    digest: Mutex<String>,
    /// Partition numbers that will report.
    expected: u32,
    alarms: Arc<Alarms>,
    partitions: Mutex<BTreeMap<u32, PartitionStatus>>,
    stopped: Mutex<Stops>,
    commits: Histogram,
    steering: Mutex<Steering>,
}

impl SubscriptionStatus {
    /// Of a subscription whose partitions have not reported.
    #[must_use]
    pub fn new(deployment: Deployment, digest: &str, expected: u32, alarms: Arc<Alarms>) -> Self {
        Self {
            tenant: deployment.manifest.tenant.as_str().into(),
            handler: deployment.manifest.name.as_str().into(),
            deployment,
            digest: Mutex::new(digest.to_owned()),
            expected,
            alarms,
            partitions: Mutex::default(),
            stopped: Mutex::default(),
            commits: Histogram::default(),
            steering: Mutex::default(),
        }
    }

    /// A component of this digest serves from the next attempt on.
    pub fn deploy(&self, digest: &str) {
        let mut own = self.digest.lock().unwrap_or_else(PoisonError::into_inner);
        digest.clone_into(&mut own);
    }

    /// An operator has commanded this.
    pub fn steer(&self, steering: Steering) {
        *self.lock_steering() = steering;
    }

    /// What an operator has commanded.
    #[must_use]
    pub fn steering(&self) -> Steering {
        *self.lock_steering()
    }

    fn lock_steering(&self) -> MutexGuard<'_, Steering> {
        self.steering.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first position of the command topic in a partition that was not obeyed; none before it serves.
    #[must_use]
    pub fn obeyed(&self, partition: u32) -> Option<u64> {
        let topic = usize::from(self.deployment.command_topic());
        let partitions = self.partitions();
        partitions.get(&partition)?.frontiers.get(topic).copied()
    }

    /// Takes over what a partition's machine says.
    pub fn update(&self, partition: u32, machine: &Partition) {
        let gauges = machine.gauges(clock::now());
        let cut = gauges.inbox_cut;
        let mut partitions = self.partitions();
        let status = partitions.entry(partition).or_default();
        let was_cut = status.gauges.inbox_cut.is_some();
        status.counters = machine.counters();
        status.gauges = gauges;
        status.frontiers.clear();
        status.frontiers.extend(machine.frontiers());
        drop(partitions);
        match cut {
            Some(age) if !was_cut => {
                let detail = format!("ids are kept for {} s", age.as_secs());
                self.raise(Alarm::InboxShort, Some(partition), detail);
            }
            None if was_cut => self.clear(Alarm::InboxShort, Some(partition)),
            Some(_) | None => {}
        }
    }

    /// A unit of work was answered by the ledger after this time.
    pub fn committed(&self, time: Duration) {
        self.commits.observe(time);
    }

    /// Raises an alarm of this handler, of one of its partitions or of all.
    pub fn raise(&self, alarm: Alarm, partition: Option<u32>, detail: impl Into<String>) {
        self.alarms.raise(
            alarm,
            site_of(&self.tenant, &self.handler, partition),
            detail,
        );
    }

    /// Says that the condition is over.
    pub fn clear(&self, alarm: Alarm, partition: Option<u32>) {
        self.alarms
            .clear(alarm, &site_of(&self.tenant, &self.handler, partition));
    }

    /// The subscription could not be joined; it stays so until the host starts anew.
    pub fn stop(&self, reason: String) {
        self.raise(Alarm::HandlerStopped, None, reason.clone());
        self.stops().insert(None, reason);
    }

    /// A partition ended by this error; it stays so until the host starts anew.
    pub fn fail(&self, partition: u32, error: &PipelineError) {
        let (alarm, detail) = match error {
            PipelineError::Fetch(FetchError::OutOfRange { offset, first, .. })
                if first > offset =>
            {
                let lost = first - offset;
                (
                    Alarm::PositionLost,
                    format!("{error}: {lost} records are lost"),
                )
            }
            PipelineError::Fetch(FetchError::OutOfRange { .. }) => (
                Alarm::PositionLost,
                format!(
                    "{error}: the log ends before the position, as that of a topic that was made anew does"
                ),
            ),
            PipelineError::Ledger(_)
            | PipelineError::Fetch(FetchError::Store { .. })
            | PipelineError::Start { .. } => (Alarm::HandlerStopped, chain(error)),
        };
        self.raise(alarm, Some(partition), detail.clone());
        self.stops()
            .insert(Some(partition), format!("partition {partition}: {detail}"));
    }

    /// Who owns the handler.
    pub(super) fn tenant(&self) -> &str {
        &self.tenant
    }

    pub(super) fn commits(&self) -> &Histogram {
        &self.commits
    }

    /// What the watchdog compares, of each partition that serves: progress so far, and whether something waits that
    /// nobody works on.
    pub(super) fn progress(&self, bus: &dyn Bus) -> Vec<(u32, Progress)> {
        let held = self.steering().holds();
        let stops = self.stops();
        let partitions = self.partitions();
        let serving = partitions
            .iter()
            .filter(|(partition, _)| !stops.contains_key(&Some(**partition)));
        let progress = |status: &PartitionStatus, lag: u64| Progress {
            done: [
                status.counters.fates.iter().sum(),
                status.counters.attempts,
                status.counters.failures,
            ],
            // What waits for a retry is worked on: its time will come.
            waiting: !held && lag > 0 && status.gauges.running == 0 && status.gauges.retrying == 0,
        };
        serving
            .map(|(partition, status)| {
                let lag = self.lag_of(bus, *partition, Some(status)).iter().sum();
                (*partition, progress(status, lag))
            })
            .collect()
    }

    /// Notes what the watchdog found.
    pub(super) fn set_stalled(&self, partition: u32, for_time: Option<Duration>) {
        if let Some(status) = self.partitions().get_mut(&partition) {
            status.stalled = for_time.is_some();
        }
        match for_time {
            Some(time) => {
                let detail = format!("nothing has happened for {} s", time.as_secs());
                self.raise(Alarm::Stalled, Some(partition), detail);
            }
            None => self.clear(Alarm::Stalled, Some(partition)),
        }
    }

    pub(super) fn readiness(&self) -> SubscriptionReadiness {
        let state = self.state(&self.partitions());
        SubscriptionReadiness {
            tenant: Arc::clone(&self.tenant),
            handler: Arc::clone(&self.handler),
            // A load balancer sends nobody away because an operator lets one handler's events wait.
            ready: matches!(state, State::Ready | State::Paused),
            state: state.name(),
            reason: state.reason(),
        }
    }

    fn state(&self, partitions: &BTreeMap<u32, PartitionStatus>) -> State {
        if let Some(reason) = self.stops().values().next() {
            State::Stopped(reason.clone())
        } else if partitions.len() < self.expected as usize {
            State::Starting
        } else if partitions.values().any(|status| status.stalled) {
            State::Stalled
        } else if self.steering().paused {
            State::Paused
        } else {
            State::Ready
        }
    }

    /// By topic, records of a partition that have no durable fate; of one that has not reported, all.
    fn lag_of(&self, bus: &dyn Bus, partition: u32, status: Option<&PartitionStatus>) -> Vec<u64> {
        let topics = self.deployment.source_topics().iter().enumerate();
        topics
            .map(|(index, topic)| {
                let Some((first, end)) = bus.bounds(topic, partition) else {
                    return 0;
                };
                let frontier = status.and_then(|status| status.frontiers.get(index));
                end.saturating_sub(frontier.copied().unwrap_or(first))
            })
            .collect()
    }

    /// Everything that is shown of the subscription, at one moment.
    pub(super) fn summary(&self, bus: &dyn Bus) -> Summary<'_> {
        let partitions = self.partitions();
        let sum = |of: &dyn Fn(&PartitionStatus) -> u64| partitions.values().map(of).sum::<u64>();
        let gauge = |of: fn(&Gauges) -> usize| sum(&|status| of(&status.gauges) as u64);
        let topics = self.deployment.source_topics();
        let mut lag: Vec<_> = topics.iter().map(|topic| (Arc::clone(topic), 0)).collect();
        for partition in 0..self.expected {
            let of_topics = self.lag_of(bus, partition, partitions.get(&partition));
            for ((_, total), lag) in lag.iter_mut().zip(of_topics) {
                *total += lag;
            }
        }
        let cuts = partitions.values().filter_map(|one| one.gauges.inbox_cut);
        let window = cuts.min().unwrap_or(inbox::Config::default().window);
        Summary {
            status: self,
            state: self.state(&partitions),
            lag,
            fates: std::array::from_fn(|fate| sum(&|status| status.counters.fates[fate])),
            attempts: sum(&|status| status.counters.attempts),
            failures: sum(&|status| status.counters.failures),
            redelivered: sum(&|status| status.counters.redelivered),
            open: gauge(|gauges| gauges.open),
            running: gauge(|gauges| gauges.running),
            retrying: gauge(|gauges| gauges.retrying),
            span: partitions
                .values()
                .map(|one| one.gauges.span)
                .max()
                .unwrap_or(0),
            inbox_ids: gauge(|gauges| gauges.inbox_ids),
            inbox_window: self.deployment.manifest.inbox.then_some(window),
        }
    }

    fn partitions(&self) -> MutexGuard<'_, BTreeMap<u32, PartitionStatus>> {
        self.partitions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn stops(&self) -> MutexGuard<'_, Stops> {
        self.stopped.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How far a partition has come, and whether it ought to go on.
pub(super) struct Progress {
    /// Grows with everything that happens.
    pub(super) done: [u64; 3],
    /// Something waits that nobody works on.
    pub(super) waiting: bool,
}

/// A subscription at one moment, all partitions together.
pub(super) struct Summary<'a> {
    status: &'a SubscriptionStatus,
    pub(super) state: State,
    /// Records without a durable fate, by topic.
    pub(super) lag: Vec<(Arc<str>, u64)>,
    /// In the order of [`Fate::ALL`].
    pub(super) fates: [u64; 6],
    pub(super) attempts: u64,
    pub(super) failures: u64,
    pub(super) redelivered: u64,
    pub(super) open: u64,
    pub(super) running: u64,
    pub(super) retrying: u64,
    /// Positions from the first open one to the last admitted, where they are most.
    pub(super) span: u64,
    pub(super) inbox_ids: u64,
    /// How long ids are kept, where that is shortest; none without an inbox.
    pub(super) inbox_window: Option<Duration>,
}

impl Summary<'_> {
    pub(super) fn tenant(&self) -> &str {
        &self.status.tenant
    }

    pub(super) fn handler(&self) -> &str {
        &self.status.handler
    }

    pub(super) fn commits(&self) -> &Histogram {
        self.status.commits()
    }

    pub(super) fn version(&self) -> &str {
        &self.status.deployment.manifest.version
    }

    pub(super) fn digest(&self) -> String {
        let digest = self.status.digest.lock();
        digest.unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn to_json(&self) -> Value {
        let fates: Map<String, Value> = Fate::ALL
            .iter()
            .map(|fate| (fate.name().to_owned(), self.fates[*fate as usize].into()))
            .collect();
        let lag: Map<String, Value> = self
            .lag
            .iter()
            .map(|(topic, lag)| (topic.to_string(), (*lag).into()))
            .collect();
        let scope = &self.status.deployment.scope;
        json!({
            "name": self.handler(),
            "tenant": self.tenant(),
            "version": self.version(),
            "digest": self.digest(),
            "group": &*scope.group,
            "topics": self.status.deployment.source_topics().iter().map(|topic| &**topic).collect::<Vec<_>>(),
            "state": self.state.name(),
            "reason": self.state.reason(),
            "breaker_command": self.status.steering().breaker.name(),
            "lag": self.lag.iter().map(|(_, lag)| lag).sum::<u64>(),
            "lag_by_topic": lag,
            "fates": fates,
            "attempts": self.attempts,
            "failures": self.failures,
            "redelivered": self.redelivered,
            "open": self.open,
            "running": self.running,
            "retrying": self.retrying,
            "span": self.span,
            "inbox_ids": self.inbox_ids,
            "inbox_window_s": self.inbox_window.map(|window| window.as_secs()),
        })
    }
}
