//! Which partitions of a group this host owns and in which epoch, and who still works on what it had.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Of the next assignment. Counted for all groups together and over their memberships, so that what is left of one
/// is never taken for the work of the next.
static EPOCH: AtomicU64 = AtomicU64::new(1);

/// What the polling thread gives and takes, and others ask and give up.
#[derive(Default)]
pub(super) struct Tenure {
    owned: Mutex<Owned>,
    /// Told when a reader or the consumer is gone.
    released: Condvar,
}

#[derive(Default)]
struct Owned {
    /// By partition number; what was revoked is not there.
    epochs: HashMap<u32, u64>,
    /// Readers that are not dropped yet, by partition number and epoch.
    readers: HashSet<(u32, u64)>,
    /// The consumer is closed.
    ended: bool,
}

impl Tenure {
    /// Whether work of this epoch may still be committed.
    pub(super) fn owns(&self, partition: u32, epoch: u64) -> bool {
        self.owned().epochs.get(&partition) == Some(&epoch)
    }

    /// The epoch in which this host owns the partition.
    pub(super) fn epoch(&self, partition: u32) -> Option<u64> {
        self.owned().epochs.get(&partition).copied()
    }

    /// Gives it a reader and an epoch that no partition had before.
    pub(super) fn assign(&self, partition: u32) -> u64 {
        let epoch = EPOCH.fetch_add(1, Ordering::Relaxed);
        let mut owned = self.owned();
        owned.epochs.insert(partition, epoch);
        owned.readers.insert((partition, epoch));
        epoch
    }

    /// From here on nothing of these partitions is committed.
    pub(super) fn end(&self, partitions: &[u32]) {
        let mut owned = self.owned();
        for partition in partitions {
            owned.epochs.remove(partition);
        }
    }

    /// From here on nothing is committed; answers whether anything could be.
    pub(super) fn end_all(&self) -> bool {
        let before = std::mem::take(&mut self.owned().epochs);
        !before.is_empty()
    }

    /// The reader of this partition and epoch is gone, and with it all that ran.
    pub(super) fn release(&self, partition: u32, epoch: u64) {
        self.owned().readers.remove(&(partition, epoch));
        self.released.notify_all();
    }

    /// Waits until nothing of these partitions runs; false at the deadline.
    pub(super) fn wait_released(&self, partitions: &[u32], deadline: Duration) -> bool {
        let busy = |owned: &mut Owned| {
            owned
                .readers
                .iter()
                .any(|(partition, _)| partitions.contains(partition))
        };
        let (_owned, timeout) = self
            .released
            .wait_timeout_while(self.owned(), deadline, busy)
            .unwrap_or_else(PoisonError::into_inner);
        !timeout.timed_out()
    }

    /// Waits until nothing runs; it drains within its deadline.
    pub(super) fn wait_idle(&self) {
        let busy = |owned: &mut Owned| !owned.readers.is_empty();
        let idle = self.released.wait_while(self.owned(), busy);
        drop(idle.unwrap_or_else(PoisonError::into_inner));
    }

    /// The consumer is closed.
    pub(super) fn note_ended(&self) {
        self.owned().ended = true;
        self.released.notify_all();
    }

    /// Waits until the consumer is closed; false at the deadline.
    pub(super) fn wait_ended(&self, deadline: Duration) -> bool {
        let open = |owned: &mut Owned| !owned.ended;
        let (_owned, timeout) = self
            .released
            .wait_timeout_while(self.owned(), deadline, open)
            .unwrap_or_else(PoisonError::into_inner);
        !timeout.timed_out()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.owned().readers.is_empty()
    }

    fn owned(&self) -> MutexGuard<'_, Owned> {
        self.owned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
