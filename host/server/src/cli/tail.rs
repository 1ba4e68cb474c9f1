//! `weir tail`: the events of a topic as they arrive.

use std::io::{BufRead, BufReader, Write};
use std::str::FromStr;

use clap::Args;
use serde::Deserialize;
use serde_json::Value;

use super::client::{ClientError, segment};
use super::{CliError, HostArgs};
use crate::names::printable;

/// Characters of the data that a line shows.
const DATA_CHARS: usize = 80;

/// Arguments of `weir tail`.
#[derive(Debug, Args)]
pub struct TailArgs {
    /// Topic, short or full
    topic: String,
    /// Only this partition
    #[arg(long, value_name = "N")]
    partition: Option<u32>,
    /// Where to start: beginning, end, or an offset
    #[arg(long, value_name = "WHERE", default_value = "beginning")]
    from: From,
    /// Stop after this many events
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Stop at the end of the topic; without it, wait for more
    #[arg(long)]
    no_follow: bool,
    /// Print each event as one line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    host: HostArgs,
}

/// Where to start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    Beginning,
    End,
    Offset(u64),
}

impl FromStr for From {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.parse()) {
            ("beginning", _) => Ok(Self::Beginning),
            ("end", _) => Ok(Self::End),
            (_, Ok(offset)) => Ok(Self::Offset(offset)),
            (_, Err(_)) => Err("write beginning, end, or an offset".to_owned()),
        }
    }
}

/// One line of the host's answer.
#[derive(Deserialize)]
struct Line {
    partition: u32,
    offset: u64,
    #[serde(default)]
    event: Value,
}

impl TailArgs {
    fn path(&self) -> String {
        let from = match self.from {
            From::Beginning => "beginning".to_owned(),
            From::End => "end".to_owned(),
            From::Offset(offset) => offset.to_string(),
        };
        let mut path = format!(
            "/v1/topics/{}/events?from={from}&follow={}",
            segment(&self.topic),
            !self.no_follow
        );
        if let Some(partition) = self.partition {
            path += &format!("&partition={partition}");
        }
        if let Some(count) = self.count {
            path += &format!("&limit={count}");
        }
        path
    }
}

pub(super) fn run(args: &TailArgs, out: &mut dyn Write) -> Result<(), CliError> {
    let client = args.host.client()?;
    let body = client.stream(&args.path())?;
    let lines = BufReader::new(body.into_reader()).lines();
    let mut seen = 0;
    for line in lines {
        if args.count.is_some_and(|count| seen >= count) {
            break;
        }
        let line = line.map_err(|source| CliError::File {
            what: format!(
                "read from the host at {}: run this again to go on",
                client.url()
            ),
            source,
        })?;
        // Empty lines keep an idle connection open.
        if line.is_empty() {
            continue;
        }
        seen += 1;
        if args.json {
            writeln!(out, "{line}")?;
        } else {
            let line = serde_json::from_str(&line).map_err(|error| ClientError::Answer {
                url: client.url().to_owned(),
                reason: error.to_string(),
            })?;
            writeln!(out, "{}", describe(&line))?;
        }
    }
    Ok(())
}

/// `3:17  2026-01-02T03:04:05Z  InvoiceCreated  customer-7  {"amount":12}`
fn describe(line: &Line) -> String {
    let text = |name: &str| line.event.get(name).and_then(Value::as_str).unwrap_or("-");
    let data = match (line.event.get("data"), line.event.get("data_base64")) {
        (Some(data), _) => data.to_string(),
        (None, Some(data)) => format!("base64 {}", data.as_str().unwrap_or_default()),
        (None, None) => "-".to_owned(),
    };
    let mut shown: String = data.chars().take(DATA_CHARS).collect();
    if shown.len() < data.len() {
        shown.push('…');
    }
    let place = format!("{}:{}", line.partition, line.offset);
    let full = format!(
        "{place:<9}  {}  {}  {}  {shown}",
        text("time"),
        text("type"),
        text("subject")
    );
    printable(&full).into_owned()
}

#[cfg(test)]
mod tests;
