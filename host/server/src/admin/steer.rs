//! Pause, resume, and the breaker by hand.

use serde_json::json;

use crate::embedded::Embedded;
use crate::http::{AdminError, AdminResult, Steer};
use crate::pipeline::Subscription;
use crate::steering::Steering;

/// Keeps the command, then obeys it: what a host that is killed in between was asked, it does at its next start. Blocks.
pub(super) fn steer(store: &Embedded, subscription: &Subscription, steer: Steer) -> AdminResult {
    let before = subscription.status.steering();
    let steering = match steer {
        Steer::Pause => Steering {
            paused: true,
            ..before
        },
        Steer::Resume => Steering {
            paused: false,
            ..before
        },
        Steer::Breaker(breaker) => Steering { breaker, ..before },
    };
    let scope = &subscription.deployment.scope;
    store
        .keep_steering(scope, steering)
        .map_err(|error| AdminError::Failed(error.to_string()))?;
    subscription.steer(steering);
    let handler = &subscription.deployment.manifest.name;
    tracing::info!(%handler, paused = steering.paused, breaker = steering.breaker.name(), "handler steered");
    Ok(json!({
        "handler": handler,
        "paused": steering.paused,
        "was_paused": before.paused,
        "breaker": steering.breaker.name(),
    }))
}
