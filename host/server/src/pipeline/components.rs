//! The components that serve a subscription, and whether they have too much at work.

use std::future::pending;
use std::sync::Arc;

use weir_wasm::Component;

use super::Subscription;

/// What is live of a subscription's handlers. Whoever has this counts its own users of a component: all partitions share one,
/// and to count for each event has their threads wait for one another.
#[derive(Default)]
pub(super) struct Components {
    pub(super) own: Option<Arc<Component>>,
    pub(super) fallback: Option<Arc<Component>>,
}

impl Components {
    pub(super) fn of(subscription: &Subscription) -> Self {
        let Subscription {
            deployment,
            handlers,
            ..
        } = subscription;
        let fallback = deployment.fallback.as_ref();
        let live = |group: &str| handlers.component(group).map(Arc::new);
        Self {
            own: live(&deployment.scope.group),
            fallback: fallback.and_then(|fallback| live(&fallback.group)),
        }
    }

    /// Those of them that are crowded.
    pub(super) fn crowded(&self) -> Self {
        let crowded = |one: &Option<Arc<Component>>| {
            let one = one.as_ref().filter(|component| component.is_crowded());
            one.cloned()
        };
        Self {
            own: crowded(&self.own),
            fallback: crowded(&self.fallback),
        }
    }

    /// Waits until one of them is crowded no more; for ever without one.
    pub(super) async fn relieved(&self) {
        let relieved = |one: &Option<Arc<Component>>| {
            let one = one.clone();
            async move {
                match one {
                    Some(component) => component.relieved().await,
                    None => pending().await,
                }
            }
        };
        tokio::select! {
            () = relieved(&self.own) => {}
            () = relieved(&self.fallback) => {}
        }
    }
}
