//! `weir dlq`: the dead letters of a handler.

mod act;
mod dry_run;
mod letter;
mod list;

use std::io::Write;

use clap::{Args, Subcommand};

use self::act::{ActArgs, JobArgs, JobsArgs, ReplayArgs};
use self::list::ListArgs;
use super::CliError;
use super::steer::HandlerArgs;

/// Arguments of `weir dlq`.
#[derive(Debug, Args)]
pub struct DlqArgs {
    #[command(subcommand)]
    command: DlqCommand,
}

#[derive(Debug, Subcommand)]
enum DlqCommand {
    /// List letters, or with --parked the sequences that wait for their next attempt
    List(ListArgs),
    /// Show everything of one letter: why it died, its headers, its data
    Show(ShowArgs),
    /// Run dead letters again: a job that sends whole sequences in order, the first twenty before the others
    Replay(ReplayArgs),
    /// Give dead letters up, for good; sequences that they hold go on
    Drop(ActArgs),
    /// Let the sequences go on that dead letters hold; the letters stay dead
    Release(ActArgs),
    /// List replay jobs
    Jobs(JobsArgs),
    /// Describe a replay job, or pause, resume or cancel it
    Job(JobArgs),
}

#[derive(Debug, Args)]
struct ShowArgs {
    #[command(flatten)]
    handler: HandlerArgs,
    /// The letter's id
    letter: String,
}

pub(super) fn run(args: &DlqArgs, out: &mut dyn Write) -> Result<(), CliError> {
    match &args.command {
        DlqCommand::List(args) => list::run(args, out),
        DlqCommand::Show(ShowArgs { handler, letter }) => letter::show(handler, letter, out),
        DlqCommand::Replay(args) => act::replay(args, out),
        DlqCommand::Drop(args) => act::drop_letters(args, out),
        DlqCommand::Release(args) => act::release(args, out),
        DlqCommand::Jobs(args) => act::jobs(args, out),
        DlqCommand::Job(args) => act::job(args, out),
    }
}

#[cfg(test)]
mod tests;
