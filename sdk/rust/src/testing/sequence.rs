//! What belongs to one key.

use std::collections::BTreeMap;

/// State and timers of a key.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sequence {
    state: BTreeMap<String, Value>,
    pub(crate) timers: BTreeMap<String, Setting>,
}

#[derive(Clone, Debug)]
struct Value {
    bytes: Vec<u8>,
    /// Unix time in milliseconds; the value is gone from then on.
    expires_ms: Option<u64>,
}

/// A timer that is set.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    /// Unix time in milliseconds.
    pub(crate) due_ms: u64,
    /// Becomes that of the firing.
    pub(crate) id: String,
    pub(crate) data: Option<Vec<u8>>,
    /// Failed attempts of its firing.
    pub(crate) attempts: u32,
}

impl Sequence {
    /// Forgets the values whose time is over. Time stands still within an attempt, so once before it is enough.
    pub(crate) fn expire(&mut self, now_ms: u64) {
        self.state.retain(|_, value| {
            value
                .expires_ms
                .is_none_or(|expires_ms| now_ms < expires_ms)
        });
    }

    pub(crate) fn get(&self, name: &str) -> Option<&[u8]> {
        self.state.get(name).map(|value| value.bytes.as_slice())
    }

    pub(crate) fn set(&mut self, name: &str, bytes: &[u8], expires_ms: Option<u64>) {
        let bytes = bytes.into();
        self.state.insert(name.into(), Value { bytes, expires_ms });
    }

    pub(crate) fn remove(&mut self, name: &str) {
        self.state.remove(name);
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.state.keys().cloned().collect()
    }
}
