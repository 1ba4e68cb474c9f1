//! `weir dlq replay`, `drop`, `release`, `jobs` and `job`: what is done about letters.

use std::io::Write;
use std::num::NonZeroU32;

use clap::Args;
use serde::Deserialize;
use serde_json::{Value, json};

use super::list::seconds;
use crate::cli::steer::HandlerArgs;
use crate::cli::{CliError, table};
use crate::jobs::JobCommand;
use crate::names::printable;

/// Which letters.
#[derive(Debug, Args)]
pub(super) struct SelectionArgs {
    /// Letters, by id
    letters: Vec<String>,
    /// All that are dead, but for what other options leave out
    #[arg(long)]
    all: bool,
    /// Those of this code
    #[arg(long)]
    code: Option<String>,
    /// Those of this class
    #[arg(long)]
    class: Option<String>,
    /// Those of this sequence
    #[arg(long)]
    sequence: Option<String>,
    /// Those of events that died within this time, such as 90s, 30m, 2h or 7d
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    since: Option<u64>,
}

#[derive(Debug, Args)]
pub(super) struct ActArgs {
    #[command(flatten)]
    handler: HandlerArgs,
    #[command(flatten)]
    selection: SelectionArgs,
}

#[derive(Debug, Args)]
pub(super) struct ReplayArgs {
    #[command(flatten)]
    handler: HandlerArgs,
    #[command(flatten)]
    selection: SelectionArgs,
    /// Letters a second
    #[arg(long, value_name = "N", default_value = "10")]
    rate: NonZeroU32,
    /// Run the handler and show what it would emit; nothing of it is done
    #[arg(long)]
    dry_run: bool,
    /// Version of the handler, or the beginning of its digest: with --dry-run one that the host has had, else only the one
    /// that serves
    #[arg(long, value_name = "VERSION")]
    version: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct JobsArgs {
    #[command(flatten)]
    handler: HandlerArgs,
}

#[derive(Debug, Args)]
pub(super) struct JobArgs {
    #[command(flatten)]
    handler: HandlerArgs,
    /// The job's number
    job: u64,
    /// What to do with it; without it, it is described
    #[arg(value_enum)]
    command: Option<JobCommand>,
}

impl SelectionArgs {
    fn to_json(&self) -> Result<Value, CliError> {
        let says = [&self.code, &self.class, &self.sequence];
        let says_nothing = self.letters.is_empty()
            && !self.all
            && self.since.is_none()
            && says.iter().all(|option| option.is_none());
        if says_nothing {
            return Err(CliError::Usage(
                "say which letters: their ids, --code, --class, --sequence, --since or --all"
                    .to_owned(),
            ));
        }
        Ok(json!({
            "letters": self.letters,
            "all": self.all,
            "code": self.code,
            "class": self.class,
            "sequence": self.sequence,
            "within_s": self.since,
        }))
    }
}

#[derive(Deserialize)]
struct Acted {
    letters: Vec<String>,
    obeyed: bool,
}

pub(super) fn drop_letters(args: &ActArgs, out: &mut dyn Write) -> Result<(), CliError> {
    act(args, "drop", "given up", out)
}

pub(super) fn release(args: &ActArgs, out: &mut dyn Write) -> Result<(), CliError> {
    act(args, "release", "no longer held by", out)
}

fn act(args: &ActArgs, verb: &str, done: &str, out: &mut dyn Write) -> Result<(), CliError> {
    let body = json!({ "selection": args.selection.to_json()? });
    let answer = args.handler.post(&format!("letters/{verb}"), &body)?;
    if args.handler.json {
        return Ok(writeln!(out, "{answer}")?);
    }
    let Acted { letters, obeyed } = args.handler.read(answer)?;
    writeln!(out, "{done}: {} letter(s)", letters.len())?;
    for letter in letters {
        writeln!(out, "  {}", printable(&letter))?;
    }
    if !obeyed {
        writeln!(
            out,
            "the command is kept, and obeyed when the handler's partitions serve: see `weir status`"
        )?;
    }
    Ok(())
}

pub(super) fn replay(args: &ReplayArgs, out: &mut dyn Write) -> Result<(), CliError> {
    let handler = &args.handler;
    let selection = args.selection.to_json()?;
    if args.dry_run {
        let answer = handler.post(
            "dry-run",
            &json!({ "selection": selection, "version": args.version }),
        )?;
        if handler.json {
            return Ok(writeln!(out, "{answer}")?);
        }
        return super::dry_run::write(handler.read(answer)?, out);
    }
    let body = json!({ "selection": selection, "rate": args.rate, "version": args.version });
    let answer = handler.post("jobs", &body)?;
    if handler.json {
        return Ok(writeln!(out, "{answer}")?);
    }
    let job: Job = handler.read(answer)?;
    let name = printable(&handler.handler);
    writeln!(
        out,
        "job {} replays {} letter(s) of {} sequence(s), {} a second",
        job.id, job.letters, job.sequences.all, job.rate
    )?;
    Ok(writeln!(
        out,
        "see how far it is with `weir dlq job {name} {}`",
        job.id
    )?)
}

#[derive(Deserialize)]
struct Jobs {
    jobs: Vec<Job>,
}

#[derive(Deserialize)]
struct Job {
    id: u64,
    state: String,
    selection: String,
    created: String,
    rate: u32,
    letters: usize,
    sent: usize,
    done: usize,
    dead: usize,
    dropped: usize,
    missing: usize,
    waiting: usize,
    left: usize,
    sequences: Sequences,
}

#[derive(Deserialize)]
struct Sequences {
    all: usize,
    finished: usize,
    failed: usize,
}

pub(super) fn jobs(args: &JobsArgs, out: &mut dyn Write) -> Result<(), CliError> {
    let answer = args.handler.get("jobs", &[])?;
    if args.handler.json {
        return Ok(writeln!(out, "{answer}")?);
    }
    let Jobs { jobs } = args.handler.read(answer)?;
    if jobs.is_empty() {
        return Ok(writeln!(out, "no jobs")?);
    }
    let head = [
        "job", "state", "created", "letters", "sent", "done", "dead", "waiting", "left", "what",
    ];
    let row = |job: &Job| {
        vec![
            job.id.to_string(),
            job.state.clone(),
            job.created.clone(),
            job.letters.to_string(),
            job.sent.to_string(),
            job.done.to_string(),
            job.dead.to_string(),
            job.waiting.to_string(),
            job.left.to_string(),
            job.selection.clone(),
        ]
    };
    let rows: Vec<_> = jobs.iter().map(row).collect();
    Ok(table::write(out, &head, &rows)?)
}

pub(super) fn job(args: &JobArgs, out: &mut dyn Write) -> Result<(), CliError> {
    let path = format!("jobs/{}", args.job);
    let answer = match args.command {
        None => args.handler.get(&path, &[])?,
        Some(command) => {
            let body = json!({ "command": command.name() });
            args.handler.post(&path, &body)?
        }
    };
    if args.handler.json {
        return Ok(writeln!(out, "{answer}")?);
    }
    describe(&args.handler.read(answer)?, out)
}

fn describe(job: &Job, out: &mut dyn Write) -> Result<(), CliError> {
    writeln!(
        out,
        "job {}, {}: {}",
        job.id,
        printable(&job.state),
        printable(&job.selection)
    )?;
    let rows = [
        ("created", job.created.clone()),
        ("rate", format!("{} letters a second", job.rate)),
        (
            "sequences",
            format!(
                "{}, finished {}, failed {}",
                job.sequences.all, job.sequences.finished, job.sequences.failed
            ),
        ),
        ("letters", job.letters.to_string()),
        ("sent", job.sent.to_string()),
        ("done", job.done.to_string()),
        ("dead again", job.dead.to_string()),
        ("given up meanwhile", job.dropped.to_string()),
        ("no longer kept", job.missing.to_string()),
        ("waiting", job.waiting.to_string()),
        ("not sent", job.left.to_string()),
    ];
    let rows: Vec<_> = rows
        .into_iter()
        .map(|(name, value)| vec![name.to_owned(), value])
        .collect();
    table::write_rows(out, &rows)?;
    if job.state == "failed-canary" {
        writeln!(
            out,
            "the first sequences died again, so the others were not sent: correct the cause, and replay again"
        )?;
    }
    Ok(())
}
