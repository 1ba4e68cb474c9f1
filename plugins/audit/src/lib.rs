//! Writes down every event of the other examples, one line a fact, so that a business process can be followed from its
//! first event to its last by one `correlationid`.
//!
//! It keeps nothing and emits nothing. A line is written when an event is handled, not when that is committed: after a
//! crash in between, the fact is written again, under the same id.

#[cfg(test)]
mod tests;

use weir_sdk::{Event, Raw, Result, context, info};

#[weir_sdk::handler]
fn handle(event: Event<Raw>) -> Result<()> {
    info!(
        // An event that nothing caused starts a process, and what follows from it carries its id.
        correlationid = event.extension("correlationid").unwrap_or(&event.id),
        causationid = event.extension("causationid").unwrap_or_default(),
        type = event.ty,
        source = event.source,
        id = event.id,
        subject = event.subject.as_deref().unwrap_or_default(),
        tenant = context::tenant().unwrap_or_default(),
        time = event.time.as_deref().unwrap_or_default(),
        "fact"
    );
    Ok(())
}
