//! A host that is killed again and again under load, and whether it did what it accepted: each event has exactly one
//! effect, in the order of its key, and what was refused has none. Timers fire once, what is delayed is emitted once, what is
//! parked is released in order, and letters whose replay is commanded before a kill run once.
//!
//! Every other kill falls at a fail point (`host/server/src/fail.rs`), at a passage that the seed draws; the others fall
//! at a moment. The model is plain arithmetic over what was accepted and never saw the host.

mod load;
mod report;
mod scripts;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::Value;

use self::load::{Load, Purchase, Sent};
pub use self::report::Report;
use self::scripts::Scripts;
use crate::host::{Host, Place, Start};
use crate::http::Client;
use crate::purchases::{self, INVOICES, NOTIFICATIONS, PAYMENTS, Totals};
use crate::random::Random;
use crate::{suspects, wait};

/// Where a kill differs from one a step earlier: the fail points, in the order of an event's life.
pub const PLACES: [&str; 10] = [
    "group-taken",
    "store-written",
    "store-synced",
    "group-durable",
    "group-visible",
    "group-answered",
    "request-durable",
    "attempt-ended",
    "unit-committed",
    "store-opened",
];
/// How a kill at no place is named.
pub const MOMENT: &str = "any moment";
/// The handlers of a place whose host is killed.
pub const HANDLERS: [&str; 3] = ["billing", "notification", "scripted"];
/// A fail point acts at one of its first passages; under load each is passed many times a second. Few enough that a kill
/// often hits what the last one left open, enough that most events are not hit three times.
const PASSAGES: u64 = 100;
/// A kill at a moment falls this long after the start at most.
const MOMENT_MICROS_MAX: u64 = 300_000;
/// For a host to come to its fail point.
const REACHED: Duration = Duration::from_secs(60);
/// For the handlers to finish what was accepted.
const SETTLE: Duration = Duration::from_secs(600);

/// Kills the host at `place` so often, under a load that `seed` draws, and checks all that it did. `told` hears of each
/// kill: how many there were, where, and how long the start before it took.
///
/// # Errors
/// Something was lost, doubled or out of order, or the host did not come back.
pub fn run(
    place: &Place,
    kills: usize,
    seed: u64,
    mut told: impl FnMut(usize, &str, Duration),
) -> anyhow::Result<Report> {
    let began = Instant::now();
    let mut random = Random::new(seed);
    // Handlers are compiled once, which is no recovery.
    place.start()?.kill()?;
    let load = Load::spawn(&place.client(), &mut random);
    let scripts = Scripts::spawn(&place.client(), &mut random);
    let mut report = Report::new(seed);
    for kill in 0..kills {
        let name = if kill % 2 == 0 {
            MOMENT
        } else {
            PLACES[kill / 2 % PLACES.len()]
        };
        let recovery = kill_at(place, name, &mut random)
            .with_context(|| format!("kill {} ({name}) of seed {seed}", kill + 1))?;
        report.kill(name, recovery);
        told(kill + 1, name, recovery.unwrap_or_default());
    }
    let host = place.start()?;
    let sent = load.finish()?;
    let named = || {
        format!(
            "after {kills} kills of seed {seed}; the data are in {}",
            place.data().display()
        )
    };
    let fulfilled = scripts.finish(place).with_context(named)?;
    let client = host.client();
    client.settle(SETTLE)?;
    wait_for_parked(client)?;
    let died = check(client, &sent).with_context(named)? + fulfilled.suspects;
    suspects::check(died, kills as u64).with_context(named)?;
    let ended = host.drain()?;
    anyhow::ensure!(ended.success(), "{ended}: {}", place.end_of_log());
    report.finish(&sent, fulfilled, died, began.elapsed());
    Ok(report)
}

/// Starts a host and lets it die; answers how long it took until it was ready, where it lived to see that.
fn kill_at(place: &Place, name: &str, random: &mut Random) -> anyhow::Result<Option<Duration>> {
    let started = Instant::now();
    if name == MOMENT {
        let host = place.start()?;
        let recovery = started.elapsed();
        let mut replay = scripts::replay(place)?;
        wait::pause(Duration::from_micros(random.below(MOMENT_MICROS_MAX)));
        host.kill()?;
        // It may have come too late, or found no letter.
        replay.wait()?;
        return Ok(Some(recovery));
    }
    let passage = if name == "store-opened" {
        1
    } else {
        1 + random.below(PASSAGES)
    };
    match place.start_to_fail(&format!("{name}:{passage}"))? {
        Start::Ready(host) => {
            let recovery = started.elapsed();
            let mut replay = scripts::replay(place)?;
            died(host)?;
            replay.wait()?;
            Ok(Some(recovery))
        }
        Start::Ended(status) => {
            anyhow::ensure!(was_killed(status), "{status}: {}", place.end_of_log());
            Ok(None)
        }
    }
}

fn died(mut host: Host) -> anyhow::Result<()> {
    let status = wait::until("the host to come to its fail point", REACHED, || {
        host.ended()
    })?;
    anyhow::ensure!(was_killed(status), "the host ended with {status}");
    Ok(())
}

fn was_killed(status: std::process::ExitStatus) -> bool {
    std::os::unix::process::ExitStatusExt::signal(&status) == Some(9)
}

/// What a slow machine made late may be parked; it is done when that was tried again.
fn wait_for_parked(client: &Client) -> anyhow::Result<()> {
    wait::until("nothing to be parked", SETTLE, || {
        let status = client.status()?;
        let handlers = status["handlers"].as_array().into_iter().flatten();
        let parked: Vec<_> = handlers
            .filter(|one| one["parked_sequences"] != 0)
            .collect();
        anyhow::ensure!(parked.is_empty(), "{parked:?}");
        Ok(Some(()))
    })
}

/// Compares all that the host tells with the model. What ran alone when the host was killed is counted once for it, and dies
/// of three: such an event has its letter in the place of an effect. Answers how many there were.
fn check(client: &Client, sent: &Sent) -> anyhow::Result<u64> {
    let mut died = 0;
    let mut dead: BTreeSet<&str> = sent.dead().map(|purchase| purchase.id.as_str()).collect();
    let mut right: Vec<_> = sent.purchases().collect();
    for (handler, from, to) in [
        ("billing", INVOICES, PAYMENTS),
        ("notification", PAYMENTS, NOTIFICATIONS),
    ] {
        let topic = format!("=dlq.weir.dev.default.{handler}.{from}");
        let suspects = find_suspects(client, handler, from, |event| &event["data"]["invoiceId"])?;
        died += suspects.len() as u64;
        client.each_event(&topic, |record| {
            let id = record["event"]["data"]["invoiceId"].as_str();
            let id = id.unwrap_or_default();
            anyhow::ensure!(
                dead.remove(id) || suspects.contains(id),
                "a dead letter is doubled, or should not be there: {record}"
            );
            Ok(())
        })?;
        right.retain(|purchase| !suspects.contains(&purchase.id));
        check_totals(client, to, &right).context(to)?;
        if to == PAYMENTS {
            check_order(client, &right).context(to)?;
        }
        // A purchase that died here was none that cannot be billed.
        anyhow::ensure!(
            dead.is_empty(),
            "{} dead letters are missing: {dead:?}",
            dead.len()
        );
    }
    Ok(died)
}

/// The events that a handler's host was killed over so often that they died of it, each once.
fn find_suspects(
    client: &Client,
    handler: &str,
    from: &str,
    id: impl Fn(&Value) -> &Value,
) -> anyhow::Result<BTreeSet<String>> {
    let mut suspects = BTreeSet::new();
    let topic = format!("=dlq.weir.dev.default.{handler}.{from}");
    client.each_event(&topic, |record| {
        let headers = record["headers"].as_array().into_iter().flatten();
        let mut codes = headers.filter(|header| header["name"] == "weir.dlq.code");
        if codes.any(|code| code["value"] == "crash-suspect") {
            let id = id(&record["event"]).as_str().unwrap_or_default();
            anyhow::ensure!(suspects.insert(id.to_owned()), "two letters of {id}");
        }
        Ok(())
    })?;
    Ok(suspects)
}

fn check_totals(client: &Client, topic: &str, purchases: &[&Purchase]) -> anyhow::Result<()> {
    let mut right = Totals::default();
    for purchase in purchases {
        right.add(&purchase.customer, purchase.cents);
    }
    // Running totals: one that is lost, doubled or overtaken is told with the event that shows it.
    let found = purchases::emitted(client, topic)?;
    let (counts, cents) = ((found.events, right.events), (found.cents(), right.cents()));
    anyhow::ensure!(found == right, "{counts:?} events, {cents:?} cents");
    Ok(())
}

/// Payments stand in the order of their purchases, key by key. Notifications do not name theirs; they carry running totals.
fn check_order(client: &Client, purchases: &[&Purchase]) -> anyhow::Result<()> {
    let mut right: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for purchase in purchases {
        right
            .entry(&purchase.customer)
            .or_default()
            .push(&purchase.id);
    }
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    client.each_event(PAYMENTS, |record| {
        let data = &record["event"]["data"];
        let text = |name: &str| data[name].as_str().unwrap_or_default().to_owned();
        found
            .entry(text("customerId"))
            .or_default()
            .push(text("invoiceId"));
        Ok(())
    })?;
    for (customer, right) in &right {
        let found = found.get(*customer).map(Vec::as_slice).unwrap_or_default();
        let differ = right
            .iter()
            .zip(found)
            .find(|(right, found)| right != found);
        anyhow::ensure!(
            right.len() == found.len() && differ.is_none(),
            "customer {customer} made {} purchases and has {}; they differ at {differ:?}",
            right.len(),
            found.len()
        );
    }
    Ok(())
}
