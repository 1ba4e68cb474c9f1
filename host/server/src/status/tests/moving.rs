//! A partition that goes to another host and comes back.

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;

use super::ailing::{AilingReader, backed_up};
use super::*;
use crate::bus::{Assignment, Membership};
use crate::serving::{self, Tasks};

/// What a test assigns.
struct Scripted(mpsc::UnboundedReceiver<Assignment>);

impl Membership for Scripted {
    fn next(&mut self) -> BoxFuture<'_, Option<Assignment>> {
        self.0.recv().boxed()
    }
}

/// `held` is held until the reader is dropped: then nothing reports any more that read with it.
fn assigned(host: &Fixture, epoch: u64, held: &Arc<AtomicBool>) -> Assignment {
    let reader = AilingReader {
        reader: host.store.reader(TOPIC, PARTITION, 0).unwrap(),
        well: Arc::clone(held),
    };
    Assignment::Assigned {
        partition: PARTITION,
        epoch,
        reader: Box::new(reader),
    }
}

/// What it did here before it went drains for seconds, for its commits are refused; meanwhile it is back, and all was done
/// elsewhere.
#[tokio::test]
async fn a_partition_that_comes_back_shows_nothing_of_what_still_drains() {
    let (host, ledger) = backed_up().await;
    let stop = CancellationToken::new();
    let (subscription, serving) = (host.subscription(ledger), host.serving(stop.clone()));
    let (assign, assignments) = mpsc::unbounded_channel();
    let tasks = serving.tasks.clone();
    let member = tasks.spawn(async move {
        let membership = Box::new(Scripted(assignments));
        serving::serve_membership(&subscription, &serving, membership, &mut Tasks::new()).await;
    });
    let open =
        || host.scrape(&View::whole())["weir_open_events{tenant=\"default\",handler=\"count\"}"];

    let (first, second) = (
        Arc::new(AtomicBool::new(true)),
        Arc::new(AtomicBool::new(true)),
    );
    assign.send(assigned(&host, 1, &first)).ok().unwrap();
    assign.send(Assignment::Settled).ok().unwrap();
    until(|| open() > 0.0).await;

    host.commit_unit(2, 1).await;
    let revoked = Assignment::Revoked {
        partition: PARTITION,
    };
    assign.send(revoked).ok().unwrap();
    assign.send(assigned(&host, 2, &second)).ok().unwrap();
    until(|| Arc::strong_count(&first) == 1).await;
    let is_ready = || host.host.readiness().subscriptions[0].state == "ready";
    until(|| is_ready() && open() == 0.0 && host.alarms().is_empty()).await;
    stop.cancel();
    member.await.unwrap();
}

/// Whoever has it next says what is wrong with it.
#[test]
fn no_alarm_of_a_partition_is_left_where_it_begins_anew_or_goes_elsewhere() {
    let host = fixture();
    let status = host.status();
    let ends: [fn(&SubscriptionStatus); 3] = [
        |status| status.begin(PARTITION),
        |status| status.restart(Some(PARTITION)),
        |status| status.release(PARTITION),
    ];
    for end in ends {
        status.own(PARTITION);
        for alarm in [
            Alarm::DeadLetterStopped,
            Alarm::SequenceLong,
            Alarm::InboxShort,
            Alarm::Stalled,
        ] {
            status.raise(alarm, Some(PARTITION), "why");
        }
        assert_eq!(host.alarms().len(), 4);
        end(status);
        assert!(host.alarms().is_empty(), "{:?}", host.alarms());
    }
}

/// A consumer that is made anew in an outage has no place in the group yet.
#[test]
fn what_keeps_a_host_out_of_its_group_is_told_until_it_has_a_place_there() {
    let host = fixture();
    let status = host.status();
    status.raise(Alarm::ReadFailing, None, "the topics cannot be asked for");
    status.join();
    assert!(host.alarms().is_empty(), "{:?}", host.alarms());

    status.hinder("the coordinator does not answer".to_owned());
    status.leave();
    status.join();
    assert_eq!(host.alarms().len(), 1);
    status.settle();
    assert!(host.alarms().is_empty(), "{:?}", host.alarms());
}
