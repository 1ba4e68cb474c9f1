//! Pause, resume, and the breaker by hand.

use serde_json::json;

use crate::embedded::Embedded;
use crate::handlers::chain;
use crate::http::{AdminError, AdminResult, Steer};
use crate::ledger::LostPosition;
use crate::pipeline::Subscription;
use crate::pipeline::position::{self, ChoiceError};
use crate::steering::{Choice, Start, Steering};

/// Keeps the command, then obeys it: what a host that is killed in between was asked, it does at its next start.
pub(crate) async fn steer(
    store: &Embedded,
    subscription: &Subscription,
    steer: Steer,
) -> AdminResult {
    let before = subscription.status.steering();
    let stopped = match steer {
        Steer::Resume(_) => subscription.status.stopped(),
        Steer::Pause | Steer::Breaker(_) => Vec::new(),
    };
    let steering = match steer {
        Steer::Pause => Steering {
            paused: true,
            ..before
        },
        Steer::Resume(choice) => {
            find_positions(subscription, &stopped, choice).await?;
            Steering {
                paused: false,
                ..before
            }
        }
        Steer::Breaker(breaker) => Steering { breaker, ..before },
    };
    let (kept, scope) = (store.clone(), subscription.deployment.scope.clone());
    let keep = tokio::task::spawn_blocking(move || kept.keep_steering(&scope, steering)).await;
    keep.map_err(|error| AdminError::Failed(error.to_string()))?
        .map_err(|error| AdminError::Failed(error.to_string()))?;
    subscription.steer(steering);
    if !stopped.is_empty() {
        subscription.resume();
    }
    let handler = &subscription.deployment.manifest.name;
    tracing::info!(
        %handler, paused = steering.paused, breaker = steering.breaker.name(), again = stopped.len(),
        "handler steered"
    );
    Ok(json!({
        "handler": handler,
        "paused": steering.paused,
        "was_paused": before.paused,
        "breaker": steering.breaker.name(),
        "again": stopped,
    }))
}

/// Puts positions in the place of lost ones, as the operator chose; refuses to go on without a choice.
async fn find_positions(
    subscription: &Subscription,
    stopped: &[Option<u32>],
    choice: Option<Choice>,
) -> Result<(), AdminError> {
    let handler = &subscription.deployment.manifest.name;
    let scope = &subscription.deployment.scope;
    let mut lost: Vec<(u32, Vec<LostPosition>)> = Vec::new();
    for partition in stopped.iter().copied().flatten() {
        let positions = subscription.ledger.lost_positions(scope, partition);
        let positions = positions
            .await
            .map_err(|error| AdminError::Failed(chain(&error)))?;
        if !positions.is_empty() {
            lost.push((partition, positions));
        }
    }
    let Some(Choice { start, partition }) = choice else {
        return match lost.first() {
            None => Ok(()),
            Some((partition, positions)) => Err(AdminError::Conflict(format!(
                "nothing was done: partition {partition} of {handler} has lost its position ({}); say where it goes on: \
                 --from earliest, --from latest or --from OFFSET",
                position::describe(subscription, positions)
            ))),
        };
    };
    lost.retain(|(one, _)| partition.is_none_or(|wanted| wanted == *one));
    let commands = subscription.deployment.command_topic();
    let all = lost.iter().flat_map(|(_, positions)| positions);
    let topics = all.filter(|one| one.topic != commands).count();
    match (topics, start) {
        _ if lost.is_empty() => {
            let which = partition.map_or_else(
                || format!("no partition of {handler}"),
                |partition| format!("partition {partition} of {handler} does not stand still and"),
            );
            return Err(AdminError::Conflict(format!(
                "nothing was done: {which} has lost its position; without --from, `weir resume {handler}` lets all go on \
                 where they were"
            )));
        }
        (2.., Start::Offset(_)) => {
            let partitions: Vec<_> = lost.iter().map(|(one, _)| one.to_string()).collect();
            return Err(AdminError::Conflict(format!(
                "nothing was done: an offset is meant for one log, and {topics} are without a position, in partition(s) \
                 {}: name one by --partition, or say earliest or latest",
                partitions.join(", ")
            )));
        }
        (_, Start::Earliest | Start::Latest | Start::Offset(_)) => {}
    }
    for (partition, positions) in lost {
        let replaced = position::replace(subscription, partition, &positions, start).await;
        replaced.map_err(|error| match &error {
            ChoiceError::Offset { .. } => AdminError::Invalid(error.to_string()),
            ChoiceError::Ledger(_) | ChoiceError::Commit { .. } => {
                AdminError::Failed(chain(&error))
            }
        })?;
        tracing::warn!(%handler, partition, from = %start, "lost positions replaced");
    }
    Ok(())
}
