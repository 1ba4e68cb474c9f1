//! Every alarm by what raises it.

use std::sync::atomic::AtomicBool;

use weir_core::breaker::{self, Breaker};
use weir_core::gate::Gate;
use weir_core::identity::Hash128;
use weir_core::partition::{Limits, OnDead};
use weir_core::unit::{Attempts, Head, InboxBlock, ParkedSequence, SequenceKey};
use weir_wasm::{Sandbox, SandboxConfig};

use super::ailing::{Ailing, AilingReader};
use super::*;
use crate::dev::{Running, Watch};
use crate::serving;
use crate::versions::Versions;

/// Brings about what an alarm is for, and answers what is raised then.
async fn bring_about(alarm: Alarm) -> Vec<Raised> {
    let host = fixture();
    let well = Arc::new(AtomicBool::new(false));
    match alarm {
        Alarm::PositionLost => {
            host.commit_position(5).await;
            host.serve_to_its_end().await;
            host.alarms()
        }
        Alarm::HandlerStopped => {
            let ledger = ailing(&host, false, &well);
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
            let ledger = ailing(&host, true, &well);
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
        Alarm::TopicGrown => grow_topic(&host).await,
        Alarm::SettingChanged => change_setting(&host).await,
        Alarm::DeadLetterStopped => level(&host, &halted(&host)),
        Alarm::ParkStorageFull => {
            let bytes = Limits::default().park_bytes_max;
            level(&host, &parked(&host, 1, 1, bytes, false))
        }
        Alarm::SequencesParked => level(&host, &parked(&host, 10_000, 1, 1, false)),
        Alarm::SequenceLong => level(&host, &parked(&host, 1, 1_000, 1, false)),
        Alarm::SequencesHeld => level(&host, &parked(&host, 1, 1, 1, true)),
        Alarm::Flood => {
            host.fail(20, Sample::Trap);
            look_at_gate(&host, Duration::ZERO)
        }
        Alarm::BreakerOpen => {
            host.fail(3, Sample::Unavailable);
            assert_eq!(look_at_gate(&host, Duration::from_secs(299)), []);
            host.fail(3, Sample::Unavailable);
            look_at_gate(&host, Duration::from_secs(300))
        }
        Alarm::RetentionFailing => fail_to_sweep().await,
        Alarm::ReloadFailed => fail_to_reload(&host).await,
    }
}

/// The host's ledger, which takes no commits until it is well, and reads nothing unless it restores.
fn ailing(host: &Fixture, restores: bool, well: &Arc<AtomicBool>) -> Arc<Ailing> {
    Arc::new(Ailing {
        store: host.store.clone(),
        restores,
        well: Arc::clone(well),
    })
}

/// What is raised at a level of this machine; it is over when the level is.
fn level(host: &Fixture, machine: &Partition) -> Vec<Raised> {
    host.look(machine);
    let raised = host.alarms();
    host.look(&host.machine(restored(0)));
    assert_eq!(host.alarms(), []);
    raised
}

/// A machine for which an event died and that has no topic for it.
fn halted(host: &Fixture) -> Partition {
    let config = partition::Config {
        on_dead: OnDead::Stop,
        ..host.machine_config()
    };
    let mut machine = Partition::new(config, 1, restored(0));
    let position = Position {
        topic: 0,
        offset: 0,
    };
    let poison = Decoded::Poison {
        code: "structured".to_owned(),
        message: "no event".to_owned(),
    };
    machine.handle_record(clock::now(), position, Arc::default(), poison);
    machine
}

/// A machine that has so many sequences in its park.
fn parked(host: &Fixture, sequences: u32, count: u64, bytes: u64, held: bool) -> Partition {
    let head = Head {
        due: clock::now() + Duration::from_secs(60),
        attempts: Attempts::default(),
        letter: held.then_some(Hash128([7; 16])),
        held,
    };
    let sequence = |number: u32| {
        let key = SequenceKey::Keyed {
            tenant: "default".into(),
            key: Bytes::copy_from_slice(&number.to_be_bytes()),
        };
        (key, ParkedSequence { count, bytes, head })
    };
    let restore = Restore {
        parked: (0..sequences).map(sequence).collect(),
        ..restored(0)
    };
    let mut machine = host.machine(restore);
    // It learns from the gate what all partitions have parked.
    host.gate
        .with(|gate| assert!(machine.poll_action(clock::now(), gate).is_none()));
    machine
}

/// What is raised when the gate has been as it is for this time; it is over once the breaker has closed.
fn look_at_gate(host: &Fixture, time: Duration) -> Vec<Raised> {
    let (mut watchdog, start) = (Watchdog::new(Arc::clone(&host.host)), Instant::now());
    watchdog.look(start);
    watchdog.look(start + time);
    let raised = host.alarms();
    host.gate.with(|gate| gate.breaker.renew(clock::now()));
    watchdog.look(start + time);
    assert_eq!(host.alarms(), []);
    raised
}

/// A partition cannot be read when retention comes by; the others are swept all the same, and it is when it can be read.
async fn fail_to_sweep() -> Vec<Raised> {
    let host = fixture_with(EmbeddedConfig {
        retention_age: Duration::ZERO,
        dead_letter_age: Duration::ZERO,
        disk_reserve: Some(0),
        ..EmbeddedConfig::default()
    });
    let letters = &*host.deployment.dead_letter_topics[0];
    for topic in [letters, TOPIC] {
        let publish = Publish {
            partition_hash: 0,
            record: Record::default(),
        };
        host.store.publish(topic, vec![publish]).await.unwrap();
    }
    let header = host.store.spoil_header(letters, 0, b"no header");
    host.host.sweep().await;
    let raised = host.alarms();
    let detail = &raised[0].detail;
    assert!(
        detail.contains(&format!("sweep topic {letters}, partition 0: ")),
        "{detail}"
    );
    assert_eq!(host.store.extent(TOPIC, 0), Some((1, 1)));

    host.store.spoil_header(letters, 0, &header);
    host.host.sweep().await;
    assert_eq!(host.alarms(), []);
    assert_eq!(host.store.extent(letters, 0), Some((1, 1)));
    raised
}

/// A subscription whose topic is not what it was joins again.
async fn grow_topic(host: &Fixture) -> Vec<Raised> {
    host.store
        .register_subscription(&host.deployment.scope)
        .unwrap();
    host.store.repartition(TOPIC, 2);
    let serving = host.serving(CancellationToken::new());
    let subscription = host.subscription(Arc::new(host.store.clone()));
    tokio::select! {
        () = serving::serve(subscription, serving) => panic!("it joined"),
        () = until(|| !host.alarms().is_empty()) => {}
    }
    let readiness = &host.host.readiness().subscriptions[0];
    let reason = readiness.reason.clone().unwrap();
    assert_eq!(readiness.state, "stopped");
    assert!(
        reason.contains("has 2 partitions, and had 1") && reason.contains("under another name"),
        "{reason}"
    );
    host.alarms()
}

/// The subscription was without an inbox when it first started.
async fn change_setting(host: &Fixture) -> Vec<Raised> {
    let manifest = Manifest {
        inbox: false,
        ..Manifest::clone(&host.deployment.manifest)
    };
    let scope = &host.deployment.scope;
    host.store.fix(scope, manifest.fixed()).unwrap();
    let serving = host.serving(CancellationToken::new());
    let subscription = host.subscription(Arc::new(host.store.clone()));
    tokio::select! {
        () = serving::serve(subscription, serving) => panic!("it joined"),
        () = until(|| !host.alarms().is_empty()) => {}
    }
    let reason = host.host.readiness().subscriptions[0]
        .reason
        .clone()
        .unwrap();
    assert!(
        reason.contains("inbox.enabled (true, and was false)") && reason.contains("`weir run`"),
        "{reason}"
    );
    host.alarms()
}

/// `weir dev` finds a file in the component's place that is none.
async fn fail_to_reload(host: &Fixture) -> Vec<Raised> {
    let sandbox = Sandbox::new(SandboxConfig {
        cache_dir: host.scratch.path().join("cache"),
        cache_key: [7; 32],
        compiler: "/no/compiler".into(),
        compiler_args: Vec::new(),
        component_bytes_max: SandboxConfig::COMPONENT_BYTES_MAX,
        memory_bytes_ceiling: SandboxConfig::MEMORY_BYTES_CEILING,
        threads: 1,
    });
    let subscription = host.subscription(Arc::new(host.store.clone()));
    let (config, sandbox) = (Arc::new(host.config.clone()), Arc::new(sandbox.unwrap()));
    let folder = host.scratch.path().join("versions");
    let versions = Versions::new(folder, Arc::clone(&config), Arc::clone(&sandbox));
    let watch = Watch::new(Running {
        config,
        sandbox,
        versions: Arc::new(versions),
        since: Instant::now(),
        deployments: vec![host.deployment.clone()],
        handlers: Arc::clone(&subscription.handlers),
        subscriptions: vec![subscription],
        alarms: Arc::clone(&host.host.alarms),
    });
    tokio::select! {
        _ = watch.next() => panic!("it was taken over"),
        () = until(|| !host.alarms().is_empty()) => {}
    }
    host.alarms()
}

/// A partition that has a record to read and reads nothing.
pub(super) fn stall(host: &Fixture) -> Vec<Raised> {
    let (mut watchdog, start) = (Watchdog::new(Arc::clone(&host.host)), Instant::now());
    host.status().update(PARTITION, &host.machine(restored(0)));
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
        ids: [Hash128(u128::from(unit).to_le_bytes())].into(),
    };
    let mut inbox = inbox::Inbox::default();
    inbox.insert(block(1));
    inbox.insert(block(2));
    let restore = Restore {
        unit: 2,
        inbox,
        ..restored(0)
    };
    let mut config = host.machine_config();
    config.inbox = Some(inbox::Config {
        ids_max: 1,
        ..inbox::Config::default()
    });
    let mut machine = Partition::new(config, 1, restore);
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
    level(host, &machine)
}

fn gate() -> Gate {
    Gate::new(Breaker::new(breaker::Config::default(), clock::now()), None)
}

#[tokio::test]
async fn every_alarm_is_raised_by_what_it_is_for() {
    for alarm in Alarm::ALL {
        let raised = bring_about(*alarm).await;
        let kinds: Vec<_> = raised.iter().map(|one| one.alarm).collect();
        assert_eq!(kinds, [*alarm]);
        assert!(!raised[0].detail.is_empty());
    }
}

#[tokio::test]
async fn a_partition_that_halted_is_not_ready_and_says_why() {
    let host = fixture();
    host.status().update(PARTITION, &halted(&host));
    let readiness = &host.host.readiness().subscriptions[0];
    assert_eq!((readiness.ready, readiness.state), (false, "stopped"));
    let reason = readiness.reason.as_ref().unwrap();
    for says in ["partition 0", "no event", "there is no dead-letter topic"] {
        assert!(reason.contains(says), "{reason}");
    }
}
