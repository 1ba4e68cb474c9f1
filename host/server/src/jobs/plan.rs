//! What a job is to do: which letters fit, and in which order they are sent.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use weir_core::identity::Hash128;
use weir_core::time::Millis;

use crate::letters::{self, Found, LettersError, Page, Place, Selection};
use crate::orders::OrdersError;
use crate::pipeline::Subscription;

/// Letters of one job: what is kept of them in memory while it runs is some megabytes.
pub const LETTERS_MAX: usize = 100_000;

/// What a job is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// When it was asked for.
    pub created: Millis,
    /// Letters a second.
    pub per_second: NonZeroU32,
    /// What was asked for, for people.
    pub selection: String,
    /// Letters by sequence, in order; those whose first letter died first come first.
    pub sequences: Vec<Vec<Planned>>,
}

/// One letter of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planned {
    /// Its identity.
    pub id: Hash128,
    /// Where its record stands.
    pub place: Place,
}

/// Why there is no job.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// Nothing can be done about any of them.
    #[error(
        "no letter of handler {0} that is dead fits: `weir dlq list {0}` shows what became of each"
    )]
    Nothing(String),
    /// More than this takes at once.
    #[error(
        "more than {0} dead letters fit or stand in the sequences of those that do: choose fewer with --code, --class or --since"
    )]
    TooMany(usize),
    /// It is kept, and this host is not the one that runs it any more.
    #[error(
        "the handler's replay jobs have moved to another host while job {0} was made: list them, and ask again where it is not \
         there"
    )]
    Moved(u64),
    /// Letters could not be read.
    #[error(transparent)]
    Letters(#[from] LettersError),
    /// The job could not be kept.
    #[error(transparent)]
    Orders(#[from] OrdersError),
}

impl Plan {
    /// Orders letters: those of a sequence as their events stood.
    #[must_use]
    pub fn new(
        found: Vec<Found>,
        created: Millis,
        per_second: NonZeroU32,
        selection: String,
    ) -> Self {
        let mut sequences = BTreeMap::<_, Vec<Found>>::new();
        for letter in found {
            // Without a key a letter is a sequence of its own.
            let alone = letter.sequence.is_none().then_some(letter.id);
            let sequence = (letter.place.partition, letter.sequence.clone(), alone);
            sequences.entry(sequence).or_default().push(letter);
        }
        let mut sequences: Vec<_> = sequences.into_values().collect();
        for letters in &mut sequences {
            letters
                .sort_by_key(|letter| (letter.place.topic, letter.origin.offset, letter.dead_at));
        }
        sequences.sort_by_key(|letters| letters[0].dead_at);
        let planned = |letter: &Found| Planned {
            id: letter.id,
            place: letter.place,
        };
        Self {
            created,
            per_second,
            selection,
            sequences: sequences
                .iter()
                .map(|letters| letters.iter().map(planned).collect())
                .collect(),
        }
    }

    pub(super) fn lengths(&self) -> Vec<usize> {
        self.sequences.iter().map(Vec::len).collect()
    }
}

/// The dead letters that fit.
pub(crate) async fn find(
    subscription: &Subscription,
    selection: Selection,
    now: Millis,
    max: usize,
) -> Result<Vec<Found>, JobError> {
    let selection = Selection {
        dead_only: true,
        ..selection
    };
    // One more than is taken, to know whether there are more.
    let page = Page::of(max.saturating_add(1));
    let listing = letters::find(subscription, &selection, now, &page).await?;
    if listing.letters.len() > max {
        return Err(JobError::TooMany(max));
    }
    if listing.letters.is_empty() {
        let handler = subscription.deployment.manifest.name.clone();
        return Err(JobError::Nothing(handler));
    }
    Ok(listing.letters)
}

/// The dead letters that fit, and the others of their sequences: an event may build on those before it. Letters that are
/// named by their ids are meant alone.
pub(crate) async fn find_sequences(
    subscription: &Subscription,
    selection: Selection,
    now: Millis,
) -> Result<Vec<Found>, JobError> {
    let by_id = !selection.letters.is_empty();
    let mut found = find(subscription, selection, now, LETTERS_MAX).await?;
    if by_id || found.iter().all(|letter| letter.sequence.is_none()) {
        return Ok(found);
    }
    let whole = Selection::of_sequences(&found);
    found.retain(|letter| letter.sequence.is_none());
    let page = Page::of(LETTERS_MAX + 1);
    let listing = letters::find(subscription, &whole, now, &page).await?;
    if found.len() + listing.letters.len() > LETTERS_MAX {
        return Err(JobError::TooMany(LETTERS_MAX));
    }
    found.extend(listing.letters);
    Ok(found)
}

#[cfg(test)]
mod tests;
