//! One topic partition as it is read: how far, and whether what ought to come does.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{BaseConsumer, ConsumerContext};

use super::super::native::position;
use super::super::records::number;

/// A topic partition of which nothing more has come for so long is asked how far it was read: each answer that is news costs
/// a transaction.
pub(super) const QUIET: Duration = Duration::from_secs(10);

/// Records wait in a topic partition, and for so long each look has found none: something is wrong with it.
pub(super) const STARVED: Duration = Duration::from_secs(30);
/// Looks that are further apart say nothing of what was between them.
pub(super) const LOOKS_APART: Duration = Duration::from_secs(5);
/// Between two tries to have a topic partition read again that is not, for an error or for nothing.
const AGAIN: Duration = Duration::from_secs(10);
/// Tries after which the membership is made anew, of a topic partition that gives nothing.
pub(super) const TRIES: u32 = 2;

/// One topic partition.
pub(super) struct Source<C: ConsumerContext> {
    pub(super) topic: Arc<str>,
    pub(super) queue: PartitionQueue<C>,
    /// What came before it was asked for is dropped.
    pub(super) from: u64,
    /// When something came, was sought, or was found to be quiet.
    pub(super) busy: Instant,
    /// Where librdkafka stood before it was sought, which it says for a moment longer.
    pub(super) stale: Option<u64>,
    /// How far it was read, as the partition was told.
    pub(super) told: u64,
    /// It could not be read, and was not since.
    pub(super) failing: Option<Failing>,
    /// Since when looks have found nothing, and when the last did.
    empty: Option<(Instant, Instant)>,
    /// Since when there is something to be found.
    waits: Option<Instant>,
    /// How far librdkafka had fetched it.
    fetched: Option<u64>,
    /// It has given nothing, so often since something came.
    pub(super) starved: u32,
}

/// What is done about a topic partition that cannot be read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Failing {
    /// It is sought again then: an error that stays is told again.
    Until(Instant),
    /// It was sought again, and nothing was told since.
    Sought,
}

impl<C: ConsumerContext> Source<C> {
    /// One that is about to be assigned from here on.
    pub(super) fn new(
        topic: Arc<str>,
        queue: PartitionQueue<C>,
        from: u64,
        stale: Option<u64>,
    ) -> Self {
        Self {
            topic,
            queue,
            from,
            busy: Instant::now(),
            stale,
            told: from,
            failing: None,
            empty: None,
            waits: None,
            fetched: None,
            starved: 0,
        }
    }

    /// It is sought again; what was fetched before that librdkafka drops.
    pub(super) fn note_sought(&mut self, from: u64, stale: Option<u64>) {
        (self.from, self.told) = (from, from);
        (self.busy, self.stale) = (Instant::now(), stale);
        (self.empty, self.waits) = (None, None);
    }

    /// Something has come of it, and an error after that or none.
    pub(super) fn note_came(&mut self, failed: bool) {
        (self.busy, self.stale) = (Instant::now(), None);
        (self.empty, self.waits, self.starved) = (None, None, 0);
        self.failing = self.failing.filter(|_| failed);
    }

    pub(super) fn fail(&mut self) {
        self.failing = Some(Failing::Until(Instant::now() + AGAIN));
    }

    /// Whether it is to be sought again, or has been for long enough.
    pub(super) fn is_due(&self) -> bool {
        match self.failing {
            Some(Failing::Until(at)) => Instant::now() >= at,
            Some(Failing::Sought) => self.busy.elapsed() >= QUIET,
            None => false,
        }
    }

    /// A look has found nothing.
    pub(super) fn note_empty(&mut self) {
        let now = Instant::now();
        let is_near = |(_, last): &(Instant, Instant)| now.duration_since(*last) < LOOKS_APART;
        let since = self.empty.filter(is_near).map_or(now, |(since, _)| since);
        self.empty = Some((since, now));
    }

    /// Notes whether there is something to be found, and how far librdkafka has come with it; true when it should have been
    /// found.
    pub(super) fn is_starved(&mut self, waits: bool, fetched: Option<u64>) -> bool {
        // What was aborted is passed over without a word.
        let moves = std::mem::replace(&mut self.fetched, fetched) != fetched;
        let counts = waits && !moves && self.failing.is_none();
        let is_near = |(_, last): &(Instant, Instant)| last.elapsed() < LOOKS_APART;
        let Some((since, _)) = self.empty.filter(is_near).filter(|_| counts) else {
            self.waits = None;
            return false;
        };
        let waits = *self.waits.get_or_insert_with(Instant::now);
        since.elapsed() > STARVED && waits.elapsed() > STARVED
    }

    /// How far it was read: what was taken from the queue was handed over.
    pub(super) fn position(&self, consumer: &BaseConsumer<C>, partition: u32) -> Option<u64> {
        let position = position(consumer, &self.topic, number(partition));
        position.filter(|at| self.stale != Some(*at))
    }
}
