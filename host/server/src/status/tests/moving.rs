//! A partition that goes to another host and comes back.

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};
use weir_core::event::Record;
use weir_core::unit::Position;

use super::ailing::Ailing;
use super::*;
use crate::bus::{Assignment, FetchError, Membership, Reader};
use crate::serving::{self, Tasks};

/// What a test assigns.
struct Scripted(mpsc::UnboundedReceiver<Assignment>);

impl Membership for Scripted {
    fn next(&mut self) -> BoxFuture<'_, Option<Assignment>> {
        self.0.recv().boxed()
    }
}

/// The store's reader, which tells when it is dropped: then nothing reports any more that read with it.
struct Telling {
    reader: Box<dyn Reader>,
    _dropped: oneshot::Sender<()>,
}

impl Reader for Telling {
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
        self.reader.fetch(bytes_max)
    }
}

fn assigned(host: &Fixture, epoch: u64) -> (Assignment, oneshot::Receiver<()>) {
    let (told, dropped) = oneshot::channel();
    let reader = Telling {
        reader: host.store.reader(TOPIC, PARTITION, 0).unwrap(),
        _dropped: told,
    };
    let assigned = Assignment::Assigned {
        partition: PARTITION,
        epoch,
        reader: Box::new(reader),
    };
    (assigned, dropped)
}

/// What it did here before it went drains for seconds, for its commits are refused; meanwhile it is back, and all was done
/// elsewhere.
#[tokio::test]
async fn a_partition_that_comes_back_shows_nothing_of_what_still_drains() {
    let host = fixture();
    host.publish(1, Duration::ZERO).await;
    host.commit_position(0).await;
    let ledger = Arc::new(Ailing {
        store: host.store.clone(),
        restores: true,
        well: Arc::default(),
    });
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

    let (first, first_is_over) = assigned(&host, 1);
    assign.send(first).ok().unwrap();
    assign.send(Assignment::Settled).ok().unwrap();
    until(|| open() > 0.0).await;

    host.commit_unit(2, 1).await;
    let (second, _second_is_over) = assigned(&host, 2);
    let revoked = Assignment::Revoked {
        partition: PARTITION,
    };
    assign.send(revoked).ok().unwrap();
    assign.send(second).ok().unwrap();
    first_is_over.await.unwrap_err();
    let is_ready = || host.host.readiness().subscriptions[0].state == "ready";
    until(|| is_ready() && open() == 0.0 && host.alarms().is_empty()).await;
    stop.cancel();
    member.await.unwrap();
}
