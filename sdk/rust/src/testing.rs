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
//! assert_eq!(emitted, [Emission::new("Counted").json(&2).unwrap()]);
//! assert_eq!(harness.state("a", &COUNT), Some(2));
//! ```
//!
//! Time is virtual and stands still until a test advances it. Then timers fire, delayed emissions are published and
//! state expires, each at its time: see [`Timer`](crate::Timer) and [`State::set_for`] for examples.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    Emission, Event, IntoEmissions, Payload, Result, State, bindings::weir::handler::types,
    grants::milliseconds, timers,
};
use imports::Attempt;
use sequence::{Sequence, Setting};

mod clock;
pub(crate) mod imports;
mod sequence;
#[cfg(test)]
mod tests;

/// A handler with a host around it that keeps the promises of the contract: state and timers belong to a key and
/// change only when an attempt succeeds.
pub struct Harness<T, E> {
    handle: fn(Event<T>) -> Result<E>,
    sequences: BTreeMap<Vec<u8>, Sequence>,
    /// When they are published, Unix time in milliseconds, in the order of their emission.
    delayed: Vec<(u64, Emission)>,
    /// Published while time advanced and not yet returned.
    published: Vec<Emission>,
    settings: Settings,
    log: Vec<LogLine>,
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
    /// A harness without state or timers, at the Unix epoch.
    pub fn new(handle: fn(Event<T>) -> Result<E>) -> Self {
        Self {
            handle,
            sequences: BTreeMap::new(),
            delayed: Vec::new(),
            published: Vec::new(),
            settings: Settings::default(),
            log: Vec::new(),
        }
    }

    /// Makes one first attempt and returns what is published with its commit; what it delays comes out of
    /// [`advance`](Self::advance).
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
        let sequence = self.sequence(input.key.as_deref());
        self.attempt(attempt, input, sequence)
    }

    /// Lets this much time pass and returns what is published meanwhile: timers fire one after the other, each at its
    /// time, and may set others; delayed emissions come when they are due.
    ///
    /// # Errors
    /// The failure of a firing. Time stands still there and the timer is still set, so that advancing again is its next
    /// attempt; what was published before it is returned then.
    pub fn advance(&mut self, by: Duration) -> Result<Vec<Emission>> {
        let end_ms = self.settings.now_ms.saturating_add(milliseconds(by));
        while let Some((due_ms, due)) = self.next_due().filter(|(due_ms, _)| *due_ms <= end_ms) {
            self.settings.now_ms = self.settings.now_ms.max(due_ms);
            match due {
                Due::Emission(index) => self.published.push(self.delayed.remove(index).1),
                Due::Timer(key, name) => {
                    let emitted = self.fire(key, &name)?;
                    self.published.extend(emitted);
                }
            }
        }
        self.settings.now_ms = end_ms;
        Ok(std::mem::take(&mut self.published))
    }

    /// Sets a value that [`crate::config()`] returns.
    pub fn set_config(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.settings.config.insert(name.into(), value.into());
    }

    /// Sets a value that [`crate::secret`] returns.
    pub fn set_secret(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.settings.secrets.insert(name.into(), value.into());
    }

    /// Sets the time that [`crate::context::now`] returns, Unix time in milliseconds. Nothing fires by it; what is due
    /// by then fires when time advances.
    pub fn set_now_ms(&mut self, now_ms: u64) {
        self.settings.now_ms = now_ms;
    }

    /// The time that [`crate::context::now`] returns.
    pub fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(self.settings.now_ms)
    }

    /// What a key's state is.
    ///
    /// # Panics
    /// It is of another shape.
    pub fn state<S: Serialize + DeserializeOwned>(&self, key: &str, state: &State<S>) -> Option<S> {
        let sequence = self.sequence(Some(key.as_bytes()));
        state
            .read(sequence.get(state.name))
            .unwrap_or_else(|failure| panic!("state {:?} of key {key:?}: {failure}", state.name))
    }

    /// The timers of a key that are set, in the order in which they fire.
    pub fn timers(&self, key: &str) -> Vec<String> {
        let timers = self.sequence(Some(key.as_bytes())).timers;
        let mut timers: Vec<_> = timers.into_iter().collect();
        timers.sort_by_key(|(_, setting)| setting.due_ms);
        timers.into_iter().map(|(name, _)| name).collect()
    }

    /// When the named timer of a key fires, Unix time in milliseconds.
    pub fn timer_ms(&self, key: &str, name: &str) -> Option<u64> {
        let setting = self.sequences.get(key.as_bytes())?.timers.get(name)?;
        Some(setting.due_ms)
    }

    /// Everything that the handler logged, failed attempts included.
    pub fn log(&self) -> &[LogLine] {
        &self.log
    }

    /// The earliest of what waits for its time; at the same time emissions go first, then keys and names in order.
    fn next_due(&self) -> Option<(u64, Due)> {
        let emissions = self.delayed.iter().enumerate();
        let emissions = emissions.map(|(index, (due_ms, _))| (*due_ms, Due::Emission(index)));
        let timers = self.sequences.iter().flat_map(|(key, sequence)| {
            let due = |name: &String| Due::Timer(key.clone(), name.clone());
            let timers = sequence.timers.iter();
            timers.map(move |(name, setting)| (setting.due_ms, due(name)))
        });
        emissions.chain(timers).min()
    }

    fn fire(&mut self, key: Vec<u8>, name: &str) -> Result<Vec<Emission>> {
        let mut sequence = self.sequence(Some(&key));
        let setting = sequence.timers.remove(name).expect("only due timers fire");
        let attempt = setting.attempts + 1;
        let result = self.attempt(attempt, Input::firing(&key, name, setting), sequence);
        if result.is_err() {
            let sequence = self.sequences.get_mut(&key);
            let setting = sequence.and_then(|sequence| sequence.timers.get_mut(name));
            setting
                .expect("a failed attempt has changed nothing")
                .attempts = attempt;
        }
        result
    }

    fn attempt(&mut self, number: u32, input: Input, sequence: Sequence) -> Result<Vec<Emission>> {
        let label = format!("{}/{}", input.event.source, input.event.id);
        let attempt = Attempt::new(
            number,
            input.key.clone(),
            label,
            sequence,
            self.settings.clone(),
        );
        let (result, attempt) = attempt.run(|| crate::__private::attempt(self.handle, input.event));
        self.log.extend(attempt.log);
        let emitted = result?;
        if let Some(key) = input.key {
            self.sequences.insert(key, attempt.sequence);
        }
        let mut at_once = Vec::new();
        for emission in emitted {
            match emission.delay_ms() {
                Some(wait_ms) => {
                    let due_ms = self.settings.now_ms.saturating_add(wait_ms);
                    self.delayed.push((due_ms, emission));
                }
                None => at_once.push(emission),
            }
        }
        Ok(at_once)
    }

    /// What a key has now.
    fn sequence(&self, key: Option<&[u8]>) -> Sequence {
        let mut sequence = key
            .and_then(|key| self.sequences.get(key))
            .cloned()
            .unwrap_or_default();
        sequence.expire(self.settings.now_ms);
        sequence
    }
}

/// What waits for its time.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    /// A delayed emission, by its place.
    Emission(usize),
    /// A timer, by its key and name.
    Timer(Vec<u8>, String),
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

    /// What the host makes of a timer that is due.
    fn firing(key: &[u8], name: &str, setting: Setting) -> Self {
        let mut input = Self::new(timers::TYPE)
            .source("/weir/test/timers")
            .id(setting.id)
            .time(clock::rfc3339(setting.due_ms))
            .extension(timers::NAME, name)
            .key(key);
        input.event.datacontenttype = setting
            .data
            .is_some()
            .then(|| "application/octet-stream".into());
        input.event.data = setting.data;
        input
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

    /// Comes from this source.
    #[must_use]
    pub fn source(mut self, source: impl Into<String>) -> Self {
        self.event.source = source.into();
        self
    }

    /// Happened at this time, RFC 3339.
    #[must_use]
    pub fn time(mut self, time: impl Into<String>) -> Self {
        self.event.time = Some(time.into());
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
