//! `weir undeploy`: what remains of a handler, and with `--purge` nothing.

use std::io::{self, BufRead, IsTerminal, Write};

use clap::Args;

use super::owner::DataArgs;
use super::{CliError, table};
use crate::names::{self, printable};

/// Arguments of `weir undeploy`.
#[derive(Debug, Args)]
pub struct UndeployArgs {
    /// The handler's name
    handler: String,
    /// Who owns it; needed where several tenants have a handler of this name
    #[arg(long)]
    tenant: Option<String>,
    /// Delete its position, inbox and state in the data directory: nothing brings them back but a backup. In a fleet its pauses,
    /// breakers and replay jobs alone, since state lies in topics
    #[arg(long)]
    purge: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    data: DataArgs,
}

/// What is deleted there.
const FLEET: &str = "its pauses, breakers and replay jobs alone";

pub(super) fn run(args: &UndeployArgs, out: &mut dyn Write) -> Result<(), CliError> {
    let name = &args.handler;
    if !names::is_label(name) {
        return Err(CliError::Usage(format!(
            "{name:?} is no handler's name: it is {}",
            names::LABEL_RULE
        )));
    }
    if !args.purge {
        return explain(name, out);
    }
    if !args.yes {
        let terminal = io::stdin().is_terminal();
        confirm(name, &mut io::stdin().lock(), &mut io::stderr(), terminal)?;
    }
    let owner = args.data.owner()?;
    let answer = owner.purge(name, args.tenant.as_deref())?;
    if args.json {
        return Ok(writeln!(out, "{answer}")?);
    }
    writeln!(out, "deleted of {}", printable(name))?;
    let deleted = answer["deleted"].as_object().into_iter().flatten();
    let rows: Vec<_> = deleted
        .map(|(what, count)| vec![what.clone(), count.as_u64().unwrap_or(0).to_string()])
        .collect();
    table::write(out, &["what", "entries"], &rows)?;
    let group = printable(answer["group"].as_str().unwrap_or_default());
    let state = match owner.in_fleet() {
        true => format!("its positions, inbox and state in topics _weir.{group}.*"),
        false => "its topics".to_owned(),
    };
    Ok(writeln!(
        out,
        "kept: {state}, what it emitted, and its dead letters in topics dlq.{group}.*"
    )?)
}

fn explain(name: &str, out: &mut dyn Write) -> Result<(), CliError> {
    writeln!(
        out,
        "To undeploy {name}, take its folder out of `handlers` in the config and start the host anew. All of this stays:\n\
         \n\
         \x20 its position, inbox and state: deployed again under this name, it goes on where it was;\n\
         \x20 the records that it has not handled: retention waits for it, a cluster's does not;\n\
         \x20 its topics, what it emitted, and its dead letters.\n\
         \n\
         To delete its position, inbox and state for good, after that: weir undeploy {name} --purge\n\
         In a fleet that forgets {FLEET}: state lies in topics, which Kafka's tools delete."
    )?;
    Ok(())
}

/// Asks for the name once more. Who cannot be asked must have said --yes.
fn confirm(
    name: &str,
    input: &mut dyn BufRead,
    ask: &mut dyn Write,
    is_terminal: bool,
) -> Result<(), CliError> {
    if !is_terminal {
        return Err(CliError::Usage(format!(
            "this deletes the handler's position, inbox and state for good, in a fleet {FLEET}: write --yes to confirm"
        )));
    }
    write!(
        ask,
        "This deletes the position, inbox and state of {name} for good, in a fleet {FLEET}. Type its name to go on: "
    )?;
    let mut line = String::new();
    input.read_line(&mut line)?;
    if line.trim() == name {
        Ok(())
    } else {
        Err(CliError::Usage(format!(
            "{:?} is not {name:?}: nothing was deleted",
            line.trim()
        )))
    }
}

#[cfg(test)]
mod tests;
