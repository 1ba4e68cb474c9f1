//! What a handler remembers of its event's key. Needs the grant `state`.

use std::{marker::PhantomData, time::Duration};

use serde::{Serialize, de::DeserializeOwned};

use crate::{OrFail, Result, host::state};

/// The code of the failure when stored state is not of the type that the handler asks for.
pub const BAD_STATE: &str = "bad-state";

/// A named value of type `T` that belongs to the key of the event at hand, kept as JSON. Needs the grant `state`.
///
/// Declare it once: `const TOTAL: State<Total> = State::new("total");`. A write is seen by later reads of the same
/// attempt, and by later events of the key once the attempt is committed.
#[derive(Clone, Copy, Debug)]
pub struct State<T> {
    pub(crate) name: &'static str,
    value: PhantomData<fn() -> T>,
}

impl<T: Serialize + DeserializeOwned> State<T> {
    /// The state of this name. Two handlers never share state, whatever the name.
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            value: PhantomData,
        }
    }

    /// The stored value, none before the first.
    ///
    /// # Errors
    /// A transient failure with the code [`BAD_STATE`] when the stored value is of another shape: the event is not at
    /// fault, and a version of the handler that can read the value may still come.
    pub fn get(&self) -> Result<Option<T>> {
        self.read(state::get(self.name).as_deref())
    }

    /// Stores a value until it is replaced or removed.
    ///
    /// # Errors
    /// The value has no JSON form.
    pub fn set(&self, value: &T) -> Result<()> {
        self.write(value, None)
    }

    /// Stores a value that goes away this long after the commit.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use weir_sdk::{Event, Result, State, testing::{Harness, Input}};
    /// const SESSION: State<String> = State::new("session");
    ///
    /// fn handle(event: Event<String>) -> Result<()> {
    ///     SESSION.set_for(&event.data, Duration::from_secs(60))
    /// }
    ///
    /// let mut harness = Harness::new(handle);
    /// harness.deliver(Input::new("LoggedIn").key("ann").json("s-1")).unwrap();
    /// assert_eq!(harness.state("ann", &SESSION), Some("s-1".to_owned()));
    /// harness.advance(Duration::from_secs(60)).unwrap();
    /// assert_eq!(harness.state("ann", &SESSION), None);
    /// ```
    ///
    /// # Errors
    /// The value has no JSON form.
    pub fn set_for(&self, value: &T, ttl: Duration) -> Result<()> {
        self.write(value, Some(crate::grants::milliseconds(ttl)))
    }

    /// Forgets the value.
    pub fn remove(&self) {
        state::remove(self.name);
    }

    pub(crate) fn read(&self, value: Option<&[u8]>) -> Result<Option<T>> {
        value
            .map(serde_json::from_slice)
            .transpose()
            .or_transient(BAD_STATE)
    }

    fn write(&self, value: &T, ttl_ms: Option<u64>) -> Result<()> {
        state::set(self.name, &serde_json::to_vec(value)?, ttl_ms);
        Ok(())
    }
}

/// The names of everything that is stored under the event's key and has not expired, in ascending order.
///
/// With it a version of a handler finds what an earlier one has left behind.
pub fn names() -> Vec<String> {
    state::names()
}
