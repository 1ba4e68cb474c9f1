//! What the host knows of itself: `weir status`, `/livez`, `/readyz`, `/metrics`.

mod fleet;
mod page;
mod subscription;
mod watchdog;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use weir_core::time::Millis;

use crate::alarm::{Alarm, Alarms, Raised, Site};
use crate::bus::{Bus, Topic};
use crate::clock;
use crate::embedded::Embedded;
use crate::fleet::Fleet;
use crate::handlers::chain;
use crate::http::{Readiness, StatusSource, View};
use crate::metrics::Page;
pub use subscription::SubscriptionStatus;
use subscription::Summary;
pub use watchdog::{LOOK_EVERY, Watchdog};

/// Between two beats of the runtime that runs handlers.
pub const BEAT_EVERY: Duration = Duration::from_secs(1);
/// A runtime that has not run a task of microseconds for this long runs nothing any more.
const BEAT_LATE: Duration = Duration::from_secs(30);
/// A write that takes longer does not come back: the slowest disks take seconds.
const WRITE_LATE: Duration = Duration::from_secs(60);

/// The status of the whole host.
pub struct HostStatus {
    /// Of the data directory.
    pub host_id: String,
    /// Where it is.
    pub data_dir: String,
    /// The bus whose topics are shown.
    pub bus: Arc<dyn Bus>,
    /// The store whose bytes are shown.
    pub store: Embedded,
    /// What is raised.
    pub alarms: Arc<Alarms>,
    /// When the host started.
    pub started: Instant,
    /// Set once all subscriptions run, taken back when the host drains.
    pub ready: AtomicBool,
    /// Set when an operator has drained the host.
    pub drained: AtomicBool,
    /// When the handlers' runtime last ran [`Self::beat`], in milliseconds since the start.
    pub beat: AtomicU64,
    /// One per handler, in the order of their names.
    pub subscriptions: Vec<Arc<SubscriptionStatus>>,
    /// The other hosts.
    pub fleet: Arc<Fleet>,
    /// Where they reach this one, once it listens.
    pub url: OnceLock<String>,
    /// When the host started, by the clock.
    pub since: Millis,
}

impl HostStatus {
    /// Of a host that starts now.
    #[must_use]
    pub fn new(
        host_id: String,
        data_dir: String,
        bus: Arc<dyn Bus>,
        store: &Embedded,
        alarms: Arc<Alarms>,
        subscriptions: Vec<Arc<SubscriptionStatus>>,
        fleet: Arc<Fleet>,
    ) -> Self {
        Self {
            host_id,
            data_dir,
            bus,
            store: store.clone(),
            alarms,
            started: Instant::now(),
            ready: AtomicBool::new(false),
            drained: AtomicBool::new(false),
            beat: AtomicU64::new(0),
            subscriptions,
            fleet,
            url: OnceLock::new(),
            since: clock::now(),
        }
    }

    /// Says that the runtime on which this is called works.
    pub fn beat(&self) {
        let millis = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.beat.store(millis, Ordering::Relaxed);
    }

    /// Deletes what retention no longer keeps. When that fails, or panics over what it finds, nothing is lost but room: it
    /// is said, and the next time it is tried again.
    pub async fn sweep(&self) {
        let store = self.store.clone();
        let swept = match tokio::task::spawn_blocking(move || store.sweep_retention()).await {
            Ok(swept) => swept.map_err(|error| chain(&error)),
            Err(panicked) => Err(chain(&panicked)),
        };
        self.alarms
            .set(Alarm::RetentionFailing, Site::Host, swept.err());
    }

    fn readiness_of_host(&self) -> Result<(), String> {
        if self.drained.load(Ordering::Acquire) {
            Err(
                "an operator has drained the host: it serves nothing until it is started anew"
                    .to_owned(),
            )
        } else if self.ready.load(Ordering::Acquire) {
            Ok(())
        } else {
            Err("the host starts or stops".to_owned())
        }
    }

    /// All subscriptions at this moment.
    fn summaries(&self) -> Vec<Summary<'_>> {
        let all = self.subscriptions.iter();
        all.map(|one| one.summary(&*self.bus)).collect()
    }

    /// The alarms that may be shown; those of the host concern everybody.
    fn raised(&self, view: &View) -> Vec<Raised> {
        let mut raised = self.alarms.raised();
        raised.retain(|one| one.site.tenant().is_none_or(|tenant| view.sees(tenant)));
        raised
    }

    /// The topics of the bus; of one that others use too, those of this host's handlers: nobody waits here for what a
    /// cluster says of thousands.
    fn topics(&self) -> Vec<Topic> {
        let mut topics = self.bus.topics();
        if self.bus.is_shared() {
            let own = self.subscriptions.iter().flat_map(|one| one.topics());
            let own: BTreeSet<&str> = own.collect();
            topics.retain(|topic| own.contains(&*topic.name));
        }
        topics
    }

    /// Records kept, and offsets given out, of all partitions; none where one of them is not known.
    fn records(&self, topic: &Topic) -> Option<(u64, u64)> {
        let mut bounds =
            (0..topic.partitions).map(|partition| self.bus.extent(&topic.name, partition));
        bounds.try_fold((0, 0), |(kept, end), bounds| {
            let (first, next) = bounds?;
            Some((kept + (next - first), end + next))
        })
    }

    fn topics_to_json(&self, bytes: Option<&[(Arc<str>, u64)]>) -> Vec<Value> {
        let one = |topic: Topic| {
            let (records, total) = self.records(&topic).unzip();
            let bytes = bytes.and_then(|all| {
                let (_, bytes) = all.iter().find(|(name, _)| *name == topic.name)?;
                Some(*bytes)
            });
            json!({
                "name": &*topic.name,
                "partitions": topic.partitions,
                "records": records,
                "total": total,
                "bytes": bytes,
            })
        };
        self.topics().into_iter().map(one).collect()
    }

    /// Bytes of the whole host; the inbox is a part of the ledger.
    fn store_to_json(&self, families: &[(&'static str, u64)], summaries: &[Summary<'_>]) -> Value {
        let inbox = summaries.iter().map(Summary::inbox_bytes).sum::<u64>();
        let families: Map<String, Value> = families
            .iter()
            .copied()
            .chain([("inbox", inbox)])
            .map(|(name, bytes)| (name.to_owned(), bytes.into()))
            .collect();
        let space = self.store.disk_space().ok();
        json!({
            "data_dir": self.data_dir,
            "bytes": families,
            "disk_free_bytes": space.map(|space| space.free),
            "disk_reserve_bytes": space.map(|space| space.reserve),
        })
    }
}

impl StatusSource for HostStatus {
    fn status(&self, view: &View) -> Value {
        let summaries = self.summaries();
        let usage = view.is_whole().then(|| self.store.disk_usage());
        let topics = usage.as_ref().map(|usage| usage.topics.as_slice());
        let store = usage
            .as_ref()
            .map(|usage| self.store_to_json(&usage.families, &summaries));
        let members = self.members(&summaries);
        let seen = summaries.iter().filter(|one| view.sees(one.tenant()));
        let handlers = seen.map(|one| {
            let mut json = one.to_json();
            json["fleet"] = fleet::sums(&members, one.group());
            json
        });
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "host_id": self.host_id,
            "uptime_s": self.started.elapsed().as_secs(),
            "ready": self.readiness().is_ready(),
            "alarms": self.raised(view).iter().map(alarm_to_json).collect::<Vec<_>>(),
            "handlers": handlers.collect::<Vec<_>>(),
            "hosts": fleet::hosts_to_json(&members, &self.host_id, view),
            "alone": self.fleet.alone(),
            "topics": self.topics_to_json(topics),
            "store": store,
        })
    }

    fn live(&self) -> Result<(), String> {
        let beat = Duration::from_millis(self.beat.load(Ordering::Relaxed));
        let late = self.started.elapsed().saturating_sub(beat);
        if late > BEAT_LATE {
            return Err(format!(
                "the runtime of the handlers has run nothing for {} s",
                late.as_secs()
            ));
        }
        match self.store.writing_for() {
            Some(time) if time > WRITE_LATE => Err(format!(
                "a write to the store has not ended for {} s",
                time.as_secs()
            )),
            Some(_) | None => Ok(()),
        }
    }

    fn readiness(&self) -> Readiness {
        Readiness {
            host: self.readiness_of_host(),
            subscriptions: self
                .subscriptions
                .iter()
                .map(|one| one.readiness())
                .collect(),
        }
    }

    fn metrics(&self, view: &View, page: &mut Page) {
        page::write(self, view, page);
    }
}

fn alarm_to_json(raised: &Raised) -> Value {
    let Raised {
        alarm,
        site,
        detail,
        since,
    } = raised;
    json!({
        "alarm": alarm.code(),
        "severity": alarm.severity().name(),
        "site": site.to_string(),
        "tenant": site.tenant(),
        "handler": site.handler(),
        "partition": site.partition(),
        "since": since.to_rfc3339(),
        "meaning": alarm.meaning(),
        "detail": detail,
        "remedy": alarm.remedy(site),
    })
}

/// The site of a handler, or of one of its partitions.
fn site_of(tenant: &Arc<str>, handler: &Arc<str>, partition: Option<u32>) -> Site {
    Site::Handler {
        tenant: Arc::clone(tenant),
        handler: Arc::clone(handler),
        partition,
    }
}

#[cfg(test)]
mod tests;
