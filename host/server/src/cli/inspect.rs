//! `weir inspect`: what a component imports and exports, and what a handler becomes when it is deployed.

mod handler;

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};
use weir_wasm::Description;

use super::{CliError, load_config};
use crate::config::{Faults, Grant};
use crate::names::printable;

/// What every handler exports, whatever its patch version.
const HANDLER: &str = "weir:handler/handler@";
/// The world that a handler is built for; each grant adds an interface to it.
const WORLD: &str = "weir:handler/event-handler";

/// Arguments of `weir inspect`.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// A component, a core module with embedded component metadata, or a handler's folder
    #[arg(value_name = "COMPONENT|DIR")]
    path: PathBuf,
    /// Configuration that a handler's folder is read under; without it ./weir.toml when there is one, else the defaults
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &InspectArgs, out: &mut dyn Write) -> Result<(), CliError> {
    if args.path.is_dir() {
        let config = load_config(args.config.as_deref())?;
        return handler::run(&args.path, &config, args.json, out);
    }
    let found = describe(&args.path)?;
    if args.json {
        return Ok(writeln!(out, "{}", to_json(&found))?);
    }
    write(&args.path, &found, out)
}

fn describe(file: &Path) -> Result<Description, CliError> {
    let bytes = std::fs::read(file).map_err(|source| CliError::File {
        what: format!("read {}", file.display()),
        source,
    })?;
    weir_wasm::describe(&bytes).map_err(|source| CliError::Component {
        file: file.to_owned(),
        source,
    })
}

fn to_json(found: &Description) -> Value {
    let needs: Vec<_> = needs(found).into_iter().map(Grant::name).collect();
    json!({
        "digest": found.digest, "size_bytes": found.size_bytes, "core_module": found.core_module,
        "world": world(found), "needs": needs, "imports": found.imports, "exports": found.exports,
    })
}

fn write(file: &Path, found: &Description, out: &mut dyn Write) -> Result<(), CliError> {
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
    let none = "none: it exports no weir:handler/handler".to_owned();
    writeln!(out, "world")?;
    writeln!(out, "  {}", printable(&world(found).unwrap_or(none)))?;
    let needs: Vec<_> = needs(found).into_iter().map(Grant::name).collect();
    if !needs.is_empty() {
        writeln!(out, "needs the grants")?;
        writeln!(out, "  {}", needs.join(", "))?;
    }
    for (title, names) in [("imports", &found.imports), ("exports", &found.exports)] {
        writeln!(out, "{title}")?;
        names
            .iter()
            .try_for_each(|name| writeln!(out, "  {}", printable(name)))?;
    }
    Ok(())
}

/// The world that the component is built for; none when it is no handler.
fn world(found: &Description) -> Option<String> {
    let handler = found.exports.iter();
    let version = handler
        .filter_map(|name| name.strip_prefix(HANDLER))
        .next()?;
    let extra: Vec<_> = needs(found)
        .into_iter()
        .map(|grant| format!(" + {}", grant.name()))
        .collect();
    Some(format!("{WORLD}@{version}{}", extra.concat()))
}

/// The grants without which it does not load.
fn needs(found: &Description) -> Vec<Grant> {
    let imports = |grant: &Grant| {
        found
            .imports
            .iter()
            .any(|name| needed(name) == Some(*grant))
    };
    Grant::ALL.into_iter().filter(imports).collect()
}

/// The grant that an import needs.
fn needed(import: &str) -> Option<Grant> {
    if import.starts_with("wasi:http/") {
        return Some(Grant::Http);
    }
    let interface = import.strip_prefix("weir:handler/")?.split('@').next()?;
    Grant::ALL
        .into_iter()
        .find(|grant| *grant != Grant::Http && grant.name() == interface)
}

/// Faults of the component under what its manifest grants it.
fn component_faults(file: &Path, refused: Vec<weir_wasm::LoadError>) -> Faults {
    let fault = |error: weir_wasm::LoadError| Faults::of_file(file, error.to_string()).0;
    Faults(refused.into_iter().flat_map(fault).collect())
}

#[cfg(test)]
mod tests;
