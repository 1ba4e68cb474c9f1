//! `weir dlq`: the dead letters of a handler.

mod letter;
mod list;

use std::io::Write;

use clap::{Args, Subcommand};

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
    }
}

#[cfg(test)]
mod tests;
