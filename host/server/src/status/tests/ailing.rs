//! A ledger and a reader that fail until they are well.

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures_util::future::{self, BoxFuture};
use weir_core::event::Record;
use weir_core::identity::Hash128;
use weir_core::inbox;
use weir_core::unit::{
    CommitResult, LetterStatus, Marked, ParkedEvent, ParkedSequence, Position, Restore,
    SequenceKey, Timer, TimerKey, TimerPage, TimerPlace, Unit,
};

use super::{Arc, Embedded, PARTITION, TOPIC};
use crate::bus::{FetchError, Reader};
use crate::ledger::{Ledger, LedgerError, Scope};

/// The store's ledger, which takes no commits and reads nothing until it is well.
pub(super) struct Ailing {
    pub(super) store: Embedded,
    pub(super) restores: bool,
    pub(super) well: Arc<AtomicBool>,
}

impl Ailing {
    fn error(&self, scope: &Scope) -> Option<LedgerError> {
        (!self.well.load(Ordering::Acquire)).then(|| LedgerError {
            what: "progress",
            group: Arc::clone(&scope.group),
            source: "the disk is gone".into(),
        })
    }
}

impl Ledger for Ailing {
    fn restore(
        &self,
        scope: &Scope,
        partition: u32,
        window: inbox::Config,
    ) -> BoxFuture<'static, Result<Restore, LedgerError>> {
        match self.error(scope) {
            Some(error) if !self.restores => Box::pin(future::ready(Err(error))),
            Some(_) | None => self.store.restore(scope, partition, window),
        }
    }

    fn commit(
        &self,
        scope: &Scope,
        partition: u32,
        unit: Unit,
    ) -> BoxFuture<'static, CommitResult> {
        match self.error(scope) {
            Some(error) => Box::pin(future::ready(CommitResult::Unavailable {
                message: error.to_string(),
            })),
            None => self.store.commit(scope, partition, unit),
        }
    }

    fn marked(
        &self,
        scope: &Scope,
        partition: u32,
        id: Hash128,
        units: &[RangeInclusive<u64>],
    ) -> Result<Option<Marked>, LedgerError> {
        self.store.marked(scope, partition, id, units)
    }

    fn state(
        &self,
        scope: &Scope,
        partition: u32,
        sequence: &SequenceKey,
        name: &str,
    ) -> Result<Option<Bytes>, LedgerError> {
        self.store.state(scope, partition, sequence, name)
    }

    fn state_names(
        &self,
        scope: &Scope,
        partition: u32,
        sequence: &SequenceKey,
    ) -> Result<Vec<String>, LedgerError> {
        self.store.state_names(scope, partition, sequence)
    }

    fn state_bytes(
        &self,
        scope: &Scope,
        partition: u32,
        sequence: &SequenceKey,
    ) -> Result<usize, LedgerError> {
        self.store.state_bytes(scope, partition, sequence)
    }

    fn parked_head(
        &self,
        scope: &Scope,
        partition: u32,
        sequence: &SequenceKey,
    ) -> Result<Option<ParkedEvent>, LedgerError> {
        self.store.parked_head(scope, partition, sequence)
    }

    fn parked_events(
        &self,
        scope: &Scope,
        partition: u32,
        sequence: &SequenceKey,
        max: usize,
    ) -> Result<Vec<ParkedEvent>, LedgerError> {
        self.store.parked_events(scope, partition, sequence, max)
    }

    fn parked_sequence(
        &self,
        scope: &Scope,
        partition: u32,
        sequence: &SequenceKey,
    ) -> Result<Option<ParkedSequence>, LedgerError> {
        self.store.parked_sequence(scope, partition, sequence)
    }

    fn parked(
        &self,
        scope: &Scope,
        partition: u32,
        max: usize,
    ) -> Result<Vec<(SequenceKey, ParkedSequence)>, LedgerError> {
        self.store.parked(scope, partition, max)
    }

    fn timer(
        &self,
        scope: &Scope,
        partition: u32,
        key: &TimerKey,
    ) -> Result<Option<Timer>, LedgerError> {
        self.store.timer(scope, partition, key)
    }

    fn timers(
        &self,
        scope: &Scope,
        partition: u32,
        after: Option<TimerPlace>,
        max: usize,
    ) -> Result<TimerPage, LedgerError> {
        self.store.timers(scope, partition, after, max)
    }

    fn timers_of(
        &self,
        scope: &Scope,
        partition: u32,
        sequence: &SequenceKey,
    ) -> Result<TimerPage, LedgerError> {
        self.store.timers_of(scope, partition, sequence)
    }

    fn timer_names(
        &self,
        scope: &Scope,
        partition: u32,
        sequence: &SequenceKey,
    ) -> Result<Vec<String>, LedgerError> {
        self.store.timer_names(scope, partition, sequence)
    }

    fn letter(
        &self,
        scope: &Scope,
        partition: u32,
        id: Hash128,
    ) -> Result<Option<LetterStatus>, LedgerError> {
        self.store.letter(scope, partition, id)
    }
}

/// The store's reader, which fails until it is well.
pub(super) struct AilingReader {
    pub(super) reader: Box<dyn Reader>,
    pub(super) well: Arc<AtomicBool>,
}

impl Reader for AilingReader {
    fn seek(&mut self, position: Position) {
        self.reader.seek(position);
    }

    fn only(&mut self, topic: Option<u16>) {
        self.reader.only(topic);
    }

    fn fetch(
        &mut self,
        bytes_max: usize,
    ) -> BoxFuture<'_, Result<Vec<(Position, Record)>, FetchError>> {
        if self.well.load(Ordering::Acquire) {
            return self.reader.fetch(bytes_max);
        }
        Box::pin(future::ready(Err(FetchError::Store {
            topic: TOPIC.into(),
            partition: PARTITION,
            source: "the disk is gone".into(),
        })))
    }
}
