//! Tells customers about their payments: each event of `billing` becomes one `NotificationRequested`.
//!
//! It counts for itself instead of repeating what billing says, so that its totals are right only if every payment
//! arrived exactly once. The record key is the customer, as it is for billing.

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use weir_sdk::{Emission, Event, Failure, Result, State};

/// What this handler has announced to each customer.
const ANNOUNCED: State<Announced> = State::new("announced");

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Payment {
    customer_id: String,
    currency: String,
    amount_cents: u64,
}

#[derive(Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Announced {
    purchases: u64,
    total_cents: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NotificationRequested {
    customer_id: String,
    text: String,
    /// The customer's so far, this one included.
    purchases: u64,
    total_cents: u64,
}

#[weir_sdk::handler]
fn handle(event: Event<Payment>) -> Result<Emission> {
    let payment = event.data;

    let mut announced = ANNOUNCED.get()?.unwrap_or_default();
    announced.purchases += 1;
    announced.total_cents = announced
        .total_cents
        .checked_add(payment.amount_cents)
        .ok_or_else(|| {
            Failure::permanent(
                "total-overflow",
                "the customer's total exceeds 64 bits of cents",
            )
        })?;
    ANNOUNCED.set(&announced)?;

    let amount = dollars(payment.amount_cents);
    let total = dollars(announced.total_cents);
    let currency = &payment.currency;
    let Announced {
        purchases,
        total_cents,
    } = announced;
    let text = format!(
        "Thank you for {amount} {currency}. Purchase {purchases}, {total} {currency} in all."
    );
    let request = NotificationRequested {
        customer_id: payment.customer_id,
        text,
        purchases,
        total_cents,
    };
    Emission::new("NotificationRequested").json(&request)
}

/// Cents as people write them.
fn dollars(cents: u64) -> String {
    format!("{}.{:02}", cents / 100, cents % 100)
}
