//! What operators have asked of subscriptions: kept with them, and deleted with them.
//!
//! It is written beside the committer, because it is no part of a unit of work: each write is one small batch of its own.

use rocksdb::WriteBatch;

use super::key::Key;
use super::ledger::failed;
use super::{Embedded, steering};
use crate::ledger::{LedgerError, Scope};
use crate::steering::Steering;

impl Embedded {
    /// What an operator has commanded of the subscription.
    pub fn steering(&self, scope: &Scope) -> Result<Steering, LedgerError> {
        let group = self.group_of("steering", scope)?;
        let read = || -> Result<Steering, super::store::ReadError> {
            let stored = self.inner.store.get(&Key::Steering { group })?;
            Ok(stored
                .map(|value| steering::decode(&value))
                .transpose()?
                .unwrap_or_default())
        };
        read().map_err(|error| failed("steering", scope, error))
    }

    /// Keeps what an operator has commanded. Blocks until it is durable.
    pub fn keep_steering(&self, scope: &Scope, steering: Steering) -> Result<(), LedgerError> {
        let group = self.group_of("steering", scope)?;
        let mut batch = WriteBatch::default();
        let value = steering::encode(steering);
        self.inner
            .store
            .put(&mut batch, &Key::Steering { group }, &value);
        self.inner.store.write_synced(batch);
        Ok(())
    }

    /// The subscription's number.
    pub(super) fn group_of(&self, what: &'static str, scope: &Scope) -> Result<u32, LedgerError> {
        let catalog = &self.inner.catalog;
        let group = catalog.group(&self.inner.store, &scope.group, &scope.topics);
        group
            .map(|group| group.id)
            .map_err(|error| failed(what, scope, error))
    }
}
