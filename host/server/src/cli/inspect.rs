//! `weir inspect`: what a component imports and exports.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::CliError;
use crate::names::printable;

/// Arguments of `weir inspect`.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// A component, or a core module with embedded component metadata
    #[arg(value_name = "FILE")]
    component: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &InspectArgs, out: &mut dyn Write) -> Result<(), CliError> {
    let file = &args.component;
    let bytes = std::fs::read(file).map_err(|source| CliError::File {
        what: format!("read {}", file.display()),
        source,
    })?;
    let found = weir_wasm::describe(&bytes).map_err(|source| CliError::Component {
        file: file.clone(),
        source,
    })?;
    if args.json {
        let found = json!({
            "digest": found.digest, "size_bytes": found.size_bytes, "core_module": found.core_module,
            "imports": found.imports, "exports": found.exports,
        });
        return Ok(writeln!(out, "{found}")?);
    }
    let kind = if found.core_module {
        "core module with component metadata"
    } else {
        "component"
    };
    writeln!(
        out,
        "{}: {kind}, {} KiB, digest {}",
        file.display(),
        found.size_bytes.div_ceil(1024),
        found.digest
    )?;
    for (title, names) in [("imports", &found.imports), ("exports", &found.exports)] {
        writeln!(out, "{title}")?;
        names
            .iter()
            .try_for_each(|name| writeln!(out, "  {}", printable(name)))?;
    }
    Ok(())
}
