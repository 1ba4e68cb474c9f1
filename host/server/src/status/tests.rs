//! The status of a host without handlers' code: every alarm by what raises it, and the figures.

mod ailing;
mod alarms;
mod moving;
mod resuming;

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

use bytes::Bytes;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use weir_core::breaker::{Permit, Sample, Trial};
use weir_core::event::{Event, Record};
use weir_core::gate::Pass as _;
use weir_core::inbox;
use weir_core::partition::{self, Action, Decoded, Partition};
use weir_core::unit::{CommitResult, Cursor, Position, Restore, Unit};

use super::*;
use crate::bus::mute::Mute;
use crate::bus::{Publish, Reader};
use crate::clock;
use crate::config::Config;
use crate::embedded::EmbeddedConfig;
use crate::fleet::Fleet;
use crate::handlers::{Deployment, Handlers};
use crate::ledger::Ledger;
use crate::manifest::{self, Manifest};
use crate::metrics;
use crate::names;
use crate::pipeline::{self, Memory, SharedGate, SharedSolitude, Subscription};
use crate::serving::Serving;

const TOPIC: &str = "dev.local.public.orders.v1";
const PARTITION: u32 = 0;
/// Long enough for anything that does happen, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(30);

/// A host with one handler, `count`, on a topic of one partition; nothing runs until a test runs it.
struct Fixture {
    scratch: TempDir,
    gate: Arc<SharedGate>,
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
    let config = Config {
        handlers: vec![folder.to_owned()],
        ..Config::default()
    };
    let deployment = Deployment::new(Manifest::load(folder, &config).unwrap(), &config);
    let store = Embedded::open(&folder.join("store"), store).unwrap();
    let commands = names::commands_topic(&deployment.scope.group);
    for topic in [TOPIC, &deployment.dead_letter_topics[0], &commands] {
        store.ensure_topic(topic, 1).unwrap();
    }
    let alarms = Arc::new(Alarms::default());
    let gate = Arc::new(deployment.gate());
    let status = SubscriptionStatus::new(
        deployment.clone(),
        "blake3:0",
        1,
        Arc::clone(&gate),
        Arc::clone(&alarms),
    );
    let host = HostStatus {
        host_id: "h".to_owned(),
        data_dir: "/d".to_owned(),
        bus: Arc::new(store.clone()),
        store: store.clone(),
        alarms,
        started: Instant::now(),
        ready: AtomicBool::new(true),
        drained: AtomicBool::new(false),
        beat: AtomicU64::new(0),
        subscriptions: vec![Arc::new(status)],
        fleet: Arc::new(Fleet::Single),
        url: OnceLock::new(),
        since: clock::now(),
    };
    Fixture {
        scratch,
        gate,
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

    /// What a machine of the handler's partition is given.
    fn machine_config(&self) -> partition::Config {
        self.deployment.machine(
            &self.config,
            "blake3:0",
            PARTITION,
            &self.memory(),
            &SharedSolitude::default(),
        )
    }

    fn memory(&self) -> Memory {
        Memory::new(self.config.memory_budget_bytes, 1)
    }

    /// A machine of the handler's partition that has restored this.
    fn machine(&self, restore: Restore) -> Partition {
        Partition::new(self.machine_config(), 1, restore)
    }

    /// Takes over what the machine says, and looks.
    fn look(&self, machine: &Partition) {
        self.status().update(PARTITION, machine);
        Watchdog::new(Arc::clone(&self.host)).look(Instant::now());
    }

    /// Attempts of so many sequences that all end so.
    fn fail(&self, sequences: u64, sample: Sample) {
        self.gate.with(|gate| {
            for sequence in 0..sequences {
                let permit = gate.permit(clock::now(), Trial::first(sequence));
                let Permit::Go(ticket) = permit else {
                    panic!("{permit:?}");
                };
                gate.record(clock::now(), ticket, sample);
            }
        });
    }

    fn subscription(&self, ledger: Arc<dyn Ledger>) -> Arc<Subscription> {
        Arc::new(Subscription {
            deployment: self.deployment.clone(),
            handlers: Arc::new(Handlers::default()),
            bus: Arc::new(self.store.clone()),
            ledger,
            fleet: Arc::new(Fleet::Single),
            gate: Arc::clone(&self.gate),
            memory: Arc::new(self.memory()),
            solitude: Arc::default(),
            status: Arc::clone(self.status()),
            resumed: watch::Sender::new(0),
            replacing: tokio::sync::Mutex::default(),
        })
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

    /// Commits where the handler starts.
    async fn commit_position(&self, frontier: u64) {
        self.commit_unit(1, frontier).await;
    }

    /// Commits a unit that holds nothing but the position of the handler.
    async fn commit_unit(&self, number: u64, frontier: u64) {
        let unit = Unit {
            number,
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
        let (subscription, machine) = (self.subscription(ledger), self.machine_config());
        let status = Arc::clone(self.status());
        let mut reader = reader;
        async move {
            let reader = &mut *reader;
            let run = pipeline::run(subscription, PARTITION, reader, (machine, 1), stop).await;
            if let Err(error) = run {
                status.fail(PARTITION, &error);
            }
        }
    }

    /// What serves the handler until `stop`.
    fn serving(&self, stop: CancellationToken) -> Serving {
        Serving {
            config: Arc::new(self.config.clone()),
            stop,
            tasks: TaskTracker::new(),
            workers: tokio::runtime::Handle::current(),
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
    host.store.sweep_retention().unwrap();
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
    host.host.ready.store(true, Ordering::Release);
    let states = || host.host.readiness().subscriptions[0].state;
    let status_says = || host.host.status(&View::whole())["ready"].clone();
    assert_eq!((states(), status_says()), ("starting", false.into()));
    host.publish(1, Duration::ZERO).await;
    assert_eq!(alarms::stall(&host).len(), 1);
    assert_eq!((states(), status_says()), ("stalled", false.into()));
    host.status().update(PARTITION, &host.machine(restored(1)));
    Watchdog::new(Arc::clone(&host.host)).look(Instant::now());
    assert_eq!((states(), status_says()), ("ready", true.into()));
    assert!(host.alarms().is_empty());
}

#[tokio::test]
async fn a_partition_without_lag_does_not_stall() {
    let host = fixture();
    let (mut watchdog, start) = (Watchdog::new(Arc::clone(&host.host)), Instant::now());
    host.status().update(PARTITION, &host.machine(restored(0)));
    for seconds in [0, 31] {
        watchdog.look(start + Duration::from_secs(seconds));
    }
    assert!(host.alarms().is_empty());
}

/// With a bus that can be made to say nothing of how far topics reach.
fn mute() -> (Fixture, Arc<Mute>) {
    let mut host = fixture();
    let bus = Mute::new(host.store.clone());
    let status = Arc::get_mut(&mut host.host).expect("nobody else has it");
    status.bus = Arc::clone(&bus) as _;
    (host, bus)
}

#[tokio::test]
async fn a_lag_that_the_cluster_does_not_say_is_shown_as_unknown() {
    let (host, bus) = mute();
    host.publish(3, Duration::ZERO).await;
    host.status().update(PARTITION, &host.machine(restored(1)));
    let name =
        format!("weir_lag_records{{tenant=\"default\",handler=\"count\",topic=\"{TOPIC}\"}}");
    let shown = || {
        let status = host.host.status(&View::whole());
        let handler = &status["handlers"][0];
        let lag = (
            handler["lag"].as_u64(),
            handler["lag_by_topic"][TOPIC].as_u64(),
        );
        let series = host.scrape(&View::whole());
        let topic = status["topics"].as_array().unwrap().iter();
        let topic = topic.into_iter().find(|topic| topic["name"] == TOPIC);
        (
            lag,
            series.get(&name).copied(),
            topic.unwrap()["records"].as_u64(),
        )
    };
    assert_eq!(shown(), ((Some(2), Some(2)), Some(2.0), Some(3)));
    bus.silence(Some(""));
    assert_eq!(shown(), ((None, None), None, None));
}

/// A host that the group has given nothing has no idea how far others are, and one that restores a partition does not know yet.
#[tokio::test]
async fn what_others_may_have_done_is_no_lag_of_a_host_before_it_knows() {
    let (host, bus) = mute();
    bus.share();
    host.publish(3, Duration::ZERO).await;
    let lag = || host.host.status(&View::whole())["handlers"][0]["lag"].as_u64();
    assert_eq!(lag(), Some(0));
    host.status().own(PARTITION);
    assert_eq!(lag(), None);
    host.status().update(PARTITION, &host.machine(restored(1)));
    assert_eq!(lag(), Some(2));
}

#[tokio::test]
async fn whether_a_partition_stalls_is_left_open_while_its_lag_is_unknown() {
    let (host, bus) = mute();
    host.publish(1, Duration::ZERO).await;
    host.status().update(PARTITION, &host.machine(restored(0)));
    let (mut watchdog, start) = (Watchdog::new(Arc::clone(&host.host)), Instant::now());
    let mut look = |seconds| {
        watchdog.look(start + Duration::from_secs(seconds));
        host.alarms().len()
    };
    assert_eq!((look(0), look(31)), (0, 1));
    bus.silence(Some(""));
    assert_eq!((look(32), look(90)), (1, 1), "what is raised stays so");
    bus.silence(None);
    assert_eq!(look(91), 0, "its time begins anew");
    bus.silence(Some(""));
    assert_eq!(look(130), 0, "nothing is raised that is not known");
}

/// A machine with one event that is about to start, as far as the gate lets it.
fn about_to_start(host: &Fixture) -> Partition {
    let mut machine = host.machine(restored(0));
    let (now, record) = (clock::now(), Arc::new(Record::default()));
    let position = Position {
        topic: 0,
        offset: 0,
    };
    let event = Decoded::Event(Arc::new(Event::default()));
    machine.handle_record(now, position, record, event);
    host.gate.with(|gate| {
        // The first unit says that attempts may have started.
        let Some(Action::Commit(unit)) = machine.poll_action(now, gate) else {
            panic!("no unit");
        };
        machine.handle_commit(now, gate, unit.number, CommitResult::Committed);
        assert!(machine.poll_action(now, gate).is_none());
    });
    machine
}

#[tokio::test]
async fn what_an_operator_the_breaker_or_the_rate_limit_holds_back_does_not_stall() {
    let paused = |host: &Fixture| host.gate.with(|gate| gate.pause(true));
    let open = |host: &Fixture| host.fail(3, Sample::Unavailable);
    let slow = |host: &Fixture| {
        let one = std::num::NonZeroU32::MIN;
        host.gate.with(|gate| {
            let mut rate = weir_core::rate::Rate::new(one, one);
            while rate.take(clock::now() + Duration::from_secs(60)).is_ok() {}
            gate.rate = Some(rate);
        });
    };
    let cases = [
        (&paused as &dyn Fn(&Fixture), "paused", "an operator"),
        (&open, "ready", "because of unavailable"),
        (&slow, "ready", ""),
    ];
    for (hold_back, state, says) in cases {
        let host = fixture();
        host.publish(1, Duration::ZERO).await;
        hold_back(&host);
        let machine = about_to_start(&host);
        host.status().update(PARTITION, &machine);
        let (mut watchdog, start) = (Watchdog::new(Arc::clone(&host.host)), Instant::now());
        for seconds in [0, 31, 62] {
            watchdog.look(start + Duration::from_secs(seconds));
        }
        assert_eq!(host.alarms(), [], "{state}");
        let readiness = &host.host.readiness().subscriptions[0];
        assert_eq!((readiness.ready, readiness.state), (true, state));
        let reason = readiness.reason.clone().unwrap_or_default();
        assert!(reason.contains(says), "{reason}");
        let name = "weir_held_back_partitions{tenant=\"default\",handler=\"count\"}";
        assert_eq!(host.scrape(&View::whole())[name], 1.0);
    }
}

#[tokio::test]
async fn metrics_say_what_the_machine_says() {
    let host = fixture();
    host.publish(3, Duration::ZERO).await;
    let mut machine = host.machine(restored(0));
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
    assert_eq!(count("weir_breaker_state", ",state=\"closed\""), 1.0);
    assert_eq!(count("weir_breaker_state", ",state=\"open\""), 0.0);
    assert_eq!(count("weir_paused", ""), 0.0);
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
        drained: AtomicBool::new(false),
        subscriptions: Vec::new(),
        fleet: Arc::new(Fleet::Single),
        url: OnceLock::new(),
        since: clock::now(),
    };
    assert!(
        host.live()
            .unwrap_err()
            .contains("has run nothing for 31 s")
    );
}
