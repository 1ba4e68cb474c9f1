//! What one component may take of the host: turns of its CPU, and instances.
//!
//! Most attempts end at their first poll and are never counted here. Of the others, those that have used up a tick go on
//! only with one of the host's few slots, in the order in which they asked. So an endless loop takes its turns and not
//! the threads, and a backlog of slow events is worked off a few at a time instead of all at once and none in time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit, watch};

/// CPU time that an attempt may use before it lets the others that wait for a slot go first.
pub(crate) const TURN: Duration = Duration::from_millis(50);

/// Attempts of one component that wait for a slot, per slot: enough that none stays empty, and beyond it more attempts
/// would only hold memory.
const WAITING_PER_SLOT: usize = 2;

/// The part of the host's instances that one component may hold, so that none takes them all.
const SHARE_OF_INSTANCES: usize = 4;

/// The part of the host's instances that may wait for their next attempt, all components together: the others are for
/// those that have one.
const SHARE_THAT_WAITS: usize = 2;
/// Instances of one component that wait at most. More are alive only while more attempts run at once.
pub(crate) const WAITING_MAX: usize = 16;

/// The attempts of a component that did not end at their first poll.
pub(crate) struct Crowd {
    /// Shared by all components of a host.
    slots: Arc<Semaphore>,
    max: Load,
    load: watch::Sender<Load>,
    /// What `load` comes to: it is asked for every event, and a look at that one is a lock.
    full: AtomicBool,
}

#[derive(Clone, Copy, Default)]
pub(crate) struct Load {
    /// Attempts that have begun and not ended: each holds an instance.
    pub(crate) pending: usize,
    /// Those of them that wait for a slot.
    pub(crate) waiting: usize,
}

impl Load {
    /// The most that one component may have on a host with so many slots and instances, of which one of its own counts
    /// for `weight`.
    pub(crate) fn max(slots: usize, instances: usize, weight: usize) -> Self {
        Self {
            pending: (instances / SHARE_OF_INSTANCES / weight).max(1),
            waiting: slots * WAITING_PER_SLOT,
        }
    }
}

impl Crowd {
    /// Nothing at work yet.
    pub(crate) fn new(slots: Arc<Semaphore>, max: Load) -> Self {
        Self {
            slots,
            max,
            load: watch::Sender::default(),
            full: AtomicBool::new(false),
        }
    }

    /// Counts an attempt for as long as the result lives.
    pub(crate) fn enter(&self) -> Counted<'_> {
        self.count(|load| &mut load.pending)
    }

    /// A slot, if nobody waits for one.
    pub(crate) fn free_slot(&self) -> Option<SemaphorePermit<'_>> {
        self.slots.try_acquire().ok()
    }

    /// Waits for a slot. None only if there are none any more, which does not happen.
    pub(crate) async fn slot(&self) -> Option<SemaphorePermit<'_>> {
        let _waiting = self.count(|load| &mut load.waiting);
        self.slots.acquire().await.ok()
    }

    /// Whether more attempts would wait and not run.
    pub(crate) fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    /// Waits until it is not full.
    pub(crate) async fn relieved(&self) {
        let mut load = self.load.subscribe();
        // The sender outlives this borrow of it, so waiting cannot fail.
        drop(load.wait_for(|load| !self.exceeded_by(load)).await);
    }

    fn exceeded_by(&self, load: &Load) -> bool {
        load.pending >= self.max.pending || load.waiting > self.max.waiting
    }

    fn count(&self, which: fn(&mut Load) -> &mut usize) -> Counted<'_> {
        self.change(|load| *which(load) += 1);
        Counted { crowd: self, which }
    }

    fn change(&self, change: impl FnOnce(&mut Load)) {
        self.load.send_if_modified(|load| {
            let was_full = self.exceeded_by(load);
            change(load);
            let is_full = self.exceeded_by(load);
            if was_full != is_full {
                self.full.store(is_full, Ordering::Relaxed);
            }
            was_full != is_full
        });
    }
}

/// One more of something, until it is dropped.
pub(crate) struct Counted<'a> {
    crowd: &'a Crowd,
    which: fn(&mut Load) -> &mut usize,
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.crowd.change(|load| *(self.which)(load) -= 1);
    }
}

/// Instances that wait for their next attempt: a part of the host's, which its components share evenly, so that handlers
/// without events do not hold what those with events need.
pub(crate) struct Waiting {
    instances_max: usize,
    components: AtomicUsize,
}

impl Waiting {
    /// For a host with so many instances, and no components yet.
    pub(crate) fn new(instances: usize) -> Self {
        Self {
            instances_max: instances / SHARE_THAT_WAITS,
            components: AtomicUsize::new(0),
        }
    }

    /// One component more.
    pub(crate) fn join(&self) {
        self.components.fetch_add(1, Ordering::Relaxed);
    }

    /// One component less.
    pub(crate) fn leave(&self) {
        self.components.fetch_sub(1, Ordering::Relaxed);
    }

    /// Instances of one component that may wait, of which each counts for `weight`.
    pub(crate) fn share(&self, weight: usize) -> usize {
        let components = self.components.load(Ordering::Relaxed).max(1);
        (self.instances_max / components).min(WAITING_MAX) / weight
    }
}

#[cfg(test)]
mod tests;
