//! Live instances, and the few that wait for their next attempt.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use wasmtime::Store;
use wasmtime::component::InstancePre;

use crate::bindings::{FullEventHandler, FullEventHandlerPre};
use crate::crowd::Waiting;
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

/// Instances of one component that wait, the last used first, so that the others cool down.
pub(crate) struct Idle {
    instances: Mutex<Vec<Instance>>,
    used_ms: AtomicU64,
    waiting: Arc<Waiting>,
    weight: usize,
}

impl Idle {
    /// Of a component of which each instance counts for `weight`.
    pub(crate) fn new(waiting: Arc<Waiting>, weight: usize) -> Self {
        waiting.join();
        Self {
            instances: Mutex::default(),
            used_ms: AtomicU64::new(0),
            waiting,
            weight,
        }
    }

    pub(crate) fn take(&self) -> Option<Instance> {
        self.lock().pop()
    }

    pub(crate) fn put(&self, instance: Instance, now: Duration) {
        self.used_ms.store(millis(now), Ordering::Relaxed);
        let mut instances = self.lock();
        instances.push(instance);
        let beyond = self.beyond_share(&mut instances);
        drop(instances);
        drop(beyond);
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    /// Takes out the coldest of those that are more than the component's share; dropping them takes its time.
    fn beyond_share(&self, instances: &mut Vec<Instance>) -> Vec<Instance> {
        let beyond = instances
            .len()
            .saturating_sub(self.waiting.share(self.weight));
        instances.drain(..beyond).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Instance>> {
        // A push or pop cannot leave the list half changed.
        self.instances
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sweep for Idle {
    fn sweep(&self, now: Duration) {
        let unused = millis(now).saturating_sub(self.used_ms.load(Ordering::Relaxed));
        let mut instances = self.lock();
        let swept = if unused >= millis(IDLE_TIME_MAX) {
            std::mem::take(&mut *instances)
        } else {
            self.beyond_share(&mut instances)
        };
        drop(instances);
        drop(swept);
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
