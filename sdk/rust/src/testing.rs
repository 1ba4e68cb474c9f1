//! Native tests of a handler, without Wasm and without a host.
//!
//! ```
//! use weir_sdk::{Emission, Event, Result, State, testing::{Harness, Input}};
//!
//! const COUNT: State<u64> = State::new("count");
//!
//! fn handle(event: Event<String>) -> Result<Emission> {
//!     let count = COUNT.get()?.unwrap_or(0) + 1;
//!     COUNT.set(&count)?;
//!     Emission::new("Counted").json(&count)
//! }
//!
//! let mut harness = Harness::new(handle);
//! harness.deliver(Input::new("Seen").key("a").json("x")).unwrap();
//! let emitted = harness.deliver(Input::new("Seen").key("a").json("y")).unwrap();
//! assert_eq!(emitted[0].parse_json::<u64>().unwrap(), 2);
//! ```

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{Emission, Event, IntoEmissions, Payload, Result, bindings::weir::handler::types};
use imports::Attempt;

pub(crate) mod imports;
#[cfg(test)]
mod tests;

/// A handler with a host around it that keeps the promises of the contract: state and timers belong to a key and
/// change only when an attempt succeeds.
pub struct Harness<T, E> {
    handle: fn(Event<T>) -> Result<E>,
    sequences: BTreeMap<Option<Vec<u8>>, Sequence>,
    settings: Settings,
    log: Vec<LogLine>,
}

/// What belongs to one key.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sequence {
    pub(crate) state: BTreeMap<String, Vec<u8>>,
    /// When each timer fires, Unix time in milliseconds.
    pub(crate) timers: BTreeMap<String, u64>,
}

/// What is the same for all attempts until a test changes it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    pub(crate) config: BTreeMap<String, String>,
    pub(crate) secrets: BTreeMap<String, String>,
    pub(crate) now_ms: u64,
}

/// One line that a handler logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// `trace`, `debug`, `info`, `warn` or `error`.
    pub level: &'static str,
    /// The text.
    pub message: String,
    /// The fields, in their order.
    pub fields: Vec<(String, String)>,
}

impl<T: Payload, E: IntoEmissions> Harness<T, E> {
    /// A harness without state, at the Unix epoch.
    pub fn new(handle: fn(Event<T>) -> Result<E>) -> Self {
        Self {
            handle,
            sequences: BTreeMap::new(),
            settings: Settings::default(),
            log: Vec::new(),
        }
    }

    /// Makes one first attempt and returns what it emitted.
    ///
    /// # Errors
    /// The failure that the attempt ended with. It has changed nothing.
    pub fn deliver(&mut self, input: Input) -> Result<Vec<Emission>> {
        self.deliver_attempt(1, input)
    }

    /// Makes the `attempt`-th attempt, counted from 1.
    ///
    /// # Errors
    /// The failure that the attempt ended with. It has changed nothing.
    pub fn deliver_attempt(&mut self, attempt: u32, input: Input) -> Result<Vec<Emission>> {
        let sequence = self.sequences.get(&input.key).cloned().unwrap_or_default();
        let label = format!("{}/{}", input.event.source, input.event.id);
        let attempt = Attempt::new(
            attempt,
            input.key.clone(),
            label,
            sequence,
            self.settings.clone(),
        );
        let (result, attempt) = attempt.run(|| crate::__private::attempt(self.handle, input.event));
        self.log.extend(attempt.log);
        if result.is_ok() {
            self.sequences.insert(input.key, attempt.sequence);
        }
        result
    }

    /// Sets a value that [`crate::config()`] returns.
    pub fn set_config(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.settings.config.insert(name.into(), value.into());
    }

    /// Sets a value that [`crate::secret`] returns.
    pub fn set_secret(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.settings.secrets.insert(name.into(), value.into());
    }

    /// Sets the time that [`crate::context::now`] returns, Unix time in milliseconds.
    pub fn set_now_ms(&mut self, now_ms: u64) {
        self.settings.now_ms = now_ms;
    }

    /// When the named timer of a key fires, Unix time in milliseconds.
    pub fn timer_ms(&self, key: &str, name: &str) -> Option<u64> {
        self.sequences
            .get(&Some(key.into()))?
            .timers
            .get(name)
            .copied()
    }

    /// Everything that the handler logged, failed attempts included.
    pub fn log(&self) -> &[LogLine] {
        &self.log
    }
}

/// An event on its way to a handler.
#[derive(Clone, Debug)]
pub struct Input {
    event: types::Event,
    key: Option<Vec<u8>>,
}

impl Input {
    /// An event of this `type` with the id `1` from the source `/test`, without key or data.
    pub fn new(ty: impl Into<String>) -> Self {
        let event = types::Event {
            id: "1".into(),
            source: "/test".into(),
            type_: ty.into(),
            subject: None,
            time: None,
            datacontenttype: None,
            dataschema: None,
            extensions: Vec::new(),
            data: None,
        };
        Self { event, key: None }
    }

    /// Has this record key.
    #[must_use]
    pub fn key(mut self, key: impl Into<Vec<u8>>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Has this id.
    #[must_use]
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.event.id = id.into();
        self
    }

    /// Is about this subject.
    #[must_use]
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        self.event.subject = Some(subject.into());
        self
    }

    /// Has this extension attribute.
    #[must_use]
    pub fn extension(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.event.extensions.push((name.into(), value.into()));
        self
    }

    /// Carries a value as JSON.
    ///
    /// # Panics
    /// The value has no JSON form.
    #[must_use]
    pub fn json(self, value: &(impl Serialize + ?Sized)) -> Self {
        let json = serde_json::to_vec(value).expect("test data has a JSON form");
        self.data("application/json", json)
    }

    /// Carries bytes of this media type.
    #[must_use]
    pub fn data(mut self, datacontenttype: impl Into<String>, data: impl Into<Vec<u8>>) -> Self {
        self.event.datacontenttype = Some(datacontenttype.into());
        self.event.data = Some(data.into());
        self
    }
}
