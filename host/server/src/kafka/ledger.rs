//! The ledger's side: units go to the committers, all reads are answered by the local copy.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use weir_core::identity::Hash128;
use weir_core::unit::{
    CommitResult, Cursor, LetterStatus, ParkedEvent, ParkedSequence, Restore, SequenceKey, Timer,
    TimerKey, TimerPage, Unit,
};

use super::{Group, Inner, Kafka, restore};
use crate::ledger::{Ledger, LedgerError, Scope};

impl Ledger for Kafka {
    fn restore(
        &self,
        scope: &Scope,
        partition: u32,
    ) -> BoxFuture<'static, Result<Restore, LedgerError>> {
        let (inner, scope) = (Arc::clone(&self.inner), scope.clone());
        Box::pin(async move {
            let failed = |source: Box<dyn std::error::Error + Send + Sync>| LedgerError {
                what: "the ledger",
                group: Arc::clone(&scope.group),
                source,
            };
            let group = inner
                .group(&scope.group)
                .ok_or_else(|| failed("it is not a member of its group".into()))?;
            let load = {
                let (inner, share) = (Arc::clone(&inner), Arc::clone(&group.share));
                move || {
                    restore::restore(
                        &inner.clients,
                        &inner.cluster,
                        &inner.copy,
                        &share,
                        partition,
                    )
                }
            };
            let loaded = tokio::task::spawn_blocking(load).await;
            loaded
                .map_err(|error| failed(error.into()))?
                .map_err(|error| failed(error.into()))?;
            let mut restored = inner.copy.restore(&scope, partition).await?;
            let complete = {
                let inner = Arc::clone(&inner);
                move || {
                    complete(&inner, &group, partition, &mut restored)?;
                    Ok::<_, Box<dyn std::error::Error + Send + Sync>>(restored)
                }
            };
            tokio::task::spawn_blocking(complete)
                .await
                .map_err(|error| failed(error.into()))?
                .map_err(failed)
        })
    }

    fn commit(
        &self,
        scope: &Scope,
        partition: u32,
        unit: Unit,
    ) -> BoxFuture<'static, CommitResult> {
        let group = self.inner.group(&scope.group);
        Box::pin(async move {
            match group {
                Some(group) => group.committers.commit(partition, unit).await,
                None => CommitResult::Unavailable {
                    message: "the host is not a member of the group".to_owned(),
                },
            }
        })
    }

    fn state(
        &self,
        scope: &Scope,
        partition: u32,
        sequence: &SequenceKey,
        name: &str,
    ) -> Result<Option<Bytes>, LedgerError> {
        self.inner.copy.state(scope, partition, sequence, name)
    }

    fn state_names(
        &self,
        scope: &Scope,
        partition: u32,
        sequence: &SequenceKey,
    ) -> Result<Vec<String>, LedgerError> {
        self.inner.copy.state_names(scope, partition, sequence)
    }

    fn state_bytes(
        &self,
        scope: &Scope,
        partition: u32,
        sequence: &SequenceKey,
    ) -> Result<usize, LedgerError> {
        self.inner.copy.state_bytes(scope, partition, sequence)
    }

    fn parked_head(
        &self,
        scope: &Scope,
        partition: u32,
        sequence: &SequenceKey,
    ) -> Result<Option<ParkedEvent>, LedgerError> {
        self.inner.copy.parked_head(scope, partition, sequence)
    }

    fn parked_events(
        &self,
        scope: &Scope,
        partition: u32,
        sequence: &SequenceKey,
        max: usize,
    ) -> Result<Vec<ParkedEvent>, LedgerError> {
        self.inner
            .copy
            .parked_events(scope, partition, sequence, max)
    }

    fn parked(
        &self,
        scope: &Scope,
        partition: u32,
        max: usize,
    ) -> Result<Vec<(SequenceKey, ParkedSequence)>, LedgerError> {
        self.inner.copy.parked(scope, partition, max)
    }

    fn timer(
        &self,
        scope: &Scope,
        partition: u32,
        key: &TimerKey,
    ) -> Result<Option<Timer>, LedgerError> {
        self.inner.copy.timer(scope, partition, key)
    }

    fn timers(&self, scope: &Scope, partition: u32, max: usize) -> Result<TimerPage, LedgerError> {
        self.inner.copy.timers(scope, partition, max)
    }

    fn timer_names(
        &self,
        scope: &Scope,
        partition: u32,
        sequence: &SequenceKey,
    ) -> Result<Vec<String>, LedgerError> {
        self.inner.copy.timer_names(scope, partition, sequence)
    }

    fn letter(
        &self,
        scope: &Scope,
        partition: u32,
        id: Hash128,
    ) -> Result<Option<LetterStatus>, LedgerError> {
        self.inner.copy.letter(scope, partition, id)
    }
}

/// What only the cluster knows: where topics begin that nothing was committed of, and how far they reach.
fn complete(
    inner: &Inner,
    group: &Group,
    partition: u32,
    restored: &mut Restore,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let share = &group.share;
    restore::check(share, partition, restored)?;
    let bounds = share
        .scope
        .topics
        .iter()
        .zip(&share.counts)
        .map(|(topic, count)| match partition < *count {
            true => inner.cluster.watermarks(topic, partition),
            false => Ok((0, 0)),
        })
        .collect::<Result<Vec<_>, _>>()?;
    let fresh = restored.unit == 0;
    restored.cursors.resize_with(bounds.len(), Cursor::default);
    for (cursor, (first, _)) in restored.cursors.iter_mut().zip(&bounds) {
        if fresh {
            cursor.frontier = *first;
        }
    }
    restored.ends = bounds.into_iter().map(|(_, end)| end).collect();
    Ok(())
}
