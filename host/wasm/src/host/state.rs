//! `weir:handler/state`: the attempt's own writes over what its sequence has.

use std::collections::{BTreeSet, HashMap};

use bytes::Bytes;
use weir_core::event::StateWrite;

use super::{Host, check_name, unavailable};
use crate::attempt::StateView;
use crate::bindings::weir::handler::state;
use crate::classify::Stop;

impl state::Host for Host {
    fn get(&mut self, name: String) -> wasmtime::Result<Option<Vec<u8>>> {
        let call = self.call()?;
        check_name(&name)?;
        let view = view(call.attempt.state.as_deref())?;
        Ok(call.state.get(view, name)?.map(Vec::from))
    }

    fn set(&mut self, name: String, value: Vec<u8>, ttl_ms: Option<u64>) -> wasmtime::Result<()> {
        Ok(self.write(StateWrite {
            name,
            value: Some(value.into()),
            ttl_ms,
        })?)
    }

    fn remove(&mut self, name: String) -> wasmtime::Result<()> {
        Ok(self.write(StateWrite {
            name,
            value: None,
            ttl_ms: None,
        })?)
    }

    fn names(&mut self) -> wasmtime::Result<Vec<String>> {
        let call = self.call()?;
        let view = view(call.attempt.state.as_deref())?;
        Ok(call.state.names(view)?)
    }
}

impl Host {
    fn write(&mut self, write: StateWrite) -> Result<(), Stop> {
        let limits = &self.shared.limits;
        let max = (limits.state_bytes_max, limits.state_writes_bytes_max);
        let call = self.call()?;
        check_name(&write.name)?;
        let view = view(call.attempt.state.as_deref())?;
        call.state.write(view, write, max)
    }
}

fn view(state: Option<&dyn StateView>) -> Result<&dyn StateView, Stop> {
    state.ok_or(Stop::Unkeyed)
}

/// What an attempt wrote to the state of its sequence, and what it knows of it.
#[derive(Default)]
pub(super) struct State {
    /// At most one per name, in the order of first use.
    writes: Vec<StateWrite>,
    names: HashMap<String, Name>,
    /// Bytes of the names and values in `writes`.
    written_bytes: usize,
    /// Bytes of the sequence's key, which is kept with each name.
    key_bytes: usize,
    /// Bytes of the names in `writes`, removed ones too, and of the key with each.
    names_bytes: usize,
    /// Bytes that the sequence has under the names in `writes`.
    replaced_bytes: usize,
    /// Bytes of all that the sequence has; known once the attempt made it grow.
    total_bytes: Option<usize>,
}

/// A name that the attempt has read or written.
struct Name {
    /// Bytes of name and value in the sequence, without the attempt's writes.
    bytes: usize,
    /// Index of the attempt's write.
    write: Option<usize>,
}

impl State {
    /// Of a sequence with a key of this length.
    pub(super) fn new(key_bytes: usize) -> Self {
        Self {
            key_bytes,
            ..Self::default()
        }
    }

    /// What is to be committed. A value that lives for no time ends with the attempt.
    pub(super) fn into_writes(self) -> Vec<StateWrite> {
        let mut writes = self.writes;
        for write in &mut writes {
            if write.ttl_ms == Some(0) {
                (write.value, write.ttl_ms) = (None, None);
            }
        }
        writes
    }

    fn get(&mut self, view: &dyn StateView, name: String) -> Result<Option<Bytes>, Stop> {
        if let Some(index) = self.names.get(&name).and_then(|known| known.write) {
            return Ok(self.writes[index].value.clone());
        }
        let value = view.get(&name).map_err(unavailable)?;
        let bytes = bytes(&name, value.as_ref());
        self.names.insert(name, Name { bytes, write: None });
        Ok(value)
    }

    fn names(&self, view: &dyn StateView) -> Result<Vec<String>, Stop> {
        let mut names: BTreeSet<String> = view.names().map_err(unavailable)?.into_iter().collect();
        for write in &self.writes {
            if write.value.is_some() {
                names.insert(write.name.clone());
            } else {
                names.remove(&write.name);
            }
        }
        Ok(names.into_iter().collect())
    }

    /// Keeps the last write of each name, so that a loop over one name stays small.
    ///
    /// The limit is one of the whole sequence. Its total is asked for only when the writes need more room than what
    /// they replace: a handler that updates a value of constant size never pays for it.
    fn write(
        &mut self,
        view: &dyn StateView,
        write: StateWrite,
        (bytes_max, writes_bytes_max): (usize, usize),
    ) -> Result<(), Stop> {
        if !self.names.contains_key(&write.name) {
            self.get(view, write.name.clone())?;
        }
        let name = self
            .names
            .get_mut(&write.name)
            .expect("`get` inserts what it reads");
        self.written_bytes += bytes(&write.name, write.value.as_ref());
        if let Some(index) = name.write {
            let earlier = std::mem::replace(&mut self.writes[index], write);
            self.written_bytes -= bytes(&earlier.name, earlier.value.as_ref());
        } else {
            name.write = Some(self.writes.len());
            self.replaced_bytes += name.bytes;
            self.names_bytes += self.key_bytes + write.name.len();
            self.writes.push(write);
            if self.names_bytes > writes_bytes_max {
                return Err(Stop::StateWrites(writes_bytes_max));
            }
        }
        if self.written_bytes <= self.replaced_bytes {
            return Ok(());
        }
        let total = match self.total_bytes {
            Some(total) => total,
            None => *self
                .total_bytes
                .insert(view.total_bytes().map_err(unavailable)?),
        };
        if total.saturating_sub(self.replaced_bytes) + self.written_bytes > bytes_max {
            return Err(Stop::StateBytes(bytes_max));
        }
        Ok(())
    }
}

/// What a name and its value count for; nothing when there is no value.
fn bytes(name: &str, value: Option<&Bytes>) -> usize {
    value.map_or(0, |value| name.len() + value.len())
}
