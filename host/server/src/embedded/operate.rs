//! What operators have asked of subscriptions: kept with them, and deleted with them.
//!
//! It is written beside the committer, because it is no part of a unit of work: each write is one small batch of its own.

use rocksdb::WriteBatch;

use super::key::{Key, Kind};
use super::ledger::failed;
use super::store::ReadError;
use super::{Embedded, job, steering};
use crate::jobs::Progress;
use crate::ledger::{LedgerError, Scope};
use crate::orders::KeptJob;
use crate::steering::Steering;

impl Embedded {
    /// What an operator has commanded of the subscription.
    pub fn steering(&self, scope: &Scope) -> Result<Steering, LedgerError> {
        let group = self.group_of("steering", scope)?;
        let read = || -> Result<Steering, ReadError> {
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

    /// The replay jobs that are kept of the subscription, by number.
    pub fn jobs(&self, scope: &Scope) -> Result<Vec<KeptJob>, LedgerError> {
        let group = self.group_of("jobs", scope)?;
        let store = &self.inner.store;
        let read = || -> Result<_, ReadError> {
            let mut jobs = Vec::new();
            let prefix = [&[Kind::Job as u8][..], &group.to_be_bytes()].concat();
            store.scan(Kind::Job.family(), &prefix, |key, value| {
                if let Key::Job { job: id, .. } = key {
                    let progress = store.get(&Key::JobProgress { group, job: id })?;
                    let plan = job::decode_plan(value)?;
                    // Both are written together, and go together.
                    if let Some(progress) = progress {
                        jobs.push(KeptJob {
                            id,
                            plan,
                            progress: job::decode_progress(&progress)?,
                        });
                    }
                }
                Ok::<_, ReadError>(true)
            })?;
            Ok(jobs)
        };
        read().map_err(|error| failed("jobs", scope, error))
    }

    /// Keeps a new replay job, and forgets an old one. Blocks until it is durable.
    pub fn keep_job(
        &self,
        scope: &Scope,
        job: &KeptJob,
        forget: Option<u64>,
    ) -> Result<(), LedgerError> {
        let group = self.group_of("jobs", scope)?;
        let store = &self.inner.store;
        let mut batch = WriteBatch::default();
        let KeptJob { id, plan, progress } = job;
        let (plan_key, progress_key) = (
            Key::Job { group, job: *id },
            Key::JobProgress { group, job: *id },
        );
        store.put(&mut batch, &plan_key, &job::encode_plan(plan));
        store.put(&mut batch, &progress_key, &job::encode_progress(progress));
        if let Some(job) = forget {
            store.delete(&mut batch, &Key::Job { group, job });
            store.delete(&mut batch, &Key::JobProgress { group, job });
        }
        store.write_synced(batch);
        Ok(())
    }

    /// Keeps how far a replay job is. Blocks until it is durable.
    pub fn keep_progress(
        &self,
        scope: &Scope,
        id: u64,
        progress: &Progress,
    ) -> Result<(), LedgerError> {
        let group = self.group_of("jobs", scope)?;
        let mut batch = WriteBatch::default();
        let key = Key::JobProgress { group, job: id };
        let value = job::encode_progress(progress);
        self.inner.store.put(&mut batch, &key, &value);
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
