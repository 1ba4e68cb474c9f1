//! What an instance can reach: the data of its store, and the imports that are linked.

mod context;
mod log;
mod settings;
mod state;
mod timers;

use std::sync::Arc;
use std::time::Duration;

use wasmtime::component::{HasSelf, Linker, ResourceTable};
use wasmtime::{Engine, ResourceLimiter};
use wasmtime_wasi::WasiCtx;
use weir_core::event::{StateWrite, TimerWrite};

use crate::attempt::{Attempt, StateUnavailable};
use crate::bindings::weir::handler as wit;
use crate::classify::Stop;
use crate::crowd::Crowd;
use crate::limits::{Grants, Limits, NAME_BYTES_MAX};
use crate::ticker::Clock;

pub(crate) use log::{LogSink, Pipe, Volume};

/// Resources (streams, pollables) that an instance may hold at once.
const RESOURCES_MAX: usize = 1_024;

/// What all instances of a component share.
pub(crate) struct Shared {
    pub(crate) handler: Arc<str>,
    pub(crate) grants: Grants,
    pub(crate) limits: Limits,
    pub(crate) clock: Arc<Clock>,
    pub(crate) crowd: Crowd,
    pub(crate) log: Arc<Volume>,
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
    state: state::State,
    timers: timers::Timers,
}

/// What an attempt changes when it succeeds.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    pub(crate) state: Vec<StateWrite>,
    pub(crate) timers: Vec<TimerWrite>,
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
                Arc::clone(&shared.log),
            )),
            wasi: None,
            table,
            call: None,
            shared,
        }
    }

    pub(crate) fn begin(&mut self, attempt: Attempt) {
        let started = self.shared.clock.now();
        let key_bytes = attempt.key.as_ref().map_or(0, bytes::Bytes::len);
        self.call = Some(Call {
            attempt,
            started,
            host_calls: 0,
            state: state::State::new(key_bytes),
            timers: timers::Timers::default(),
        });
    }

    /// Ends the attempt and hands over what it set.
    pub(crate) fn end(&mut self) -> Result<Changes, Stop> {
        self.log.end_attempt();
        let within = self.check_host_calls();
        let call = self.call.take();
        within.map(|()| {
            call.map(|call| Changes {
                state: call.state.into_writes(),
                timers: call.timers.into_writes(),
            })
            .unwrap_or_default()
        })
    }

    /// The running attempt, charged with one host call.
    fn call(&mut self) -> Result<&mut Call, Stop> {
        self.count_host_call();
        self.check_host_calls()?;
        Ok(self.running())
    }

    fn running(&mut self) -> &mut Call {
        self.call
            .as_mut()
            .expect("guest code runs only between `begin` and `end`")
    }

    /// Charges the attempt with a call that cannot be refused on the spot.
    pub(crate) fn count_host_call(&mut self) {
        if let Some(call) = &mut self.call {
            call.host_calls = call.host_calls.saturating_add(1);
        }
    }

    /// Calls of WASI are counted where they cannot fail, so this is asked at each of Weir's own, at each epoch tick
    /// and at the end: an attempt beyond the limit goes on for one tick at most, and never succeeds.
    pub(crate) fn check_host_calls(&self) -> Result<(), Stop> {
        let max = self.shared.limits.host_calls_max;
        match &self.call {
            Some(call) if call.host_calls > max => Err(Stop::HostCalls(max)),
            _ => Ok(()),
        }
    }
}

/// Names are keys of the store.
fn check_name(name: &str) -> Result<(), Stop> {
    if name.len() > NAME_BYTES_MAX {
        return Err(Stop::NameBytes(name.len()));
    }
    Ok(())
}

fn unavailable(error: StateUnavailable) -> Stop {
    Stop::StateUnavailable(error.0)
}

/// Links every interface that this release offers. What a component was not granted is refused before it is linked.
pub(crate) fn linker(engine: &Engine) -> Result<Linker<Host>, wasmtime::Error> {
    type Same = HasSelf<Host>;
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wit::context::add_to_linker::<_, Same>(&mut linker, |host| host)?;
    wit::log::add_to_linker::<_, Same>(&mut linker, |host| host)?;
    wit::state::add_to_linker::<_, Same>(&mut linker, |host| host)?;
    wit::timers::add_to_linker::<_, Same>(&mut linker, |host| host)?;
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
