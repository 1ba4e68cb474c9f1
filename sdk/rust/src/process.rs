//! A process over many events of one key: where it stands is state, and how long it may stand there is a timer.

use std::time::Duration;

use serde::{Serialize, de::DeserializeOwned};

use crate::{Event, Result, State, Timer};

/// A process of the event's key, in one of the stages `S`, an enum more often than not. Needs the grants `state` and
/// `timers`.
///
/// Each stage has a time-out. Moving on replaces it, and a timer that was replaced does not fire: a time-out is always
/// that of the stage at hand. Stage, time-out and emissions are committed together, so the process is never between
/// two stages, and an answer that does not fit the stage is late or repeated and may be ignored.
///
/// ```
/// use std::time::Duration;
/// use serde::{Deserialize, Serialize};
/// use weir_sdk::{Emission, Event, Process, Raw, Result, testing::{Harness, Input}};
///
/// #[derive(Deserialize, Serialize)]
/// enum Signup { Unconfirmed, Confirmed, Expired }
///
/// const SIGNUP: Process<Signup> = Process::new("signup");
/// const DAY: Duration = Duration::from_secs(86_400);
///
/// fn handle(event: Event<Raw>) -> Result<Option<Emission>> {
///     match SIGNUP.current()? {
///         None if event.ty == "SignedUp" => {
///             SIGNUP.enter(&Signup::Unconfirmed, DAY)?;
///             Ok(Some(Emission::new("ConfirmationRequested")))
///         }
///         Some(Signup::Unconfirmed) if event.ty == "Confirmed" => {
///             SIGNUP.finish(&Signup::Confirmed, 30 * DAY)?;
///             Ok(Some(Emission::new("SignupCompleted")))
///         }
///         Some(Signup::Unconfirmed) if SIGNUP.timed_out(&event) => {
///             SIGNUP.finish(&Signup::Expired, 30 * DAY)?;
///             Ok(Some(Emission::new("SignupExpired")))
///         }
///         _ => Ok(None), // late or repeated
///     }
/// }
///
/// let mut harness = Harness::new(handle);
/// harness.deliver(Input::new("SignedUp").key("ann")).unwrap();
/// assert_eq!(harness.advance(DAY).unwrap(), [Emission::new("SignupExpired")]);
/// assert_eq!(harness.deliver(Input::new("Confirmed").key("ann")).unwrap(), []);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Process<S> {
    name: &'static str,
    stage: State<S>,
    timeout: Timer,
}

impl<S: Serialize + DeserializeOwned> Process<S> {
    /// The process of this name: it keeps the state and the timer of that name.
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            stage: State::new(name),
            timeout: Timer::new(name),
        }
    }

    /// The stage it is in; none before the first, and when the last one was forgotten.
    ///
    /// # Errors
    /// A transient failure with the code [`BAD_STATE`](crate::BAD_STATE) when what is stored is no such stage.
    pub fn current(&self) -> Result<Option<S>> {
        self.stage.get()
    }

    /// Moves to a stage that may last this long.
    ///
    /// # Errors
    /// The stage has no JSON form.
    pub fn enter(&self, stage: &S, timeout: Duration) -> Result<()> {
        self.stage.set(stage)?;
        self.timeout.set_after(timeout, &())
    }

    /// Moves to a last stage and forgets it after a while, in which late and repeated events still find it.
    ///
    /// # Errors
    /// The stage has no JSON form.
    pub fn finish(&self, stage: &S, keep: Duration) -> Result<()> {
        self.timeout.cancel();
        self.stage.set_for(stage, keep)
    }

    /// Whether this event says that the stage at hand has lasted too long.
    pub fn timed_out<T>(&self, event: &Event<T>) -> bool {
        event.timer() == Some(self.name)
    }
}
