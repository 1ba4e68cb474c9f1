//! Purchases as events: reading them, and the totals that every run must come to.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use flate2::read::MultiGzDecoder;
use serde_json::Value;

use crate::http::Client;

/// Where purchases are published.
pub const INVOICES: &str = "dev.local.public.invoices.v1";
/// What `billing` emits.
pub const PAYMENTS: &str = "dev.local.public.payments.v1";
/// What `notification` emits.
pub const NOTIFICATIONS: &str = "dev.local.public.notifications.v1";

/// The sample that ships with the project.
#[must_use]
pub fn sample(root: &Path) -> PathBuf {
    root.join("tests/data/invoices-sample.ndjson.gz")
}

/// Sums over purchases; equal sums from two independent ways are the proof of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// How many.
    pub events: u64,
    /// Cents and number of purchases by customer.
    pub customers: BTreeMap<String, (u64, u64)>,
}

impl Totals {
    /// Adds a purchase.
    pub fn add(&mut self, customer: &str, cents: u64) {
        self.events += 1;
        let entry = self.customers.entry(customer.to_owned()).or_default();
        entry.0 += cents;
        entry.1 += 1;
    }

    /// Adds a published purchase: its data says `customerId` and `amount`.
    ///
    /// # Errors
    /// It does not.
    pub fn add_invoice(&mut self, event: &Value) -> anyhow::Result<()> {
        let data = &event["data"];
        let customer = data["customerId"]
            .as_str()
            .with_context(|| format!("no customerId: {event}"))?;
        self.add(
            customer,
            cents(
                data["amount"]
                    .as_str()
                    .with_context(|| format!("no amount: {event}"))?,
            )?,
        );
        Ok(())
    }

    /// Adds what a handler emitted for a purchase. It carries the handler's own running total and count of the customer:
    /// each must be one purchase further than the one before it, so nothing was lost, doubled or overtaken on the way.
    ///
    /// # Errors
    /// It is not.
    pub fn add_running(&mut self, event: &Value) -> anyhow::Result<()> {
        let data = &event["data"];
        let number = |name: &str| {
            data[name]
                .as_u64()
                .with_context(|| format!("no {name}: {event}"))
        };
        let customer = data["customerId"]
            .as_str()
            .with_context(|| format!("no customerId: {event}"))?;
        let (before, count) = self.customers.get(customer).copied().unwrap_or_default();
        let total = number("totalCents")?;
        anyhow::ensure!(
            number("purchases")? == count + 1,
            "after purchase {count} of {customer} came {event}"
        );
        anyhow::ensure!(
            total >= before,
            "the total of {customer} fell below {before}: {event}"
        );
        if data.get("amountCents").is_some() {
            anyhow::ensure!(
                number("amountCents")? == total - before,
                "the total of {customer} was {before}: {event}"
            );
        }
        self.add(customer, total - before);
        Ok(())
    }

    /// All cents.
    #[must_use]
    pub fn cents(&self) -> u64 {
        self.customers.values().map(|(cents, _)| cents).sum()
    }

    /// The five best customers with cents and purchases, best first.
    #[must_use]
    pub fn best(&self) -> Vec<(&str, u64, u64)> {
        let mut all: Vec<_> = self
            .customers
            .iter()
            .map(|(name, (cents, count))| (name.as_str(), *cents, *count))
            .collect();
        all.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        all.truncate(5);
        all
    }
}

/// The lines of a gzip of JSON lines.
///
/// # Errors
/// It is absent or damaged.
pub fn lines(file: &Path) -> anyhow::Result<Vec<String>> {
    let open = File::open(file).with_context(|| format!("open {}", file.display()))?;
    let lines = BufReader::new(MultiGzDecoder::new(open)).lines();
    lines
        .collect::<Result<_, _>>()
        .with_context(|| format!("read {}", file.display()))
}

/// The totals of published events, computed without the host.
///
/// # Errors
/// A line is no purchase.
pub fn totals(lines: &[String]) -> anyhow::Result<Totals> {
    let mut totals = Totals::default();
    for line in lines {
        totals.add_invoice(
            &serde_json::from_str(line).with_context(|| format!("not JSON: {line}"))?,
        )?;
    }
    Ok(totals)
}

/// The totals of what a handler emitted to `topic`, in the order of each customer's purchases.
///
/// # Errors
/// A purchase is missing, doubled or out of order, or two events have the same id.
pub fn emitted(client: &Client, topic: &str) -> anyhow::Result<Totals> {
    let mut totals = Totals::default();
    let mut ids = BTreeSet::new();
    client.each_event(topic, |record| {
        let event = &record["event"];
        let id = event["id"]
            .as_str()
            .with_context(|| format!("no id: {event}"))?;
        anyhow::ensure!(ids.insert(id.to_owned()), "two events with the id {id}");
        totals.add_running(event)
    })?;
    Ok(totals)
}

/// `"13990.93"` in cents; exact.
///
/// # Errors
/// It is not a decimal with at most two places.
pub fn cents(amount: &str) -> anyhow::Result<u64> {
    let (whole, part) = amount.split_once('.').unwrap_or((amount, ""));
    anyhow::ensure!(
        part.len() <= 2 && part.bytes().all(|digit| digit.is_ascii_digit()),
        "not dollars and cents: {amount}"
    );
    let digits: u64 = format!("{part:0<2}")
        .parse()
        .with_context(|| format!("not dollars and cents: {amount}"))?;
    let whole: u64 = whole
        .parse()
        .with_context(|| format!("not dollars and cents: {amount}"))?;
    Ok(whole * 100 + digits)
}

/// Cents as people write dollars: `13,990.93`.
#[must_use]
pub fn dollars(cents: u64) -> String {
    format!("{}.{:02}", grouped(cents / 100), cents % 100)
}

/// A number with commas between thousands.
#[must_use]
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
