//! Dead-letter topics, read from their ends: the records of all partitions, those of the latest deaths first.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use weir_core::dead_letter::{self, Letter};
use weir_core::event::Record;
use weir_core::identity::Hash128;
use weir_core::time::Millis;

use super::{Found, LettersError, Place, Status, fetch};
use crate::pipeline::{self, Subscription};

/// Records of a partition that are read at first: a list of a hundred letters in twelve partitions reads a few hundred.
const PIECE: u64 = 32;
/// Each piece is twice the one before it, up to so many: who looks through all letters has not a reader for each few of them,
/// which on a cluster is a client.
const PIECE_MAX: u64 = 2_048;
/// What is kept of a key and of a message while letters are listed.
const KEY_BYTES: usize = 64;
const MESSAGE_CHARS: usize = 200;

/// Where a list ended: an offset of each partition of each dead-letter topic; what stands before it was not shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor(Vec<u64>);

/// No list ended there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not where a list of this handler's letters ended: take what such a list says")]
pub struct CursorError(String);

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, offset) in self.0.iter().enumerate() {
            let dot = if index > 0 { "." } else { "" };
            write!(f, "{dot}{offset}")?;
        }
        Ok(())
    }
}

impl FromStr for Cursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        let offsets: Result<_, _> = text.split('.').map(str::parse).collect();
        offsets
            .map(Self)
            .map_err(|_not_a_number| CursorError(text.to_owned()))
    }
}

/// A letter's record.
pub(super) struct Read {
    pub(super) id: Hash128,
    pub(super) dead_at: Millis,
    /// None where it does not fit.
    pub(super) found: Option<Found>,
}

/// Reads backwards.
pub(super) struct Scan<'a> {
    subscription: &'a Subscription,
    sources: Vec<Source>,
}

/// One partition of one dead-letter topic.
struct Source {
    topic: u16,
    partition: u32,
    /// Its first kept offset.
    first: u64,
    /// What stands from here on has been read.
    unread: u64,
    /// How much is read next.
    piece: u64,
    /// What stands from here on has been given out.
    given: u64,
    /// What was read and not given out, with its offset; the latest last.
    read: Vec<(u64, Read)>,
}

impl<'a> Scan<'a> {
    /// Begins where another one ended, or with the latest records.
    pub(super) async fn new(
        subscription: &'a Subscription,
        before: Option<&Cursor>,
    ) -> Result<Self, LettersError> {
        let deployment = &subscription.deployment;
        let mut sources = Vec::new();
        for (topic, name) in (0..).zip(deployment.dead_letter_topics.iter()) {
            for partition in 0..deployment.partitions(&*subscription.bus) {
                // There is no such topic where none may be made, and no letter either.
                let bounds = subscription.bus.bounds(name, partition).await?;
                let (first, end) = bounds.unwrap_or((0, 0));
                sources.push(Source {
                    topic,
                    partition,
                    first,
                    unread: end,
                    piece: PIECE,
                    given: end,
                    read: Vec::new(),
                });
            }
        }
        if let Some(cursor) = before {
            if cursor.0.len() != sources.len() {
                return Err(CursorError(cursor.to_string()).into());
            }
            for (source, offset) in sources.iter_mut().zip(&cursor.0) {
                source.unread = source.unread.min(*offset);
                source.given = source.unread;
            }
        }
        Ok(Self {
            subscription,
            sources,
        })
    }

    /// The next record; none when all are given out.
    pub(super) async fn next(
        &mut self,
        admits: &(dyn Fn(&Letter) -> bool + Sync),
    ) -> Result<Option<Read>, LettersError> {
        for source in &mut self.sources {
            source.fill(self.subscription, admits).await?;
        }
        let latest = |source: &&mut Source| source.read.last().map(|(_, read)| read.dead_at);
        let source = self.sources.iter_mut().max_by_key(latest);
        Ok(source.and_then(|source| {
            let (offset, read) = source.read.pop()?;
            source.given = offset;
            Some(read)
        }))
    }

    /// Nothing that is left is wanted.
    pub(super) fn finish(&mut self) {
        self.sources.clear();
    }

    /// Where to go on; none when nothing is left.
    pub(super) fn rest(&self) -> Option<Cursor> {
        let mut sources = self.sources.iter();
        sources.any(|source| source.given > source.first).then(|| {
            let given = self.sources.iter().map(|source| source.given);
            Cursor(given.collect())
        })
    }
}

impl Source {
    /// Reads the piece before what was read, while there is nothing to give out.
    async fn fill(
        &mut self,
        subscription: &Subscription,
        admits: &(dyn Fn(&Letter) -> bool + Sync),
    ) -> Result<(), LettersError> {
        while self.read.is_empty() && self.unread > self.first {
            let end = self.unread;
            let from = end.saturating_sub(self.piece).max(self.first);
            self.piece = (self.piece * 2).min(PIECE_MAX);
            let topic = &subscription.deployment.dead_letter_topics[usize::from(self.topic)];
            let reader = subscription.bus.reader(topic, self.partition, from);
            let mut reader = reader.await?;
            let (source, mut next) = ((&**topic, self.partition), from);
            while next < end {
                for (position, record) in fetch(&mut *reader, source, &mut next).await? {
                    let place = Place {
                        topic: self.topic,
                        partition: self.partition,
                        offset: position.offset,
                    };
                    if place.offset < end
                        && let Some(read) = read(subscription, place, record, admits)
                    {
                        self.read.push((place.offset, read));
                    }
                }
            }
            self.unread = from;
            if self.read.is_empty() {
                self.given = from;
            }
            tokio::task::yield_now().await;
        }
        Ok(())
    }
}

/// Whose letter a record is, and the letter where it fits.
fn read(
    subscription: &Subscription,
    place: Place,
    record: Record,
    admits: &(dyn Fn(&Letter) -> bool + Sync),
) -> Option<Read> {
    let (letter, original) = dead_letter::from_record(record).ok()?;
    let (id, dead_at) = (letter.id, letter.dead_at);
    let fits = admits(&letter);
    // A slice would keep the whole fetch in memory.
    let cut = |key: &Bytes| Bytes::copy_from_slice(&key[..key.len().min(KEY_BYTES)]);
    let held = || pipeline::sequence_of(&subscription.deployment, &letter.origin, &original);
    let held = (fits && letter.held).then(held).flatten();
    let found = fits.then(|| Found {
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
        dead_at,
        held,
        status: Status::Dead,
    });
    Some(Read { id, dead_at, found })
}
