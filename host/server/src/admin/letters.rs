//! Dead letters and parked sequences, for the admin API.

use std::sync::Arc;

use tokio::runtime::Handle;
use weir_core::command::Kind;

use super::{replay, wish};
use crate::bus::ReaderError;
use crate::clock;
use crate::fleet::Wish;
use crate::handlers::chain;
use crate::http::{AdminError, AdminResult, Letters};
use crate::jobs::Jobs;
use crate::letters::{self, LettersError, Page, Selection};
use crate::lookup::LookupError;
use crate::pipeline::Subscription;
use crate::versions::Versions;

/// Letters that one request looks at, whether they fit or not: some tens of milliseconds of reading.
const LOOKED_AT_MAX: usize = 10_000;

/// What is used to answer.
pub(super) struct Tools {
    pub(super) jobs: Arc<Jobs>,
    pub(super) versions: Arc<Versions>,
    pub(super) workers: Handle,
}

pub(super) async fn answer(
    subscription: &Arc<Subscription>,
    tools: &Tools,
    asked: Letters,
) -> AdminResult {
    match asked {
        Letters::List(selection, limit, before) => {
            let page = Page {
                letters_max: limit,
                records_max: LOOKED_AT_MAX,
                before,
            };
            let listing = letters::find(subscription, &selection, clock::now(), &page).await;
            Ok(listing.map_err(failed)?.to_json())
        }
        Letters::Show(letter) => show(subscription, letter).await,
        Letters::Parked(max) => {
            let parked = letters::parked(subscription, max).await;
            parked.map_err(|error| failed(error.into()))
        }
        Letters::Drop(selection) => replay::command(subscription, Kind::Drop, selection).await,
        Letters::Release(selection) => {
            replay::command(subscription, Kind::Release, selection).await
        }
        Letters::Replay(selection, rate, version) => {
            let wish = Wish::Replay(selection, rate, version);
            wish::by_runner(subscription, tools, wish).await
        }
        Letters::DryRun(selection, version) => {
            let (subscription, versions) = (Arc::clone(subscription), Arc::clone(&tools.versions));
            // A handler burns CPU where no request waits for it.
            let run = tools.workers.spawn(async move {
                let candidate = replay::candidate(&versions, &subscription, version).await?;
                replay::dry_run(&subscription, &candidate, selection).await
            });
            run.await
                .unwrap_or_else(|error| Err(AdminError::Failed(error.to_string())))
        }
        Letters::Jobs => wish::by_runner(subscription, tools, Wish::Jobs).await,
        Letters::Job(id, command) => {
            wish::by_runner(subscription, tools, Wish::Job(id, command)).await
        }
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
    let listing = letters::find(subscription, &selection, clock::now(), &Page::of(1)).await;
    let found = listing.map_err(failed)?.letters.pop().ok_or_else(unknown)?;
    let record = letters::open(subscription, found.place).await;
    let (letter, original) = record.map_err(failed)?.ok_or_else(unknown)?;
    Ok(letters::page_of(&found, &letter, &original))
}

pub(super) fn failed(error: LettersError) -> AdminError {
    match error {
        LettersError::Cursor(error) => AdminError::Invalid(error.to_string()),
        LettersError::Lookup(LookupError::Owner(why)) => AdminError::Unavailable(why),
        LettersError::Unanswered(error) | LettersError::Reader(ReaderError::Unanswered(error)) => {
            AdminError::Unanswered(error.to_string())
        }
        error @ (LettersError::Reader(_)
        | LettersError::Fetch(_)
        | LettersError::Publish(_)
        | LettersError::Lookup(LookupError::Ledger(_))) => AdminError::Failed(chain(&error)),
    }
}
