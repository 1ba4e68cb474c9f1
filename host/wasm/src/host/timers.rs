//! `weir:handler/timers`: what the attempt sets and cancels among the timers of its sequence.

use std::collections::BTreeSet;
use std::time::Duration;

use weir_core::event::{TimerSet, TimerWrite};
use weir_core::time::Millis;

use super::{Host, check_name, unavailable};
use crate::attempt::TimersView;
use crate::bindings::weir::handler::timers;
use crate::classify::Stop;
use crate::limits::Limits;

impl timers::Host for Host {
    fn set_after(
        &mut self,
        name: String,
        after_ms: u64,
        data: Option<Vec<u8>>,
    ) -> wasmtime::Result<()> {
        let due = self.call()?.attempt.now + Duration::from_millis(after_ms);
        Ok(self.set(name, due, data)?)
    }

    fn set_at(
        &mut self,
        name: String,
        unix_ms: u64,
        data: Option<Vec<u8>>,
    ) -> wasmtime::Result<()> {
        self.call()?;
        Ok(self.set(name, Millis(unix_ms), data)?)
    }

    fn cancel(&mut self, name: String) -> wasmtime::Result<()> {
        let call = self.call()?;
        check_name(&name)?;
        view(call.attempt.timers.as_deref())?;
        call.timers.cancel(name);
        Ok(())
    }
}

impl Host {
    fn set(&mut self, name: String, due: Millis, data: Option<Vec<u8>>) -> Result<(), Stop> {
        check_name(&name)?;
        let Limits {
            timers_max,
            timer_bytes_max,
            ..
        } = self.shared.limits;
        let bytes = data.as_ref().map_or(0, Vec::len);
        if bytes > timer_bytes_max {
            return Err(Stop::TimerBytes {
                bytes,
                max: timer_bytes_max,
            });
        }
        let call = self.running();
        let view = view(call.attempt.timers.as_deref())?;
        let set = TimerSet {
            due,
            data: data.map(Into::into),
        };
        call.timers.set(view, name, set, timers_max)
    }
}

fn view(timers: Option<&dyn TimersView>) -> Result<&dyn TimersView, Stop> {
    timers.ok_or(Stop::Unkeyed)
}

/// What an attempt did to the timers of its sequence.
#[derive(Default)]
pub(super) struct Timers {
    /// Calls so far.
    calls: u32,
    /// At most one per name, in the order of first use.
    writes: Vec<TimerWrite>,
    /// Names that are pending after the writes; known once a timer was set.
    pending: Option<BTreeSet<String>>,
}

impl Timers {
    pub(super) fn into_writes(self) -> Vec<TimerWrite> {
        self.writes
    }

    fn set(
        &mut self,
        view: &dyn TimersView,
        name: String,
        set: TimerSet,
        timers_max: usize,
    ) -> Result<(), Stop> {
        let pending = match &mut self.pending {
            Some(pending) => pending,
            unknown => {
                let mut names: BTreeSet<_> =
                    view.names().map_err(unavailable)?.into_iter().collect();
                // Nothing was set yet: all writes so far are cancellations.
                for write in &self.writes {
                    names.remove(&write.name);
                }
                unknown.insert(names)
            }
        };
        if !pending.contains(&name) {
            if pending.len() >= timers_max {
                return Err(Stop::Timers(timers_max));
            }
            pending.insert(name.clone());
        }
        self.write(name, Some(set));
        Ok(())
    }

    fn cancel(&mut self, name: String) {
        if let Some(pending) = &mut self.pending {
            pending.remove(&name);
        }
        self.write(name, None);
    }

    /// Keeps the last write of each name.
    fn write(&mut self, name: String, set: Option<TimerSet>) {
        let write = TimerWrite {
            name,
            call: self.calls,
            set,
        };
        self.calls += 1;
        match self.writes.iter_mut().find(|w| w.name == write.name) {
            Some(earlier) => *earlier = write,
            None => self.writes.push(write),
        }
    }
}
