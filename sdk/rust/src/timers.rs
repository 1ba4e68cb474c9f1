//! Timers of the event's key. They need the grant `timers`.
//!
//! A timer is set and cancelled in the same commit as everything else of an attempt. It fires once, never early, as an
//! event of its key: `type` is [`TYPE`], `time` is when it was due, `id` is that of the setting, the same on every
//! attempt, and [`Event::timer`] is its name. A timer that was cancelled or replaced before its firing is handled
//! does not fire.
//!
//! [`Timer`] names a timer once and carries typed data; the functions are for names that are known only at run time.

use std::{
    marker::PhantomData,
    time::{Duration, SystemTime},
};

use serde::{Serialize, de::DeserializeOwned};

use crate::{Event, Raw, Result, grants::milliseconds, host::timers};

/// The `type` of every firing.
pub const TYPE: &str = "weir.timer.v1";

/// The extension attribute of a firing that names its timer.
pub(crate) const NAME: &str = "weirtimer";

/// A named timer of the event's key that carries data of type `T` as JSON.
///
/// ```
/// use std::time::Duration;
/// use weir_sdk::{Emission, Event, Raw, Result, Timer, testing::{Harness, Input}};
///
/// const REMINDER: Timer<String> = Timer::new("reminder");
///
/// fn handle(event: Event<Raw>) -> Result<Option<Emission>> {
///     if let Some(cart) = REMINDER.fired(&event)? {
///         return Emission::new("CartForgotten").json(&cart).map(Some);
///     }
///     match event.ty.as_str() {
///         "CartFilled" => REMINDER.set_after(Duration::from_secs(3_600), &event.data.json()?)?,
///         "CartPaid" => REMINDER.cancel(),
///         _ => {}
///     }
///     Ok(None)
/// }
///
/// let mut harness = Harness::new(handle);
/// harness.deliver(Input::new("CartFilled").key("ann").json("c-1")).unwrap();
/// assert!(harness.advance(Duration::from_secs(3_599)).unwrap().is_empty());
/// let emitted = harness.advance(Duration::from_secs(1)).unwrap();
/// assert_eq!(emitted, [Emission::new("CartForgotten").json("c-1").unwrap()]);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Timer<T = ()> {
    name: &'static str,
    data: PhantomData<fn() -> T>,
}

impl<T: Serialize + DeserializeOwned> Timer<T> {
    /// The timer of this name. Timers, like state, belong to one handler and one key.
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            data: PhantomData,
        }
    }

    /// Fires this long from now. Setting it again replaces it.
    ///
    /// # Errors
    /// The data has no JSON form.
    pub fn set_after(&self, wait: Duration, data: &T) -> Result<()> {
        set_after(self.name, wait, Some(&serde_json::to_vec(data)?));
        Ok(())
    }

    /// Fires at this time, at once when it has passed. Setting it again replaces it.
    ///
    /// # Errors
    /// The data has no JSON form.
    pub fn set_at(&self, at: SystemTime, data: &T) -> Result<()> {
        set_at(self.name, at, Some(&serde_json::to_vec(data)?));
        Ok(())
    }

    /// Forgets it; no harm when it is not set.
    pub fn cancel(&self) {
        cancel(self.name);
    }

    /// What it was set with, if the event is a firing of it.
    ///
    /// # Errors
    /// It was set with data of another shape: a permanent failure with the code [`BAD_DATA`](crate::BAD_DATA).
    pub fn fired(&self, event: &Event<Raw>) -> Result<Option<T>> {
        if event.timer() != Some(self.name) {
            return Ok(None);
        }
        event.data.json().map(Some)
    }
}

/// Fires once, this long from now. A timer of the same name is replaced.
pub fn set_after(name: &str, wait: Duration, data: Option<&[u8]>) {
    timers::set_after(name, milliseconds(wait), data);
}

/// Fires once, at this time; at once when it has passed. A timer of the same name is replaced.
pub fn set_at(name: &str, at: SystemTime, data: Option<&[u8]>) {
    let since_epoch = at
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    timers::set_at(name, milliseconds(since_epoch), data);
}

/// Forgets the timer of this name, if there is one.
pub fn cancel(name: &str) {
    timers::cancel(name);
}
