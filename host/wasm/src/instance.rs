//! Live instances, and the few that wait for their next attempt.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use wasmtime::Store;
use wasmtime::component::InstancePre;

use crate::bindings::{FullEventHandler, FullEventHandlerPre};
use crate::govern::Turn;
use crate::host::{Host, Shared};
use crate::ticker::Sweep;

/// What a guest may make the host allocate in one call.
const HOSTCALL_FUEL: usize = 12 << 20;
/// Live handles of the component model in one store.
const COMPONENT_HANDLES_MAX: usize = 10_000;
/// Instances of one component that wait. More are alive only while more attempts run at once.
const IDLE_MAX: usize = 16;
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

/// Instances that wait, the last used first, so that the others cool down.
#[derive(Default)]
pub(crate) struct Idle {
    instances: Mutex<Vec<Instance>>,
    used_ms: AtomicU64,
}

impl Idle {
    pub(crate) fn take(&self) -> Option<Instance> {
        self.lock().pop()
    }

    pub(crate) fn put(&self, instance: Instance, now: Duration) {
        self.used_ms.store(millis(now), Ordering::Relaxed);
        let mut instances = self.lock();
        if instances.len() < IDLE_MAX {
            instances.push(instance);
        } else {
            drop(instances);
            drop(instance);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().len()
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
        if millis(now).saturating_sub(self.used_ms.load(Ordering::Relaxed)) >= millis(IDLE_TIME_MAX)
        {
            let instances = std::mem::take(&mut *self.lock());
            drop(instances);
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
