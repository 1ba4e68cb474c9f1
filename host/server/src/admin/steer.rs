//! Pause, resume, and the breaker by hand.

use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use super::replay::unkept;
use super::wish;
use crate::fleet::{Member, Request, Wish};
use crate::handlers::chain;
use crate::http::{AdminError, AdminResult, Steer};
use crate::ledger::LostPosition;
use crate::orders::Orders;
use crate::pipeline::Subscription;
use crate::pipeline::position::{self, ChoiceError};
use crate::steering::{Change, Choice, Start};

/// For another host to let go on what has stopped there.
const RESUME_WITHIN: Duration = Duration::from_secs(30);

/// Keeps the command, then obeys it: what a host that is killed in between was asked, it does at its next start. What
/// has stopped goes on on all hosts.
pub(crate) async fn steer(
    orders: &dyn Orders,
    subscription: &Subscription,
    steer: Steer,
) -> AdminResult {
    let before = subscription.status.steering();
    let mut again = Vec::new();
    let change = match steer {
        Steer::Pause => Change::Paused(true),
        Steer::Resume(choice) => {
            let others = stopped_elsewhere(subscription, choice);
            again = subscription.status.stopped();
            if !again.is_empty() || others.is_empty() {
                find_positions(subscription, &again, choice, others.is_empty()).await?;
            }
            for other in others {
                again.extend(resume_on(&other, subscription, choice).await?);
            }
            Change::Paused(false)
        }
        Steer::Breaker(breaker) => Change::Breaker(breaker),
    };
    let keep = orders.keep_steering(&subscription.deployment.scope, change);
    let steering = keep.await.map_err(unkept)?;
    subscription.steer(steering);
    if !subscription.status.stopped().is_empty() && matches!(steer, Steer::Resume(_)) {
        subscription.resume();
    }
    let handler = &subscription.deployment.manifest.name;
    tracing::info!(
        %handler, paused = steering.paused, breaker = steering.breaker.name(), again = again.len(),
        "handler steered"
    );
    Ok(json!({
        "handler": handler,
        "paused": steering.paused,
        "was_paused": before.paused,
        "breaker": steering.breaker.name(),
        "again": again,
    }))
}

/// Lets go on what has stopped on this host, for an operator who asked another one.
pub(super) async fn resume_here(
    subscription: &Subscription,
    choice: Option<Choice>,
) -> AdminResult {
    let stopped = subscription.status.stopped();
    find_positions(subscription, &stopped, choice, false).await?;
    if !stopped.is_empty() {
        subscription.resume();
    }
    Ok(json!({ "again": stopped }))
}

/// The other hosts on which something has stopped that is meant.
fn stopped_elsewhere(subscription: &Subscription, choice: Option<Choice>) -> Vec<Member> {
    let group = &*subscription.deployment.scope.group;
    let partition = choice.and_then(|choice| choice.partition);
    let own = subscription.fleet.own_id();
    let mut members = subscription.fleet.members();
    members.retain(|member| {
        let mut handlers = member.record.handlers.iter();
        let meant = |partitions: &[u32]| partition.is_none_or(|one| partitions.contains(&one));
        let is_stopped =
            handlers.any(|one| one.group == group && one.stopped && meant(&one.partitions));
        is_stopped && !member.is_silent() && Some(&*member.id) != own
    });
    members
}

async fn resume_on(
    member: &Member,
    subscription: &Subscription,
    choice: Option<Choice>,
) -> Result<Vec<Option<u32>>, AdminError> {
    #[derive(Deserialize)]
    struct Resumed {
        again: Vec<Option<u32>>,
    }
    let manifest = &subscription.deployment.manifest;
    let request = Request::Wish {
        tenant: manifest.tenant.clone(),
        handler: manifest.name.clone(),
        wish: Wish::Resume {
            from: choice.map(|choice| choice.start.to_string()),
            partition: choice.and_then(|choice| choice.partition),
        },
    };
    let asked = subscription
        .fleet
        .ask(member, &request, RESUME_WITHIN)
        .await;
    let resumed: Resumed = asked.map_err(|error| wish::refused(member, &error))?;
    Ok(resumed.again)
}

/// Puts positions in the place of lost ones, as the operator chose; refuses to go on without a choice, and refuses one
/// where none is lost that could be meant: `only_here`, where no other host has stopped partitions.
async fn find_positions(
    subscription: &Subscription,
    stopped: &[Option<u32>],
    choice: Option<Choice>,
    only_here: bool,
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
        _ if lost.is_empty() && !only_here => {}
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
