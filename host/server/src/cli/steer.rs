//! `weir pause`, `weir resume`, `weir breaker`: a handler waits or goes on.

use std::io::Write;

use clap::Args;
use serde::Deserialize;
use serde_json::{Value, json};

use super::client::{Client, ClientError, segment};
use super::{CliError, HostArgs};
use crate::names::printable;
use crate::steering::{BreakerCommand, Start};

/// Which handler of which host.
#[derive(Clone, Debug, Args)]
pub(super) struct HandlerArgs {
    /// The handler's name
    pub(super) handler: String,
    /// Who owns it; needed where several tenants have a handler of this name
    #[arg(long)]
    tenant: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    host: HostArgs,
}

/// Arguments of `weir pause`.
#[derive(Debug, Args)]
pub struct PauseArgs {
    #[command(flatten)]
    handler: HandlerArgs,
}

/// Arguments of `weir resume`.
#[derive(Debug, Args)]
pub struct ResumeArgs {
    #[command(flatten)]
    handler: HandlerArgs,
    /// Where partitions go on that have lost their position: earliest, latest or an offset
    #[arg(long, value_name = "PLACE")]
    from: Option<Start>,
    /// The one that is meant by --from; without it, all that have lost theirs
    #[arg(long, value_name = "N", requires = "from")]
    partition: Option<u32>,
}

/// Arguments of `weir breaker`.
#[derive(Debug, Args)]
pub struct BreakerArgs {
    #[command(flatten)]
    handler: HandlerArgs,
    /// open: no attempts; close: attempts whatever fails; auto: as their outcomes tell
    #[arg(value_enum)]
    command: BreakerCommand,
}

impl HandlerArgs {
    /// The host.
    pub(super) fn client(&self) -> Result<Client, CliError> {
        self.host.client()
    }

    /// The path of this handler's `rest`, which may have a query.
    pub(super) fn path(&self, rest: &str, query: &[(&str, String)]) -> String {
        let handler = segment(&self.handler);
        let mut path = format!("/v1/admin/handlers/{handler}/{rest}");
        let tenant = self.tenant.iter().map(|tenant| ("tenant", tenant.clone()));
        let mut mark = '?';
        for (name, value) in query.iter().cloned().chain(tenant) {
            path.push(mark);
            path += &format!("{name}={}", segment(&value));
            mark = '&';
        }
        path
    }

    /// Reads what the host says.
    pub(super) fn get(&self, rest: &str, query: &[(&str, String)]) -> Result<Value, CliError> {
        let client = self.client()?;
        let text = client.get(&self.path(rest, query))?;
        understand(&client, serde_json::from_str(&text))
    }

    /// Has the host do something.
    pub(super) fn post(&self, rest: &str, body: &Value) -> Result<Value, CliError> {
        Ok(self.client()?.ask(&self.path(rest, &[]), body)?)
    }

    /// What is used of an answer.
    pub(super) fn read<T: for<'a> Deserialize<'a>>(&self, answer: Value) -> Result<T, CliError> {
        understand(&self.client()?, serde_json::from_value(answer))
    }
}

fn understand<T>(client: &Client, read: serde_json::Result<T>) -> Result<T, CliError> {
    Ok(read.map_err(|error| ClientError::Answer {
        url: client.url().to_owned(),
        reason: error.to_string(),
    })?)
}

/// What holds from then on.
#[derive(Deserialize)]
struct Steered {
    paused: bool,
    was_paused: bool,
    breaker: String,
    /// Partitions that had stopped; none in the place of one: the whole.
    again: Vec<Option<u32>>,
    /// Hosts that could not be asked what has stopped there, and why.
    #[serde(default)]
    unasked: Vec<String>,
    /// Why no other host obeys, where there may be some.
    #[serde(default)]
    alone: Option<String>,
}

pub(super) fn pause(args: &PauseArgs, out: &mut dyn Write) -> Result<(), CliError> {
    let handler = &args.handler;
    let name = printable(&handler.handler);
    steer(handler, "pause", &json!({}), out, |was| {
        if was.was_paused {
            format!("{name} was paused already")
        } else {
            format!(
                "{name} is paused: attempts that run finish, events wait; `weir resume {name}` lets them go on"
            )
        }
    })
}

pub(super) fn resume(args: &ResumeArgs, out: &mut dyn Write) -> Result<(), CliError> {
    let handler = &args.handler;
    let name = printable(&handler.handler);
    let from = args.from.map(|from| from.to_string());
    let body = json!({ "from": from, "partition": args.partition });
    steer(handler, "resume", &body, out, |was| {
        let before = if was.was_paused || !was.again.is_empty() {
            "goes on"
        } else {
            "was not paused, and nothing of it had stopped"
        };
        let again: Vec<_> = was.again.iter().flatten().map(u32::to_string).collect();
        let again = if again.is_empty() {
            String::new()
        } else {
            format!(
                ", and partition(s) {} that had stopped begin anew: see how with `weir status`",
                again.join(", ")
            )
        };
        let breaker = if was.breaker == BreakerCommand::Open.name() {
            format!("; its breaker is held open: `weir breaker {name} auto` lets it close")
        } else {
            String::new()
        };
        format!("{name} {before}{again}{breaker}")
    })
}

pub(super) fn breaker(args: &BreakerArgs, out: &mut dyn Write) -> Result<(), CliError> {
    let handler = &args.handler;
    let name = printable(&handler.handler);
    let body = json!({ "command": args.command.name() });
    steer(handler, "breaker", &body, out, |is| {
        let what = match args.command {
            BreakerCommand::Auto => "opens and closes as outcomes tell",
            BreakerCommand::Open => "is held open: no attempts start",
            BreakerCommand::Close => "is held closed: attempts start whatever fails",
        };
        let paused = if is.paused {
            ", and the handler is paused"
        } else {
            ""
        };
        format!("the breaker of {name} {what}{paused}")
    })
}

fn steer(
    handler: &HandlerArgs,
    rest: &str,
    body: &Value,
    out: &mut dyn Write,
    say: impl FnOnce(Steered) -> String,
) -> Result<(), CliError> {
    let answer = handler.post(rest, body)?;
    if handler.json {
        return Ok(writeln!(out, "{answer}")?);
    }
    let steered: Steered = handler.read(answer)?;
    let (unasked, alone) = (steered.unasked.clone(), steered.alone.clone());
    writeln!(out, "{}", say(steered))?;
    for why in unasked {
        let why = printable(&why);
        writeln!(
            out,
            "what has stopped on another host by itself stands still there, if anything has, for it could not be asked: {why}"
        )?;
    }
    if let Some(why) = alone {
        let why = printable(&why);
        writeln!(
            out,
            "this host alone has obeyed, tell each of the others: {why}"
        )?;
    }
    Ok(())
}
