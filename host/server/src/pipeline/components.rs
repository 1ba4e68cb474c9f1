//! The components that serve a subscription, and whether they have too much at work.

use std::future::pending;

use weir_wasm::Component;

use super::Subscription;

/// What is live of a subscription's handlers.
#[derive(Default)]
pub(super) struct Components {
    pub(super) own: Option<Component>,
    pub(super) fallback: Option<Component>,
}

impl Components {
    pub(super) fn of(subscription: &Subscription) -> Self {
        let Subscription {
            deployment,
            handlers,
            ..
        } = subscription;
        let fallback = deployment.fallback.as_ref();
        Self {
            own: handlers.component(&deployment.scope.group),
            fallback: fallback.and_then(|fallback| handlers.component(&fallback.group)),
        }
    }

    /// Those of them that are crowded.
    pub(super) fn crowded(&self) -> Self {
        let crowded = |one: &Option<Component>| {
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
        let relieved = |one: &Option<Component>| {
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
