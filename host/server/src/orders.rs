//! What operators have ordered of handlers, kept where it outlives the host: pauses, breakers, replay jobs.
//!
//! The embedded store keeps it with the subscription, so that a copy of the store holds it too, and what deletes the
//! subscription deletes it. A fleet keeps it on the control topic, where every host reads it. A host of a cluster that has
//! no such topic keeps it for itself.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::embedded::Embedded;
use crate::jobs::{Plan, Progress};
use crate::kafka::{Control, ControlError};
use crate::ledger::{LedgerError, Scope};
use crate::steering::{Change, Steering};

/// A replay job as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptJob {
    /// Counts from 1 in each subscription.
    pub id: u64,
    /// What it is to do.
    pub plan: Plan,
    /// How far it is.
    pub progress: Progress,
}

/// The replay jobs of a subscription.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeptJobs {
    /// By number.
    pub jobs: Vec<KeptJob>,
    /// The highest number, also of a job that this version cannot read.
    pub last: u64,
}

/// Why an order was not kept, or not found.
#[derive(Debug, thiserror::Error)]
pub enum OrdersError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] LedgerError),
    /// The control topic did.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// Another host runs the jobs by now.
    #[error(
        "the handler's replay jobs move to another host: list them, and ask again where yours is not there"
    )]
    Moved,
    /// The host stops.
    #[error("the host stops")]
    Stopping,
}

/// Where orders are kept.
pub trait Orders: Send + Sync + 'static {
    /// What operators have commanded of a subscription.
    fn steering(&self, scope: &Scope) -> Result<Steering, OrdersError>;

    /// Keeps a command; answers, when it is durable, what holds from then on. One at a time on each host.
    fn keep_steering(
        &self,
        scope: &Scope,
        change: Change,
    ) -> BoxFuture<'static, Result<Steering, OrdersError>>;

    /// The replay jobs of a subscription.
    fn jobs(&self, scope: &Scope) -> BoxFuture<'static, Result<KeptJobs, OrdersError>>;

    /// Keeps a new replay job, and forgets an old one; answers when that is durable.
    fn keep_job(
        &self,
        scope: &Scope,
        job: KeptJob,
        forget: Option<u64>,
    ) -> BoxFuture<'static, Result<(), OrdersError>>;

    /// Keeps how far a replay job is; answers when it is durable.
    fn keep_progress(
        &self,
        scope: &Scope,
        id: u64,
        progress: Progress,
    ) -> BoxFuture<'static, Result<(), OrdersError>>;

    /// Forgets all that is kept of a subscription that no host serves, as far as it does not go with the subscription;
    /// answers how many entries that were.
    fn forget(&self, group: &str) -> BoxFuture<'static, Result<u64, OrdersError>>;
}

impl Orders for Embedded {
    fn steering(&self, scope: &Scope) -> Result<Steering, OrdersError> {
        Ok(Embedded::steering(self, scope)?)
    }

    fn keep_steering(
        &self,
        scope: &Scope,
        change: Change,
    ) -> BoxFuture<'static, Result<Steering, OrdersError>> {
        let (store, scope) = (self.clone(), scope.clone());
        synced(move || {
            let steering = Embedded::steering(&store, &scope)?.with(change);
            Embedded::keep_steering(&store, &scope, steering)?;
            Ok(steering)
        })
    }

    fn jobs(&self, scope: &Scope) -> BoxFuture<'static, Result<KeptJobs, OrdersError>> {
        let (store, scope) = (self.clone(), scope.clone());
        synced(move || {
            let jobs = Embedded::jobs(&store, &scope)?;
            let last = jobs.last().map_or(0, |job| job.id);
            Ok(KeptJobs { jobs, last })
        })
    }

    fn keep_job(
        &self,
        scope: &Scope,
        job: KeptJob,
        forget: Option<u64>,
    ) -> BoxFuture<'static, Result<(), OrdersError>> {
        let (store, scope) = (self.clone(), scope.clone());
        synced(move || Embedded::keep_job(&store, &scope, &job, forget))
    }

    fn keep_progress(
        &self,
        scope: &Scope,
        id: u64,
        progress: Progress,
    ) -> BoxFuture<'static, Result<(), OrdersError>> {
        let (store, scope) = (self.clone(), scope.clone());
        synced(move || Embedded::keep_progress(&store, &scope, id, &progress))
    }

    /// Whoever deletes the subscription deletes them.
    fn forget(&self, _group: &str) -> BoxFuture<'static, Result<u64, OrdersError>> {
        Box::pin(std::future::ready(Ok(0)))
    }
}

/// The store's work takes too long for the runtime's own threads.
fn synced<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LedgerError> + Send + 'static,
) -> BoxFuture<'static, Result<T, OrdersError>> {
    Box::pin(async move {
        match tokio::task::spawn_blocking(work).await {
            Ok(done) => Ok(done?),
            // A write that panicked has ended the process.
            Err(_panicked) => Err(OrdersError::Stopping),
        }
    })
}

impl Orders for Arc<Control> {
    fn steering(&self, scope: &Scope) -> Result<Steering, OrdersError> {
        Ok(self.wanted(&scope.group))
    }

    fn keep_steering(
        &self,
        scope: &Scope,
        change: Change,
    ) -> BoxFuture<'static, Result<Steering, OrdersError>> {
        let (control, group) = (Arc::clone(self), Arc::clone(&scope.group));
        Box::pin(async move { Ok(control.steer(&group, change).await?) })
    }

    fn jobs(&self, scope: &Scope) -> BoxFuture<'static, Result<KeptJobs, OrdersError>> {
        let (control, group) = (Arc::clone(self), Arc::clone(&scope.group));
        Box::pin(async move { Ok(Control::jobs(&control, &group).await?) })
    }

    fn keep_job(
        &self,
        scope: &Scope,
        job: KeptJob,
        forget: Option<u64>,
    ) -> BoxFuture<'static, Result<(), OrdersError>> {
        let (control, group) = (Arc::clone(self), Arc::clone(&scope.group));
        Box::pin(async move { Ok(Control::keep_job(&control, &group, &job, forget).await?) })
    }

    fn keep_progress(
        &self,
        scope: &Scope,
        id: u64,
        progress: Progress,
    ) -> BoxFuture<'static, Result<(), OrdersError>> {
        let (control, group) = (Arc::clone(self), Arc::clone(&scope.group));
        Box::pin(async move { Ok(Control::keep_progress(&control, &group, id, &progress).await?) })
    }

    fn forget(&self, group: &str) -> BoxFuture<'static, Result<u64, OrdersError>> {
        let (control, group) = (Arc::clone(self), group.to_owned());
        Box::pin(async move { Ok(Control::forget(&control, &group).await?) })
    }
}
