//! What a handler may use, and what it was granted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use weir_core::binding::EXTENSIONS_MAX;

/// Bytes of a name of a state value or a timer.
pub(crate) const NAME_BYTES_MAX: usize = 256;

/// What all attempts of a handler may write to the log in a second, when they do so for long: as much as one attempt may at
/// once. About 5 GiB a day, which the rotation of a disk's logs is made for.
const LOG_BYTES_PER_S: usize = 64 << 10;
/// What they may write beyond that for a moment: sixteen attempts that say all they may.
const LOG_BURST_BYTES: usize = 1 << 20;

/// What one attempt, or one instance, may use. The defaults are those of the semantics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Linear memory of an instance, all its memories together. Instances are recycled at three quarters of it.
    pub memory_bytes: usize,
    /// Elements of each table.
    pub table_elements: usize,
    /// CPU time of an attempt. Counted from its first epoch tick (at most 10 ms after its start).
    pub cpu: Duration,
    /// Wall time of an attempt while it runs or waits for a host call; stands still while the host is short of CPU or
    /// suspended.
    pub wall: Duration,
    /// Emissions of an attempt.
    pub emissions_max: usize,
    /// Bytes of one emission.
    pub emission_bytes_max: usize,
    /// Bytes of all emissions of an attempt together.
    pub emissions_bytes_max: usize,
    /// Extension attributes of one emission.
    pub extensions_max: usize,
    /// Bytes of log lines of an attempt; more is dropped, and one line says so.
    pub log_bytes_max: usize,
    /// Bytes of log lines of all attempts in a second; more is dropped and counted, and one line says so.
    pub log_bytes_per_s: usize,
    /// What they may write at once.
    pub log_burst_bytes: usize,
    /// Calls of Weir's interfaces and of WASI in an attempt.
    pub host_calls_max: u32,
    /// Bytes of names and values in the state of a sequence.
    pub state_bytes_max: usize,
    /// Bytes of the names that an attempt sets or removes in its state, and of the sequence's key with each: what the ledger
    /// keeps them under.
    pub state_writes_bytes_max: usize,
    /// Pending timers of a sequence.
    pub timers_max: usize,
    /// Bytes of data of one timer.
    pub timer_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        const KIB: usize = 1 << 10;
        const MIB: usize = 1 << 20;
        Self {
            memory_bytes: 64 * MIB,
            table_elements: 10_000,
            cpu: Duration::from_millis(250),
            wall: Duration::from_secs(10),
            emissions_max: 1_000,
            emission_bytes_max: MIB,
            emissions_bytes_max: 8 * MIB,
            extensions_max: EXTENSIONS_MAX,
            log_bytes_max: 64 * KIB,
            log_bytes_per_s: LOG_BYTES_PER_S,
            log_burst_bytes: LOG_BURST_BYTES,
            host_calls_max: 10_000,
            state_bytes_max: 256 * KIB,
            // As many as host calls allow under a key of some hundred bytes; a key of 8 KiB, the longest, allows a thousand.
            state_writes_bytes_max: 8 * MIB,
            timers_max: 100,
            timer_bytes_max: 64 * KIB,
        }
    }
}

/// What a handler may import beyond `context`, `log` and closed WASI: what its manifest asks for *and* the host's
/// policy allows.
#[derive(Clone, Default)]
pub struct Grants {
    /// `weir:handler/state`.
    pub state: bool,
    /// `weir:handler/timers`.
    pub timers: bool,
    /// `weir:handler/config` and its values.
    pub config: Option<Arc<BTreeMap<String, String>>>,
    /// `weir:handler/secrets` and those that were granted.
    pub secrets: Option<Arc<BTreeMap<String, String>>>,
    /// `wasi:http/outgoing-handler`. Not offered by this release.
    pub http: bool,
}

/// Values stay out of logs.
impl std::fmt::Debug for Grants {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Grants")
            .field("state", &self.state)
            .field("timers", &self.timers)
            .field("config", &self.config.is_some())
            .field("secrets", &self.secrets.is_some())
            .field("http", &self.http)
            .finish()
    }
}

/// How long an instance lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// A fresh instance for each attempt: nothing can leak from one event into another.
    Event,
    /// An instance serves up to this many attempts, and fewer when it grows or fails.
    Reuse {
        /// Attempts an instance serves at most.
        uses_max: u32,
    },
}

impl Default for Isolation {
    fn default() -> Self {
        Self::Reuse { uses_max: 10_000 }
    }
}
