//! Live instances, and the few that wait for their next attempt.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use wasmtime::Store;
use wasmtime::component::InstancePre;

use crate::bindings::{FullEventHandler, FullEventHandlerPre};
use crate::crowd::{WAITING_MAX, Waiting};
use crate::govern::Turn;
use crate::host::{Host, Shared};
use crate::ticker::Sweep;

/// What a guest may make the host allocate in one call.
const HOSTCALL_FUEL: usize = 12 << 20;
/// Live handles of the component model in one store.
const COMPONENT_HANDLES_MAX: usize = 10_000;
/// After this long without an event a component keeps no instance.
const IDLE_TIME_MAX: Duration = Duration::from_secs(60);

/// One instance and its store.
pub(crate) struct Instance {
    pub(crate) store: Store<Host>,
    pub(crate) bindings: Option<FullEventHandler>,
    pub(crate) uses: u32,
    pub(crate) turn: Arc<Turn>,
}

impl Instance {
    /// A store under limits. No guest code has run yet.
    pub(crate) fn new(pre: &InstancePre<Host>, shared: &Arc<Shared>) -> Self {
        let mut store = Store::new(pre.engine(), Host::new(Arc::clone(shared)));
        store.limiter(|host| &mut host.memory);
        let turn = Arc::<Turn>::default();
        let ticked = Arc::clone(&turn);
        store.epoch_deadline_callback(move |store| {
            store.data().check_host_calls()?;
            Ok(ticked.tick())
        });
        store.set_hostcall_fuel(HOSTCALL_FUEL);
        store.set_max_component_handles(COMPONENT_HANDLES_MAX);
        Self {
            store,
            bindings: None,
            uses: 0,
            turn,
        }
    }

    /// Runs the component's start functions, when that has not happened.
    pub(crate) async fn start(
        &mut self,
        pre: &FullEventHandlerPre<Host>,
    ) -> Result<(&mut Store<Host>, &FullEventHandler), wasmtime::Error> {
        if self.bindings.is_none() {
            self.bindings = Some(pre.instantiate_async(&mut self.store).await?);
        }
        let bindings = self.bindings.as_ref().expect("set above");
        Ok((&mut self.store, bindings))
    }
}

/// Instances of one component that wait, the last used first, so that the others cool down. Each thread takes first what it gave
/// back itself: that lies in the caches of its core.
pub(crate) struct Idle {
    shelves: Box<[Shelf]>,
    used_ms: AtomicU64,
    waiting: Arc<Waiting>,
    weight: usize,
}

/// Of some threads; no two share a cache line.
#[derive(Default)]
#[repr(align(128))]
struct Shelf(Mutex<Vec<Instance>>);

impl Idle {
    /// Of a component of which each instance counts for `weight`, on so many threads.
    pub(crate) fn new(waiting: Arc<Waiting>, weight: usize, threads: usize) -> Self {
        waiting.join();
        let shelves = threads.clamp(1, WAITING_MAX);
        Self {
            shelves: (0..shelves).map(|_| Shelf::default()).collect(),
            used_ms: AtomicU64::new(0),
            waiting,
            weight,
        }
    }

    pub(crate) fn take(&self) -> Option<Instance> {
        let own = self.own(self.share());
        let (before, from) = self.shelves.split_at(own);
        from.iter()
            .chain(before)
            .find_map(|shelf| shelf.lock().pop())
    }

    pub(crate) fn put(&self, instance: Instance, now: Duration) {
        let now = millis(now);
        // Written when it changes: all threads have it in their caches.
        if self.used_ms.load(Ordering::Relaxed) != now {
            self.used_ms.store(now, Ordering::Relaxed);
        }
        let share = self.share();
        let own = self.own(share);
        let mut instances = self.shelves[own].lock();
        instances.push(instance);
        let beyond = self.beyond_part(own, share, &mut instances);
        drop(instances);
        if !beyond.is_empty() {
            self.settle(own, share, beyond);
        }
    }

    /// Puts what one shelf has no room for on the others, of which none keeps more than its part; drops the coldest of the
    /// rest, which takes its time.
    fn settle(&self, full: usize, share: usize, mut beyond: Vec<Instance>) {
        let mut swept = Vec::new();
        for (index, shelf) in self.shelves.iter().enumerate() {
            if index == full {
                continue;
            }
            let mut instances = shelf.lock();
            swept.extend(self.beyond_part(index, share, &mut instances));
            let room = self.part(index, share).saturating_sub(instances.len());
            let warmest = beyond.len().saturating_sub(room);
            instances.extend(beyond.drain(warmest..));
        }
        drop(swept);
        drop(beyond);
    }

    pub(crate) fn len(&self) -> usize {
        self.shelves.iter().map(|shelf| shelf.lock().len()).sum()
    }

    /// How many may wait on all shelves.
    fn share(&self) -> usize {
        self.waiting.share(self.weight)
    }

    /// The shelves in use: none has room for less than one.
    fn in_use(&self, share: usize) -> usize {
        share.clamp(1, self.shelves.len())
    }

    /// The shelf of this thread.
    fn own(&self, share: usize) -> usize {
        thread_number() % self.in_use(share)
    }

    /// What a shelf has of the share.
    fn part(&self, shelf: usize, share: usize) -> usize {
        let in_use = self.in_use(share);
        let is_larger = shelf < share % in_use;
        if shelf < in_use {
            share / in_use + usize::from(is_larger)
        } else {
            0
        }
    }

    /// Takes out the coldest of those that are more than the shelf's part.
    fn beyond_part(
        &self,
        shelf: usize,
        share: usize,
        instances: &mut Vec<Instance>,
    ) -> Vec<Instance> {
        let beyond = instances.len().saturating_sub(self.part(shelf, share));
        instances.drain(..beyond).collect()
    }
}

impl Shelf {
    fn lock(&self) -> MutexGuard<'_, Vec<Instance>> {
        // A push or pop cannot leave the list half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Threads that ask for it are numbered in the order in which they first do.
fn thread_number() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static NUMBER: usize = NEXT.fetch_add(1, Ordering::Relaxed);
    }
    NUMBER.with(|number| *number)
}

impl Sweep for Idle {
    fn sweep(&self, now: Duration) {
        let unused = millis(now).saturating_sub(self.used_ms.load(Ordering::Relaxed));
        let share = self.share();
        for (index, shelf) in self.shelves.iter().enumerate() {
            let mut instances = shelf.lock();
            let swept = if unused >= millis(IDLE_TIME_MAX) {
                std::mem::take(&mut *instances)
            } else {
                self.beyond_part(index, share, &mut instances)
            };
            drop(instances);
            drop(swept);
        }
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        self.waiting.leave();
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
