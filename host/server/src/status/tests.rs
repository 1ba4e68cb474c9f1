//! The status of a host without handlers' code: every alarm by what raises it, and the figures.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

use bytes::Bytes;
use futures_util::future::{self, BoxFuture};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use weir_core::breaker::{self, Breaker};
use weir_core::event::Record;
use weir_core::gate::Gate;
use weir_core::identity::Hash128;
use weir_core::inbox;
use weir_core::partition::{Action, Decoded, Partition};
use weir_core::unit::{
    CommitResult, Cursor, InboxBlock, LetterStatus, ParkedEvent, ParkedSequence, Position, Restore,
    SequenceKey, Timer, TimerKey, TimerPage, Unit,
};

use super::*;
use crate::alarm::Alarm;
use crate::bus::{FetchError, Publish, Reader};
use crate::clock;
use crate::config::Config;
use crate::embedded::EmbeddedConfig;
use crate::handlers::{Deployment, Handlers};
use crate::ledger::{Ledger, LedgerError, Scope};
use crate::manifest::{self, Manifest};
use crate::metrics;
use crate::pipeline::{self, Subscription};

const TOPIC: &str = "dev.local.public.orders.v1";
const PARTITION: u32 = 0;
/// Long enough for anything that does happen, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(30);

/// A host with one handler, `count`, on a topic of one partition; nothing runs until a test runs it.
struct Fixture {
    _scratch: TempDir,
    store: Embedded,
    deployment: Deployment,
    config: Config,
    host: Arc<HostStatus>,
}

fn fixture_with(store: EmbeddedConfig) -> Fixture {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path();
    let manifest = "name = \"count\"\nversion = \"1.2.0\"\ncomponent = \"count.wasm\"\n\
                    [subscribe]\ntopics = [\"public.orders.v1\"]\n";
    std::fs::write(folder.join("count.wasm"), "").unwrap();
    std::fs::write(folder.join(manifest::FILE), manifest).unwrap();
    let config = Config::default();
    let deployment = Deployment::new(Manifest::load(folder, &config).unwrap(), &config);
    let store = Embedded::open(&folder.join("store"), store).unwrap();
    for topic in [TOPIC, &deployment.dead_letter_topics[0]] {
        store.ensure_topic(topic, 1).unwrap();
    }
    let alarms = Arc::new(Alarms::default());
    let status = SubscriptionStatus::new(deployment.clone(), "blake3:0", 1, Arc::clone(&alarms));
    let host = HostStatus {
        host_id: "h".to_owned(),
        data_dir: "/d".to_owned(),
        bus: Arc::new(store.clone()),
        store: store.clone(),
        alarms,
        started: Instant::now(),
        ready: AtomicBool::new(true),
        beat: AtomicU64::new(0),
        subscriptions: vec![Arc::new(status)],
    };
    Fixture {
        _scratch: scratch,
        store,
        deployment,
        config,
        host: Arc::new(host),
    }
}

fn fixture() -> Fixture {
    // No reserve: tests run on disks that are nearly full too.
    fixture_with(EmbeddedConfig {
        disk_reserve: Some(0),
        ..EmbeddedConfig::default()
    })
}

impl Fixture {
    fn status(&self) -> &Arc<SubscriptionStatus> {
        &self.host.subscriptions[0]
    }

    /// A machine of the handler's partition that has restored this.
    fn machine(&self, ids_max: usize, restore: Restore) -> Partition {
        let mut config = self
            .deployment
            .machine(&self.config, "blake3:0", PARTITION, 1);
        config.inbox = Some(inbox::Config {
            ids_max,
            ..inbox::Config::default()
        });
        Partition::new(config, 1, restore)
    }

    /// Records that are no events, `age` old: they die without an attempt.
    async fn publish(&self, count: usize, age: Duration) {
        let record = Record {
            value: Some(Bytes::from_static(b"no event")),
            timestamp_ms: (clock::now() - age).0,
            ..Record::default()
        };
        let publish = Publish {
            partition_hash: 0,
            record,
        };
        self.store
            .publish(TOPIC, vec![publish; count])
            .await
            .unwrap();
    }

    /// Commits the position of the handler.
    async fn commit_position(&self, frontier: u64) {
        let unit = Unit {
            number: 1,
            epoch: 1,
            cursors: vec![cursor(frontier)],
            staged_at: clock::now(),
            ..Unit::default()
        };
        let committed = self.store.commit(&self.deployment.scope, PARTITION, unit);
        assert_eq!(committed.await, CommitResult::Committed);
    }

    /// Serves the partition as the host does, on this ledger.
    fn serve(
        &self,
        ledger: Arc<dyn Ledger>,
        reader: Box<dyn Reader>,
        stop: CancellationToken,
    ) -> impl Future<Output = ()> + Send + 'static {
        let subscription = Arc::new(Subscription {
            deployment: self.deployment.clone(),
            handlers: Arc::new(Handlers::default()),
            bus: Arc::new(self.store.clone()),
            ledger,
            gate: self.deployment.gate(),
            status: Arc::clone(self.status()),
        });
        let machine = self
            .deployment
            .machine(&self.config, "blake3:0", PARTITION, 1);
        let status = Arc::clone(self.status());
        async move {
            let make = move |restore| Partition::new(machine, 1, restore);
            let run = pipeline::run(subscription, PARTITION, reader, make, stop).await;
            if let Err(error) = run {
                status.fail(PARTITION, &error);
            }
        }
    }

    /// Serves until the partition stops by itself.
    async fn serve_to_its_end(&self) {
        let reader = self.store.reader(TOPIC, PARTITION, 0).unwrap();
        let ledger = Arc::new(self.store.clone());
        self.serve(ledger, reader, CancellationToken::new()).await;
    }

    /// Serves until this alarm is raised, makes the condition end, and waits until it is over.
    async fn serve_through(
        &self,
        alarm: Alarm,
        ledger: Arc<dyn Ledger>,
        reader: Box<dyn Reader>,
        well: &AtomicBool,
    ) -> Vec<Raised> {
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let serving = tasks.spawn(self.serve(ledger, reader, stop.clone()));
        until(|| self.alarms().iter().any(|one| one.alarm == alarm)).await;
        let raised = self.alarms();
        well.store(true, Ordering::Release);
        until(|| self.alarms().is_empty()).await;
        stop.cancel();
        serving.await.unwrap();
        raised
    }

    fn alarms(&self) -> Vec<Raised> {
        self.host.raised(&View::whole())
    }

    /// The metrics as a scrape sees them.
    fn scrape(&self, view: &View) -> BTreeMap<String, f64> {
        let mut page = Page::default();
        self.host.metrics(view, &mut page);
        metrics::tests::parse(&page.finish())
    }
}

fn cursor(frontier: u64) -> Cursor {
    Cursor {
        frontier,
        completed: Vec::new(),
    }
}

fn restored(frontier: u64) -> Restore {
    Restore {
        cursors: vec![cursor(frontier)],
        ..Restore::default()
    }
}

/// Looks until `state` is so.
async fn until(state: impl Fn() -> bool) {
    let looks = async {
        while !state() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, looks)
        .await
        .expect("the state comes");
}

/// The store's ledger, which takes no commits and reads nothing until it is well.
struct Ailing {
    store: Embedded,
    restores: bool,
    well: Arc<AtomicBool>,
}

impl Ailing {
    fn error(&self, scope: &Scope) -> Option<LedgerError> {
        (!self.well.load(Ordering::Acquire)).then(|| LedgerError {
            what: "progress",
            group: Arc::clone(&scope.group),
            source: "the disk is gone".into(),
        })
    }
}

impl Ledger for Ailing {
    fn restore(
        &self,
        scope: &Scope,
        partition: u32,
    ) -> BoxFuture<'static, Result<Restore, LedgerError>> {
        match self.error(scope) {
            Some(error) if !self.restores => Box::pin(future::ready(Err(error))),
            Some(_) | None => self.store.restore(scope, partition),
        }
    }

    fn commit(
        &self,
        scope: &Scope,
        partition: u32,
        unit: Unit,
    ) -> BoxFuture<'static, CommitResult> {
        match self.error(scope) {
            Some(error) => Box::pin(future::ready(CommitResult::Unavailable {
                message: error.to_string(),
            })),
            None => self.store.commit(scope, partition, unit),
        }
    }

    fn state(
        &self,
        scope: &Scope,
        partition: u32,
        sequence: &SequenceKey,
        name: &str,
    ) -> Result<Option<Bytes>, LedgerError> {
        self.store.state(scope, partition, sequence, name)
    }

    fn state_names(
        &self,
        scope: &Scope,
        partition: u32,
        sequence: &SequenceKey,
    ) -> Result<Vec<String>, LedgerError> {
        self.store.state_names(scope, partition, sequence)
    }

    fn state_bytes(
        &self,
        scope: &Scope,
        partition: u32,
        sequence: &SequenceKey,
    ) -> Result<usize, LedgerError> {
        self.store.state_bytes(scope, partition, sequence)
    }

    fn parked_head(
        &self,
        scope: &Scope,
        partition: u32,
        sequence: &SequenceKey,
    ) -> Result<Option<ParkedEvent>, LedgerError> {
        self.store.parked_head(scope, partition, sequence)
    }

    fn parked_events(
        &self,
        scope: &Scope,
        partition: u32,
        sequence: &SequenceKey,
        max: usize,
    ) -> Result<Vec<ParkedEvent>, LedgerError> {
        self.store.parked_events(scope, partition, sequence, max)
    }

    fn parked(
        &self,
        scope: &Scope,
        partition: u32,
        max: usize,
    ) -> Result<Vec<(SequenceKey, ParkedSequence)>, LedgerError> {
        self.store.parked(scope, partition, max)
    }

    fn timer(
        &self,
        scope: &Scope,
        partition: u32,
        key: &TimerKey,
    ) -> Result<Option<Timer>, LedgerError> {
        self.store.timer(scope, partition, key)
    }

    fn timers(&self, scope: &Scope, partition: u32, max: usize) -> Result<TimerPage, LedgerError> {
        self.store.timers(scope, partition, max)
    }

    fn timer_names(
        &self,
        scope: &Scope,
        partition: u32,
        sequence: &SequenceKey,
    ) -> Result<Vec<String>, LedgerError> {
        self.store.timer_names(scope, partition, sequence)
    }

    fn letter(
        &self,
        scope: &Scope,
        partition: u32,
        id: Hash128,
    ) -> Result<Option<LetterStatus>, LedgerError> {
        self.store.letter(scope, partition, id)
    }
}

/// The store's reader, which fails until it is well.
struct AilingReader {
    reader: Box<dyn Reader>,
    well: Arc<AtomicBool>,
}

impl Reader for AilingReader {
    fn seek(&mut self, position: Position) {
        self.reader.seek(position);
    }

    fn only(&mut self, topic: Option<u16>) {
        self.reader.only(topic);
    }

    fn fetch(
        &mut self,
        bytes_max: usize,
    ) -> BoxFuture<'_, Result<Vec<(Position, Record)>, FetchError>> {
        if self.well.load(Ordering::Acquire) {
            return self.reader.fetch(bytes_max);
        }
        Box::pin(future::ready(Err(FetchError::Store {
            topic: TOPIC.into(),
            partition: PARTITION,
            source: "the disk is gone".into(),
        })))
    }
}

/// Brings about what an alarm is for, and answers what is raised then; none when the part of the host that notices it
/// is not built.
async fn bring_about(alarm: Alarm) -> Option<Vec<Raised>> {
    let host = fixture();
    let well = Arc::new(AtomicBool::new(false));
    let raised = match alarm {
        Alarm::PositionLost => {
            host.commit_position(5).await;
            host.serve_to_its_end().await;
            host.alarms()
        }
        Alarm::HandlerStopped => {
            let ledger = Arc::new(Ailing {
                store: host.store.clone(),
                restores: false,
                well,
            });
            let reader = host.store.reader(TOPIC, PARTITION, 0).unwrap();
            host.serve(ledger, reader, CancellationToken::new()).await;
            host.alarms()
        }
        Alarm::Stalled => {
            host.publish(1, Duration::ZERO).await;
            stall(&host)
        }
        Alarm::CommitFailing => {
            host.publish(1, Duration::ZERO).await;
            let ledger = Arc::new(Ailing {
                store: host.store.clone(),
                restores: true,
                well: Arc::clone(&well),
            });
            let reader = host.store.reader(TOPIC, PARTITION, 0).unwrap();
            host.serve_through(alarm, ledger, reader, &well).await
        }
        Alarm::ReadFailing => {
            host.publish(1, Duration::ZERO).await;
            let reader = Box::new(AilingReader {
                reader: host.store.reader(TOPIC, PARTITION, 0).unwrap(),
                well: Arc::clone(&well),
            });
            let ledger = Arc::new(host.store.clone());
            host.serve_through(alarm, ledger, reader, &well).await
        }
        Alarm::IntakeStopped => {
            let host = fixture_with(EmbeddedConfig {
                disk_reserve: Some(u64::MAX),
                ..EmbeddedConfig::default()
            });
            Watchdog::new(Arc::clone(&host.host)).look(Instant::now());
            host.alarms()
        }
        Alarm::InboxShort => cut_inbox(&host),
        Alarm::TopicGrown
        | Alarm::DeadLetterStopped
        | Alarm::ParkStorageFull
        | Alarm::Flood
        | Alarm::BreakerOpen
        | Alarm::SequencesParked
        | Alarm::SequenceLong
        | Alarm::SequencesHeld
        | Alarm::ReloadFailed => return None,
    };
    Some(raised)
}

/// A partition that has a record to read and reads nothing.
fn stall(host: &Fixture) -> Vec<Raised> {
    let (mut watchdog, start) = (Watchdog::new(Arc::clone(&host.host)), Instant::now());
    host.status()
        .update(PARTITION, &host.machine(1, restored(0)));
    for seconds in [0, 29] {
        watchdog.look(start + Duration::from_secs(seconds));
        assert!(host.alarms().is_empty());
    }
    watchdog.look(start + Duration::from_secs(30));
    host.alarms()
}

/// A machine whose inbox holds two ids and may hold one.
fn cut_inbox(host: &Fixture) -> Vec<Raised> {
    let block = |unit: u64| InboxBlock {
        unit,
        stream_time: clock::now(),
        staged_at: clock::now() - Duration::from_secs(7),
        ids: vec![Hash128(u128::from(unit).to_le_bytes())],
    };
    let restore = Restore {
        unit: 2,
        inbox: vec![block(1), block(2)],
        ..restored(0)
    };
    let mut machine = host.machine(1, restore);
    let (now, record) = (clock::now(), Arc::new(Record::default()));
    let position = Position {
        topic: 0,
        offset: 0,
    };
    machine.handle_record(now, position, record, Decoded::Filtered);
    let later = now + Duration::from_secs(1);
    assert!(matches!(
        machine.poll_action(later, &mut gate()),
        Some(Action::Commit(_))
    ));
    host.status().update(PARTITION, &machine);
    host.alarms()
}

fn gate() -> Gate {
    Gate::new(Breaker::new(breaker::Config::default(), clock::now()), None)
}

/// Alarms that nothing in the host raises.
const UNWATCHED: [Alarm; 9] = [
    Alarm::TopicGrown,
    Alarm::DeadLetterStopped,
    Alarm::ParkStorageFull,
    Alarm::Flood,
    Alarm::BreakerOpen,
    Alarm::SequencesParked,
    Alarm::SequenceLong,
    Alarm::SequencesHeld,
    Alarm::ReloadFailed,
];

#[tokio::test]
async fn every_alarm_is_raised_by_what_it_is_for() {
    let mut unwatched = Vec::new();
    for alarm in Alarm::ALL {
        match bring_about(*alarm).await {
            Some(raised) => {
                let kinds: Vec<_> = raised.iter().map(|one| one.alarm).collect();
                assert_eq!(kinds, [*alarm]);
                assert!(!raised[0].detail.is_empty());
            }
            None => unwatched.push(*alarm),
        }
    }
    assert_eq!(unwatched, UNWATCHED);
}

#[tokio::test]
async fn a_lost_position_says_how_many_records_are_lost() {
    let host = fixture_with(EmbeddedConfig {
        disk_reserve: Some(0),
        retention_age: Duration::from_secs(60),
        ..EmbeddedConfig::default()
    });
    host.publish(4, Duration::from_secs(120)).await;
    host.commit_position(1).await;
    // As that of a handler that was not deployed for a while.
    host.store
        .release_subscription(&host.deployment.scope.group);
    host.store.sweep_retention();
    host.serve_to_its_end().await;
    let raised = host.alarms();
    assert_eq!(raised[0].alarm, Alarm::PositionLost);
    assert!(
        raised[0].detail.contains("3 records are lost"),
        "{raised:?}"
    );
    let readiness = &host.host.readiness().subscriptions[0];
    assert_eq!((readiness.ready, readiness.state), (false, "stopped"));
    assert!(readiness.reason.as_ref().unwrap().contains("partition 0"));
}

#[tokio::test]
async fn a_partition_that_gets_nowhere_is_not_ready_until_it_goes_on() {
    let host = fixture();
    let states = || host.host.readiness().subscriptions[0].state;
    assert_eq!(states(), "starting");
    host.publish(1, Duration::ZERO).await;
    assert_eq!(stall(&host).len(), 1);
    assert_eq!(states(), "stalled");
    host.status()
        .update(PARTITION, &host.machine(1, restored(1)));
    Watchdog::new(Arc::clone(&host.host)).look(Instant::now());
    assert_eq!(states(), "ready");
    assert!(host.alarms().is_empty());
}

#[tokio::test]
async fn a_partition_without_lag_does_not_stall() {
    let host = fixture();
    let (mut watchdog, start) = (Watchdog::new(Arc::clone(&host.host)), Instant::now());
    host.status()
        .update(PARTITION, &host.machine(1, restored(0)));
    for seconds in [0, 31] {
        watchdog.look(start + Duration::from_secs(seconds));
    }
    assert!(host.alarms().is_empty());
}

#[tokio::test]
async fn metrics_say_what_the_machine_says() {
    let host = fixture();
    host.publish(3, Duration::ZERO).await;
    let mut machine = host.machine(1, restored(0));
    for offset in 0..2 {
        let position = Position { topic: 0, offset };
        let record = Arc::new(Record::default());
        machine.handle_record(clock::now(), position, record, Decoded::Filtered);
    }
    host.status().update(PARTITION, &machine);
    host.status().committed(Duration::from_millis(4));
    host.status().raise(Alarm::ReloadFailed, None, "x");
    let series = host.scrape(&View::whole());
    let count = |name: &str, more: &str| {
        series[&format!("{name}{{tenant=\"default\",handler=\"count\"{more}}}")]
    };
    let lag = format!(",topic=\"{TOPIC}\"");
    assert_eq!(count("weir_lag_records", &lag), 3.0);
    assert_eq!(count("weir_open_events", ""), 2.0);
    assert_eq!(count("weir_open_span_positions", ""), 2.0);
    assert_eq!(count("weir_inbox_window_seconds", ""), 86_400.0);
    assert_eq!(count("weir_subscription_state", ",state=\"ready\""), 1.0);
    assert_eq!(count("weir_subscription_state", ",state=\"stalled\""), 0.0);
    assert_eq!(count("weir_commit_seconds_count", ""), 1.0);
    assert_eq!(
        series["weir_alarm{alarm=\"reload-failed\",severity=\"warning\",tenant=\"default\",handler=\"count\",partition=\"\"}"],
        1.0
    );
    assert_eq!(
        series[&format!("weir_topic_records{{topic=\"{TOPIC}\"}}")],
        3.0
    );
    assert!(series["weir_disk_free_bytes"] > 0.0);
}

#[tokio::test]
async fn another_tenant_sees_neither_the_handler_nor_its_alarms_nor_the_disk() {
    let host = fixture();
    host.status().raise(Alarm::ReloadFailed, None, "x");
    host.host
        .alarms
        .raise(Alarm::IntakeStopped, Site::Host, "x");
    let shown = |view: &View| {
        let status = host.host.status(view);
        let count = |key: &str| status[key].as_array().unwrap().len();
        let disk = !status["store"].is_null() && status["topics"][0]["bytes"].is_u64();
        (count("handlers"), count("alarms"), disk)
    };
    assert_eq!(shown(&View::whole()), (1, 2, true));
    assert_eq!(shown(&View::of("default".into())), (1, 2, false));
    assert_eq!(shown(&View::of("other".into())), (0, 1, false));
    let series = host.scrape(&View::of("other".into()));
    let leaks = |name: &String| {
        name.contains("count\"") || name.contains("weir_disk") || name.contains("_bytes")
    };
    assert!(!series.keys().any(leaks), "{series:?}");
}

#[tokio::test]
async fn a_host_whose_handlers_runtime_is_stuck_is_not_alive() {
    let host = fixture();
    host.host.beat();
    assert_eq!(host.host.live(), Ok(()));
    let started = Instant::now().checked_sub(Duration::from_secs(31)).unwrap();
    let host = HostStatus {
        started,
        beat: AtomicU64::new(0),
        host_id: String::new(),
        data_dir: String::new(),
        bus: Arc::clone(&host.host.bus),
        store: host.store.clone(),
        alarms: Arc::default(),
        ready: AtomicBool::new(true),
        subscriptions: Vec::new(),
    };
    assert!(
        host.live()
            .unwrap_err()
            .contains("has run nothing for 31 s")
    );
}
