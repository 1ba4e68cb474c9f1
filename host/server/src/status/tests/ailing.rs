//! A ledger and a reader that fail until they are well.

use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::{self, BoxFuture};
use weir_core::event::Record;
use weir_core::inbox;
use weir_core::unit::{CommitResult, Position, Restore, Unit};

use super::{Arc, Duration, Embedded, Fixture, PARTITION, TOPIC, fixture};
use crate::bus::{FetchError, Reader};
use crate::ledger::{Committed, Ledger, LedgerError, Scope};

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

    fn committed(&self) -> &dyn Committed {
        &self.store
    }
}

/// A host with one event to give a fate, and a ledger that takes none.
pub(super) async fn backed_up() -> (Fixture, Arc<Ailing>) {
    let host = fixture();
    host.publish(1, Duration::ZERO).await;
    host.commit_position(0).await;
    let ledger = Ailing {
        store: host.store.clone(),
        restores: true,
        well: Arc::default(),
    };
    (host, Arc::new(ledger))
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
