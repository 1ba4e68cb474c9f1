//! `weir drain`: a host gives its partitions to others for good.

use std::io::Write;

use clap::Args;
use serde::Deserialize;
use serde_json::{Value, json};

use super::client::ClientError;
use super::{CliError, HostArgs, table};
use crate::names::printable;

/// Arguments of `weir drain`.
#[derive(Debug, Args)]
pub struct DrainArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    host: HostArgs,
}

/// What has become of a host.
#[derive(Deserialize)]
struct Drained {
    /// None where hosts do not know of one another.
    host_id: Option<String>,
    was_drained: bool,
    finished: bool,
    others: Option<u64>,
    handlers: Vec<Left>,
}

#[derive(Deserialize)]
struct Left {
    handler: Option<String>,
    group: String,
    left: bool,
}

pub(super) fn run(args: &DrainArgs, out: &mut dyn Write) -> Result<(), CliError> {
    let client = args.host.client()?;
    let answer: Value = client.ask("/v1/admin/drain", &json!({}))?;
    if args.json {
        return Ok(writeln!(out, "{answer}")?);
    }
    let drained = serde_json::from_value(answer).map_err(|error| ClientError::Answer {
        url: client.url().to_owned(),
        reason: error.to_string(),
    })?;
    write(&drained, out)
}

fn write(drained: &Drained, out: &mut dyn Write) -> Result<(), CliError> {
    let host = drained.host_id.as_deref().map(printable);
    let host = host.unwrap_or_else(|| "the host".into());
    let how = if drained.was_drained {
        "was drained already"
    } else {
        "is drained"
    };
    writeln!(
        out,
        "{host} {how}: it serves nothing until it is started anew, and may be stopped"
    )?;
    let rows = drained.handlers.iter().map(|one| {
        let handler = one.handler.as_deref().unwrap_or("-");
        let moves = if one.left {
            "others have its partitions"
        } else {
            "not left: others have its partitions when its session has ended, after 30 s"
        };
        vec![handler.to_owned(), one.group.clone(), moves.to_owned()]
    });
    let rows: Vec<_> = rows.collect();
    table::write(out, &["handler", "group", "partitions"], &rows)?;
    if !drained.finished {
        writeln!(
            out,
            "what ran has not finished in time: ask again, or stop the host"
        )?;
    }
    if drained.others == Some(0) {
        writeln!(
            out,
            "no other host is there: events wait until one is started"
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
