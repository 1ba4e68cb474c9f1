//! Does what its event says and keeps nothing of it: for what a handler with state may not be.

use serde::{Deserialize, Serialize};
use weir_sdk::{Emission, Event, Failure, Result, context};

#[derive(Deserialize)]
struct Orders {
    /// So many attempts fail.
    #[serde(default)]
    attempts: u32,
}

/// What was done.
#[derive(Serialize)]
struct Deed<'a> {
    id: &'a str,
    attempt: u32,
}

#[weir_sdk::handler]
fn handle(event: Event<Orders>) -> Result<Emission> {
    let attempt = context::attempt();
    if attempt <= event.data.attempts {
        return Err(Failure::transient("told-to", "as the event wants it"));
    }
    let id = &event.id;
    Emission::new("Done").json(&Deed { id, attempt })
}
