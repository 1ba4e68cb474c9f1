//! From a subscription to the partitions that serve it: joins, serves what it is given, and waits for an operator where
//! that has stopped by itself.

use std::any::Any;
use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use weir_core::partition::{self, OnDead};

use crate::alarm::Alarm;
use crate::bus::{Assignment, Joining, Membership, Reader, SubscribeError};
use crate::config::Config;
use crate::handlers::Deployment;
use crate::ledger::Fixed;
use crate::pipeline::{self, End, Subscription};

/// What all subscriptions of a host share.
#[derive(Clone)]
pub(crate) struct Serving {
    pub(crate) config: Arc<Config>,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
    /// Where handlers run.
    pub(crate) workers: Handle,
}

/// After a membership that ended or could not be had, before the next.
const AGAIN: Duration = Duration::from_secs(1);

/// What serves a partition of a subscription, or did last.
pub(crate) type Tasks = HashMap<u32, JoinHandle<()>>;

/// Why a membership is over.
pub(crate) enum Left {
    /// The host stops.
    Stopped,
    /// It is to be made anew.
    Again,
    /// The bus refuses it.
    Refused(SubscribeError),
}

/// Joins the subscription and serves the partitions it is given; where the bus refuses it, again when an operator says
/// so.
pub(crate) async fn serve(subscription: Arc<Subscription>, serving: Serving) {
    let mut resumed = subscription.resumed.subscribe();
    let mut tasks = Tasks::new();
    while let Some(membership) = join(&subscription, &serving.stop, &mut resumed).await {
        match serve_membership(&subscription, &serving, membership, &mut tasks).await {
            Left::Stopped => return,
            Left::Again => {
                let stopped = serving.stop.cancelled();
                if tokio::time::timeout(AGAIN, stopped).await.is_ok() {
                    return;
                }
            }
            Left::Refused(error) => {
                resumed.mark_unchanged();
                subscription.status.refuse(&error);
                if wait(&serving.stop, &mut resumed).await.is_none() {
                    return;
                }
                subscription.status.restart(None);
            }
        }
    }
}

/// Serves until the membership is over.
pub(crate) async fn serve_membership(
    subscription: &Arc<Subscription>,
    serving: &Serving,
    mut membership: Box<dyn Membership>,
    tasks: &mut Tasks,
) -> Left {
    let group = &subscription.deployment.scope.group;
    let live = subscription.handlers.component(group);
    let digest = live.map(|live| live.digest().to_owned());
    let digest = digest.unwrap_or_default();
    let mut owned = HashMap::<u32, CancellationToken>::new();
    loop {
        let assignment = tokio::select! {
            () = serving.stop.cancelled() => return Left::Stopped,
            assignment = membership.next() => assignment,
        };
        let Some(assignment) = assignment else {
            return Left::Stopped;
        };
        match assignment {
            Assignment::Ended(refused) => {
                for (partition, stop) in owned {
                    subscription.status.release(partition);
                    stop.cancel();
                }
                if refused.is_some() {
                    // The refusal has an alarm of its own.
                    subscription.status.clear(Alarm::ReadFailing, None);
                }
                subscription.status.leave();
                return refused.map_or(Left::Again, Left::Refused);
            }
            Assignment::Settled => subscription.status.settle(),
            Assignment::Hindered(why) => subscription.status.hinder(why),
            Assignment::Revoked { partition } => {
                subscription.status.release(partition);
                if let Some(stop) = owned.remove(&partition) {
                    stop.cancel();
                }
            }
            Assignment::Assigned {
                partition,
                epoch,
                reader,
            } => {
                subscription.status.own(partition);
                let Subscription {
                    deployment,
                    memory,
                    solitude,
                    ..
                } = &**subscription;
                let config = &serving.config;
                let machine = deployment.machine(config, &digest, partition, memory, solitude);
                let stop = serving.stop.child_token();
                if let Some(before) = owned.insert(partition, stop.clone()) {
                    before.cancel();
                }
                let served = Served {
                    subscription: Arc::clone(subscription),
                    partition,
                    epoch,
                    machine,
                    stop,
                };
                let before = tasks.remove(&partition);
                let run = served.run_after(before, reader);
                tasks.insert(partition, serving.tasks.spawn_on(run, &serving.workers));
            }
        }
    }
}

/// Joins as the subscription; where the bus refuses it, again when an operator says so. None when the host stops.
async fn join(
    subscription: &Arc<Subscription>,
    stop: &CancellationToken,
    resumed: &mut watch::Receiver<u64>,
) -> Option<Box<dyn Membership>> {
    loop {
        // A cluster may be asked for topics, and takes its time.
        let joining = Arc::clone(subscription);
        let joined = tokio::task::spawn_blocking(move || {
            let scope = &joining.deployment.scope;
            joining.bus.subscribe(Joining {
                scope,
                fixed: &check_fixed(&joining)?,
                holds_letters: joining.deployment.manifest.on_dead == OnDead::Hold,
            })
        });
        let status = &subscription.status;
        match joined.await {
            Ok(Ok(membership)) => {
                status.join();
                return Some(membership);
            }
            Ok(Err(error @ SubscribeError::Unavailable { .. })) => {
                status.raise(Alarm::ReadFailing, None, error.to_string());
                match tokio::time::timeout(AGAIN, stop.cancelled()).await {
                    Ok(()) => return None,
                    Err(_elapsed) => continue,
                }
            }
            Ok(Err(error)) => status.refuse(&error),
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
        wait(stop, resumed).await?;
        subscription.status.restart(None);
    }
}

/// What is fixed for a subscription; refuses to change it.
fn check_fixed(subscription: &Subscription) -> Result<Fixed, SubscribeError> {
    let Deployment {
        scope, manifest, ..
    } = &subscription.deployment;
    let wanted = manifest.fixed();
    let kept = subscription.ledger.fix(scope, wanted.clone())?;
    match kept.change_to(&wanted) {
        None => Ok(kept),
        Some(setting) => Err(SubscribeError::Fixed {
            group: scope.group.to_string(),
            setting,
        }),
    }
}

/// Waits for an operator; none when the host stops before.
async fn wait(stop: &CancellationToken, resumed: &mut watch::Receiver<u64>) -> Option<()> {
    tokio::select! {
        () = stop.cancelled() => None,
        // The sender lives in the subscription.
        changed = resumed.changed() => changed.ok(),
    }
}

/// A partition for the time of its assignment.
struct Served {
    subscription: Arc<Subscription>,
    partition: u32,
    epoch: u64,
    machine: partition::Config,
    stop: CancellationToken,
}

impl Served {
    /// What came `before` may still drain, and would report over what this one does.
    async fn run_after(self, before: Option<JoinHandle<()>>, reader: Box<dyn Reader>) {
        if let Some(before) = before {
            if let Err(error) = before.await {
                tracing::error!(%error, partition = self.partition, "what served it before did not end well");
            }
            self.subscription.status.begin(self.partition);
        }
        self.run(reader).await;
    }

    async fn run(self, mut reader: Box<dyn Reader>) {
        let mut resumed = self.subscription.resumed.subscribe();
        let status = &self.subscription.status;
        loop {
            match AssertUnwindSafe(self.serve(&mut *reader))
                .catch_unwind()
                .await
            {
                Ok(Ok(End::Stopped)) => return,
                Ok(Ok(End::Resumed)) => {
                    status.restart(Some(self.partition));
                    continue;
                }
                // What was said before it stopped does not concern it.
                Ok(Err(error)) => {
                    resumed.mark_unchanged();
                    status.fail(self.partition, &error);
                }
                // It must not be lost with the task: the partition would stand still while everything says that it
                // runs. The other handlers go on.
                Err(panic) => {
                    resumed.mark_unchanged();
                    let why = panic_message(&*panic);
                    tracing::error!(why, "a pipeline panicked");
                    status.stop(
                        self.partition,
                        format!("a fault of the host ({why}): report this"),
                    );
                }
            }
            if wait(&self.stop, &mut resumed).await.is_none() {
                return;
            }
            status.restart(Some(self.partition));
        }
    }

    async fn serve(&self, reader: &mut dyn Reader) -> Result<End, pipeline::PipelineError> {
        let machine = (self.machine.clone(), self.epoch);
        let (subscription, stop) = (Arc::clone(&self.subscription), self.stop.clone());
        pipeline::run(subscription, self.partition, reader, machine, stop).await
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a panic without a message")
}
