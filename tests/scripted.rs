//! Events for the handler `scripted`, which does what they say, and what it told.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::http::Client;

/// Where it takes its orders.
pub const ORDERS: &str = "dev.local.public.scripts.v1";
/// Where it tells what it did.
pub const DEEDS: &str = "dev.local.public.deeds.v1";

/// An event of this key with what to do; see `tests/guests/scripted`.
#[must_use]
pub fn order(id: &str, key: &str, what: &Value) -> String {
    json!({
        "specversion": "1.0",
        "id": id,
        "source": "/tests",
        "type": "Order",
        "datacontenttype": "application/json",
        "partitionkey": key,
        "data": what,
    })
    .to_string()
}

/// One thing that it told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deed {
    /// `Done`, `Fired` or `Later`.
    pub ty: String,
    /// Of the event, or the timer's name.
    pub id: String,
    /// Events of the key so far.
    pub count: u64,
    /// Which attempt it was.
    pub attempt: u64,
}

/// What it told, by key in order.
///
/// # Errors
/// The host did not answer.
pub fn deeds(client: &Client) -> anyhow::Result<BTreeMap<String, Vec<Deed>>> {
    deeds_in(client, DEEDS)
}

/// The same of what it told to a topic of another environment.
///
/// # Errors
/// The host did not answer.
pub fn deeds_in(client: &Client, topic: &str) -> anyhow::Result<BTreeMap<String, Vec<Deed>>> {
    let mut all: BTreeMap<String, Vec<Deed>> = BTreeMap::new();
    client.each_event(topic, |record| {
        let (event, data) = (&record["event"], &record["event"]["data"]);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let deed = Deed {
            ty: text(&event["type"]),
            id: text(data.get("id").unwrap_or(data)),
            count: data["count"].as_u64().unwrap_or_default(),
            attempt: data["attempt"].as_u64().unwrap_or_default(),
        };
        all.entry(text(&record["key"])).or_default().push(deed);
        Ok(())
    })?;
    Ok(all)
}
