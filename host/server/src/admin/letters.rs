//! Dead letters and parked sequences, for the admin API.

use crate::clock;
use crate::handlers::chain;
use crate::http::{AdminError, AdminResult, Letters};
use crate::letters::{self, LettersError, Selection};
use crate::pipeline::Subscription;

pub(super) async fn answer(subscription: &Subscription, asked: Letters) -> AdminResult {
    match asked {
        Letters::List(selection, limit) => {
            let listing = letters::find(subscription, &selection, clock::now(), limit).await;
            Ok(listing.map_err(failed)?.to_json())
        }
        Letters::Show(letter) => show(subscription, letter).await,
        Letters::Parked(max) => {
            letters::parked(subscription, max).map_err(|error| failed(error.into()))
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
    let listing = letters::find(subscription, &selection, clock::now(), 1).await;
    let found = listing.map_err(failed)?.letters.pop().ok_or_else(unknown)?;
    let record = letters::open(subscription, found.place).await;
    let (letter, original) = record.map_err(failed)?.ok_or_else(unknown)?;
    Ok(letters::page_of(&found, &letter, &original))
}

pub(super) fn failed(error: LettersError) -> AdminError {
    AdminError::Failed(chain(&error))
}
