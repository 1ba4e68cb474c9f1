//! What an instance can reach: the data of its store, and the imports that are linked.

mod context;
mod log;
mod settings;
mod state;

use std::sync::Arc;
use std::time::Duration;

use wasmtime::component::{HasSelf, Linker, ResourceTable};
use wasmtime::{Engine, ResourceLimiter};
use wasmtime_wasi::WasiCtx;
use weir_core::event::StateWrite;

use crate::attempt::Attempt;
use crate::bindings::weir::handler as wit;
use crate::classify::Stop;
use crate::limits::{Grants, Limits};
use crate::ticker::Clock;

pub(crate) use log::{LogSink, Pipe};

/// Resources (streams, pollables) that an instance may hold at once.
const RESOURCES_MAX: usize = 1_024;

/// What all instances of a component share.
pub(crate) struct Shared {
    pub(crate) handler: Arc<str>,
    pub(crate) grants: Grants,
    pub(crate) limits: Limits,
    pub(crate) clock: Arc<Clock>,
}

/// The data of one store.
pub(crate) struct Host {
    pub(crate) shared: Arc<Shared>,
    pub(crate) memory: Growth,
    pub(crate) log: Arc<LogSink>,
    /// Made when the component first calls WASI, which most never do.
    pub(crate) wasi: Option<WasiCtx>,
    pub(crate) table: ResourceTable,
    /// The running attempt; none between attempts, when no guest code runs.
    call: Option<Call>,
}

/// The running attempt.
struct Call {
    attempt: Attempt,
    started: Duration,
    host_calls: u32,
    /// At most one per name, in the order of first use.
    writes: Vec<StateWrite>,
    written_bytes: usize,
}

impl Host {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(RESOURCES_MAX);
        Self {
            memory: Growth::new(&shared.limits),
            log: Arc::new(LogSink::new(
                Arc::clone(&shared.handler),
                shared.limits.log_bytes_max,
            )),
            wasi: None,
            table,
            call: None,
            shared,
        }
    }

    pub(crate) fn begin(&mut self, attempt: Attempt) {
        let started = self.shared.clock.now();
        self.call = Some(Call {
            attempt,
            started,
            host_calls: 0,
            writes: Vec::new(),
            written_bytes: 0,
        });
    }

    /// Ends the attempt and hands over what it set.
    pub(crate) fn end(&mut self) -> Vec<StateWrite> {
        self.log.end_attempt();
        self.call.take().map(|call| call.writes).unwrap_or_default()
    }

    /// The running attempt, charged with one host call.
    fn call(&mut self) -> Result<&mut Call, Stop> {
        let max = self.shared.limits.host_calls_max;
        let call = self
            .call
            .as_mut()
            .expect("guest code runs only between `begin` and `end`");
        call.host_calls += 1;
        if call.host_calls > max {
            Err(Stop::HostCalls(max))
        } else {
            Ok(call)
        }
    }
}

/// Links every interface that this release offers. What a component was not granted is refused before it is linked.
pub(crate) fn linker(engine: &Engine) -> Result<Linker<Host>, wasmtime::Error> {
    type Same = HasSelf<Host>;
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wit::context::add_to_linker::<_, Same>(&mut linker, |host| host)?;
    wit::log::add_to_linker::<_, Same>(&mut linker, |host| host)?;
    wit::state::add_to_linker::<_, Same>(&mut linker, |host| host)?;
    wit::config::add_to_linker::<_, Same>(&mut linker, |host| host)?;
    wit::secrets::add_to_linker::<_, Same>(&mut linker, |host| host)?;
    Ok(linker)
}

impl wit::types::Host for Host {}

/// Counts the memory of an instance and stops it at its limit.
///
/// A refused `memory.grow` traps instead of returning -1: interpreters turn -1 into an exception of the language, which
/// handlers catch and report as if the event were to blame.
#[derive(Debug)]
pub(crate) struct Growth {
    used_bytes: usize,
    limit_bytes: usize,
    table_elements: usize,
}

impl Growth {
    fn new(limits: &Limits) -> Self {
        Self {
            used_bytes: 0,
            limit_bytes: limits.memory_bytes,
            table_elements: limits.table_elements,
        }
    }

    /// Whether the instance is better replaced before it meets its limit.
    pub(crate) fn is_high(&self) -> bool {
        self.used_bytes >= self.limit_bytes / 4 * 3
    }
}

impl ResourceLimiter for Growth {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> Result<bool, wasmtime::Error> {
        let wanted = self
            .used_bytes
            .saturating_add(desired.saturating_sub(current));
        if wanted > self.limit_bytes {
            return Err(Stop::Memory {
                wanted,
                limit: self.limit_bytes,
            }
            .into());
        }
        self.used_bytes = wanted;
        Ok(true)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> Result<bool, wasmtime::Error> {
        if desired > self.table_elements {
            return Err(Stop::Table {
                wanted: desired,
                limit: self.table_elements,
            }
            .into());
        }
        Ok(true)
    }
}
