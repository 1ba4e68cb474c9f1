//! `weir:handler/state`: the attempt's own writes over what its sequence has.

use std::collections::BTreeSet;

use bytes::Bytes;
use weir_core::event::StateWrite;

use super::{Call, Host};
use crate::attempt::{StateUnavailable, StateView};
use crate::bindings::weir::handler::state;
use crate::classify::Stop;

impl state::Host for Host {
    fn get(&mut self, name: String) -> wasmtime::Result<Option<Vec<u8>>> {
        let call = self.call()?;
        if let Some(write) = call.writes.iter().find(|write| write.name == name) {
            return Ok(write.value.as_ref().map(|value| value.to_vec()));
        }
        Ok(call.view()?.get(&name).map_err(unavailable)?.map(Vec::from))
    }

    fn set(&mut self, name: String, value: Vec<u8>, ttl_ms: Option<u64>) -> wasmtime::Result<()> {
        let max = self.shared.limits.state_bytes_max;
        Ok(self.call()?.write(
            StateWrite {
                name,
                value: Some(value.into()),
                ttl_ms,
            },
            max,
        )?)
    }

    fn remove(&mut self, name: String) -> wasmtime::Result<()> {
        let max = self.shared.limits.state_bytes_max;
        Ok(self.call()?.write(
            StateWrite {
                name,
                value: None,
                ttl_ms: None,
            },
            max,
        )?)
    }

    fn names(&mut self) -> wasmtime::Result<Vec<String>> {
        let call = self.call()?;
        let mut names: BTreeSet<String> = call
            .view()?
            .names()
            .map_err(unavailable)?
            .into_iter()
            .collect();
        for write in &call.writes {
            if write.value.is_some() {
                names.insert(write.name.clone());
            } else {
                names.remove(&write.name);
            }
        }
        Ok(names.into_iter().collect())
    }
}

impl Call {
    fn view(&self) -> Result<&dyn StateView, Stop> {
        self.attempt.state.as_deref().ok_or(Stop::Unkeyed)
    }

    /// Keeps the last write of each name, so that a loop over one name stays small.
    fn write(&mut self, write: StateWrite, bytes_max: usize) -> Result<(), Stop> {
        self.view()?;
        let earlier = self
            .writes
            .iter_mut()
            .find(|earlier| earlier.name == write.name);
        let replaced = earlier.as_ref().map_or(0, |earlier| bytes(earlier));
        self.written_bytes = self.written_bytes - replaced + bytes(&write);
        if self.written_bytes > bytes_max {
            return Err(Stop::StateBytes(bytes_max));
        }
        match earlier {
            Some(earlier) => *earlier = write,
            None => self.writes.push(write),
        }
        Ok(())
    }
}

fn bytes(write: &StateWrite) -> usize {
    write.name.len() + write.value.as_ref().map_or(0, Bytes::len)
}

fn unavailable(error: StateUnavailable) -> Stop {
    Stop::StateUnavailable(error.0)
}
