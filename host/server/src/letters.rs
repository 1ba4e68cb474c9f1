//! The dead letters of a subscription: read from its dead-letter topics, selected, shown.
//!
//! A letter is what its latest record says; what became of it is in the ledger. Topics are read backwards, all partitions
//! at once, so that those that died last are found without a look at the others.

mod command;
mod page;
mod scan;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use bytes::Bytes;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use weir_core::dead_letter::{self, Letter};
use weir_core::event::Record;
use weir_core::identity::Hash128;
use weir_core::time::Millis;
use weir_core::unit::{LetterStatus, Origin, Position, SequenceKey};

pub use self::command::{command, wait_obeyed};
pub(crate) use self::page::parked_to_json;
pub use self::page::{page_of, parked};
use self::scan::Scan;
pub use self::scan::{Cursor, CursorError};
use crate::bus::{FetchError, PublishError, Reader, ReaderError, Unanswered};
use crate::lookup::{Answer, Asked, Known, LookupError, OfLetter, Question, Sequence};
use crate::pipeline::Subscription;

/// Letters of which the owners of their partitions are asked at once.
const ASKED_MAX: usize = 1_000;
/// One fetch of a dead-letter topic.
const FETCH_BYTES: usize = 256 << 10;
/// Between two fetches of a partition that is not at its end.
const SILENCE: Duration = Duration::from_secs(30);

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
    /// Of one of these sequences, by partition.
    #[serde(skip)]
    pub sequences: Option<HashMap<u32, HashSet<String>>>,
}

/// What became of a letter, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
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
    /// The sequence that was held when it died, as the ledger knows it.
    pub held: Option<SequenceKey>,
    /// What became of it.
    pub status: Status,
}

/// Which part of the letters that fit is asked for.
#[derive(Clone, Debug)]
pub struct Page {
    /// Letters, at most.
    pub letters_max: usize,
    /// Records that are looked at, at most, whether they fit or not.
    pub records_max: usize,
    /// Where an earlier page ended; none: the letters that died last.
    pub before: Option<Cursor>,
}

impl Page {
    /// The `max` that died last, however far back they are.
    #[must_use]
    pub fn of(max: usize) -> Self {
        Self {
            letters_max: max,
            records_max: usize::MAX,
            before: None,
        }
    }
}

/// Letters, those that died first first.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// At most as many as were asked for.
    pub letters: Vec<Found>,
    /// Where to go on, with those that died earlier; none when there are none.
    pub next: Option<Cursor>,
}

/// Why letters could not be read.
#[derive(Debug, thiserror::Error)]
pub enum LettersError {
    /// The dead-letter topic cannot be read.
    #[error(transparent)]
    Reader(#[from] ReaderError),
    /// The bus failed.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// Whether there are any is not known.
    #[error(transparent)]
    Unanswered(#[from] Unanswered),
    /// A command was not taken.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// Nobody says what became of them.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// A page begins nowhere.
    #[error(transparent)]
    Cursor(#[from] CursorError),
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

    /// The letters that stand in the sequences of these, and can be replayed with them.
    #[must_use]
    pub fn of_sequences(found: &[Found]) -> Self {
        let mut sequences = HashMap::<_, HashSet<_>>::new();
        for letter in found {
            let own = sequences.entry(letter.origin.partition).or_default();
            own.extend(letter.sequence.clone());
        }
        Self {
            dead_only: true,
            sequences: Some(sequences),
            ..Self::default()
        }
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
            && self.in_sequences(letter)
            && self.within_s.is_none_or(|within| age <= within)
            && (self.letters.is_empty() || self.letters.contains(&letter.id.to_uuid()))
    }

    fn in_sequences(&self, letter: &Letter) -> bool {
        let Some(sequences) = &self.sequences else {
            return true;
        };
        let wanted = sequences.get(&letter.origin.partition);
        let own = letter.sequence.as_ref();
        wanted.is_some_and(|wanted| own.is_some_and(|own| wanted.contains(own)))
    }
}

/// The letters that `selection` means, of which `page` says how many, from where and how far to look.
pub async fn find(
    subscription: &Subscription,
    selection: &Selection,
    now: Millis,
    page: &Page,
) -> Result<Listing, LettersError> {
    let mut scan = Scan::new(subscription, page.before.as_ref()).await?;
    let mut seen = HashSet::new();
    let (mut letters, mut looked_at) = (Vec::new(), 0);
    let is_over = |died: Millis| {
        let within = selection.within_s;
        within.is_some_and(|within| now.since(died).as_secs() > within)
    };
    // Those that are meant by their ids, and were not met.
    let mut named: HashSet<&str> = selection.letters.iter().map(String::as_str).collect();
    let mut is_last = false;
    while !is_last && letters.len() < page.letters_max && looked_at < page.records_max {
        // No more than there is room for: what is read and not shown would be missing on the next page.
        let room = (page.letters_max - letters.len()).min(ASKED_MAX);
        let mut candidates = Vec::new();
        while candidates.len() < room && looked_at < page.records_max {
            let admits = |letter: &Letter| selection.admits(now, letter);
            let Some(read) = scan.next(&admits).await? else {
                is_last = true;
                break;
            };
            looked_at += 1;
            if is_over(read.dead_at) {
                scan.finish();
                is_last = true;
                break;
            }
            // The first of a letter's records that is met is its latest one, unless that was met by an earlier page.
            let is_new = seen.insert(read.id);
            candidates.extend(read.found.filter(|_| is_new));
            if !named.is_empty() && named.remove(&*read.id.to_uuid()) && named.is_empty() {
                scan.finish();
                is_last = true;
                break;
            }
        }
        let asked = candidates
            .iter()
            .map(|found| (found.place.partition, found.asked()));
        let known = known(subscription, asked.collect()).await?;
        for (found, (_, Known { status, died })) in candidates.into_iter().zip(known) {
            let is_latest = died.is_none_or(|died| Millis(died) == found.dead_at);
            if is_latest && selection.admits_status(status) {
                letters.push(Found { status, ..found });
            }
        }
    }
    letters.reverse();
    Ok(Listing {
        letters,
        next: scan.rest(),
    })
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
    let bounds = subscription.bus.bounds(topic, partition).await?;
    if bounds.is_none_or(|(first, end)| !(first..end).contains(&offset)) {
        return Ok(None);
    }
    let reader = subscription.bus.reader(topic, partition, offset);
    let mut reader = reader.await?;
    let records = match heard(topic, partition, reader.fetch(1)).await? {
        Ok(records) => records,
        Err(FetchError::OutOfRange { .. }) => return Ok(None),
        Err(error @ FetchError::Store { .. }) => return Err(error.into()),
    };
    let mut records = records.into_iter();
    let record = records.find(|(position, _)| position.offset == offset);
    Ok(record.and_then(|(_, record)| dead_letter::from_record(record).ok()))
}

/// The next records of a partition that has some; what retention takes meanwhile is passed over.
pub(crate) async fn fetch(
    reader: &mut dyn Reader,
    (topic, partition): (&str, u32),
    next: &mut u64,
) -> Result<Vec<(Position, Record)>, LettersError> {
    match heard(topic, partition, reader.fetch(FETCH_BYTES)).await? {
        Ok(records) => {
            if let Some((last, _)) = records.last() {
                *next = last.offset + 1;
            }
            *next = reader.passed(0).max(*next);
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
        Err(error) => Err(error.into()),
    }
}

/// What came of a fetch where something is to be read; a cluster that does not answer sends nothing, and no error.
async fn heard<T>(
    topic: &str,
    partition: u32,
    fetched: impl Future<Output = T>,
) -> Result<T, Unanswered> {
    let heard = tokio::time::timeout(SILENCE, fetched).await;
    heard.map_err(|_elapsed| Unanswered {
        what: format!("read topic {topic:?} partition {partition}"),
        why: format!("nothing has come for {} s", SILENCE.as_secs()),
    })
}

/// What became of letters, each of a partition, and how far its commands were obeyed before that was looked at; in the
/// order of the letters.
pub(crate) async fn known(
    subscription: &Subscription,
    letters: Vec<(u32, OfLetter)>,
) -> Result<Vec<(u64, Known)>, LookupError> {
    let mut by_partition = BTreeMap::<u32, (Vec<usize>, Vec<OfLetter>)>::new();
    let mut found = vec![None; letters.len()];
    for (index, (partition, letter)) in letters.into_iter().enumerate() {
        let (indexes, asked) = by_partition.entry(partition).or_default();
        indexes.push(index);
        asked.push(letter);
    }
    let (mut places, mut asked) = (Vec::new(), Vec::new());
    for (partition, (indexes, letters)) in by_partition {
        let question = Question::Letters(letters);
        places.push(indexes);
        asked.push(Asked {
            partition,
            question,
        });
    }
    let answers = subscription.look_up(asked).await?;
    for (indexes, answer) in places.into_iter().zip(answers) {
        if let Answer::Letters { obeyed, letters } = answer {
            for (index, known) in indexes.into_iter().zip(letters) {
                found[index] = Some((obeyed, known));
            }
        }
    }
    Ok(found.into_iter().flatten().collect())
}

impl Found {
    /// What its owner is asked.
    fn asked(&self) -> OfLetter {
        OfLetter {
            id: self.id.to_uuid(),
            held: self.held.clone().map(Sequence),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
