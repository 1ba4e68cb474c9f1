//! What one host among many has to do: replay jobs by the host that runs them, and what another one was asked.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::letters::Tools;
use super::{replay, steer};
use crate::fleet::{Member, PeerError, Request, Wish};
use crate::handlers::chain;
use crate::http::{AdminError, AdminResult};
use crate::jobs::RUNNER;
use crate::pipeline::Subscription;
use crate::steering::Choice;

/// Jobs that move have a host again after a restore, which is mostly shorter.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks at who runs them.
const AGAIN: Duration = Duration::from_millis(200);
/// A new job looks at a hundred thousand letters before there is an answer.
const ANSWER: Duration = Duration::from_secs(120);

/// Has it done by the host that runs the handler's jobs, which may be this one.
pub(super) async fn by_runner(
    subscription: &Arc<Subscription>,
    tools: &Tools,
    wish: Wish,
) -> AdminResult {
    let (started, manifest) = (Instant::now(), &subscription.deployment.manifest);
    let request = Request::Wish {
        tenant: manifest.tenant.clone(),
        handler: manifest.name.clone(),
        wish: wish.clone(),
    };
    loop {
        let why = if tools.jobs.of(subscription).is_some() {
            match here(subscription, tools, wish.clone()).await {
                Err(AdminError::Unavailable(why)) => why,
                done => return done,
            }
        } else {
            let group = &subscription.deployment.scope.group;
            match subscription.fleet.owner(group, RUNNER) {
                Ok(member) => match subscription.fleet.ask(&member, &request, ANSWER).await {
                    Ok(answer) => return Ok(answer),
                    // It has done nothing, and will, or another one.
                    Err(error @ PeerError::Refused { status: 503, .. }) => chain(&error),
                    Err(error) => return Err(refused(&member, &error)),
                },
                Err(why) => why,
            }
        };
        if started.elapsed() > PATIENCE {
            return Err(AdminError::Unavailable(format!(
                "no host runs the replay jobs of {} at present, which the owner of its partition {RUNNER} does: {why}; \
                 `weir status` shows which hosts there are, try again when it has one",
                manifest.name
            )));
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Does it on this host, and on no other.
pub(super) async fn here(
    subscription: &Arc<Subscription>,
    tools: &Tools,
    wish: Wish,
) -> AdminResult {
    let handler = &subscription.deployment.manifest.name;
    let own = || {
        let moved = || AdminError::Unavailable("its jobs are another host's to run".to_owned());
        tools.jobs.of(subscription).ok_or_else(moved)
    };
    match wish {
        Wish::Jobs => Ok(replay::list(&own()?)),
        Wish::Job(id, command) => replay::job(&own()?, handler, id, command).await,
        Wish::Replay(selection, rate, version) => {
            if let Some(version) = version {
                replay::check_version(&tools.versions, subscription, &version)?;
            }
            replay::replay(&tools.jobs, subscription, selection, rate).await
        }
        Wish::Resume { from, partition } => {
            let start = from.map(|from| from.parse()).transpose();
            let start = start.map_err(AdminError::Invalid)?;
            let choice = start.map(|start| Choice { start, partition });
            steer::resume_here(subscription, choice).await
        }
    }
}

/// What another host has refused, or did not answer.
pub(super) fn refused(member: &Member, error: &PeerError) -> AdminError {
    let said = format!("host {}: {}", member.id, chain(error));
    match error {
        PeerError::Refused { status: 400, .. } => AdminError::Invalid(said),
        PeerError::Refused { status: 404, .. } => AdminError::Unknown(said),
        PeerError::Refused { status: 409, .. } => AdminError::Conflict(said),
        PeerError::Refused { status: 503, .. }
        | PeerError::Unknown
        | PeerError::NoUrl
        | PeerError::Connection { .. }
        | PeerError::NoTrust(_)
        | PeerError::Untrusted { .. }
        | PeerError::Stopping => AdminError::Unavailable(said),
        PeerError::Refused { .. } | PeerError::Answer(_) => AdminError::Failed(said),
    }
}
