//! Whose changes the local copy of a partition's ledger takes.
//!
//! Assignments of a partition follow one another, and what is left of an earlier one may still be at work when a later
//! one begins: a load that nobody wants any more, a committer that was frozen between a commit and its copy. Their epochs
//! tell them apart, over all memberships of this process; another process has another data directory.
//!
//! # What is in a copy
//!
//! Only units that are known to be committed, and all of them up to its checkpoint. A unit changes the copy when its
//! transaction was committed, and moves the checkpoint behind the last entries that the broker said to be its own. What lies
//! in between is nobody's: of the partition's entries only its owner's can be committed (the group fences the offsets that
//! go with them), and those of his that were aborted are not read.
//!
//! - **Nobody answered**: what the committed offsets say is enough to go on, but they name a unit and not its owner, and a
//!   frozen host may find the number of another's. So the copy takes the unit, as reads must, and its checkpoint is put
//!   aside. When the next unit of the same epoch is known to be committed, nobody else has had the partition in between: the
//!   group fences whoever has lost it, and would have fenced that one too. So the unit was the owner's own and lies before
//!   the entries of the next, and the checkpoint goes on behind those.
//! - **Moved, refused, unavailable**: the copy does not change. If the unit was committed all the same it lies behind the
//!   checkpoint, where the next owner reads it. Should a later unit of the same epoch be committed, a number is missing
//!   before it, and the copy loses its checkpoint.
//! - **Another owner in between**: all that he wrote lies behind the checkpoint too. A unit of ours that reaches the copy
//!   late moves the checkpoint no further than its own entries, and has it no younger than when it was staged.
//! - **A load has begun since**: the unit is refused here. The load waits until no transaction is open over the partition's
//!   offsets, so it reads what that unit was part of.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use weir_core::time::Millis;

use super::committers::Request;
use super::own_topics::CHECKPOINT_AGE_MAX;
use crate::embedded::{Changes, Checkpoint, Embedded};
use crate::ledger::{LedgerError, Scope};

/// The copies of all partitions that this host has had since it was started.
pub(super) struct Copies {
    pub(super) store: Embedded,
    partitions: Mutex<PartitionCopies>,
}

/// By group and partition number.
type PartitionCopies = HashMap<(Arc<str>, u32), Arc<PartitionCopy>>;

/// The copy of one partition.
#[derive(Default)]
pub(super) struct PartitionCopy {
    /// Held by whoever fills it: the epoch for which it was filled.
    loading: Mutex<Option<u64>>,
    taken: Mutex<Taken>,
    /// The last unit that this process is known to have committed, and the epoch in which it did.
    own: Mutex<(u64, u64)>,
}

/// What a copy takes.
#[derive(Default)]
struct Taken {
    /// Units of this epoch.
    epoch: u64,
    /// The last that it has.
    unit: u64,
    /// How far it is, if the last unit is this owner's own; none when nobody knows.
    checkpoint: Option<Checkpoint>,
}

impl Copies {
    pub(super) fn new(store: Embedded) -> Self {
        Self {
            store,
            partitions: Mutex::default(),
        }
    }

    pub(super) fn of(&self, scope: &Scope, partition: u32) -> Arc<PartitionCopy> {
        let mut partitions = self
            .partitions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let copy = partitions.entry((Arc::clone(&scope.group), partition));
        Arc::clone(copy.or_default())
    }

    /// Changes the copy by a unit that is committed, unless it is another epoch's by now. `last` are the offsets of the unit's
    /// last entries, where they are known to be its own. Answers false when they lie before those of earlier units: each has
    /// some in the ledger, which is another one then.
    pub(super) fn commit(
        &self,
        scope: &Scope,
        request: &Request,
        changes: &Changes,
        last: Option<[Option<u64>; 2]>,
    ) -> bool {
        let copy = self.of(scope, request.partition);
        if last.is_some() {
            *copy.own() = (request.unit.number, request.epoch);
        }
        let mut taken = copy.taken();
        if taken.epoch != request.epoch {
            return true;
        }
        let unit = &request.unit;
        let is_next = unit.number == taken.unit + 1;
        let before = taken.checkpoint.take().filter(|_| is_next);
        let is_before = |(before, last): (&Checkpoint, [Option<u64>; 2])| {
            last[0].is_some_and(|last| last < before.logs[0].next)
        };
        let goes_on = !before.as_ref().zip(last).is_some_and(is_before);
        let before = before.filter(|_| goes_on);
        taken.checkpoint = before.map(|before| match last {
            Some(last) => before.after(unit.staged_at, last),
            None => before,
        });
        taken.unit = unit.number;
        // Whose unit it is has to be known where a later host is to go on from it.
        let known = taken.checkpoint.as_ref().filter(|_| last.is_some());
        self.store.copy_write(changes, known);
        goes_on
    }

    /// The copy is whole, with this unit, and `checkpoint` says how far.
    pub(super) fn loaded(
        &self,
        scope: &Scope,
        partition: u32,
        unit: u64,
        checkpoint: Checkpoint,
    ) -> Result<(), LedgerError> {
        let copy = self.of(scope, partition);
        let mut taken = copy.taken();
        self.store.copy_mark(scope, partition, Some(&checkpoint))?;
        taken.unit = unit;
        taken.checkpoint = Some(checkpoint);
        Ok(())
    }

    /// Deletes the copies of partitions that this host does not own where nobody may go on from them: those with an old
    /// checkpoint, or none. Answers how many there were.
    pub(super) fn sweep(
        &self,
        now: Millis,
        is_owned: impl Fn(&Scope, u32) -> bool,
    ) -> Result<usize, LedgerError> {
        let mut deleted = 0;
        for (scope, partition) in self.store.copy_partitions()? {
            let copy = self.of(&scope, partition);
            // An owner may go on to use what is old. Whoever becomes one waits here, and fills it anew.
            let Ok(_loading) = copy.loading.try_lock() else {
                continue;
            };
            let kept = self.store.copy_checkpoint(&scope, partition)?;
            let is_useful = kept.is_some_and(|kept| !kept.is_old(now, CHECKPOINT_AGE_MAX));
            if is_useful || is_owned(&scope, partition) {
                continue;
            }
            let mut taken = copy.taken();
            // What is left of the last owner's units makes no whole copy.
            taken.checkpoint = None;
            drop(self.store.copy_clear(&scope, partition)?);
            deleted += 1;
        }
        Ok(deleted)
    }

    /// What is in the copy cannot be read: the next owner makes it anew.
    pub(super) fn distrust(&self, scope: &Scope, partition: u32) {
        let copy = self.of(scope, partition);
        let mut taken = copy.taken();
        taken.checkpoint = None;
        if let Err(error) = self.store.copy_mark(scope, partition, None) {
            let error = &error as &dyn std::error::Error;
            tracing::error!(error, "cannot give up the copy of a ledger");
        }
    }
}

impl PartitionCopy {
    pub(super) fn loading(&self) -> MutexGuard<'_, Option<u64>> {
        self.loading.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it is filled for this epoch.
    pub(super) fn is_loaded(&self, epoch: u64) -> bool {
        // Whoever fills it holds the lock for as long.
        match self.loading.try_lock() {
            Ok(loaded) => *loaded == Some(epoch),
            Err(_filling) => false,
        }
    }

    /// Whether this process is known to have committed this unit, before the partition was taken from it: what begins again
    /// in its epoch may have ended by a panic.
    pub(super) fn was_lost_after(&self, unit: u64, epoch: u64) -> bool {
        let (own, committed_in) = *self.own();
        own == unit && committed_in < epoch
    }

    fn own(&self) -> MutexGuard<'_, (u64, u64)> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From here on the copy takes units of this epoch alone, none of which is committed yet; false when it is a later one's.
    pub(super) fn take(&self, epoch: u64) -> bool {
        let mut taken = self.taken();
        if epoch < taken.epoch {
            return false;
        }
        *taken = Taken {
            epoch,
            ..Taken::default()
        };
        true
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
