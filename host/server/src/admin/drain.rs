//! `weir drain`: this host's partitions are given to others for good.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::HostAdmin;
use crate::bus::{Bus, Departure};
use crate::draining::Draining;
use crate::fleet::Fleet;
use crate::http::{AdminError, AdminResult};
use crate::pipeline::Subscription;

/// For what runs to finish: attempts get two seconds, and their commits what a cluster takes.
const FINISH: Duration = Duration::from_secs(20);
/// For the groups to let this host go.
const LEAVE: Duration = Duration::from_secs(15);

/// What is needed for it.
pub(super) struct Drain {
    bus: Arc<dyn Bus>,
    fleet: Arc<Fleet>,
    draining: Arc<Draining>,
    subscriptions: Vec<Arc<Subscription>>,
}

impl Drain {
    pub(super) fn of(admin: &HostAdmin) -> Self {
        Self {
            bus: Arc::clone(&admin.bus),
            fleet: Arc::clone(&admin.fleet),
            draining: Arc::clone(&admin.draining),
            subscriptions: admin.subscriptions.clone(),
        }
    }

    /// Drains the host, or says how far that is.
    pub(super) async fn run(self) -> AdminResult {
        if !self.bus.is_shared() {
            let why = "this host shares its work with no other: to stop it, send it SIGTERM; it finishes what runs, and goes on at \
                its next start";
            return Err(AdminError::Conflict(why.to_owned()));
        }
        self.bus.depart();
        let is_first = self.draining.ask();
        if is_first {
            tracing::info!(
                "an operator drains this host: it serves nothing until it is started anew"
            );
        }
        let finished = tokio::time::timeout(FINISH, self.draining.finished()).await;
        let bus = Arc::clone(&self.bus);
        let departed = tokio::task::spawn_blocking(move || bus.departed(LEAVE));
        let departed = departed
            .await
            .map_err(|error| AdminError::Failed(error.to_string()))?;
        let own = self.fleet.own_id();
        Ok(json!({
            "host_id": own,
            "was_drained": !is_first,
            "finished": finished.is_ok(),
            "others": own.map(|_| self.fleet.others().len()),
            "handlers": departed.iter().map(|one| self.describe(one)).collect::<Vec<_>>(),
        }))
    }

    fn describe(&self, Departure { group, left }: &Departure) -> serde_json::Value {
        let mut all = self.subscriptions.iter();
        let own = all.find(|one| one.deployment.scope.group == *group);
        let manifest = own.map(|one| &one.deployment.manifest);
        json!({
            "handler": manifest.map(|one| &one.name),
            "tenant": manifest.map(|one| &one.tenant),
            "group": &**group,
            "left": left,
        })
    }
}
