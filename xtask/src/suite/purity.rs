//! The borders of the architecture are missing dependencies; here they are proved.

use std::collections::BTreeSet;
use std::path::Path;

use super::Tally;
use crate::cargo;

/// All that the core is built from: its four dependencies and theirs. None knows a runtime, a clock or randomness.
const CORE: &[&str] = &[
    "weir-core",
    // Identities.
    "blake3",
    "arrayref",
    "arrayvec",
    "cfg-if",
    "constant_time_eq",
    "cpufeatures",
    // Payloads.
    "bytes",
    // Tables.
    "rustc-hash",
    // Errors, at compile time.
    "thiserror",
    "thiserror-impl",
    "proc-macro2",
    "quote",
    "syn",
    "unicode-ident",
];

/// What only one package of ours may name.
const OWNERS: &[(&str, &str)] = &[
    ("wasmtime", "weir-wasm"),
    ("wasmtime-wasi", "weir-wasm"),
    ("rocksdb", "weir"),
    ("rdkafka", "weir"),
];

pub(super) fn run(root: &Path, tally: &mut Tally) -> anyhow::Result<()> {
    tally.check("the core is pure", core(root));
    for (dependency, owner) in OWNERS {
        tally.check(
            &format!("only {owner} names {dependency}"),
            owned(root, dependency, owner),
        );
    }
    Ok(())
}

fn core(root: &Path) -> anyhow::Result<()> {
    let tree = tree(root, &["--package", "weir-core", "--edges", "normal"])?;
    let strange: Vec<_> = tree
        .iter()
        .filter(|name| !CORE.contains(&name.as_str()))
        .collect();
    anyhow::ensure!(strange.is_empty(), "weir-core depends on {strange:?}");
    Ok(())
}

fn owned(root: &Path, dependency: &str, owner: &str) -> anyhow::Result<()> {
    let named_by = tree(
        root,
        &[
            "--invert",
            dependency,
            "--depth",
            "1",
            "--edges",
            "normal",
            "--workspace",
        ],
    )?;
    let ours: Vec<_> = named_by
        .iter()
        .filter(|name| name.starts_with("weir") || *name == "xtask")
        .collect();
    anyhow::ensure!(ours == [owner], "{dependency} is named by {ours:?}");
    Ok(())
}

/// The names in a dependency tree.
fn tree(root: &Path, arguments: &[&str]) -> anyhow::Result<BTreeSet<String>> {
    let fixed = ["tree", "--prefix", "none", "--format", "{p}"];
    let text = cargo::output(cargo::command(root, fixed.iter().chain(arguments)))?;
    Ok(text
        .lines()
        .filter_map(|line| line.split(' ').next())
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect())
}
