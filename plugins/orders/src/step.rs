//! The steps of an order: what is asked for, what may be answered, how long an answer may take.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

const MINUTE: Duration = Duration::from_secs(60);

/// What has to be done for an order, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Step {
    Payment,
    Stock,
    Shipment,
}

/// The types of the events by which a step is done and undone.
pub(crate) struct Messages {
    pub(crate) request: &'static str,
    pub(crate) done: &'static str,
    pub(crate) failed: &'static str,
    pub(crate) undo: &'static str,
    pub(crate) undone: &'static str,
}

impl Step {
    pub(crate) const FIRST: Self = Self::Payment;

    pub(crate) fn next(self) -> Option<Self> {
        match self {
            Self::Payment => Some(Self::Stock),
            Self::Stock => Some(Self::Shipment),
            Self::Shipment => None,
        }
    }

    pub(crate) fn previous(self) -> Option<Self> {
        match self {
            Self::Payment => None,
            Self::Stock => Some(Self::Payment),
            Self::Shipment => Some(Self::Stock),
        }
    }

    pub(crate) fn messages(self) -> Messages {
        match self {
            Self::Payment => Messages {
                request: "PaymentRequested",
                done: "PaymentReceived",
                failed: "PaymentFailed",
                undo: "RefundRequested",
                undone: "PaymentRefunded",
            },
            Self::Stock => Messages {
                request: "StockRequested",
                done: "StockReserved",
                failed: "StockRejected",
                undo: "StockReleaseRequested",
                undone: "StockReleased",
            },
            Self::Shipment => Messages {
                request: "ShipmentRequested",
                done: "Shipped",
                failed: "ShipmentFailed",
                undo: "ShipmentCancelRequested",
                undone: "ShipmentCancelled",
            },
        }
    }

    /// How long its answer may take: a customer thinks, a warehouse looks, a carrier comes by.
    pub(crate) fn timeout(self) -> Duration {
        match self {
            Self::Payment => 30 * MINUTE,
            Self::Stock => 5 * MINUTE,
            Self::Shipment => 2 * 24 * 60 * MINUTE,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Payment => "payment",
            Self::Stock => "stock",
            Self::Shipment => "shipment",
        })
    }
}
