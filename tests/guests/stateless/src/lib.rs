//! Does what its event says and keeps nothing of it: for what a handler with state may not be.

mod deed;

use weir_sdk::{Emission, Event, Failure, Result, context};

use self::deed::Orders;

#[weir_sdk::handler]
fn handle(event: Event<Orders>) -> Result<Emission> {
    let attempt = context::attempt();
    if attempt <= event.data.attempts {
        return Err(Failure::transient("told-to", "as the event wants it"));
    }
    Emission::new("Done").json(&event.data.done(&event.id, attempt))
}
