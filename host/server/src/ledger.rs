//! The seam to where units of work are committed.
//!
//! | operation | embedded store | Kafka |
//! |---|---|---|
//! | [`Ledger::fix`] | kept with the subscription | nothing; the bus is told it by who joins, and from its first committed start on a partition has it in an entry of the changelog, with which each restore compares it; at least once nobody keeps it |
//! | [`Ledger::restore`] | waits until no unit of the partition is queued, reads cursor, attempts, inbox blocks, parked sequences, the first timers | waits until no unit of the partition is queued, then for stable offsets, restores the changelog to the high watermark |
//! | [`Ledger::lost_positions`] | compares cursors with the logs, and the topics' numbers with those of [`Ledger::begin`] | the same of committed offsets and topic ids |
//! | [`Ledger::commit`] | joins the next group: one batch, one sync | one transaction; an unknown outcome is resolved by unit number before it answers |
//! | [`Committed::state`], [`Committed::timer`], [`Committed::letter`], [`Committed::last_death`], [`Committed::parked_sequence`] | a point read | a point read of the local copy of the changelog |
//! | [`Ledger::tenure`] | always | from the end of a restore until the partition moves on |
//! | [`Committed::frontier`] | a point read | the same of the local copy |
//! | [`Committed::state_names`], [`Committed::timer_names`], [`Committed::timers_of`], [`Committed::state_bytes`] | a scan of the sequence's names | the same of the local copy |
//! | [`Committed::marked`] | a scan of the inbox blocks of these units | the same of the local copy |
//! | [`Committed::timers`] | a scan by due time | the same of the local copy |
//! | [`Committed::parked`] | a scan of the parked sequences | the same of the local copy |
//! | [`Committed::parked_head`], [`Committed::parked_events`] | a scan of the sequence from its first event | the same of the local copy of the park topic |
//!
//! Reads answer with what is committed at that moment. They block for as long as a disk takes.

use std::ops::RangeInclusive;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use weir_core::identity::Hash128;
use weir_core::inbox;
use weir_core::partition::Ordering;
use weir_core::time::Millis;
use weir_core::unit::{
    CommitResult, LetterStatus, Marked, ParkedEvent, ParkedSequence, Restore, SequenceKey, Timer,
    TimerKey, TimerPage, TimerPlace, Unit,
};

/// Whose work: one subscription.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Scope {
    /// `weir.<environment>.<tenant>.<handler>`.
    pub group: Arc<str>,
    /// Full topic names in the subscription's order: `Position::topic` indexes them.
    pub topics: Arc<[Arc<str>]>,
}

/// What a subscription keeps from its first start on, beside its topics: its marks and sequences were made under it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fixed {
    /// Which events wait for one another.
    pub ordering: Ordering,
    /// Whether they do so over all topics.
    pub across_topics: bool,
    /// Whether the inbox drops repeats.
    pub inbox: bool,
    /// What the inbox knows an event by, in the manifest's words; none: its `source` and `id`.
    pub inbox_key: Option<Arc<str>>,
    /// How a record becomes an event that is none, in the manifest's words; none: it does not.
    pub mapping: Option<Arc<str>>,
}

impl Fixed {
    /// What would change with these in its place, in the manifest's words.
    #[must_use]
    pub fn change_to(&self, wanted: &Self) -> Option<String> {
        let key = |fixed: &Self| match &fixed.inbox_key {
            Some(key) => format!("{key:?}"),
            None => "none".to_owned(),
        };
        let mapping = |fixed: &Self| fixed.mapping.as_deref().unwrap_or("none").to_owned();
        let settings = |fixed: &Self| {
            [
                ("ordering", fixed.ordering.name().to_owned()),
                ("ordering.across_topics", fixed.across_topics.to_string()),
                ("inbox.enabled", fixed.inbox.to_string()),
                ("inbox.key", key(fixed)),
                ("mapping", mapping(fixed)),
            ]
        };
        let mut changed = settings(wanted).into_iter().zip(settings(self));
        let ((name, is), (_, was)) = changed.find(|(is, was)| is != was)?;
        Some(format!("{name} ({is}, and was {was})"))
    }
}

/// A committed position from which nobody can go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostPosition {
    /// Index of the topic in the subscription's order.
    pub topic: u16,
    /// Why.
    pub cause: Loss,
    /// The first offset that the log keeps.
    pub first: u64,
    /// The one after its last.
    pub end: u64,
}

/// Why a position is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// There is none, and there was one.
    Missing,
    /// The log begins after this one.
    Deleted(u64),
    /// The log ends before this one.
    Beyond(u64),
    /// The topic was made anew since this one was committed.
    Remade(u64),
}

/// Where a partition stood in a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stood {
    /// It has no position there any more.
    Nowhere,
    /// At this offset of another topic that had the name.
    OnAnother(u64),
    /// At this offset.
    At(u64),
}

impl LostPosition {
    /// Why nobody can go on from there in a log with these bounds, if so.
    #[must_use]
    pub fn of(topic: u16, stood: Stood, (first, end): (u64, u64)) -> Option<Self> {
        let cause = match stood {
            Stood::Nowhere => Loss::Missing,
            Stood::OnAnother(offset) => Loss::Remade(offset),
            Stood::At(offset) if offset < first => Loss::Deleted(offset),
            Stood::At(offset) if offset > end => Loss::Beyond(offset),
            Stood::At(_) => return None,
        };
        Some(Self {
            topic,
            cause,
            first,
            end,
        })
    }

    /// What is lost, for people; `topic` is its name.
    #[must_use]
    pub fn describe(&self, topic: &str) -> String {
        let Self { first, end, .. } = self;
        let log = format!("the log of topic {topic} has {first} to {end}");
        match self.cause {
            Loss::Missing => {
                format!("there is no position any more, {log}; how much is lost is not known")
            }
            Loss::Deleted(offset) => {
                let lost = first - offset;
                format!("the position is {offset}, {log}: {lost} records are lost")
            }
            Loss::Beyond(offset) => {
                let lost = offset - end;
                format!("the position is {offset}, {log}: {lost} records are lost")
            }
            Loss::Remade(offset) => format!(
                "the position is {offset} of a topic that was made anew since, {log}: what the former one had after \
                 that is lost"
            ),
        }
    }
}

/// The ledger could not be read.
#[derive(Debug, thiserror::Error)]
#[error("read {what} of {group}")]
pub struct LedgerError {
    /// What was read.
    pub what: &'static str,
    /// Subscription.
    pub group: Arc<str>,
    /// Cause.
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// A ledger: commits units of work and gives them back.
pub trait Ledger: Send + Sync + 'static {
    /// What is fixed for a subscription; `wanted`, and kept from then on, where nothing was kept before.
    fn fix(&self, _scope: &Scope, wanted: Fixed) -> Result<Fixed, LedgerError> {
        Ok(wanted)
    }

    /// What was committed for this partition; the start of the topics where nothing was. A commit whose answer nobody
    /// waits for any more is over before it reads. The inbox is read within `window`, so that it is at no time in memory
    /// as a whole.
    fn restore(
        &self,
        scope: &Scope,
        partition: u32,
        window: inbox::Config,
    ) -> BoxFuture<'static, Result<Restore, LedgerError>>;

    /// What has kept a partition from being restored for long, as long as it does.
    fn obstacle(&self, _scope: &Scope, _partition: u32) -> Option<String> {
        None
    }

    /// The positions of a partition from which nobody can go on; none of a subscription that is new.
    fn lost_positions(
        &self,
        _scope: &Scope,
        _partition: u32,
    ) -> BoxFuture<'static, Result<Vec<LostPosition>, LedgerError>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }

    /// Notes that the partition has positions, in the topics as they are: without them it is not new, but has lost them.
    fn begin(&self, _scope: &Scope, _partition: u32) -> Result<(), LedgerError> {
        Ok(())
    }

    /// Commits the unit as a whole or not at all; answers when it is durable or surely absent. At most one commit of
    /// a partition is in flight.
    fn commit(&self, scope: &Scope, partition: u32, unit: Unit)
    -> BoxFuture<'static, CommitResult>;

    /// Since when [`Self::committed`] tells of this partition what is committed: a number that is another one with each
    /// time that this host takes the partition over; none while another host owns it, or this one restores it.
    fn tenure(&self, _scope: &Scope, _partition: u32) -> Option<u64> {
        Some(0)
    }

    /// Reads of what is committed, in partitions of which this host has a [`Self::tenure`].
    fn committed(&self) -> &dyn Committed;

    /// Deletes what is kept on this machine of partitions that others own, where nobody can use it any more; answers of how
    /// many. Blocks.
    fn sweep(&self) -> Result<usize, LedgerError> {
        Ok(0)
    }
}

/// What is committed, read one by one. A ledger whose commits go elsewhere lends the reads of its local copy.
pub trait Committed: Send + Sync + 'static {
    /// When an id was marked last by one of these units; none when it was not.
    fn marked(
        &self,
        scope: &Scope,
        partition: u32,
        id: Hash128,
        units: &[RangeInclusive<u64>],
    ) -> Result<Option<Marked>, LedgerError>;

    /// A committed value of a sequence; expired ones are absent.
    fn state(
        &self,
        scope: &Scope,
        partition: u32,
        sequence: &SequenceKey,
        name: &str,
    ) -> Result<Option<Bytes>, LedgerError>;

    /// All committed names of a sequence, sorted.
    fn state_names(
        &self,
        scope: &Scope,
        partition: u32,
        sequence: &SequenceKey,
    ) -> Result<Vec<String>, LedgerError>;

    /// Bytes of the committed names and values of a sequence, without the expired ones.
    fn state_bytes(
        &self,
        scope: &Scope,
        partition: u32,
        sequence: &SequenceKey,
    ) -> Result<usize, LedgerError>;

    /// The first event of a parked sequence, which has the lowest number.
    fn parked_head(
        &self,
        scope: &Scope,
        partition: u32,
        sequence: &SequenceKey,
    ) -> Result<Option<ParkedEvent>, LedgerError>;

    /// Events of a parked sequence by ascending number, at most `max`.
    fn parked_events(
        &self,
        scope: &Scope,
        partition: u32,
        sequence: &SequenceKey,
        max: usize,
    ) -> Result<Vec<ParkedEvent>, LedgerError>;

    /// A parked sequence; none for one that is not parked.
    fn parked_sequence(
        &self,
        scope: &Scope,
        partition: u32,
        sequence: &SequenceKey,
    ) -> Result<Option<ParkedSequence>, LedgerError>;

    /// Parked sequences, at most `max`, in the order of the store.
    fn parked(
        &self,
        scope: &Scope,
        partition: u32,
        max: usize,
    ) -> Result<Vec<(SequenceKey, ParkedSequence)>, LedgerError>;

    /// A timer that is set.
    fn timer(
        &self,
        scope: &Scope,
        partition: u32,
        key: &TimerKey,
    ) -> Result<Option<Timer>, LedgerError>;

    /// The timers that come next after this place, at most `max`; the first ones after none.
    fn timers(
        &self,
        scope: &Scope,
        partition: u32,
        after: Option<TimerPlace>,
        max: usize,
    ) -> Result<TimerPage, LedgerError>;

    /// The timers that the handler has set in a sequence, all in one page; delayed emissions are not among them.
    fn timers_of(
        &self,
        scope: &Scope,
        partition: u32,
        sequence: &SequenceKey,
    ) -> Result<TimerPage, LedgerError>;

    /// Names of the timers that the handler has set in a sequence, sorted; delayed emissions are not among them.
    fn timer_names(
        &self,
        scope: &Scope,
        partition: u32,
        sequence: &SequenceKey,
    ) -> Result<Vec<String>, LedgerError>;

    /// The first offset of a topic, by its index in the scope, that has no durable fate; zero where nothing was
    /// committed.
    fn frontier(&self, scope: &Scope, partition: u32, topic: u16) -> Result<u64, LedgerError>;

    /// What became of a dead letter; none for one that is not known.
    fn letter(
        &self,
        scope: &Scope,
        partition: u32,
        id: Hash128,
    ) -> Result<Option<LetterStatus>, LedgerError>;

    /// The time of the latest record of a dead letter, by which it is told from the records of its earlier deaths; none
    /// where that is not known.
    fn last_death(
        &self,
        scope: &Scope,
        partition: u32,
        id: Hash128,
    ) -> Result<Option<Millis>, LedgerError>;
}
