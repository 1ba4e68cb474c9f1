//! Does what its event says and keeps nothing of it: for what a handler with state may not be.

use serde::{Deserialize, Serialize};
use weir_sdk::{Emission, Event, Failure, Result, context};

/// With the rest of it, data of 600 bytes.
const NOTE_BYTES_MAX: usize = 550;

#[derive(Deserialize)]
struct Orders {
    /// So many attempts fail.
    #[serde(default)]
    attempts: u32,
    /// Is repeated, as far as it goes into an emission of the usual size.
    #[serde(default)]
    note: String,
}

/// What was done.
#[derive(Serialize)]
struct Deed<'a> {
    id: &'a str,
    attempt: u32,
    #[serde(skip_serializing_if = "str::is_empty")]
    note: &'a str,
}

#[weir_sdk::handler]
fn handle(event: Event<Orders>) -> Result<Emission> {
    let attempt = context::attempt();
    if attempt <= event.data.attempts {
        return Err(Failure::transient("told-to", "as the event wants it"));
    }
    let id = &event.id;
    let note = &event.data.note;
    let note = note.get(..NOTE_BYTES_MAX).unwrap_or(note);
    Emission::new("Done").json(&Deed { id, attempt, note })
}
