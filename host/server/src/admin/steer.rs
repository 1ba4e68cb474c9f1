//! Pause, resume, and the breaker by hand.

use std::time::Duration;

use futures_util::future::join_all;
use serde::Deserialize;
use serde_json::json;

use super::replay::unkept;
use super::wish;
use crate::fleet::{Member, PeerError, Request, Wish};
use crate::handlers::chain;
use crate::http::{AdminError, AdminResult, Steer};
use crate::ledger::LostPosition;
use crate::orders::Orders;
use crate::pipeline::Subscription;
use crate::pipeline::position::{self, ChoiceError};
use crate::steering::{Change, Choice, Start};

/// For a host to let go on what has stopped there: what it has to ask the cluster for may take for ever.
const RESUME_WITHIN: Duration = Duration::from_secs(30);

/// Keeps the command, then obeys it: what a host that is killed in between was asked, it does at its next start. What
/// has stopped goes on on all hosts.
pub(crate) async fn steer(
    orders: &dyn Orders,
    subscription: &Subscription,
    steer: Steer,
) -> AdminResult {
    let before = subscription.status.steering();
    let mut resumed = Resumed::default();
    let change = match steer {
        Steer::Pause => Change::Paused(true),
        Steer::Resume(choice) => {
            resumed = resume(subscription, choice).await?;
            Change::Paused(false)
        }
        Steer::Breaker(breaker) => Change::Breaker(breaker),
    };
    let keep = orders.keep_steering(&subscription.deployment.scope, change);
    let steering = keep.await.map_err(unkept)?;
    subscription.steer(steering);
    let Resumed { again, unasked } = resumed;
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
        "unasked": unasked,
    }))
}

/// What goes on again.
#[derive(Default, Deserialize)]
struct Resumed {
    /// Partitions that had stopped; none in the place of one: the whole.
    again: Vec<Option<u32>>,
    /// Hosts that nobody could ask whether something of it had stopped there, and why.
    #[serde(skip)]
    unasked: Vec<String>,
}

/// Lets go on what has stopped, on all hosts. Each knows of itself what that is: what it told the others may be seconds
/// old.
async fn resume(
    subscription: &Subscription,
    choice: Option<Choice>,
) -> Result<Resumed, AdminError> {
    let (others, silent) = others(subscription);
    if let Some(Choice {
        start: Start::Offset(_),
        partition: None,
    }) = choice
        && !(others.is_empty() && silent.is_empty())
    {
        return Err(AdminError::Invalid(
            "nothing was done: an offset is meant for one log, and other hosts may have lost positions too: name the partition \
             by --partition, or say earliest or latest"
                .to_owned(),
        ));
    }
    let again = go_on(subscription, choice).await?;
    let mut resumed = Resumed {
        again,
        unasked: silent,
    };
    let mut refused = None;
    let asked = others
        .iter()
        .map(|(other, _)| resume_on(other, subscription, choice));
    for (answer, (other, is_stopped)) in join_all(asked).await.into_iter().zip(&others) {
        match answer {
            Ok(again) => resumed.again.extend(again),
            // It has it no longer.
            Err(PeerError::Refused { status: 404, .. }) => {}
            Err(error) if !is_stopped && error.is_silence() => {
                let why = format!("host {}: {}", other.id, chain(&error));
                resumed.unasked.push(why);
            }
            Err(error) => refused = refused.or(Some(wish::refused(other, &error))),
        }
    }
    resumed.again.sort_unstable();
    if let Some(error) = refused {
        let elsewhere = match resumed.again.len() {
            0 => String::new(),
            count => format!(" (elsewhere {count} that had stopped go on)"),
        };
        return Err(error.with(&elsewhere));
    }
    if choice.is_some() && resumed.again.is_empty() {
        return Err(none_lost(subscription, choice, &resumed.unasked));
    }
    Ok(resumed)
}

/// Lets go on what has stopped on this host, for an operator who asked another one.
pub(super) async fn resume_here(
    subscription: &Subscription,
    choice: Option<Choice>,
) -> AdminResult {
    let again = go_on(subscription, choice).await?;
    Ok(json!({ "again": again }))
}

/// Lets go on what [`find_stopped`] has found.
async fn go_on(
    subscription: &Subscription,
    choice: Option<Choice>,
) -> Result<Vec<Option<u32>>, AdminError> {
    let stopped = find_stopped(subscription, choice).await?;
    if !stopped.is_empty() {
        subscription.resume();
    }
    Ok(stopped)
}

/// What has stopped on this host and may go on, from positions that are there; with a choice, nothing where no position is
/// lost that it is for.
async fn find_stopped(
    subscription: &Subscription,
    choice: Option<Choice>,
) -> Result<Vec<Option<u32>>, AdminError> {
    let stopped = subscription.status.stopped();
    let finding = tokio::time::timeout(RESUME_WITHIN, find_positions(subscription, choice));
    let found = finding.await.map_err(|_late| {
        let handler = &subscription.deployment.manifest.name;
        let why = "the cluster does not say within 30 s where its partitions stand; ask again when it answers";
        AdminError::Unanswered(format!("{handler} does not go on yet: {why}"))
    })??;
    let may_go_on = choice.is_none() || found;
    Ok(if may_go_on { stopped } else { Vec::new() })
}

/// The other hosts that have the handler, and whether they have said that something of it has stopped there; and those that
/// had it and have been silent for a while, in words.
fn others(subscription: &Subscription) -> (Vec<(Member, bool)>, Vec<String>) {
    let group = &*subscription.deployment.scope.group;
    let own = subscription.fleet.own_id();
    let (mut having, mut silent) = (Vec::new(), Vec::new());
    for member in subscription.fleet.members() {
        let mut handlers = member.record.handlers.iter();
        let Some(handler) = handlers.find(|one| one.group == group) else {
            continue;
        };
        let is_stopped = handler.stopped;
        if Some(&*member.id) == own {
            continue;
        }
        if member.is_silent() {
            let (id, age) = (&member.id, member.age.as_secs());
            silent.push(format!("host {id}: it has said nothing for {age} s"));
        } else {
            having.push((member, is_stopped));
        }
    }
    (having, silent)
}

async fn resume_on(
    member: &Member,
    subscription: &Subscription,
    choice: Option<Choice>,
) -> Result<Vec<Option<u32>>, PeerError> {
    let manifest = &subscription.deployment.manifest;
    let request = Request::Wish {
        tenant: manifest.tenant.clone(),
        handler: manifest.name.clone(),
        wish: Wish::Resume {
            from: choice.map(|choice| choice.start.to_string()),
            partition: choice.and_then(|choice| choice.partition),
        },
    };
    let asked = subscription.fleet.ask(member, &request, RESUME_WITHIN);
    let resumed: Resumed = asked.await?;
    Ok(resumed.again)
}

/// A choice that is for nothing.
fn none_lost(
    subscription: &Subscription,
    choice: Option<Choice>,
    unasked: &[String],
) -> AdminError {
    let handler = &subscription.deployment.manifest.name;
    let which = match choice.and_then(|choice| choice.partition) {
        None => format!("no partition of {handler}"),
        Some(partition) => {
            format!("partition {partition} of {handler} does not stand still and")
        }
    };
    let unasked = match unasked {
        [] => String::new(),
        all => format!(" on the hosts that answer, and not on {}", all.join(", ")),
    };
    AdminError::Conflict(format!(
        "nothing was done: {which} has lost its position{unasked}; without --from, `weir resume {handler}` lets all go on \
         where they were"
    ))
}

/// Puts positions in the place of lost ones, as the operator chose, and answers whether there was one; refuses to go on
/// without a choice where one is lost.
async fn find_positions(
    subscription: &Subscription,
    choice: Option<Choice>,
) -> Result<bool, AdminError> {
    let handler = &subscription.deployment.manifest.name;
    let scope = &subscription.deployment.scope;
    // Held while the cluster is asked, for as long as the caller waits: that is what it is for.
    let _alone = subscription.replacing.lock().await;
    let mut lost: Vec<(u32, Vec<LostPosition>)> = Vec::new();
    for partition in subscription.status.ended() {
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
            None => Ok(false),
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
    if topics > 1 && matches!(start, Start::Offset(_)) {
        let partitions: Vec<_> = lost.iter().map(|(one, _)| one.to_string()).collect();
        return Err(AdminError::Conflict(format!(
            "nothing was done: an offset is meant for one log, and {topics} are without a position, in partition(s) {}: \
             name one by --partition, or say earliest or latest",
            partitions.join(", ")
        )));
    }
    let found = !lost.is_empty();
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
    Ok(found)
}
