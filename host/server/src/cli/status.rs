//! `weir status`: topics, handlers and alarms of a host.

use std::collections::BTreeMap;
use std::io::Write;

use clap::Args;
use serde::Deserialize;
use serde_json::Value;

use super::client::{Client, ClientError};
use super::{CliError, HostArgs, table};
use crate::names::printable;

const PATH: &str = "/v1/status";

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
    data_dir: String,
    uptime_s: u64,
    topics: Vec<Topic>,
    handlers: Vec<Handler>,
    alarms: Vec<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Topic {
    name: String,
    partitions: u32,
    records: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Handler {
    name: String,
    version: String,
    state: String,
    reason: Option<String>,
    lag: u64,
    open: u64,
    retrying: u64,
    failures: u64,
    fates: BTreeMap<String, u64>,
}

pub(super) fn run(args: &StatusArgs, out: &mut dyn Write) -> Result<(), CliError> {
    let client = args.host.client()?;
    let text = client.get(PATH)?;
    if args.json {
        return Ok(writeln!(out, "{}", text.trim_end())?);
    }
    let status = parse(&client, &text)?;
    write(&status, client.url(), out)
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
    let up = uptime(status.uptime_s);
    writeln!(
        out,
        "weir {} at {url}, host {}, up {up}, data in {}",
        status.version, status.host_id, status.data_dir
    )?;
    writeln!(out)?;
    if status.topics.is_empty() {
        writeln!(out, "no topics: add [[topics]] to the config, or a handler")?;
    } else {
        let row = |topic: &Topic| {
            vec![
                topic.name.clone(),
                topic.partitions.to_string(),
                topic.records.to_string(),
            ]
        };
        let rows: Vec<_> = status.topics.iter().map(row).collect();
        table::write(out, &["topic", "partitions", "records"], &rows)?;
    }
    writeln!(out)?;
    if status.handlers.is_empty() {
        writeln!(
            out,
            "no handlers: put a folder with a handler.toml below one of `handlers` in the config"
        )?;
    } else {
        let head = [
            "handler",
            "version",
            "state",
            "lag",
            "open",
            "retrying",
            "failures",
            "handled",
            "duplicate",
            "dead",
        ];
        let rows: Vec<_> = status.handlers.iter().map(handler_row).collect();
        table::write(out, &head, &rows)?;
        writeln!(
            out,
            "what is counted from `failures` on is since this start of the host"
        )?;
    }
    for handler in &status.handlers {
        if let Some(reason) = &handler.reason {
            writeln!(
                out,
                "{} is {}: {}",
                printable(&handler.name),
                handler.state,
                printable(reason)
            )?;
        }
    }
    // What stopped a handler is said above, with the handler's name.
    let said = |text: &str| {
        status
            .handlers
            .iter()
            .any(|handler| handler.reason.as_deref() == Some(text))
    };
    for alarm in &status.alarms {
        let text = alarm
            .as_str()
            .map_or_else(|| alarm.to_string(), str::to_owned);
        if !said(&text) {
            writeln!(out, "alarm: {}", printable(&text))?;
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
        handler.lag.to_string(),
        handler.open.to_string(),
        handler.retrying.to_string(),
        handler.failures.to_string(),
        fate("handled"),
        fate("duplicate"),
        fate("dead"),
    ]
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
