//! Takes an order from placed to shipped, or undoes what was done for it: a process manager.
//!
//! | step | asks with | is done by | fails by | is undone with | which is confirmed by |
//! |---|---|---|---|---|---|
//! | payment | `PaymentRequested` | `PaymentReceived` | `PaymentFailed` | `RefundRequested` | `PaymentRefunded` |
//! | stock | `StockRequested` | `StockReserved` | `StockRejected` | `StockReleaseRequested` | `StockReleased` |
//! | shipment | `ShipmentRequested` | `Shipped` | `ShipmentFailed` | `ShipmentCancelRequested` | `ShipmentCancelled` |
//!
//! When all are done it ends with `OrderCompleted`. When one fails, those before it are undone in reverse, and it ends
//! with `OrderCancelled`. A step that times out is in doubt: it may be done, or be done later. It is undone as well, so
//! that an answer after its time can be ignored. Three things make that safe:
//!
//! - The record key is the order, so all that concerns an order is handled one after the other.
//! - All requests of an order go to one topic under one key: who is asked sees `RefundRequested` after
//!   `PaymentRequested`, never before.
//! - Who is asked to undo confirms it also when there was nothing to undo, or when it was asked before.

mod step;
#[cfg(test)]
mod tests;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use step::Step;
use weir_sdk::{Emission, Event, Failure, Process, Raw, Result, context, debug, error};

const ORDER: Process<Order> = Process::new("order");

const ORDER_PLACED: &str = "OrderPlaced";
/// What other services are asked to do.
const REQUESTS: &str = "public.order-requests.v1";
/// How orders ended.
const OUTCOMES: &str = "public.order-outcomes.v1";

/// How often a step is asked to be undone before people have to see to it.
const UNDO_ATTEMPTS: u32 = 5;
/// How long its first confirmation may take; each further one twice as long, half an hour in all.
const UNDO_TIMEOUT: Duration = Duration::from_secs(60);
/// How long an order that has ended is known, so that it is not taken again when it is placed once more.
const KEEP: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// An order on its way.
#[derive(Deserialize, Serialize)]
struct Order {
    placed: Placed,
    stage: Stage,
}

#[derive(Deserialize, Serialize)]
enum Stage {
    /// Waits for the answer of this step; those before it are done.
    Doing(Step),
    /// Waits for the confirmation that this step is undone; those after it are.
    Undoing {
        step: Step,
        /// How often it has been asked.
        attempt: u32,
        cancellation: Cancellation,
    },
    Completed,
    Cancelled,
}

/// The data of `OrderPlaced`, which every request repeats.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Placed {
    order_id: String,
    customer_id: String,
    amount_cents: u64,
    currency: String,
    items: Vec<Item>,
}

#[derive(Deserialize, Serialize)]
struct Item {
    sku: String,
    quantity: u32,
}

/// The data of `PaymentFailed`, `StockRejected` and `ShipmentFailed`, as far as it matters here.
#[derive(Deserialize)]
struct Refusal {
    reason: Option<String>,
}

/// Why an order is cancelled, and what is left of it.
#[derive(Deserialize, Serialize)]
struct Cancellation {
    reason: String,
    /// Steps that were asked to be undone and never confirmed it.
    unconfirmed: Vec<Step>,
}

#[weir_sdk::handler]
fn handle(event: Event<Raw>) -> Result<Option<Emission>> {
    let ty = event.ty.as_str();
    let timed_out = ORDER.timed_out(&event);
    let Some(Order { placed, stage }) = ORDER.current()? else {
        return match ty {
            ORDER_PLACED => begin(event.data.json()?).map(Some),
            _ => ignore(ty),
        };
    };
    let emission = match stage {
        Stage::Doing(step) if ty == step.messages().done => match step.next() {
            Some(next) => ask(placed, next),
            None => complete(placed),
        },
        Stage::Doing(step) if ty == step.messages().failed => {
            let refusal: Option<Refusal> = event.data.json()?;
            let cancellation = Cancellation::refused(step, refusal);
            undo_before(placed, step, cancellation)
        }
        Stage::Doing(step) if timed_out => {
            let cancellation = Cancellation::new(format!("{step} timed out"));
            undo(placed, step, 1, cancellation)
        }
        Stage::Undoing {
            step, cancellation, ..
        } if ty == step.messages().undone => undo_before(placed, step, cancellation),
        Stage::Undoing {
            step,
            attempt,
            cancellation,
        } if timed_out => undo_again(placed, step, attempt, cancellation),
        Stage::Doing(_) | Stage::Undoing { .. } | Stage::Completed | Stage::Cancelled => {
            return ignore(ty);
        }
    };
    emission.map(Some)
}

fn begin(placed: Placed) -> Result<Emission> {
    // Under another key the process would be somebody else's, and its answers would never meet it.
    if context::key().as_deref() != Some(placed.order_id.as_bytes()) {
        return Err(Failure::permanent(
            "wrong-key",
            "the record key is not the order's id",
        ));
    }
    ask(placed, Step::FIRST)
}

fn ask(placed: Placed, step: Step) -> Result<Emission> {
    let request = request(&placed, step.messages().request);
    let stage = Stage::Doing(step);
    ORDER.enter(&Order { placed, stage }, step.timeout())?;
    request
}

fn complete(placed: Placed) -> Result<Emission> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct OrderCompleted<'a> {
        order_id: &'a str,
    }
    let data = OrderCompleted {
        order_id: &placed.order_id,
    };
    let outcome = outcome(&placed, "OrderCompleted", &data);
    let stage = Stage::Completed;
    ORDER.finish(&Order { placed, stage }, KEEP)?;
    outcome
}

/// Asks for the `attempt`-th time to undo a step.
fn undo(placed: Placed, step: Step, attempt: u32, cancellation: Cancellation) -> Result<Emission> {
    let request = request(&placed, step.messages().undo);
    let stage = Stage::Undoing {
        step,
        attempt,
        cancellation,
    };
    let timeout = UNDO_TIMEOUT * 2_u32.pow(attempt - 1);
    ORDER.enter(&Order { placed, stage }, timeout)?;
    request
}

/// Asks once more, or goes on without a confirmation.
fn undo_again(
    placed: Placed,
    step: Step,
    attempt: u32,
    mut cancellation: Cancellation,
) -> Result<Emission> {
    if attempt < UNDO_ATTEMPTS {
        return undo(placed, step, attempt + 1, cancellation);
    }
    error!(
        order = placed.order_id,
        step = step,
        "not confirmed to be undone after {attempt} requests"
    );
    cancellation.unconfirmed.push(step);
    undo_before(placed, step, cancellation)
}

/// Undoes what was done before this step.
fn undo_before(placed: Placed, step: Step, cancellation: Cancellation) -> Result<Emission> {
    match step.previous() {
        Some(previous) => undo(placed, previous, 1, cancellation),
        None => cancel(placed, &cancellation),
    }
}

fn cancel(placed: Placed, cancellation: &Cancellation) -> Result<Emission> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct OrderCancelled<'a> {
        order_id: &'a str,
        reason: &'a str,
        unconfirmed: &'a [Step],
    }
    let data = OrderCancelled {
        order_id: &placed.order_id,
        reason: &cancellation.reason,
        unconfirmed: &cancellation.unconfirmed,
    };
    let outcome = outcome(&placed, "OrderCancelled", &data);
    let stage = Stage::Cancelled;
    ORDER.finish(&Order { placed, stage }, KEEP)?;
    outcome
}

/// What does not fit the stage is late or repeated: the stage has taken care of it.
fn ignore(ty: &str) -> Result<Option<Emission>> {
    debug!(type = ty, "ignored, late or repeated");
    Ok(None)
}

fn request(placed: &Placed, ty: &str) -> Result<Emission> {
    let request = Emission::new(ty).topic(REQUESTS).subject(&placed.order_id);
    request.json(placed)
}

fn outcome(placed: &Placed, ty: &str, data: &impl Serialize) -> Result<Emission> {
    let outcome = Emission::new(ty).topic(OUTCOMES).subject(&placed.order_id);
    outcome.json(data)
}

impl Cancellation {
    fn new(reason: String) -> Self {
        Self {
            reason,
            unconfirmed: Vec::new(),
        }
    }

    fn refused(step: Step, refusal: Option<Refusal>) -> Self {
        Self::new(match refusal.and_then(|refusal| refusal.reason) {
            Some(reason) => format!("{step} failed: {reason}"),
            None => format!("{step} failed"),
        })
    }
}
