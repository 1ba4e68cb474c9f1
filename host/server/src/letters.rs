//! The dead letters of a subscription: read from its dead-letter topics, selected, shown.
//!
//! A letter is what its latest record says; what became of it is in the ledger. Topics are read as a stream, one
//! partition after the other, and only so many letters are kept: those that died last.

mod command;
mod latest;
mod page;

use std::collections::HashSet;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use weir_core::dead_letter::{self, Letter};
use weir_core::event::Record;
use weir_core::identity::Hash128;
use weir_core::time::Millis;
use weir_core::unit::{LetterStatus, Origin, Position};

pub use self::command::{command, wait_obeyed};
use self::latest::Latest;
pub use self::page::{page_of, parked};
use crate::bus::{FetchError, PublishError, Reader, SubscribeError};
use crate::ledger::LedgerError;
use crate::pipeline::Subscription;

/// One fetch of a dead-letter topic.
const FETCH_BYTES: usize = 256 << 10;
/// Held sequences of a partition that are told from letters that were released since.
const HELD_MAX: usize = 10_000;
/// What is kept of a key and of a message while letters are listed.
const KEY_BYTES: usize = 64;
const MESSAGE_CHARS: usize = 200;

/// Which letters are meant: those that fit everything that is said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Selection {
    /// These, by id; empty: any.
    pub letters: Vec<String>,
    /// Any letter that fits: without it, an empty selection is a mistake.
    pub all: bool,
    /// Of this code.
    pub code: Option<String>,
    /// Of this class.
    pub class: Option<String>,
    /// Of this sequence.
    pub sequence: Option<String>,
    /// Whose event died in the last so many seconds.
    pub within_s: Option<u64>,
    /// In this status.
    pub status: Option<Status>,
    /// That an operator can do something about: dead, and not on its way.
    #[serde(skip)]
    pub dead_only: bool,
}

/// What became of a letter, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It waits for an operator or for its retention.
    Dead,
    /// So does its sequence.
    Held,
    /// It was put back into its sequence and has no fate.
    Replaying,
    /// Its replay was handled.
    Done,
    /// An operator gave it up.
    Dropped,
}

impl Status {
    /// The word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Dead => LetterStatus::Dead.name(),
            Self::Held => "held",
            Self::Replaying => LetterStatus::Replaying.name(),
            Self::Done => LetterStatus::Done.name(),
            Self::Dropped => LetterStatus::Dropped.name(),
        }
    }
}

/// Where a letter's record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Index of the subscription's dead-letter topic.
    pub topic: u16,
    /// Partition number, the one of the event.
    pub partition: u32,
    /// Offset in it.
    pub offset: u64,
}

/// A letter, without what it carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its identity.
    pub id: Hash128,
    /// Where its record stands.
    pub place: Place,
    /// Where its event stood.
    pub origin: Origin,
    /// The beginning of the record's key.
    pub key: Option<Bytes>,
    /// Its sequence; none for an event without a key.
    pub sequence: Option<String>,
    /// Kind of failure.
    pub class: String,
    /// Code within it.
    pub code: String,
    /// The beginning of the message.
    pub message: String,
    /// Counted attempts.
    pub attempts: u32,
    /// How often it was replayed before it died.
    pub replays: u32,
    /// When it died.
    pub dead_at: Millis,
    /// What became of it.
    pub status: Status,
}

/// Letters, those that died first first.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// At most as many as were asked for.
    pub letters: Vec<Found>,
    /// Whether more of them fit, which died earlier.
    pub more: bool,
}

/// Why letters could not be read.
#[derive(Debug, thiserror::Error)]
pub enum LettersError {
    /// The dead-letter topic cannot be read.
    #[error(transparent)]
    Subscribe(#[from] SubscribeError),
    /// The bus failed.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// A command was not taken.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// The ledger failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl Selection {
    /// Whether nothing is said, which would mean every letter.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// For people, in the words of the command line.
    #[must_use]
    pub fn describe(&self) -> String {
        let mut words = Vec::new();
        if !self.letters.is_empty() {
            words.push(format!("{} letter(s) by id", self.letters.len()));
        }
        if self.all {
            words.push("--all".to_owned());
        }
        let within = self.within_s.map(|seconds| format!("{seconds}s"));
        for (name, value) in [
            ("code", &self.code),
            ("class", &self.class),
            ("sequence", &self.sequence),
            ("since", &within),
        ] {
            if let Some(value) = value {
                words.push(format!("--{name} {value}"));
            }
        }
        words.join(" ")
    }

    fn admits_status(&self, status: Status) -> bool {
        let is_dead = matches!(status, Status::Dead | Status::Held);
        (is_dead || !self.dead_only) && self.status.is_none_or(|wanted| wanted == status)
    }

    /// Whether the letter fits, its status apart.
    fn admits(&self, now: Millis, letter: &Letter) -> bool {
        let is = |wanted: &Option<String>, own: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| Some(wanted) == own)
        };
        let age = now.since(letter.dead_at).as_secs();
        is(&self.code, Some(&letter.code))
            && is(&self.class, Some(&letter.class))
            && is(&self.sequence, letter.sequence.as_deref())
            && self.within_s.is_none_or(|within| age <= within)
            && (self.letters.is_empty() || self.letters.contains(&letter.id.to_uuid()))
    }
}

/// The letters that `selection` means, at most the `max` that died last.
pub async fn find(
    subscription: &Subscription,
    selection: &Selection,
    now: Millis,
    max: usize,
) -> Result<Listing, LettersError> {
    let mut latest = Latest::new(max);
    let topics = &subscription.deployment.dead_letter_topics;
    for partition in 0..subscription.deployment.partitions(&*subscription.bus) {
        let held = held(subscription, partition)?;
        for (index, topic) in (0..).zip(topics.iter()) {
            let Some((first, end)) = subscription.bus.bounds(topic, partition) else {
                continue;
            };
            if first == end {
                continue;
            }
            let mut reader = subscription.bus.reader(topic, partition, first)?;
            let mut next = first;
            while next < end {
                let records = fetch(&mut *reader, &mut next).await?;
                for (position, record) in records {
                    let place = Place {
                        topic: index,
                        partition,
                        offset: position.offset,
                    };
                    let found = read(place, record, |letter| selection.admits(now, letter));
                    let Some((id, found)) = found else {
                        continue;
                    };
                    let found = found.map(|found| with_status(subscription, found, &held));
                    let found = found.transpose()?;
                    let wanted = |found: &Found| selection.admits_status(found.status);
                    latest.take(id, found.filter(wanted));
                }
                tokio::task::yield_now().await;
            }
        }
    }
    Ok(latest.finish())
}

/// The letter in the record at `place`, and the record that died; none when retention took it.
pub async fn open(
    subscription: &Subscription,
    place: Place,
) -> Result<Option<(Letter, Record)>, LettersError> {
    let Place {
        topic,
        partition,
        offset,
    } = place;
    let topics = &subscription.deployment.dead_letter_topics;
    let Some(topic) = topics.get(usize::from(topic)) else {
        return Ok(None);
    };
    let (first, end) = subscription.bus.bounds(topic, partition).unwrap_or((0, 0));
    if !(first..end).contains(&offset) {
        return Ok(None);
    }
    let mut reader = subscription.bus.reader(topic, partition, offset)?;
    let records = match reader.fetch(1).await {
        Ok(records) => records,
        Err(FetchError::OutOfRange { .. }) => return Ok(None),
        Err(error @ FetchError::Store { .. }) => return Err(error.into()),
    };
    let mut records = records.into_iter();
    let record = records.find(|(position, _)| position.offset == offset);
    Ok(record.and_then(|(_, record)| dead_letter::from_record(record).ok()))
}

/// The next records; what retention takes meanwhile is passed over.
pub(crate) async fn fetch(
    reader: &mut dyn Reader,
    next: &mut u64,
) -> Result<Vec<(Position, Record)>, FetchError> {
    match reader.fetch(FETCH_BYTES).await {
        Ok(records) => {
            if let Some((last, _)) = records.last() {
                *next = last.offset + 1;
            }
            *next = reader.passed().max(*next);
            Ok(records)
        }
        Err(FetchError::OutOfRange { first, .. }) if first > *next => {
            *next = first;
            reader.seek(Position {
                topic: 0,
                offset: first,
            });
            Ok(Vec::new())
        }
        Err(error) => Err(error),
    }
}

/// Whose letter a record is, and the letter where it fits.
fn read(
    place: Place,
    record: Record,
    admits: impl FnOnce(&Letter) -> bool,
) -> Option<(Hash128, Option<Found>)> {
    let (letter, original) = dead_letter::from_record(record).ok()?;
    let id = letter.id;
    if !admits(&letter) {
        return Some((id, None));
    }
    // A slice would keep the whole fetch in memory.
    let cut = |key: &Bytes| Bytes::copy_from_slice(&key[..key.len().min(KEY_BYTES)]);
    let found = Found {
        id,
        place,
        origin: letter.origin,
        key: original.key.as_ref().map(cut),
        sequence: letter.sequence,
        class: letter.class,
        code: letter.code,
        message: letter.message.chars().take(MESSAGE_CHARS).collect(),
        attempts: letter.attempts,
        replays: letter.replays,
        dead_at: letter.dead_at,
        status: Status::Dead,
    };
    Some((id, Some(found)))
}

fn with_status(
    subscription: &Subscription,
    found: Found,
    held: &HashSet<Hash128>,
) -> Result<Found, LedgerError> {
    let scope = &subscription.deployment.scope;
    let known = subscription
        .ledger
        .letter(scope, found.place.partition, found.id)?;
    let status = match known.unwrap_or(LetterStatus::Dead) {
        LetterStatus::Dead if held.contains(&found.id) => Status::Held,
        LetterStatus::Dead => Status::Dead,
        LetterStatus::Replaying => Status::Replaying,
        LetterStatus::Done => Status::Done,
        LetterStatus::Dropped => Status::Dropped,
    };
    Ok(Found { status, ..found })
}

/// The letters that hold sequences of a partition.
fn held(subscription: &Subscription, partition: u32) -> Result<HashSet<Hash128>, LedgerError> {
    use weir_core::partition::OnDead;
    let deployment = &subscription.deployment;
    if deployment.manifest.on_dead != OnDead::Hold {
        return Ok(HashSet::new());
    }
    let parked = subscription
        .ledger
        .parked(&deployment.scope, partition, HELD_MAX)?;
    let heads = parked.into_iter().map(|(_, sequence)| sequence.head);
    Ok(heads
        .filter(|head| head.held)
        .filter_map(|head| head.letter)
        .collect())
}

#[cfg(test)]
mod tests;
