//! What has stopped by itself and goes on when an operator says so.

use super::ailing::{Ailing, backed_up};
use super::*;
use crate::admin::steer;
use crate::http::{AdminError, AdminResult, Steer};
use crate::ledger::Loss;
use crate::manifest::Field;
use crate::serving;
use crate::steering::{Choice, Start};

/// A handler that is served until it is dropped.
struct Served {
    host: Fixture,
    subscription: Arc<Subscription>,
    stop: CancellationToken,
}

impl Served {
    fn new(host: Fixture, ledger: Arc<dyn Ledger>) -> Self {
        let subscription = host.subscription(ledger);
        let stop = CancellationToken::new();
        let serving = host.serving(stop.clone());
        let tasks = serving.tasks.clone();
        tasks.spawn(serving::serve(Arc::clone(&subscription), serving));
        Self {
            host,
            subscription,
            stop,
        }
    }

    /// A handler whose one partition stops at once.
    async fn stopped_by(host: Fixture, alarm: Alarm, ledger: Arc<dyn Ledger>) -> Self {
        let served = Self::new(host, ledger);
        until(|| served.host.alarms().iter().any(|one| one.alarm == alarm)).await;
        served
    }

    async fn resume(&self, choice: Option<Choice>) -> AdminResult {
        steer::steer(&self.host.store, &self.subscription, Steer::Resume(choice)).await
    }

    async fn is_well(&self) {
        let is_ready = || self.host.host.readiness().subscriptions[0].state == "ready";
        until(|| self.host.alarms().is_empty() && is_ready()).await;
    }

    /// Waits until the position is this one, durably.
    async fn is_at(&self, frontier: u64) {
        let scope = &self.host.deployment.scope;
        let is_there = async {
            loop {
                let restore = self
                    .host
                    .store
                    .restore(scope, PARTITION, inbox::Config::default())
                    .await
                    .unwrap();
                if restore.cursors[0].frontier == frontier {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(PATIENCE, is_there)
            .await
            .expect("it gets there");
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn start(start: Start) -> Option<Choice> {
    Some(Choice {
        start,
        partition: None,
    })
}

/// A handler that stood at 3 of 4 records and cannot stand there any more; behind that come two records.
async fn lose(loss: Loss) -> Served {
    let host = fixture_with(EmbeddedConfig {
        disk_reserve: Some(0),
        retention_age: Duration::from_secs(60),
        ..EmbeddedConfig::default()
    });
    let group = Arc::clone(&host.deployment.scope.group);
    host.publish(4, Duration::from_secs(120)).await;
    host.commit_position(3).await;
    match loss {
        Loss::Missing => host.store.lose_positions(&group, PARTITION),
        Loss::Remade(_) => host.store.remake(TOPIC),
        Loss::Deleted(_) => {
            host.store.release_subscription(&group);
            host.store.sweep_retention().unwrap();
        }
        Loss::Beyond(_) => {
            host.store.remake(TOPIC);
            // As if the log had been cut off, and were the same topic.
            host.store.begin(&host.deployment.scope, PARTITION).unwrap();
        }
    }
    if loss != Loss::Beyond(3) {
        host.publish(2, Duration::ZERO).await;
    }
    let ledger = Arc::new(host.store.clone());
    Served::stopped_by(host, Alarm::PositionLost, ledger).await
}

/// Loses the position and has it go on there: what is told, and how many records have a fate then.
async fn check_lost(loss: Loss, says: &str, choice: Start, frontier: u64, fates: f64) {
    let served = lose(loss).await;
    let raised = served.host.alarms();
    assert!(raised[0].detail.contains(says), "{raised:?}");
    match served.resume(None).await {
        Err(AdminError::Conflict(message)) => {
            assert!(
                message.contains(says) && message.contains("--from earliest"),
                "{message}"
            );
        }
        other => panic!("{other:?}"),
    }
    let answer = served.resume(start(choice)).await.unwrap();
    assert_eq!(answer["again"], json!([PARTITION]));
    served.is_well().await;
    served.is_at(frontier).await;
    let dead = || {
        let page = served.host.scrape(&View::whole());
        page["weir_events_total{tenant=\"default\",handler=\"count\",fate=\"dead\"}"]
    };
    until(|| (dead() - fates).abs() < 0.5).await;
    // It is found where it stands from then on.
    let scope = &served.host.deployment.scope;
    let lost = served
        .host
        .store
        .lost_positions(scope, PARTITION)
        .await
        .unwrap();
    assert_eq!(lost, []);
}

#[tokio::test]
async fn a_position_that_retention_has_passed_is_replaced_by_the_operators() {
    let loss = Loss::Deleted(3);
    check_lost(loss, "1 records are lost", Start::Earliest, 6, 2.0).await;
    check_lost(loss, "1 records are lost", Start::Latest, 6, 0.0).await;
    check_lost(loss, "1 records are lost", Start::Offset(5), 6, 1.0).await;
}

#[tokio::test]
async fn a_position_in_a_topic_that_was_made_anew_is_replaced_by_the_operators() {
    let loss = Loss::Remade(3);
    check_lost(loss, "made anew since", Start::Earliest, 2, 2.0).await;
    check_lost(loss, "made anew since", Start::Latest, 2, 0.0).await;
}

#[tokio::test]
async fn a_position_that_is_missing_is_replaced_by_the_operators_and_not_taken_for_a_new_start() {
    let loss = Loss::Missing;
    check_lost(loss, "no position any more", Start::Offset(5), 6, 1.0).await;
}

#[tokio::test]
async fn a_position_beyond_the_log_is_replaced_by_the_operators() {
    let loss = Loss::Beyond(3);
    check_lost(loss, "3 records are lost", Start::Latest, 0, 0.0).await;
}

#[tokio::test]
async fn a_choice_that_fits_no_lost_position_changes_nothing() {
    let served = lose(Loss::Deleted(3)).await;
    match served.resume(start(Start::Offset(9))).await {
        Err(AdminError::Invalid(message)) => {
            assert!(message.contains("offsets 4 to 6"), "{message}");
        }
        other => panic!("{other:?}"),
    }
    let other = Choice {
        start: Start::Earliest,
        partition: Some(7),
    };
    match served.resume(Some(other)).await {
        Err(AdminError::Conflict(message)) => assert!(message.contains("partition 7"), "{message}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(served.host.alarms()[0].alarm, Alarm::PositionLost);
    served.resume(start(Start::Earliest)).await.unwrap();
    served.is_well().await;
    match served.resume(start(Start::Earliest)).await {
        Err(AdminError::Conflict(message)) => {
            assert!(message.contains("no partition of count"), "{message}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_partition_that_stopped_goes_on_when_it_is_resumed_and_the_cause_is_mended() {
    let host = fixture();
    let well = Arc::new(AtomicBool::new(false));
    let ledger = Arc::new(Ailing {
        store: host.store.clone(),
        restores: false,
        well: Arc::clone(&well),
    });
    let served = Served::stopped_by(host, Alarm::HandlerStopped, ledger).await;
    // The cause is still there.
    served.resume(None).await.unwrap();
    until(|| !served.host.alarms().is_empty()).await;
    well.store(true, Ordering::Release);
    served.resume(None).await.unwrap();
    served.is_well().await;
}

#[tokio::test]
async fn a_drain_whose_commit_does_not_end_is_abandoned() {
    let (host, ledger) = backed_up().await;
    let stop = CancellationToken::new();
    let reader = host.store.reader(TOPIC, PARTITION, 0).unwrap();
    let served = host.serve(ledger, reader, stop.clone());
    let stopping = async {
        until(|| !host.alarms().is_empty()).await;
        stop.cancel();
    };
    let both = async { tokio::join!(served, stopping) };
    tokio::time::timeout(PATIENCE, both)
        .await
        .expect("it does not wait for a ledger that is gone");
    let restored = host
        .store
        .restore(&host.deployment.scope, PARTITION, inbox::Config::default());
    assert_eq!(restored.await.unwrap().cursors[0].frontier, 0);
}

#[tokio::test]
async fn a_subscription_whose_ordering_or_inbox_changed_does_not_start_until_it_is_written_back() {
    let mut host = fixture();
    let was = Arc::clone(&host.deployment.manifest);
    let kept = was.fixed();
    let scope = host.deployment.scope.clone();
    assert_eq!(host.store.fix(&scope, kept.clone()).unwrap(), kept);
    let unordered = Manifest {
        ordering: partition::Ordering::None,
        ..Manifest::clone(&was)
    };
    let unmarked = Manifest {
        inbox: false,
        ..Manifest::clone(&was)
    };
    let joined = Manifest {
        across_topics: true,
        ..Manifest::clone(&was)
    };
    let keyed = Manifest {
        inbox_key: Some(Field::Attribute("orderid".into())),
        ..Manifest::clone(&was)
    };
    for (manifest, says) in [
        (unordered, "ordering (none, and was key)"),
        (unmarked, "inbox.enabled (false, and was true)"),
        (joined, "ordering.across_topics (true, and was false)"),
        (keyed, "inbox.key (\"orderid\", and was none)"),
    ] {
        host.deployment.manifest = Arc::new(manifest);
        let subscription = host.subscription(Arc::new(host.store.clone()));
        let serving = host.serving(CancellationToken::new());
        tokio::select! {
            () = serving::serve(subscription, serving) => panic!("it joined"),
            () = until(|| !host.alarms().is_empty()) => {}
        }
        assert_eq!(host.alarms()[0].alarm, Alarm::SettingChanged);
        let readiness = &host.host.readiness().subscriptions[0];
        let reason = readiness.reason.clone().unwrap();
        assert!(!readiness.ready && reason.contains(says), "{reason}");
        host.status().restart(None);
    }
    host.deployment.manifest = was;
    let ledger = Arc::new(host.store.clone());
    Served::new(host, ledger).is_well().await;
}

#[tokio::test]
async fn a_new_subscription_commits_its_start_at_once() {
    let host = fixture();
    host.publish(2, Duration::ZERO).await;
    let ledger: Arc<dyn Ledger> = Arc::new(host.store.clone());
    let subscription = host.subscription(ledger);
    let restored =
        pipeline::position::restore(&subscription, PARTITION, inbox::Config::default()).await;
    let restored = restored.unwrap();
    assert_eq!((restored.unit, restored.cursors[0].frontier), (1, 0));
}
