//! The ledger's side: units go to the committers, all reads are answered by the local copy. At least once that copy is
//! empty.

use std::sync::Arc;
use std::time::Instant;

use futures_util::future::{self, BoxFuture};
use weir_core::inbox;
use weir_core::unit::{CommitResult, Cursor, Restore, Unit};

use super::offsets;
use super::patience::{self, Patience, RestoreError};
use super::restore::{self, Loading};
use super::share::Share;
use super::{Inner, Kafka};
use crate::clock::now;
use crate::config::Delivery;
use crate::ledger::{Committed, Ledger, LedgerError, LostPosition, Scope};

/// [`Ledger::fix`] stays what it is: what a fleet has kept is known with the first partition, whose restore refuses what
/// differs.
impl Ledger for Kafka {
    fn restore(
        &self,
        scope: &Scope,
        partition: u32,
        window: inbox::Config,
    ) -> BoxFuture<'static, Result<Restore, LedgerError>> {
        let (inner, scope) = (Arc::clone(&self.inner), scope.clone());
        Box::pin(async move {
            let mut restored = match inner.delivery {
                Delivery::ExactlyOnce => {
                    inner.owning(&scope, partition, Inner::load).await?;
                    let started = Instant::now();
                    let read = inner.copies.store.restore(&scope, partition, window);
                    let read = read.await;
                    let mut read = read.inspect_err(|error| {
                        inner.copies.distrust(&scope, partition);
                        inner.copies.store.copy_give_up(error);
                    })?;
                    let copy = inner.copies.of(&scope, partition);
                    let epoch = inner
                        .share(&scope.group)
                        .and_then(|share| share.tenure.epoch(partition));
                    read.witnessed = read.unit > 0
                        && epoch.is_some_and(|epoch| copy.was_lost_after(read.unit, epoch));
                    let (group, ms) = (&*scope.group, started.elapsed().as_millis());
                    tracing::debug!(group, partition, ms, "ledger read");
                    read
                }
                Delivery::AtLeastOnce => {
                    let restore =
                        |_: &Inner, share: &Share, partition| offsets::restore(share, partition);
                    inner.owning(&scope, partition, restore).await?
                }
            };
            let bounds = |inner: &Inner, share: &Share, partition| {
                patience::bounds(&inner.cluster, share, partition)
            };
            complete(
                &mut restored,
                inner.owning(&scope, partition, bounds).await?,
            );
            Ok(restored)
        })
    }

    fn obstacle(&self, scope: &Scope, partition: u32) -> Option<String> {
        self.inner.share(&scope.group)?.obstacle(partition)
    }

    fn lost_positions(
        &self,
        scope: &Scope,
        partition: u32,
    ) -> BoxFuture<'static, Result<Vec<LostPosition>, LedgerError>> {
        let (inner, scope) = (Arc::clone(&self.inner), scope.clone());
        Box::pin(async move {
            let look = |inner: &Inner, share: &Share, partition| match inner.delivery {
                Delivery::ExactlyOnce => {
                    inner.load(share, partition)?;
                    restore::lost(&inner.cluster, &inner.copies.store, share, partition)
                }
                Delivery::AtLeastOnce => offsets::lost(&inner.cluster, share, partition),
            };
            inner.owning(&scope, partition, look).await
        })
    }

    fn commit(
        &self,
        scope: &Scope,
        partition: u32,
        unit: Unit,
    ) -> BoxFuture<'static, CommitResult> {
        match self.inner.groups().get(&scope.group) {
            Some(group) => group.committers.commit(partition, unit),
            None => Box::pin(future::ready(CommitResult::Moved)),
        }
    }

    /// At least once there is nothing in the copy that another host could know better.
    fn tenure(&self, scope: &Scope, partition: u32) -> Option<u64> {
        if self.inner.delivery == Delivery::AtLeastOnce {
            return Some(0);
        }
        let share = self.inner.share(&scope.group)?;
        let epoch = share.tenure.epoch(partition)?;
        let copy = self.inner.copies.of(scope, partition);
        copy.is_loaded(epoch).then_some(epoch)
    }

    fn committed(&self) -> &dyn Committed {
        &self.inner.copies.store
    }

    fn sweep(&self) -> Result<usize, LedgerError> {
        let is_owned = |scope: &Scope, partition| {
            let share = self.inner.share(&scope.group);
            share.is_some_and(|share| share.tenure.epoch(partition).is_some())
        };
        self.inner.copies.sweep(now(), is_owned)
    }
}

impl Inner {
    /// Makes the partition's local copy what is committed.
    fn load(&self, share: &Share, partition: u32) -> Result<(), RestoreError> {
        let loading = Loading {
            clients: &self.clients,
            cluster: &self.cluster,
            copies: &self.copies,
            share,
        };
        loading.load(partition)
    }

    /// Does what waits for the cluster where nothing else has to wait for it, and again as long as the cluster does not
    /// answer. When the partition moves on meanwhile nobody waits for the answer, and there is none.
    async fn owning<T: Send + 'static>(
        self: &Arc<Self>,
        scope: &Scope,
        partition: u32,
        work: impl Fn(&Self, &Share, u32) -> Result<T, RestoreError> + Send + 'static,
    ) -> Result<T, LedgerError> {
        let here = self.groups().get(&scope.group).map(|group| {
            let decided = group.committers.wait_decided(partition);
            (Arc::clone(&group.share), decided)
        });
        let Some((share, decided)) = here else {
            return future::pending().await;
        };
        decided.await;
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| LedgerError {
            what: "the ledger",
            group: Arc::clone(&scope.group),
            source,
        };
        let Some(mut patience) = Patience::new(&share, partition) else {
            return future::pending().await;
        };
        let inner = Arc::clone(self);
        let attempt = move || patience.attempt(&share, || work(&inner, &share, partition));
        match self.loads.until_done(patience::RETRY, attempt).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(RestoreError::NoMember)) => future::pending().await,
            Ok(Err(error)) => Err(failed(error.into())),
            Err(panicked) => Err(failed(panicked.into())),
        }
    }
}

/// What only the cluster knows: where topics begin that nothing was committed of, and how far they reach.
fn complete(restored: &mut Restore, bounds: Vec<(u64, u64)>) {
    restored.cursors.resize_with(bounds.len(), Cursor::default);
    if restored.unit == 0 {
        for (cursor, (first, _)) in restored.cursors.iter_mut().zip(&bounds) {
            cursor.frontier = *first;
        }
    }
    restored.ends = bounds.into_iter().map(|(_, end)| end).collect();
}
