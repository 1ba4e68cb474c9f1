//! The ledger's side: units go to the committers, all reads are answered by the local copy.

use std::ops::RangeInclusive;
use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use weir_core::identity::Hash128;
use weir_core::inbox;
use weir_core::time::Millis;
use weir_core::unit::{
    CommitResult, Cursor, LetterStatus, Marked, ParkedEvent, ParkedSequence, Restore, SequenceKey,
    Timer, TimerKey, TimerPage, TimerPlace, Unit,
};

use super::restore::{self, RestoreError};
use super::{Group, Inner, Kafka};
use crate::ledger::{Fixed, Ledger, LedgerError, LostPosition, Scope};

impl Ledger for Kafka {
    /// What a fleet has kept is known with the first partition, whose restore refuses what differs.
    fn fix(&self, scope: &Scope, wanted: Fixed) -> Result<Fixed, LedgerError> {
        let fixed = self.inner.fixed.lock();
        let mut fixed = fixed.unwrap_or_else(PoisonError::into_inner);
        fixed.insert(Arc::clone(&scope.group), wanted);
        Ok(wanted)
    }

    fn restore(
        &self,
        scope: &Scope,
        partition: u32,
        window: inbox::Config,
    ) -> BoxFuture<'static, Result<Restore, LedgerError>> {
        let (inner, scope) = (Arc::clone(&self.inner), scope.clone());
        Box::pin(async move {
            let group = inner.loaded(&scope, partition).await?;
            let mut restored = inner.copy.restore(&scope, partition, window).await?;
            let completed = {
                let inner = Arc::clone(&inner);
                move || complete(&inner, &group, partition, &mut restored).map(|()| restored)
            };
            blocking(&scope, completed).await
        })
    }

    fn lost_positions(
        &self,
        scope: &Scope,
        partition: u32,
    ) -> BoxFuture<'static, Result<Vec<LostPosition>, LedgerError>> {
        let (inner, scope) = (Arc::clone(&self.inner), scope.clone());
        Box::pin(async move {
            let group = inner.loaded(&scope, partition).await?;
            let look = {
                let inner = Arc::clone(&inner);
                move || restore::lost(&inner.cluster, &inner.copy, &group.share, partition)
            };
            blocking(&scope, look).await
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

    fn marked(
        &self,
        scope: &Scope,
        partition: u32,
        id: Hash128,
        units: &[RangeInclusive<u64>],
    ) -> Result<Option<Marked>, LedgerError> {
        self.inner.copy.marked(scope, partition, id, units)
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

    fn parked_sequence(
        &self,
        scope: &Scope,
        partition: u32,
        sequence: &SequenceKey,
    ) -> Result<Option<ParkedSequence>, LedgerError> {
        self.inner.copy.parked_sequence(scope, partition, sequence)
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

    fn timers(
        &self,
        scope: &Scope,
        partition: u32,
        after: Option<TimerPlace>,
        max: usize,
    ) -> Result<TimerPage, LedgerError> {
        self.inner.copy.timers(scope, partition, after, max)
    }

    fn timers_of(
        &self,
        scope: &Scope,
        partition: u32,
        sequence: &SequenceKey,
    ) -> Result<TimerPage, LedgerError> {
        self.inner.copy.timers_of(scope, partition, sequence)
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
    fn last_death(
        &self,
        scope: &Scope,
        partition: u32,
        id: Hash128,
    ) -> Result<Option<Millis>, LedgerError> {
        self.inner.copy.last_death(scope, partition, id)
    }
}

impl Inner {
    /// The group, once the partition's local copy is what is committed. Where the partition moves on meanwhile nobody
    /// waits for the answer, and there is none.
    async fn loaded(self: &Arc<Self>, scope: &Scope, partition: u32) -> Result<Group, LedgerError> {
        let Some(group) = self.group(&scope.group) else {
            return std::future::pending().await;
        };
        let _turn = self.loads.acquire().await;
        let load = {
            let (inner, share) = (Arc::clone(self), Arc::clone(&group.share));
            move || {
                let Inner {
                    clients,
                    cluster,
                    copy,
                    ..
                } = &*inner;
                match restore::load(clients, cluster, copy, &share, partition) {
                    Err(RestoreError::NoMember) => Ok(false),
                    loaded => loaded.map(|()| true),
                }
            }
        };
        if blocking(scope, load).await? {
            Ok(group)
        } else {
            std::future::pending().await
        }
    }
}

/// Does what waits for the cluster where nothing else has to wait for it.
async fn blocking<T: Send + 'static>(
    scope: &Scope,
    work: impl FnOnce() -> Result<T, RestoreError> + Send + 'static,
) -> Result<T, LedgerError> {
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| LedgerError {
        what: "the ledger",
        group: Arc::clone(&scope.group),
        source,
    };
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| failed(error.into()))?
        .map_err(|error| failed(error.into()))
}

/// What only the cluster knows: where topics begin that nothing was committed of, and how far they reach.
fn complete(
    inner: &Inner,
    group: &Group,
    partition: u32,
    restored: &mut Restore,
) -> Result<(), RestoreError> {
    let bounds = restore::bounds(&inner.cluster, &group.share, partition)?;
    restored.cursors.resize_with(bounds.len(), Cursor::default);
    if restored.unit == 0 {
        for (cursor, (first, _)) in restored.cursors.iter_mut().zip(&bounds) {
            cursor.frontier = *first;
        }
    }
    restored.ends = bounds.into_iter().map(|(_, end)| end).collect();
    Ok(())
}
