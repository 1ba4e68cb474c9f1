//! `weir backup` and `weir restore`: a copy of the data directory, and a data directory from a copy.

use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use serde::Deserialize;
use serde_json::json;

use super::CliError;
use super::client::ClientError;
use super::owner::DataArgs;
use crate::data_dir::backup::{self, Backup};
use crate::names::printable;

/// Arguments of `weir backup`.
#[derive(Debug, Args)]
pub struct BackupArgs {
    /// Where the copy goes: a directory on the host's machine that does not exist or is empty
    #[arg(value_name = "DIR")]
    target: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    data: DataArgs,
}

/// Arguments of `weir restore`.
#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// A copy that `weir backup` made
    #[arg(value_name = "DIR")]
    copy: PathBuf,
    /// The new data directory; else `data` of the configuration, else ./weir-data
    #[arg(long, value_name = "DIR", env = "WEIR_DATA")]
    data: Option<PathBuf>,
    /// Configuration; without it ./weir.toml when there is one, else the defaults
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What is shown of the answer to a backup.
#[derive(Deserialize)]
struct Made {
    path: PathBuf,
    backup: Backup,
    ms: u64,
}

pub(super) fn back_up(args: &BackupArgs, out: &mut dyn Write) -> Result<(), CliError> {
    let target = std::path::absolute(&args.target).map_err(|source| CliError::File {
        what: format!("resolve {}", args.target.display()),
        source,
    })?;
    let owner = args.data.owner()?;
    let answer = owner.back_up(&target)?;
    if args.json {
        return Ok(writeln!(out, "{answer}")?);
    }
    let made: Made = serde_json::from_value(answer).map_err(|error| ClientError::Answer {
        url: "the data directory".to_owned(),
        reason: error.to_string(),
    })?;
    let Backup {
        host_id,
        files,
        bytes,
        made_at,
        ..
    } = &made.backup;
    writeln!(
        out,
        "{}: host {}, {files} files, {bytes} bytes, {} ms, made at {}",
        made.path.display(),
        printable(host_id),
        made.ms,
        printable(made_at)
    )?;
    let (held, left) = contents(owner.in_fleet());
    writeln!(
        out,
        "in it: {held}the versions of handlers that were deployed, the host's id"
    )?;
    Ok(writeln!(
        out,
        "not in it: {left}the configuration, the handlers' folders, compiled code (made again at the start)"
    )?)
}

/// What is in a copy, and what is not, beside what is so of every one.
fn contents(in_fleet: bool) -> (&'static str, &'static str) {
    match in_fleet {
        false => (
            "topics with their records, positions, inboxes and state of all subscriptions, ",
            "",
        ),
        true => (
            "",
            "positions, inboxes, state and dead letters, which the cluster has, ",
        ),
    }
}

pub(super) fn restore(args: &RestoreArgs, out: &mut dyn Write) -> Result<(), CliError> {
    let start = Instant::now();
    let config = super::load_config(args.config.as_deref())?;
    let data = config.data_dir(args.data.clone());
    let backup = backup::restore(&args.copy, &data)?;
    let ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
    if args.json {
        let answer = json!({ "path": data, "backup": backup, "ms": ms });
        return Ok(writeln!(out, "{answer}")?);
    }
    let Backup {
        host_id,
        files,
        bytes,
        made_at,
        ..
    } = &backup;
    writeln!(
        out,
        "{}: host {}, {files} files, {bytes} bytes, {ms} ms, as it was at {}",
        data.display(),
        printable(host_id),
        printable(made_at)
    )?;
    if config.kafka.is_some() {
        return Ok(writeln!(
            out,
            "positions, inboxes and state are those that the cluster has: none was in it"
        )?);
    }
    writeln!(
        out,
        "what was published after that is not in it: let its producers send it again, from somewhat earlier; repeats \
         are dropped"
    )?;
    Ok(writeln!(
        out,
        "what handlers emitted after that is emitted again, under the same ids: whoever has read it drops it by id"
    )?)
}
