//! The ledger's side: units of work go to the committer, everything else is read.

use std::ops::RangeInclusive;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use weir_core::identity::Hash128;
use weir_core::inbox;
use weir_core::time::Millis;
use weir_core::unit::{
    CommitResult, LetterStatus, Marked, ParkedEvent, ParkedSequence, Restore, SequenceKey, Timer,
    TimerKey, TimerPage, TimerPlace, Unit,
};

use super::committer::Rejected;
use super::reads::PartitionReads;
use super::staging::StagedUnit;
use super::store::ReadError;
use super::{Embedded, Inner, begun, restore};
use crate::ledger::{Committed, Fixed, Ledger, LedgerError, LostPosition, Scope};

const CLOSING: &str = "the store is being closed";

impl Ledger for Embedded {
    fn fix(&self, scope: &Scope, wanted: Fixed) -> Result<Fixed, LedgerError> {
        let Inner { store, catalog, .. } = &*self.inner;
        let group = catalog
            .group(store, &scope.group, &scope.topics)
            .map_err(|error| failed("what is fixed", scope, error))?;
        Ok(catalog.fix(store, &group, wanted))
    }

    fn restore(
        &self,
        scope: &Scope,
        partition: u32,
        window: inbox::Config,
    ) -> BoxFuture<'static, Result<Restore, LedgerError>> {
        let (inner, scope) = (Arc::clone(&self.inner), scope.clone());
        let what = "progress";
        Box::pin(async move {
            let group = inner
                .catalog
                .group(&inner.store, &scope.group, &scope.topics)
                .map_err(|error| failed(what, &scope, error))?;
            let settled = inner.committer.settle(group.id, partition).await;
            settled.map_err(|_rejected| failed(what, &scope, CLOSING))?;
            // An inbox window is megabytes: too long a read for the runtime's own threads.
            let read =
                move || restore::restore(&inner.store, &inner.catalog, &group, partition, window);
            match tokio::task::spawn_blocking(read).await {
                Ok(read) => read.map_err(|error| failed(what, &scope, error)),
                Err(error) => Err(failed(what, &scope, error)),
            }
        })
    }

    fn lost_positions(
        &self,
        scope: &Scope,
        partition: u32,
    ) -> BoxFuture<'static, Result<Vec<LostPosition>, LedgerError>> {
        let Inner { store, catalog, .. } = &*self.inner;
        let what = "positions";
        let group = catalog
            .group(store, &scope.group, &scope.topics)
            .map_err(|error| failed(what, scope, error));
        let lost = group.and_then(|group| {
            begun::lost(store, catalog, &group, partition)
                .map_err(|error| failed(what, scope, error))
        });
        Box::pin(std::future::ready(lost))
    }

    fn begin(&self, scope: &Scope, partition: u32) -> Result<(), LedgerError> {
        let Inner { store, catalog, .. } = &*self.inner;
        let what = "positions";
        let group = catalog
            .group(store, &scope.group, &scope.topics)
            .map_err(|error| failed(what, scope, error))?;
        self.note_begun(&group, partition)
            .map_err(|error| failed(what, scope, error))
    }

    fn commit(
        &self,
        scope: &Scope,
        partition: u32,
        unit: Unit,
    ) -> BoxFuture<'static, CommitResult> {
        let inner = Arc::clone(&self.inner);
        let group = inner
            .catalog
            .group(&inner.store, &scope.group, &scope.topics);
        Box::pin(async move {
            if let Err(message) = inner.disk.check_units() {
                return CommitResult::Unavailable { message };
            }
            let group = match group {
                Ok(group) => group,
                Err(error) => {
                    return CommitResult::Unavailable {
                        message: error.to_string(),
                    };
                }
            };
            let staged =
                match StagedUnit::new(&inner.store, &inner.catalog, group, partition, &unit) {
                    Ok(staged) => staged,
                    Err(refused) => return refused,
                };
            drop(unit);
            match inner.committer.commit(staged).await {
                Ok(result) => result,
                Err(Rejected::Closed | Rejected::Full) => CommitResult::Unavailable {
                    message: CLOSING.to_owned(),
                },
            }
        })
    }

    fn committed(&self) -> &dyn Committed {
        self
    }
}

impl Committed for Embedded {
    fn marked(
        &self,
        scope: &Scope,
        partition: u32,
        id: Hash128,
        units: &[RangeInclusive<u64>],
    ) -> Result<Option<Marked>, LedgerError> {
        self.read("inbox blocks", scope, partition, |reads| {
            reads.marked(id, units)
        })
    }

    fn state(
        &self,
        scope: &Scope,
        partition: u32,
        sequence: &SequenceKey,
        name: &str,
    ) -> Result<Option<Bytes>, LedgerError> {
        self.read("state", scope, partition, |reads| {
            reads.state(sequence, name)
        })
    }

    fn state_names(
        &self,
        scope: &Scope,
        partition: u32,
        sequence: &SequenceKey,
    ) -> Result<Vec<String>, LedgerError> {
        self.read("state names", scope, partition, |reads| {
            let mut names = Vec::new();
            reads.each_state(sequence, |name, _value| names.push(name.to_owned()))?;
            Ok(names)
        })
    }

    fn state_bytes(
        &self,
        scope: &Scope,
        partition: u32,
        sequence: &SequenceKey,
    ) -> Result<usize, LedgerError> {
        self.read("state sizes", scope, partition, |reads| {
            let mut bytes = 0;
            reads.each_state(sequence, |name, value| bytes += name.len() + value)?;
            Ok(bytes)
        })
    }

    fn parked_head(
        &self,
        scope: &Scope,
        partition: u32,
        sequence: &SequenceKey,
    ) -> Result<Option<ParkedEvent>, LedgerError> {
        self.read("the first parked event", scope, partition, |reads| {
            Ok(reads.parked_events(sequence, 1)?.pop())
        })
    }

    fn parked_events(
        &self,
        scope: &Scope,
        partition: u32,
        sequence: &SequenceKey,
        max: usize,
    ) -> Result<Vec<ParkedEvent>, LedgerError> {
        self.read("parked events", scope, partition, |reads| {
            reads.parked_events(sequence, max)
        })
    }

    fn parked_sequence(
        &self,
        scope: &Scope,
        partition: u32,
        sequence: &SequenceKey,
    ) -> Result<Option<ParkedSequence>, LedgerError> {
        self.read("a parked sequence", scope, partition, |reads| {
            reads.parked_sequence(sequence)
        })
    }

    fn parked(
        &self,
        scope: &Scope,
        partition: u32,
        max: usize,
    ) -> Result<Vec<(SequenceKey, ParkedSequence)>, LedgerError> {
        self.read("parked sequences", scope, partition, |reads| {
            reads.parked(max)
        })
    }

    fn timer(
        &self,
        scope: &Scope,
        partition: u32,
        key: &TimerKey,
    ) -> Result<Option<Timer>, LedgerError> {
        self.read("a timer", scope, partition, |reads| reads.timer(key))
    }

    fn timers(
        &self,
        scope: &Scope,
        partition: u32,
        after: Option<TimerPlace>,
        max: usize,
    ) -> Result<TimerPage, LedgerError> {
        self.read("timers", scope, partition, |reads| reads.timers(after, max))
    }

    fn timers_of(
        &self,
        scope: &Scope,
        partition: u32,
        sequence: &SequenceKey,
    ) -> Result<TimerPage, LedgerError> {
        self.read("timers", scope, partition, |reads| {
            reads.timers_of(sequence)
        })
    }

    fn timer_names(
        &self,
        scope: &Scope,
        partition: u32,
        sequence: &SequenceKey,
    ) -> Result<Vec<String>, LedgerError> {
        self.read("timer names", scope, partition, |reads| {
            reads.timer_names(sequence)
        })
    }

    fn frontier(&self, scope: &Scope, partition: u32, topic: u16) -> Result<u64, LedgerError> {
        let (_unit, cursors) = self.copy_progress(scope, partition)?;
        let cursor = cursors.get(usize::from(topic));
        Ok(cursor.map_or(0, |cursor| cursor.frontier))
    }

    fn letter(
        &self,
        scope: &Scope,
        partition: u32,
        id: Hash128,
    ) -> Result<Option<LetterStatus>, LedgerError> {
        let letter = self.read("a letter", scope, partition, |reads| reads.letter(id))?;
        Ok(letter.map(|letter| letter.status))
    }

    fn last_death(
        &self,
        scope: &Scope,
        partition: u32,
        id: Hash128,
    ) -> Result<Option<Millis>, LedgerError> {
        let letter = self.read("a letter", scope, partition, |reads| reads.letter(id))?;
        Ok(letter.and_then(|letter| letter.died))
    }
}

impl Embedded {
    /// Reads of one partition of a subscription; `what` names them in errors.
    fn read<T>(
        &self,
        what: &'static str,
        scope: &Scope,
        partition: u32,
        read: impl FnOnce(PartitionReads) -> Result<T, ReadError>,
    ) -> Result<T, LedgerError> {
        let store = &self.inner.store;
        let group = self
            .inner
            .catalog
            .group(store, &scope.group, &scope.topics)
            .map_err(|error| failed(what, scope, error))?;
        let reads = PartitionReads {
            store,
            group: group.id,
            partition,
        };
        let read = read(reads).map_err(|error| failed(what, scope, error));
        // Of a store of copies; another one has nowhere else to be had from.
        read.inspect_err(|error| store.give_up(error))
    }
}

pub(super) fn failed(
    what: &'static str,
    scope: &Scope,
    error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> LedgerError {
    LedgerError {
        what,
        group: Arc::clone(&scope.group),
        source: error.into(),
    }
}
