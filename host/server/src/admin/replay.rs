//! What is done about dead letters, for the admin API.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use weir_core::binding;
use weir_core::command::Kind;
use weir_core::emission::Emitted;

use super::letters::failed;
use crate::clock;
use crate::cloudevents;
use crate::handlers::chain;
use crate::http::{AdminError, AdminResult};
use crate::jobs::{self, Job, JobCommand, JobError, Jobs, Plan};
use crate::kafka::ControlError;
use crate::letters::{self, Place, Selection, Status};
use crate::orders::OrdersError;
use crate::pipeline::Subscription;
use crate::pipeline::dry_run::{self, Candidate, Rehearsed, Trial};
use crate::versions::{VersionError, Versions};

/// Letters of one command: they are published together.
const COMMANDS_MAX: usize = 1_000;
/// Letters of a dry run, which answers when all of it is over.
const DRY_RUN_MAX: usize = 100;
/// Partitions that serve obey at once.
const OBEY_WITHIN: Duration = Duration::from_secs(10);

/// Sends `kind` for every dead letter that fits.
pub(super) async fn command(
    subscription: &Subscription,
    kind: Kind,
    selection: Selection,
) -> AdminResult {
    check(&selection)?;
    check_commanded(subscription)?;
    let selection = match kind {
        // Others hold nothing.
        Kind::Release => Selection {
            status: Some(Status::Held),
            ..selection
        },
        Kind::Drop | Kind::Replay => selection,
    };
    let now = clock::now();
    let found = jobs::find(subscription, selection, now, COMMANDS_MAX).await;
    let found = found.map_err(refused)?;
    let (mut commands, mut partitions, mut ids) = (Vec::new(), Vec::new(), Vec::new());
    for one in found {
        let opened = letters::open(subscription, one.place).await;
        let Some((letter, record)) = opened.map_err(failed)? else {
            continue;
        };
        ids.push(letter.id.to_uuid());
        partitions.push(one.place.partition);
        commands.push((one.place.partition, kind, letter, record));
    }
    let sent = letters::command(subscription, commands).await;
    sent.map_err(failed)?;
    partitions.sort_unstable();
    partitions.dedup();
    let obeyed = letters::wait_obeyed(subscription, &partitions, OBEY_WITHIN).await;
    let handler = &subscription.deployment.manifest.name;
    tracing::info!(%handler, command = kind.name(), letters = ids.len(), obeyed, "letters commanded");
    Ok(json!({ "command": kind.name(), "letters": ids, "obeyed": obeyed }))
}

/// Starts a replay.
pub(super) async fn replay(
    jobs: &Jobs,
    subscription: &Arc<Subscription>,
    selection: Selection,
    per_second: NonZeroU32,
) -> AdminResult {
    check(&selection)?;
    check_commanded(subscription)?;
    let job = jobs.make(subscription, selection, per_second).await;
    Ok(job.map_err(refused)?.to_json())
}

/// The jobs of a handler.
pub(super) fn list(jobs: &[Arc<Job>]) -> Value {
    json!({ "jobs": jobs.iter().map(|job| job.to_json()).collect::<Vec<_>>() })
}

/// Describes a job, after it has obeyed.
pub(super) async fn job(
    jobs: &[Arc<Job>],
    handler: &str,
    id: u64,
    command: Option<JobCommand>,
) -> AdminResult {
    let job = jobs.iter().find(|job| job.id() == id).ok_or_else(|| {
        AdminError::Unknown(format!(
            "handler {handler} has no job {id}: `weir dlq jobs {handler}` lists those that are kept"
        ))
    })?;
    if let Some(command) = command {
        let obeyed = job.command(command).await.map_err(unkept)?;
        if !obeyed {
            let name = command.name();
            return Err(AdminError::Conflict(format!(
                "job {id} of handler {handler} is over: there is nothing to {name}"
            )));
        }
    }
    Ok(job.to_json())
}

/// A replay runs on the version that serves: refuses when that is not the one that was meant.
pub(super) fn check_version(
    versions: &Versions,
    subscription: &Subscription,
    asked: &str,
) -> Result<(), AdminError> {
    let deployment = &subscription.deployment;
    let kept = versions.find(deployment, asked).map_err(no_version)?;
    let live = subscription.handlers.component(&deployment.scope.group);
    if live.is_some_and(|live| live.digest() == kept.digest) {
        return Ok(());
    }
    let handler = &deployment.manifest.name;
    Err(AdminError::Conflict(format!(
        "nothing was done: version {} of {handler} is kept and does not serve: see with --dry-run what it would do, and \
         deploy it to replay with it",
        kept.name()
    )))
}

/// What a dry run runs: a version that is kept, or the one that serves.
pub(super) async fn candidate(
    versions: &Versions,
    subscription: &Subscription,
    version: Option<String>,
) -> Result<Candidate, AdminError> {
    let deployment = &subscription.deployment;
    let Some(version) = version else {
        let live = subscription.handlers.component(&deployment.scope.group);
        let component = live.ok_or_else(|| {
            let handler = &deployment.manifest.name;
            AdminError::Conflict(format!("{handler} is being replaced: try again"))
        })?;
        return Ok(Candidate {
            deployment: deployment.clone(),
            component,
        });
    };
    let kept = versions.find(deployment, &version).map_err(no_version)?;
    let loaded = versions.load(&kept).await;
    let (deployment, component) = loaded.map_err(|faults| {
        AdminError::Conflict(format!("{} cannot be run any more: {faults}", kept.name()))
    })?;
    Ok(Candidate {
        deployment,
        component,
    })
}

fn no_version(error: VersionError) -> AdminError {
    match error {
        VersionError::Unknown { .. } => AdminError::Unknown(error.to_string()),
        VersionError::Io { .. } => AdminError::Failed(chain(&error)),
    }
}

/// Runs the handler with letters, and says what would come of it.
pub(super) async fn dry_run(
    subscription: &Subscription,
    candidate: &Candidate,
    selection: Selection,
) -> AdminResult {
    check(&selection)?;
    let now = clock::now();
    let found = jobs::find_sequences(subscription, selection, now).await;
    let found = found.map_err(refused)?;
    let plan = Plan::new(found, now, NonZeroU32::MIN, String::new());
    let (mut shown, mut tried) = (Vec::new(), 0);
    let mut more = false;
    for sequence in plan.sequences {
        let room = DRY_RUN_MAX - tried;
        more |= sequence.len() > room;
        let places: Vec<Place> = sequence.iter().take(room).map(|one| one.place).collect();
        let (mut ids, mut trials) = (Vec::new(), Vec::new());
        for place in places {
            let opened = letters::open(subscription, place).await;
            let Some((letter, record)) = opened.map_err(failed)? else {
                continue;
            };
            ids.push(letter.id.to_uuid());
            trials.push(Trial {
                record,
                origin: letter.origin,
            });
        }
        tried += ids.len();
        let rehearsed = dry_run::sequence(subscription, candidate, trials).await;
        let rehearsed = rehearsed.map_err(|error| failed(error.into()))?;
        let mut rehearsed = rehearsed.into_iter();
        // What stands behind a failure would not be sent.
        shown.extend(ids.into_iter().map(|id| page(&id, rehearsed.next())));
    }
    let version = &candidate.deployment.manifest.version;
    let digest = candidate.component.digest();
    Ok(json!({ "letters": shown, "more": more, "version": version, "digest": digest }))
}

fn page(id: &str, rehearsed: Option<Rehearsed>) -> Value {
    match rehearsed {
        None => json!({ "id": id, "outcome": "not-sent" }),
        Some(Rehearsed::Failed(failure)) => json!({
            "id": id,
            "outcome": "failed",
            "class": failure.kind.name(),
            "code": failure.code,
            "message": failure.message,
        }),
        Some(Rehearsed::Handled {
            emitted,
            state,
            timers,
        }) => json!({
            "id": id,
            "outcome": "handled",
            "emissions": emitted.iter().map(emission).collect::<Vec<_>>(),
            "state": state,
            "timers": timers,
        }),
    }
}

fn emission(emitted: &Emitted) -> Value {
    let event = binding::from_record(&emitted.out.record).ok();
    let event = event.and_then(|event| serde_json::to_value(cloudevents::to_json(&event)).ok());
    let key = emitted.out.record.key.as_ref();
    json!({
        "topic": &*emitted.out.topic,
        "key": key.map(|key| String::from_utf8_lossy(key).into_owned()),
        "delay_ms": emitted.delay.map(|delay| u64::try_from(delay.as_millis()).unwrap_or(u64::MAX)),
        "event": event,
    })
}

/// A selection that says nothing would mean every letter.
fn check(selection: &Selection) -> Result<(), AdminError> {
    if selection.is_empty() {
        Err(AdminError::Invalid(
            "say which letters: `letters`, `code`, `class`, `sequence`, `within_s`, or `all`"
                .to_owned(),
        ))
    } else {
        Ok(())
    }
}

/// Without a ledger nobody would know which letters were obeyed.
fn check_commanded(subscription: &Subscription) -> Result<(), AdminError> {
    if subscription.deployment.takes_commands() {
        return Ok(());
    }
    Err(AdminError::Conflict(
        "with kafka.delivery = \"at-least-once\" the host keeps nothing of dead letters: publish their records again, or \
         deploy the handler on hosts with \"exactly-once\""
            .to_owned(),
    ))
}

fn refused(error: JobError) -> AdminError {
    match error {
        JobError::Nothing(_) | JobError::TooMany(_) | JobError::Moved(_) => {
            AdminError::Conflict(error.to_string())
        }
        JobError::Letters(error) => failed(error),
        JobError::Orders(error) => unkept(error),
    }
}

/// An order that was not kept.
pub(super) fn unkept(error: OrdersError) -> AdminError {
    match error {
        OrdersError::Moved | OrdersError::Stopping => AdminError::Unavailable(error.to_string()),
        OrdersError::Control(ControlError::Overtaken) => AdminError::Conflict(error.to_string()),
        OrdersError::Control(ControlError::Unanswered(error)) => {
            AdminError::Unanswered(error.to_string())
        }
        OrdersError::Store(_) | OrdersError::Control(_) => AdminError::Failed(chain(&error)),
    }
}
