//! Bills invoices: each `InvoiceCreated` becomes exactly one event and one step of its customer's running total.
//!
//! An invoice with something to pay becomes a `PaymentReceived`; one over nothing is paid as it stands and becomes an
//! `InvoicePaid`. Both carry the total so far. The record key is the customer, so the state of a key is the customer's.

mod money;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use weir_sdk::{Emission, Event, Failure, OrFail, Result, State};

/// What this handler remembers of each customer.
const TOTAL: State<Total> = State::new("total");

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct InvoiceCreated {
    invoice_id: String,
    customer_id: String,
    /// A decimal such as `11.77`.
    amount: String,
    currency: String,
}

#[derive(Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Total {
    purchases: u64,
    total_cents: u64,
}

/// The data of `PaymentReceived` and of `InvoicePaid`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Payment {
    invoice_id: String,
    customer_id: String,
    currency: String,
    amount_cents: u64,
    /// The customer's so far, this one included.
    purchases: u64,
    total_cents: u64,
}

#[weir_sdk::handler]
fn handle(event: Event<InvoiceCreated>) -> Result<Emission> {
    let invoice = event.data;
    let amount_cents = money::parse_cents(&invoice.amount).or_permanent("bad-amount")?;

    let mut total = TOTAL.get()?.unwrap_or_default();
    total.purchases += 1;
    total.total_cents = total.total_cents.checked_add(amount_cents).ok_or_else(|| {
        Failure::permanent(
            "total-overflow",
            "the customer's total exceeds 64 bits of cents",
        )
    })?;
    TOTAL.set(&total)?;

    let ty = if amount_cents == 0 {
        "InvoicePaid"
    } else {
        "PaymentReceived"
    };
    let payment = Payment {
        invoice_id: invoice.invoice_id,
        customer_id: invoice.customer_id,
        currency: invoice.currency,
        amount_cents,
        purchases: total.purchases,
        total_cents: total.total_cents,
    };
    Emission::new(ty).json(&payment)
}
