//! What an operator has done to this host: the admin API's other side.

mod drain;
mod letters;
mod replay;
pub(crate) mod steer;
mod wish;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tokio::runtime::Handle;

use self::drain::Drain;
use crate::bus::Bus;
use crate::config::document::nearest;
use crate::data_dir::DataDir;
use crate::data_dir::backup::BackupError;
use crate::draining::Draining;
use crate::embedded::{Embedded, PurgeError};
use crate::fleet::{Fleet, Request};
use crate::handlers::{Deployment, chain};
use crate::http::{Admin, AdminError, AdminResult, Letters, Steer, Subject};
use crate::jobs::Jobs;
use crate::lookup::{self, Asked};
use crate::names;
use crate::orders::Orders;
use crate::pipeline::Subscription;
use crate::versions::Versions;

/// A host, alone or in a fleet.
pub struct HostAdmin {
    /// What is copied.
    pub data_dir: Arc<DataDir>,
    /// What is kept on this machine: without a cluster bus and ledger.
    pub store: Embedded,
    /// Where what operators command is kept.
    pub orders: Arc<dyn Orders>,
    /// Where partitions come from.
    pub bus: Arc<dyn Bus>,
    /// The other hosts.
    pub fleet: Arc<Fleet>,
    /// Whether this one gives its partitions to them.
    pub draining: Arc<Draining>,
    /// First part of topic names and groups.
    pub environment: String,
    /// What is deployed.
    pub deployments: Vec<Deployment>,
    /// Those of them that read topics.
    pub subscriptions: Vec<Arc<Subscription>>,
    /// Replays of their letters.
    pub jobs: Arc<Jobs>,
    /// What handlers there were.
    pub versions: Arc<Versions>,
    /// Where handlers run.
    pub workers: Handle,
    /// Held while a handler is steered: a command changes one thing and leaves the others as they are.
    pub steering: Arc<tokio::sync::Mutex<()>>,
}

/// What a fleet keeps for a subscription beside its topics, for people.
const ORDERS: &str = "operators' commands";

impl HostAdmin {
    /// Nobody has the subscription; else where it is deployed.
    fn unserved(&self, group: &str) -> Result<(), String> {
        let mut own = self.deployments.iter();
        if own.any(|one| *one.scope.group == *group) {
            return Err(String::new());
        }
        let others = self.fleet.others();
        let has = others.iter().find(|one| {
            let mut handlers = one.record.handlers.iter();
            handlers.any(|handler| handler.group == group)
        });
        has.map_or(Ok(()), |member| Err(format!(" on host {}", member.id)))
    }

    /// What is used to answer for letters and jobs.
    fn tools(&self) -> letters::Tools {
        letters::Tools {
            jobs: Arc::clone(&self.jobs),
            versions: Arc::clone(&self.versions),
            workers: self.workers.clone(),
        }
    }

    /// The subscription of a handler that is deployed and reads topics.
    fn subscription(&self, subject: &Subject) -> Result<Arc<Subscription>, AdminError> {
        let Subject { tenant, handler } = subject;
        let is_it = |one: &&Arc<Subscription>| {
            let manifest = &one.deployment.manifest;
            manifest.name == *handler && *manifest.tenant == **tenant
        };
        let found = self.subscriptions.iter().find(is_it);
        found.map(Arc::clone).ok_or_else(|| {
            let own = self
                .subscriptions
                .iter()
                .map(|one| &*one.deployment.manifest)
                .filter(|manifest| *manifest.tenant == **tenant);
            let names: Vec<_> = own.map(|manifest| manifest.name.as_str()).collect();
            let hint = if names.is_empty() {
                "there is none, see `weir status`".to_owned()
            } else {
                nearest(handler, &names)
            };
            AdminError::Unknown(format!(
                "no handler {handler} of tenant {tenant} reads topics here: {hint}"
            ))
        })
    }
}

impl Admin for HostAdmin {
    fn tenants_of(&self, handler: &str) -> Vec<Arc<str>> {
        let named = self
            .deployments
            .iter()
            .filter(|one| one.manifest.name == handler);
        named
            .map(|one| one.manifest.tenant.as_str().into())
            .collect()
    }

    fn back_up(&self, target: PathBuf) -> BoxFuture<'static, AdminResult> {
        let (data_dir, store) = (Arc::clone(&self.data_dir), self.store.clone());
        blocking(move || back_up(&data_dir, &store, &target))
    }

    fn purge(&self, Subject { tenant, handler }: Subject) -> BoxFuture<'static, AdminResult> {
        let group = names::group(&self.environment, &tenant, &handler);
        if let Err(why) = self.unserved(&group) {
            let message = format!(
                "handler {handler} is deployed{why}: take its folder out of `handlers` in the config, start the host anew, \
                 and ask again"
            );
            return Box::pin(std::future::ready(Err(AdminError::Conflict(message))));
        }
        let (store, orders) = (self.store.clone(), Arc::clone(&self.orders));
        Box::pin(async move {
            let forgotten = orders.forget(&group).await.map_err(replay::unkept)?;
            blocking(move || match purge(&store, &group) {
                // Another host had it.
                Err(AdminError::Unknown(_)) if forgotten > 0 => {
                    Ok(json!({ "group": group, "deleted": { ORDERS: forgotten } }))
                }
                purged => {
                    let mut purged = purged?;
                    if forgotten > 0 {
                        purged["deleted"][ORDERS] = forgotten.into();
                    }
                    Ok(purged)
                }
            })
            .await
        })
    }

    fn drain(&self) -> BoxFuture<'static, AdminResult> {
        Box::pin(Drain::of(self).run())
    }

    fn steer(&self, subject: Subject, steer: Steer) -> BoxFuture<'static, AdminResult> {
        let (orders, subscription) = (Arc::clone(&self.orders), self.subscription(&subject));
        let (steering, fleet) = (Arc::clone(&self.steering), Arc::clone(&self.fleet));
        Box::pin(async move {
            let _one_at_a_time = steering.lock().await;
            let mut steered = steer::steer(&*orders, &*subscription?, steer).await?;
            steered["alone"] = fleet.alone().into();
            Ok(steered)
        })
    }

    fn letters(&self, subject: Subject, asked: Letters) -> BoxFuture<'static, AdminResult> {
        let (subscription, tools) = (self.subscription(&subject), self.tools());
        Box::pin(async move { letters::answer(&subscription?, &tools, asked).await })
    }

    fn peer(&self, request: Bytes) -> BoxFuture<'static, AdminResult> {
        let request = serde_json::from_slice(&request).map_err(|error| {
            AdminError::Invalid(format!(
                "a request that this version does not know: {error}"
            ))
        });
        match request {
            Err(error) => Box::pin(std::future::ready(Err(error))),
            Ok(Request::Lookups { group, asked }) => {
                let mut all = self.subscriptions.iter();
                let own = all.find(|one| *one.deployment.scope.group == *group);
                let own = own.map(Arc::clone);
                Box::pin(async move { look_up(own.as_deref(), &asked) })
            }
            Ok(Request::Wish {
                tenant,
                handler,
                wish,
            }) => {
                let subject = Subject {
                    tenant: tenant.into(),
                    handler,
                };
                let (subscription, tools) = (self.subscription(&subject), self.tools());
                Box::pin(async move { wish::here(&subscription?, &tools, wish).await })
            }
        }
    }
}

/// What this host knows of what another one asks.
fn look_up(own: Option<&Subscription>, asked: &[Asked]) -> AdminResult {
    let answer = |asked| match own {
        Some(own) => lookup::here(&*own.ledger, &own.deployment.scope, asked),
        None => Ok(None),
    };
    let answers = asked.iter().map(answer).collect::<Result<Vec<_>, _>>();
    let answers = answers.map_err(|error| AdminError::Failed(chain(&error)))?;
    serde_json::to_value(answers).map_err(|error| AdminError::Failed(error.to_string()))
}

/// Copies the directory and says what was copied. Blocks.
///
/// # Errors
/// The target is not usable, or the disk failed.
pub fn back_up(data_dir: &DataDir, store: &Embedded, target: &std::path::Path) -> AdminResult {
    let start = Instant::now();
    let made = data_dir.back_up(target, |path| store.checkpoint(path));
    let made = made.map_err(|error| match &error {
        BackupError::Relative { .. } | BackupError::Inside { .. } => {
            AdminError::Invalid(error.to_string())
        }
        BackupError::NotEmpty { .. } => AdminError::Conflict(error.to_string()),
        BackupError::Store { .. } | BackupError::Io { .. } => AdminError::Failed(error.to_string()),
    })?;
    let ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
    tracing::info!(path = %target.display(), bytes = made.bytes, ms, "backup made");
    Ok(json!({ "path": target, "backup": made, "ms": ms }))
}

/// Deletes a subscription and says how much it was. Blocks.
///
/// # Errors
/// There is none, or the store failed.
pub fn purge(store: &Embedded, group: &str) -> AdminResult {
    let purged = store
        .purge_subscription(group)
        .map_err(|error| match &error {
            PurgeError::Unknown { .. } => AdminError::Unknown(error.to_string()),
            PurgeError::Read { source, .. } => AdminError::Failed(format!("{error}: {source}")),
        })?;
    tracing::info!(group, entries = ?purged.entries, "subscription deleted");
    let entries = purged.entries.into_iter();
    let entries: serde_json::Map<String, Value> = entries
        .map(|(name, count)| (name.to_owned(), count.into()))
        .collect();
    Ok(json!({ "group": group, "deleted": entries }))
}

/// The store's work takes long for the runtime's own threads.
fn blocking(
    work: impl FnOnce() -> AdminResult + Send + 'static,
) -> BoxFuture<'static, AdminResult> {
    Box::pin(async move {
        let done = tokio::task::spawn_blocking(work).await;
        done.unwrap_or_else(|error| Err(AdminError::Failed(error.to_string())))
    })
}
