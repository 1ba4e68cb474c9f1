//! What one subscription reports while it runs.

mod levels;
mod stops;
mod summary;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use weir_core::partition::{Counters, Gauges, Partition};
use weir_core::unit::Fate;

use self::stops::Stops;
pub(super) use self::summary::Summary;
use crate::alarm::{Alarm, Alarms};
use crate::bus::Bus;
use crate::clock;
use crate::handlers::Deployment;
use crate::http::SubscriptionReadiness;
use crate::metrics::Histogram;
use crate::pipeline::SharedGate;
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
    /// Every partition serves; perhaps not all that they could, for this reason.
    Ready(Option<String>),
    /// Every partition serves and an operator lets events wait.
    Paused,
    /// Partitions restore what their ledger holds.
    Starting,
    /// A partition serves and gets nowhere.
    Stalled,
    /// A partition serves no more, for this reason.
    Stopped(String),
    /// An operator has given all partitions to other hosts.
    Drained,
}

impl State {
    /// All names, for metrics.
    pub(super) const NAMES: [&str; 6] = [
        "ready", "paused", "starting", "stalled", "stopped", "drained",
    ];

    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Ready(_) => Self::NAMES[0],
            Self::Paused => Self::NAMES[1],
            Self::Starting => Self::NAMES[2],
            Self::Stalled => Self::NAMES[3],
            Self::Stopped(_) => Self::NAMES[4],
            Self::Drained => Self::NAMES[5],
        }
    }

    /// What an operator or the breaker holds back is no reason to send events elsewhere: they are taken in and wait.
    fn is_ready(&self) -> bool {
        match self {
            Self::Ready(_) | Self::Paused => true,
            Self::Starting | Self::Stalled | Self::Stopped(_) | Self::Drained => false,
        }
    }

    fn reason(&self) -> Option<String> {
        match self {
            Self::Ready(reason) => reason.clone(),
            Self::Paused => Some("an operator paused it, and events wait".to_owned()),
            Self::Starting => Some("partitions restore what the ledger holds".to_owned()),
            Self::Stalled => Some(Alarm::Stalled.meaning().to_owned()),
            Self::Stopped(reason) => Some(reason.clone()),
            Self::Drained => Some("an operator has drained this host: others serve it".to_owned()),
        }
    }
}

/// What is raised of one partition: another owner has alarms of its own.
const PARTITION_ALARMS: [Alarm; 8] = [
    Alarm::PositionLost,
    Alarm::HandlerStopped,
    Alarm::CommitFailing,
    Alarm::ReadFailing,
    Alarm::Stalled,
    Alarm::DeadLetterStopped,
    Alarm::SequenceLong,
    Alarm::InboxShort,
];

/// What one subscription reports while it runs.
pub struct SubscriptionStatus {
    deployment: Deployment,
    tenant: Arc<str>,
    handler: Arc<str>,
    digest: Mutex<String>,
    share: Mutex<Share>,
    gate: Arc<SharedGate>,
    alarms: Arc<Alarms>,
    /// Locked before `past` and `stopped` by whoever needs more than one.
    partitions: Mutex<BTreeMap<u32, PartitionStatus>>,
    /// What partitions counted before they began anew.
    past: Mutex<Counters>,
    stopped: Mutex<Stops>,
    commits: Histogram,
    /// When its first event was handled, durably.
    first_handled: OnceLock<Instant>,
    /// Log lines of its handler that were not written.
    dropped_lines: AtomicU64,
    steering: Mutex<Steering>,
}

/// Which partitions this host serves.
#[derive(Clone, Debug)]
struct Share {
    /// How many there are.
    of: u32,
    /// Whether the bus has said that others may serve the rest.
    settled: bool,
    /// A membership is over, and no other has begun.
    left: bool,
    /// Whether they serve all of it, for good.
    drained: bool,
    owned: BTreeSet<u32>,
}

impl Share {
    fn has(&self, partition: u32) -> bool {
        !self.settled || self.owned.contains(&partition)
    }

    /// Those that this host serves or is about to.
    fn partitions(&self) -> impl Iterator<Item = u32> {
        (0..self.of).filter(|partition| self.has(*partition))
    }
}

impl SubscriptionStatus {
    /// Of a subscription whose partitions have not reported.
    #[must_use]
    pub fn new(
        deployment: Deployment,
        digest: &str,
        expected: u32,
        gate: Arc<SharedGate>,
        alarms: Arc<Alarms>,
    ) -> Self {
        Self {
            tenant: deployment.manifest.tenant.as_str().into(),
            handler: deployment.manifest.name.as_str().into(),
            deployment,
            digest: Mutex::new(digest.to_owned()),
            share: Mutex::new(Share {
                of: expected,
                settled: false,
                left: false,
                drained: false,
                owned: BTreeSet::new(),
            }),
            gate,
            alarms,
            partitions: Mutex::default(),
            past: Mutex::default(),
            stopped: Mutex::default(),
            commits: Histogram::default(),
            first_handled: OnceLock::new(),
            dropped_lines: AtomicU64::new(0),
            steering: Mutex::default(),
        }
    }

    /// A component of this digest serves from the next attempt on.
    pub fn deploy(&self, digest: &str) {
        let mut own = self.digest.lock().unwrap_or_else(PoisonError::into_inner);
        digest.clone_into(&mut own);
    }

    /// This host serves the partition from here on.
    pub fn own(&self, partition: u32) {
        let mut share = self.lock_share();
        share.owned.insert(partition);
        share.left = false;
    }

    /// Another host serves it from here on. What it counted here stays counted.
    pub fn release(&self, partition: u32) {
        self.lock_share().owned.remove(&partition);
        let mut partitions = self.partitions();
        if let Some(status) = partitions.get_mut(&partition) {
            status.gauges = Gauges::default();
            status.stalled = false;
        }
        self.stops().remove(&Some(partition));
        drop(partitions);
        self.clear_all_of(partition);
    }

    /// The partition begins anew, and nothing that served it before reports any more.
    pub fn begin(&self, partition: u32) {
        self.forget(partition);
        self.clear_all_of(partition);
    }

    /// Other hosts serve all of it from here on, and nothing of it concerns this one.
    pub fn drain(&self) {
        for partition in self.given() {
            self.release(partition);
        }
        let mut share = self.lock_share();
        (share.settled, share.drained) = (true, true);
        drop(share);
        self.stops().clear();
        self.alarms.clear_handler(&self.tenant, &self.handler);
    }

    fn clear_all_of(&self, partition: u32) {
        for alarm in PARTITION_ALARMS {
            self.clear(alarm, Some(partition));
        }
    }

    /// What it counted stays counted: a figure that went back would look like the start of another host.
    fn forget(&self, partition: u32) {
        let mut partitions = self.partitions();
        if let Some(status) = partitions.remove(&partition) {
            *self.past() += status.counters;
        }
        self.stops().remove(&Some(partition));
    }

    fn past(&self) -> MutexGuard<'_, Counters> {
        self.past.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Partitions that this host does not own are served by others.
    pub fn settle(&self) {
        let mut share = self.lock_share();
        (share.settled, share.left) = (true, false);
        drop(share);
        self.clear(Alarm::ReadFailing, None);
    }

    /// The bus has taken this host. One that had left a group before says why until it [has a place again](Self::settle).
    pub fn join(&self) {
        let left = self.lock_share().left;
        if !left {
            self.clear(Alarm::ReadFailing, None);
        }
    }

    /// The group has not taken this host, for this reason: until it does, nothing is served, unless partitions are left of
    /// before.
    pub fn hinder(&self, why: String) {
        let mut share = self.lock_share();
        share.left |= share.owned.is_empty();
        drop(share);
        self.raise(Alarm::ReadFailing, None, why);
    }

    /// The membership is over: nothing is served until the next one has begun.
    pub fn leave(&self) {
        self.lock_share().left = true;
    }

    fn lock_share(&self) -> MutexGuard<'_, Share> {
        self.share.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// The partitions that the bus has given to this host so far.
    pub(super) fn given(&self) -> Vec<u32> {
        self.lock_share().owned.iter().copied().collect()
    }

    /// Takes over what a partition's machine says.
    pub fn update(&self, partition: u32, machine: &Partition) {
        // What drains on its way to another host is not this host's to show.
        let gauges = match self.lock_share().has(partition) {
            true => machine.gauges(clock::now()),
            false => Gauges::default(),
        };
        let mut partitions = self.partitions();
        let status = partitions.entry(partition).or_default();
        status.counters = machine.counters();
        if status.counters.fates[Fate::Handled as usize] > 0 {
            self.first_handled.get_or_init(Instant::now);
        }
        status.gauges = gauges;
        status.frontiers.clear();
        status.frontiers.extend(machine.frontiers());
    }

    /// When an event was first handled; none before.
    #[must_use]
    pub fn first_handled(&self) -> Option<Instant> {
        self.first_handled.get().copied()
    }

    /// A unit of work was answered by the ledger after this time.
    pub fn committed(&self, time: Duration) {
        self.commits.observe(time);
    }

    /// So many more log lines of its handler were not written.
    pub fn dropped(&self, lines: u64) {
        if lines > 0 {
            self.dropped_lines.fetch_add(lines, Ordering::Relaxed);
        }
    }

    /// Its name on the bus.
    pub(super) fn group(&self) -> &str {
        &self.deployment.scope.group
    }

    /// What it reads and writes.
    pub(super) fn topics(&self) -> impl Iterator<Item = &str> {
        let deployment = &self.deployment;
        let emitted = deployment.manifest.emit.topics.iter();
        let read = deployment.scope.topics.iter();
        let own = read.chain(deployment.dead_letter_topics.iter());
        own.map(|topic| &**topic)
            .chain(emitted.map(|topic| &**topic))
    }

    pub(super) fn commits(&self) -> &Histogram {
        &self.commits
    }

    /// What the watchdog compares, of each partition that serves: progress so far, and whether something waits that
    /// nobody works on.
    pub(super) fn progress(&self, bus: &dyn Bus) -> Vec<(u32, Progress)> {
        let partitions = self.partitions();
        let share = self.lock_share().clone();
        let stops = self.stops();
        let serving = partitions.iter().filter(|(partition, _)| {
            !stops.contains_key(&Some(**partition)) && share.has(**partition)
        });
        serving
            .map(|(partition, status)| {
                let lag = self.lag_of(bus, *partition, Some(status));
                let left_open = self.left_open(bus, *partition);
                (*partition, status.progress(&lag, left_open))
            })
            .collect()
    }

    /// What a transaction of others that has lost its end keeps from being read in a partition.
    fn left_open(&self, bus: &dyn Bus, partition: u32) -> Option<String> {
        let mut topics = self.deployment.source_topics().iter();
        topics.find_map(|topic| {
            let (offset, open) = bus.left_open(topic, partition)?;
            Some(format!(
                "a transaction of another producer is open in {topic} at offset {offset} for {} min, and what follows cannot \
                 be read: end it (kafka-transactions.sh find-hanging, abort)",
                open.as_secs() / 60
            ))
        })
    }

    /// Notes what the watchdog found. What others have left open no other host reads either: this one is as ready as they are.
    pub(super) fn set_stalled(
        &self,
        partition: u32,
        for_time: Option<Duration>,
        left_open: Option<String>,
    ) {
        if let Some(status) = self.partitions().get_mut(&partition) {
            status.stalled = for_time.is_some();
        }
        let nothing = |time: Duration| format!("nothing has happened for {} s", time.as_secs());
        match for_time.map(nothing).or(left_open) {
            Some(why) => self.raise(Alarm::Stalled, Some(partition), why),
            None => self.clear(Alarm::Stalled, Some(partition)),
        }
    }

    pub(super) fn readiness(&self) -> SubscriptionReadiness {
        let state = self.state(&self.partitions());
        SubscriptionReadiness {
            tenant: Arc::clone(&self.tenant),
            handler: Arc::clone(&self.handler),
            ready: state.is_ready(),
            state: state.name(),
            reason: state.reason(),
        }
    }

    fn state(&self, partitions: &BTreeMap<u32, PartitionStatus>) -> State {
        if self.lock_share().drained {
            return State::Drained;
        }
        if let Some(reason) = self.stops().values().next() {
            return State::Stopped(reason.clone());
        }
        let mut halts = partitions.iter().filter_map(|(partition, status)| {
            let PartitionStatus { gauges, .. } = status;
            let reason = gauges.halted.as_ref().or(gauges.letter_refused.as_ref());
            Some((partition, reason?))
        });
        if let Some((partition, reason)) = halts.next() {
            return State::Stopped(format!("partition {partition}: {reason}"));
        }
        let gate = self.gate.status(clock::now());
        let share = self.lock_share().clone();
        let silent = |partition: u32| !partitions.contains_key(&partition);
        if share.left || share.partitions().any(silent) {
            State::Starting
        } else if gate.paused {
            State::Paused
        } else if partitions.values().any(|status| status.stalled) {
            State::Stalled
        } else {
            State::Ready(gate.reason())
        }
    }

    /// By topic, records of a partition that have no durable fate; none where it is not known how far the topic reaches, or
    /// where others have been before who has not reported yet.
    fn lag_of(
        &self,
        bus: &dyn Bus,
        partition: u32,
        status: Option<&PartitionStatus>,
    ) -> Vec<Option<u64>> {
        let topics = self.deployment.source_topics().iter().enumerate();
        topics
            .map(|(index, topic)| {
                // A topic with fewer partitions than another has nothing here.
                if bus
                    .topic(topic)
                    .is_some_and(|it| it.partitions <= partition)
                {
                    return Some(0);
                }
                let (first, end) = bus.extent(topic, partition)?;
                let frontier = status.and_then(|status| status.frontiers.get(index));
                let unread = (!bus.is_shared()).then_some(first);
                Some(end.saturating_sub(frontier.copied().or(unread)?))
            })
            .collect()
    }

    fn partitions(&self) -> MutexGuard<'_, BTreeMap<u32, PartitionStatus>> {
        self.partitions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// How far a partition has come, and whether it ought to go on.
pub(super) struct Progress {
    /// Grows with everything that happens.
    pub(super) done: u64,
    /// Something waits that nobody works on; none: that is not known.
    pub(super) waiting: Option<bool>,
    /// And it has not come from the bus.
    pub(super) starved: bool,
    /// What cannot be read, and will not be by itself.
    pub(super) left_open: Option<String>,
}

impl PartitionStatus {
    fn progress(&self, lag: &[Option<u64>], left_open: Option<String>) -> Progress {
        let (counters, gauges) = (&self.counters, &self.gauges);
        let counts = [&counters.fates[..], &counters.later, &counters.failures].concat();
        // What waits for a retry is worked on: its time will come. What the gate holds back goes on with it, and what
        // else stops a partition has an alarm of its own.
        let excused = gauges.running > 0
            || gauges.retrying > 0
            || gauges.held_back
            || gauges.park_full
            || gauges.halted.is_some()
            || gauges.letter_refused.is_some();
        let has_lag = lag.iter().flatten().any(|lag| *lag > 0);
        let is_known = has_lag || excused || lag.iter().all(Option::is_some);
        Progress {
            done: counts.iter().sum::<u64>() + counters.commands + counters.attempts,
            waiting: is_known.then_some(has_lag && !excused),
            starved: has_lag && gauges.open == 0,
            left_open,
        }
    }
}
