//! `weir status`: alarms, handlers, topics and disk of a host.

mod fleet;

use std::collections::BTreeMap;
use std::io::Write;

use clap::Args;
use serde::Deserialize;

use self::fleet::Host;
use super::client::{Client, ClientError};
use super::{CliError, HostArgs, table};
use crate::names::printable;

const PATH: &str = "/v1/status";
/// What the families of the store hold; the names alone say it to nobody.
const HOLDS: [(&str, &str); 7] = [
    (
        "inbox",
        "of the ledger: ids of events that were seen, before compression",
    ),
    ("ledger", "inbox, positions, status of dead letters"),
    ("log", "records of topics"),
    ("meta", "names and sizes"),
    ("park", "events that are set aside"),
    ("state", "state of handlers"),
    ("timer", "timers"),
];

/// Arguments of `weir status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Print the host's answer as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    host: HostArgs,
}

/// What is shown of the host's answer; a host of another version may say more.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Status {
    version: String,
    host_id: String,
    uptime_s: u64,
    alarms: Vec<Alarm>,
    handlers: Vec<Handler>,
    /// All of the fleet; none without one.
    hosts: Vec<Host>,
    /// Why no others are shown, where there may be some.
    alone: Option<String>,
    topics: Vec<Topic>,
    store: Option<Store>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Alarm {
    alarm: String,
    severity: String,
    site: String,
    since: String,
    meaning: String,
    detail: String,
    remedy: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Handler {
    name: String,
    version: String,
    state: String,
    reason: Option<String>,
    lag: Option<u64>,
    open: u64,
    retrying: u64,
    parked_events: u64,
    held_sequences: u64,
    breaker: String,
    failures: u64,
    fates: BTreeMap<String, u64>,
    fleet: Option<fleet::Sums>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Topic {
    name: String,
    partitions: u32,
    records: Option<u64>,
    bytes: Option<u64>,
}

/// Shown to those who may see the whole host.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Store {
    data_dir: String,
    bytes: BTreeMap<String, u64>,
    disk_free_bytes: Option<u64>,
    disk_reserve_bytes: Option<u64>,
}

pub(super) fn run(args: &StatusArgs, out: &mut dyn Write) -> Result<(), CliError> {
    let client = args.host.client()?;
    let text = client.get(PATH)?;
    let status = parse(&client, &text)?;
    if args.json {
        writeln!(out, "{}", text.trim_end())?;
    } else {
        write(&status, client.url(), out)?;
    }
    match status.alarms.len() {
        0 => Ok(()),
        count => Err(CliError::Alarms { count }),
    }
}

/// The full names of the host's topics.
pub(super) fn topics(client: &Client) -> Result<Vec<String>, ClientError> {
    let status = parse(client, &client.get(PATH)?)?;
    Ok(status.topics.into_iter().map(|topic| topic.name).collect())
}

fn parse(client: &Client, text: &str) -> Result<Status, ClientError> {
    serde_json::from_str(text).map_err(|error| ClientError::Answer {
        url: client.url().to_owned(),
        reason: error.to_string(),
    })
}

fn write(status: &Status, url: &str, out: &mut dyn Write) -> Result<(), CliError> {
    for alarm in &status.alarms {
        write_alarm(alarm, out)?;
    }
    writeln!(
        out,
        "weir {} at {url}, host {}, up {}",
        status.version,
        status.host_id,
        uptime(status.uptime_s)
    )?;
    writeln!(out)?;
    write_handlers(&status.handlers, out)?;
    writeln!(out)?;
    fleet::write(status, out)?;
    write_topics(&status.topics, out)?;
    if let Some(store) = &status.store {
        writeln!(out)?;
        write_store(store, out)?;
    }
    Ok(())
}

fn write_alarm(alarm: &Alarm, out: &mut dyn Write) -> Result<(), CliError> {
    let line = |text: &str| printable(text).into_owned();
    writeln!(
        out,
        "ALARM {} ({}), {}, since {}",
        line(&alarm.alarm),
        line(&alarm.severity),
        line(&alarm.site),
        line(&alarm.since)
    )?;
    writeln!(out, "  {}", line(&alarm.meaning))?;
    writeln!(out, "  here: {}", line(&alarm.detail))?;
    writeln!(out, "  do: {}", line(&alarm.remedy))?;
    Ok(writeln!(out)?)
}

fn write_handlers(handlers: &[Handler], out: &mut dyn Write) -> Result<(), CliError> {
    if handlers.is_empty() {
        return Ok(writeln!(
            out,
            "no handlers: put a folder with a handler.toml below one of `handlers` in the config"
        )?);
    }
    let head = [
        "handler",
        "version",
        "state",
        "lag",
        "open",
        "retrying",
        "parked",
        "held",
        "breaker",
        "failures",
        "handled",
        "duplicate",
        "filtered",
        "skipped",
        "set aside",
        "dead",
    ];
    let rows: Vec<_> = handlers.iter().map(handler_row).collect();
    table::write(out, &head, &rows)?;
    writeln!(
        out,
        "what is counted from `failures` on is since this start of the host"
    )?;
    for handler in handlers {
        if let Some(reason) = &handler.reason {
            let (name, reason) = (printable(&handler.name), printable(reason));
            writeln!(out, "{name} is {}: {reason}", handler.state)?;
        }
    }
    Ok(())
}

fn handler_row(handler: &Handler) -> Vec<String> {
    let fate = |name: &str| handler.fates.get(name).copied().unwrap_or(0).to_string();
    vec![
        handler.name.clone(),
        handler.version.clone(),
        handler.state.clone(),
        figure(handler.lag),
        handler.open.to_string(),
        handler.retrying.to_string(),
        handler.parked_events.to_string(),
        handler.held_sequences.to_string(),
        handler.breaker.clone(),
        handler.failures.to_string(),
        fate("handled"),
        fate("duplicate"),
        fate("filtered"),
        fate("skipped"),
        fate("parked"),
        fate("dead"),
    ]
}

fn write_topics(topics: &[Topic], out: &mut dyn Write) -> Result<(), CliError> {
    if topics.is_empty() {
        return Ok(writeln!(
            out,
            "no topics: add [[topics]] to the config, or a handler"
        )?);
    }
    let row = |topic: &Topic| {
        let bytes = topic.bytes.map(size);
        let shown = [topic.partitions.to_string(), figure(topic.records)];
        [topic.name.clone()]
            .into_iter()
            .chain(shown)
            .chain(bytes)
            .collect::<Vec<_>>()
    };
    let rows: Vec<_> = topics.iter().map(row).collect();
    let with_bytes = topics.iter().any(|topic| topic.bytes.is_some());
    let head = ["topic", "partitions", "records", "bytes"];
    let columns = if with_bytes { 4 } else { 3 };
    Ok(table::write(out, &head[..columns], &rows)?)
}

fn write_store(store: &Store, out: &mut dyn Write) -> Result<(), CliError> {
    let data = printable(&store.data_dir);
    let free = store.disk_free_bytes.map(size);
    let reserve = store.disk_reserve_bytes.map(size);
    if let (Some(free), Some(reserve)) = (free, reserve) {
        writeln!(
            out,
            "data in {data}; the disk has {free} free, {reserve} of it in reserve"
        )?;
    } else {
        writeln!(out, "data in {data}")?;
    }
    let row = |(family, bytes): (&String, &u64)| {
        let holds = HOLDS.iter().find(|(name, _)| name == family);
        let holds = holds.map_or("", |(_, holds)| holds);
        vec![family.clone(), size(*bytes), holds.to_owned()]
    };
    let rows: Vec<_> = store.bytes.iter().map(row).collect();
    Ok(table::write(
        out,
        &["store", "bytes", "what it holds"],
        &rows,
    )?)
}

/// A number that the host may not know: it is the cluster's to say.
fn figure(number: Option<u64>) -> String {
    number.map_or_else(|| "unknown".to_owned(), |number| number.to_string())
}

/// In the largest unit that leaves a number of at least one.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let (mut tenths, mut unit) = (bytes.saturating_mul(10) / 1024, 0);
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    while tenths >= 10 * 1024 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

/// The two largest units.
fn uptime(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min {} s", seconds % 60),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests;
