//! Does what its event says, so that a test of the host decides how a handler behaves.
//!
//! Every event that is handled adds one to `count` in the state of its key and is told as a `Done` with that number;
//! every timer that fires is told as a `Fired` and counts too.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use weir_sdk::{Emission, Event, Failure, Raw, Result, State, context, timers};

const COUNT: State<u64> = State::new("count");

/// What to do; all of it may be left out.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
struct Orders {
    /// `transient`, `unavailable`, `permanent` or `trap`.
    fail: Option<String>,
    /// The first attempts fail so; none: all.
    attempts: Option<u32>,
    /// Attempts before this instant fail so, Unix milliseconds; none: all.
    until_ms: Option<u64>,
    /// A hint with the failure.
    retry_after_ms: Option<u64>,
    /// Sets this timer ..
    timer: Option<String>,
    /// .. to fire after this long.
    after_ms: u64,
    /// Cancels this timer.
    cancel: Option<String>,
    /// Emits one `Later` so much after the commit.
    delay_ms: Option<u64>,
    /// Keeps `count` for so long only.
    ttl_ms: Option<u64>,
}

/// What was done.
#[derive(Serialize)]
struct Deed<'a> {
    /// Of the event, or the timer's name.
    id: &'a str,
    /// Events of this key so far.
    count: u64,
    attempt: u32,
}

#[weir_sdk::handler]
fn handle(event: Event<Raw>) -> Result<Vec<Emission>> {
    if let Some(name) = event.timer() {
        return Ok(vec![deed("Fired", name, None)?]);
    }
    let orders: Orders = event.data.json()?;
    if orders.fails() {
        return Err(orders.failure());
    }
    if let Some(name) = &orders.timer {
        timers::set_after(name, Duration::from_millis(orders.after_ms), None);
    }
    if let Some(name) = &orders.cancel {
        timers::cancel(name);
    }
    let mut emissions = vec![deed("Done", &event.id, orders.ttl_ms)?];
    if let Some(delay) = orders.delay_ms {
        let later = Emission::new("Later").delay(Duration::from_millis(delay));
        emissions.push(later.json(&event.id)?);
    }
    Ok(emissions)
}

/// Counts, and tells it.
fn deed(ty: &str, id: &str, ttl_ms: Option<u64>) -> Result<Emission> {
    let count = COUNT.get()?.unwrap_or_default() + 1;
    match ttl_ms {
        Some(ttl) => COUNT.set_for(&count, Duration::from_millis(ttl))?,
        None => COUNT.set(&count)?,
    }
    let attempt = context::attempt();
    Emission::new(ty).json(&Deed { id, count, attempt })
}

impl Orders {
    fn fails(&self) -> bool {
        let now = context::now().duration_since(SystemTime::UNIX_EPOCH);
        let now_ms = now.map_or(0, |now| now.as_millis());
        self.fail.is_some()
            && self
                .attempts
                .is_none_or(|first| context::attempt() <= first)
            && self.until_ms.is_none_or(|until| now_ms < u128::from(until))
    }

    fn failure(&self) -> Failure {
        let message = "as the event wants it";
        let failure = match self.fail.as_deref() {
            Some("transient") => Failure::transient("scripted-transient", message),
            Some("unavailable") => Failure::unavailable("scripted-unavailable", message),
            Some("trap") => panic!("{message}"),
            Some(_) | None => Failure::permanent("scripted-permanent", message),
        };
        match self.retry_after_ms {
            Some(wait) => failure.retry_after(Duration::from_millis(wait)),
            None => failure,
        }
    }
}
