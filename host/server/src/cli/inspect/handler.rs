//! A handler's folder: its manifest in deployed form and what its component needs, or all that is wrong with both.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use weir_wasm::{Description, LoadError};

use super::{component_faults, needs, to_json};
use crate::cli::{CliError, table};
use crate::config::document::Document;
use crate::config::{Config, Faults, Grant, PARTITIONS};
use crate::handlers::Deployment;
use crate::manifest::{self, Field, From, Isolation, KeyFields, Manifest};
use crate::names::printable;

pub(super) fn run(
    folder: &Path,
    config: &Config,
    json: bool,
    out: &mut dyn Write,
) -> Result<(), CliError> {
    let manifest = Manifest::load(folder, config);
    let mut faults = Faults::default();
    let found = component_file(folder).and_then(|file| {
        // A file that is not there is the manifest's fault, told with its key.
        let bytes = std::fs::read(&file).ok()?;
        match weir_wasm::describe(&bytes) {
            Ok(found) => Some((file, found)),
            Err(error) => {
                faults.0.extend(Faults::of_file(&file, error.to_string()).0);
                None
            }
        }
    });
    let deployment = match manifest {
        Ok(manifest) => Some(Deployment::new(manifest, config)),
        Err(more) => {
            faults.0.extend(more.0);
            None
        }
    };
    if let Some((file, found)) = &found {
        let grants = deployment.as_ref().map(Deployment::grants);
        let mut refused =
            weir_wasm::check_description(found, grants.as_ref().unwrap_or(&Default::default()));
        // What a manifest with faults would grant is not known.
        refused.retain(|error| grants.is_some() || !matches!(error, LoadError::NotGranted { .. }));
        faults.0.extend(component_faults(file, refused).0);
    }
    let component = found.as_ref().map(|(_, found)| found);
    if json {
        writeln!(
            out,
            "{}",
            whole(folder, deployment.as_ref(), component, &faults)
        )?;
    } else {
        if let Some(deployment) = &deployment {
            write(folder, deployment, component, out)?;
        }
        if let Some((file, found)) = &found {
            super::write(file, found, out)?;
        }
    }
    Ok(faults.check()?)
}

/// The component that the manifest names, whatever else is wrong with it.
fn component_file(folder: &Path) -> Option<PathBuf> {
    let document = Document::load(&folder.join(manifest::FILE)).ok()?;
    let mut root = document.root();
    let file = root.text("component")?;
    Some(root.resolve(file))
}

/// As it is written in the manifest.
fn filter(folder: &Path) -> Option<Value> {
    let document = Document::load(&folder.join(manifest::FILE)).ok()?;
    let filter = document
        .root()
        .section("subscribe")
        .value("filter")
        .map(serde_json::to_value);
    filter?.ok()
}

/// How hosts of a fleet divide the partitions: by number, whatever the handler reads, so that no rebalance has to revoke
/// all of them for the sake of topics that move together.
const ASSIGNOR: &str = "cooperative-sticky";

/// What that means for this handler.
fn division(manifest: &Manifest) -> &'static str {
    if manifest.joins_topics() {
        "by partition number, over all its topics, which need equal partition counts; a rebalance moves only what changes hosts"
    } else {
        "by partition number, over all its topics; a rebalance moves only what changes hosts"
    }
}

fn isolation(manifest: &Manifest) -> &'static str {
    match manifest.isolation {
        Isolation::Reuse => "reuse",
        Isolation::Event => "event",
    }
}

fn from(manifest: &Manifest) -> &'static str {
    match manifest.from {
        From::Earliest => "earliest",
        From::Latest => "latest",
    }
}

/// How emissions are written, and what one has for a key whose handler names none.
fn written(manifest: &Manifest) -> String {
    let mode = manifest.emit.mode.name();
    match &manifest.emit.key {
        Some(key) => format!("{mode} mode, key tenant:{}", key.texts().join(":")),
        None => format!("{mode} mode, key of the input"),
    }
}

fn mapping(manifest: &Manifest) -> Option<String> {
    manifest.mapping.as_ref().map(manifest::Mapping::text)
}

fn asked(manifest: &Manifest) -> Vec<&'static str> {
    let asked = Grant::ALL
        .into_iter()
        .filter(|grant| manifest.grants.asks(*grant));
    asked.map(Grant::name).collect()
}

fn whole(
    folder: &Path,
    deployment: Option<&Deployment>,
    found: Option<&Description>,
    faults: &Faults,
) -> Value {
    let handler = deployment.map(|deployment| {
        let manifest = &deployment.manifest;
        let letters = deployment.dead_letter_topics.iter();
        json!({
            "name": manifest.name, "version": manifest.version, "tenant": manifest.tenant,
            "group": &*deployment.scope.group,
            "topics": manifest.topics,
            "dead_letter_topics": letters.map(|topic| &**topic).collect::<Vec<_>>(),
            "mapping": mapping(manifest),
            "emit_topics": manifest.emit.topics, "source": manifest.emit.source,
            "emit_key": manifest.emit.key.as_ref().map(KeyFields::texts),
            "emit_mode": manifest.emit.mode.name(),
            "from": from(manifest), "filter": filter(folder),
            "assignor": ASSIGNOR, "partitions": manifest.partitions.unwrap_or(PARTITIONS), "inbox": manifest.inbox,
            "inbox_key": manifest.inbox_key.as_ref().map(Field::text),
            "ordering": manifest.ordering.name(), "across_topics": manifest.across_topics,
            "grants": asked(manifest), "isolation": isolation(manifest),
            "limits": {
                "memory_bytes": manifest.limits.memory_bytes,
                "cpu_ms": millis(manifest.limits.cpu), "wall_ms": millis(manifest.limits.wall),
            },
        })
    });
    let faults: Vec<_> = faults.0.iter().map(ToString::to_string).collect();
    json!({ "handler": handler, "component": found.map(to_json), "faults": faults })
}

fn millis(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn write(
    folder: &Path,
    deployment: &Deployment,
    found: Option<&Description>,
    out: &mut dyn Write,
) -> Result<(), CliError> {
    let manifest = &deployment.manifest;
    let limits = &manifest.limits;
    let filter = filter(folder).map_or("none".to_owned(), |filter| filter.to_string());
    let emits: Vec<_> = manifest.emit.topics.iter().map(String::as_str).collect();
    let mut rows = vec![
        ("group", deployment.scope.group.to_string()),
        ("starts", from(manifest).to_owned()),
        ("filter", filter),
        ("emits", or_none(&emits)),
        ("source", manifest.emit.source.clone()),
        ("written", written(manifest)),
        ("mapping", mapping(manifest).unwrap_or("none".to_owned())),
        ("grants", grants(manifest, found)),
        ("assignor", format!("{ASSIGNOR} ({})", division(manifest))),
        (
            "limits",
            format!(
                "memory {} MiB, {} ms of CPU, {} ms of wall time, isolation {}",
                limits.memory_bytes >> 20,
                limits.cpu.as_millis(),
                limits.wall.as_millis(),
                isolation(manifest)
            ),
        ),
        (
            "inbox",
            match &manifest.inbox_key {
                Some(key) => format!("on, by {}", key.text()),
                None => if manifest.inbox { "on" } else { "off" }.to_owned(),
            },
        ),
        (
            "ordering",
            match manifest.across_topics {
                true => format!("{}, across topics", manifest.ordering.name()),
                false => manifest.ordering.name().to_owned(),
            },
        ),
        (
            "partitions",
            manifest.partitions.map_or_else(
                || format!("{PARTITIONS} for topics that do not exist"),
                |partitions| partitions.to_string(),
            ),
        ),
    ];
    let topics = deployment
        .scope
        .topics
        .iter()
        .zip(&*deployment.dead_letter_topics);
    for (topic, letters) in topics.rev() {
        rows.insert(1, ("dead letters", letters.to_string()));
        rows.insert(1, ("reads", topic.to_string()));
    }
    writeln!(
        out,
        "{} {}, tenant {}",
        printable(&manifest.name),
        printable(&manifest.version),
        printable(&manifest.tenant)
    )?;
    let rows: Vec<_> = rows
        .into_iter()
        .map(|(name, value)| vec![name.to_owned(), value])
        .collect();
    Ok(table::write_rows(out, &rows)?)
}

fn grants(manifest: &Manifest, found: Option<&Description>) -> String {
    let asked = asked(manifest);
    let needs = found.map(needs).unwrap_or_default();
    let is_imported = |name: &str| needs.iter().any(|grant| grant.name() == name);
    let unused: Vec<_> = asked
        .iter()
        .copied()
        .filter(|name| !is_imported(name))
        .collect();
    match (found, unused.as_slice()) {
        (None, _) | (Some(_), []) => or_none(&asked),
        (Some(_), unused) => format!("{} (not imported: {})", or_none(&asked), unused.join(", ")),
    }
}

fn or_none(names: &[&str]) -> String {
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}
