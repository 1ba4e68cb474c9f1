//! Dead letters and parked sequences, for the admin API.

use std::sync::Arc;

use tokio::runtime::Handle;
use weir_core::command::Kind;

use super::replay;
use crate::clock;
use crate::handlers::chain;
use crate::http::{AdminError, AdminResult, Letters};
use crate::jobs::Jobs;
use crate::letters::{self, LettersError, Selection};
use crate::pipeline::Subscription;

pub(super) async fn answer(
    subscription: &Arc<Subscription>,
    jobs: &Jobs,
    workers: &Handle,
    asked: Letters,
) -> AdminResult {
    match asked {
        Letters::List(selection, limit) => {
            let listing = letters::find(subscription, &selection, clock::now(), limit).await;
            Ok(listing.map_err(failed)?.to_json())
        }
        Letters::Show(letter) => show(subscription, letter).await,
        Letters::Parked(max) => {
            letters::parked(subscription, max).map_err(|error| failed(error.into()))
        }
        Letters::Drop(selection) => replay::command(subscription, Kind::Drop, selection).await,
        Letters::Release(selection) => {
            replay::command(subscription, Kind::Release, selection).await
        }
        Letters::Replay(selection, rate) => {
            replay::replay(jobs, subscription, selection, rate).await
        }
        Letters::DryRun(selection) => {
            let subscription = Arc::clone(subscription);
            // A handler burns CPU where no request waits for it.
            let run = workers.spawn(async move { replay::dry_run(&subscription, selection).await });
            run.await
                .unwrap_or_else(|error| Err(AdminError::Failed(error.to_string())))
        }
        Letters::Jobs => Ok(replay::list(jobs, subscription)),
        Letters::Job(id, command) => replay::job(jobs, subscription, id, command).await,
    }
}

async fn show(subscription: &Subscription, letter: String) -> AdminResult {
    let unknown = || {
        let handler = &subscription.deployment.manifest.name;
        let letter = &letter;
        AdminError::Unknown(format!(
            "handler {handler} has no letter {letter}: `weir dlq list {handler}` shows those that are kept"
        ))
    };
    let selection = Selection {
        letters: vec![letter.clone()],
        ..Selection::default()
    };
    let listing = letters::find(subscription, &selection, clock::now(), 1).await;
    let found = listing.map_err(failed)?.letters.pop().ok_or_else(unknown)?;
    let record = letters::open(subscription, found.place).await;
    let (letter, original) = record.map_err(failed)?.ok_or_else(unknown)?;
    Ok(letters::page_of(&found, &letter, &original))
}

pub(super) fn failed(error: LettersError) -> AdminError {
    AdminError::Failed(chain(&error))
}
