//! What `weir dlq replay --dry-run` prints.

use std::io::Write;

use serde::Deserialize;
use serde_json::Value;

use crate::cli::CliError;
use crate::names::printable;

#[derive(Deserialize)]
pub(super) struct DryRun {
    letters: Vec<Letter>,
    more: bool,
    version: String,
    digest: String,
}

#[derive(Deserialize)]
struct Letter {
    id: String,
    outcome: String,
    #[serde(default)]
    class: Option<String>,
    #[serde(default)]
    code: Option<String>,
    #[serde(default)]
    message: Option<String>,
    #[serde(default)]
    emissions: Vec<Emission>,
    #[serde(default)]
    state: Vec<String>,
    #[serde(default)]
    timers: Vec<String>,
}

#[derive(Deserialize)]
struct Emission {
    topic: String,
    delay_ms: Option<u64>,
    event: Value,
}

pub(super) fn write(run: DryRun, out: &mut dyn Write) -> Result<(), CliError> {
    for letter in &run.letters {
        let Letter {
            id,
            outcome,
            class,
            code,
            message,
            emissions,
            ..
        } = letter;
        write!(out, "{}  {}", printable(id), printable(outcome))?;
        let why = [class, code, message];
        for text in why.into_iter().flatten() {
            write!(out, "  {}", printable(text))?;
        }
        writeln!(out)?;
        for Emission {
            topic,
            delay_ms,
            event,
        } in emissions
        {
            let delay = delay_ms.map_or_else(String::new, |ms| format!(" after {ms} ms"));
            let event = event.to_string();
            writeln!(
                out,
                "  would emit to {}{delay}: {}",
                printable(topic),
                printable(&event)
            )?;
        }
        for (what, names) in [("state", &letter.state), ("timers", &letter.timers)] {
            if !names.is_empty() {
                let names = names.join(", ");
                writeln!(out, "  would change {what}: {}", printable(&names))?;
            }
        }
    }
    if run.more {
        writeln!(out, "there are more: a dry run takes the first of them")?;
    }
    let (version, digest) = (printable(&run.version), printable(&run.digest));
    Ok(writeln!(
        out,
        "nothing was done; tried with version {version}, digest {digest}"
    )?)
}
