//! The manual mentions everything that can be typed and configured, so that it cannot fall behind in silence.
//!
//! What there is, the program itself says: in its help, and in its complaints about keys that it does not know.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;
use weir_tests::host;

use crate::fixture::root;

/// No key has this name, so the program lists those that it knows.
const UNKNOWN: &str = "qqq";

/// A page of the manual.
fn page(name: &str) -> String {
    std::fs::read_to_string(root().join("docs").join(name)).unwrap()
}

/// All pages.
fn manual() -> String {
    let pages = std::fs::read_dir(root().join("docs")).unwrap();
    pages
        .map(|page| std::fs::read_to_string(page.unwrap().path()).unwrap())
        .collect()
}

/// What `weir <arguments>` says, whether it fails or not.
fn weir(arguments: &[&str]) -> String {
    let mut command = Command::new(host::binary().unwrap());
    let output = command.args(arguments).env_remove("WEIR_DATA").output();
    let output = output.unwrap();
    [output.stdout, output.stderr]
        .map(|said| String::from_utf8(said).unwrap())
        .concat()
}

/// Every command below `parent`, in full.
fn commands(parent: &[&str]) -> Vec<String> {
    let help = weir(&[parent, &["--help"]].concat());
    let Some((_, list)) = help.split_once("\nCommands:\n") else {
        return Vec::new();
    };
    let names = list
        .lines()
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next())
        // Where a description goes on, the line begins with more spaces.
        .filter(|name| !name.is_empty() && *name != "help");
    let below = |name: &str| {
        let path = [parent, &[name]].concat();
        let mut found = vec![format!("weir {}", path.join(" "))];
        found.extend(commands(&path));
        found
    };
    names.flat_map(below).collect()
}

/// Every key that can be written into a file, in full and without sections. `complaints` says what the program has
/// against a text.
fn keys(complaints: impl Fn(&str) -> String) -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    let mut tables = known_keys(&complaints(&format!("{UNKNOWN} = 1")), "");
    while let Some((table, lists, names)) = tables.pop() {
        let paths: Vec<_> = names.iter().map(|name| format!("{table}{name}")).collect();
        keys.extend(paths.iter().cloned());
        // Each may be a table, or a list of tables: then it has keys of its own.
        for (open, close) in [("[", "]"), ("[[", "]]")] {
            let section = |path: &String| format!("{open}{path}{close}\n{UNKNOWN} = 1\n");
            let sections: String = paths.iter().map(section).collect();
            for mut found in known_keys(&complaints(&format!("{lists}{sections}")), &lists) {
                let path = found.0.trim_end_matches('.');
                keys.remove(path);
                if open == "[[" {
                    found.1 += &format!("[[{path}]]\n");
                }
                tables.push(found);
            }
        }
    }
    keys
}

/// A table of a file: its path with a dot at its end, the headers of the lists that it is in, and its keys.
type Table = (String, String, BTreeSet<String>);

/// The tables that complaints tell the keys of.
fn known_keys(complaints: &str, lists: &str) -> Vec<Table> {
    let known = complaints.lines().filter_map(|line| {
        let (place, known) = line.split_once(": is not a known key: known are ")?;
        let place = place.rsplit(' ').next()?.strip_suffix(UNKNOWN)?;
        let names = known.split(", ").map(str::to_owned).collect();
        Some((place.replace("[0]", ""), lists.to_owned(), names))
    });
    known.collect()
}

/// Fails with all that the page does not mention.
fn check<'a>(page: &str, wanted: impl IntoIterator<Item = &'a String>) {
    let missing: Vec<_> = wanted
        .into_iter()
        .filter(|wanted| !page.contains(wanted.as_str()))
        .collect();
    assert!(missing.is_empty(), "the manual lacks {missing:#?}");
}

#[test]
fn the_manual_mentions_every_command() {
    let commands = commands(&[]);
    assert!(commands.contains(&"weir run".to_owned()), "{commands:?}");
    check(&manual(), &commands);
}

#[test]
fn the_manual_explains_every_key_of_a_manifest() {
    let folder = TempDir::with_prefix("weir-").unwrap();
    let keys = keys(|text| {
        std::fs::write(folder.path().join("handler.toml"), text).unwrap();
        weir(&["inspect", folder.path().to_str().unwrap()])
    });
    assert!(keys.contains("subscribe.topics"), "{keys:?}");
    let quoted: Vec<_> = keys.iter().map(|key| format!("`{key}`")).collect();
    check(&page("handlers.md"), &quoted);
}

#[test]
fn the_manual_mentions_every_key_of_the_configuration() {
    let folder = TempDir::with_prefix("weir-").unwrap();
    let file = folder.path().join("weir.toml");
    let keys = keys(|text| {
        std::fs::write(&file, text).unwrap();
        let path = file.to_str().unwrap();
        weir(&["inspect", folder.path().to_str().unwrap(), "--config", path])
    });
    for key in [
        "http.limits.event_bytes",
        "http.tokens.tenant",
        "topics.name",
    ] {
        assert!(keys.contains(key), "{keys:?}");
    }
    let quoted: Vec<_> = keys.iter().map(|key| format!("`{key}`")).collect();
    check(&page("configuration.md"), &quoted);
}

#[test]
fn the_tests_that_the_table_of_rules_names_are_there() {
    let page = page("rules.md");
    let is_row = |line: &&str| line.starts_with("| ") && !line.ends_with("| Tests |");
    let rows: Vec<_> = page.lines().filter(is_row).collect();
    assert!(rows.len() > 30, "{} rows", rows.len());
    let sources = ["host/core", "host/wasm", "host/server", "tests/weir"];
    let mut text = String::new();
    for folder in sources {
        read_sources(&root().join(folder), &mut text);
    }
    for row in &rows {
        let names: Vec<_> = row.split('`').skip(1).step_by(2).collect();
        let tests = names.iter().filter(|name| name.contains('_'));
        let tests: Vec<_> = tests.collect();
        assert!(!tests.is_empty(), "no test of {row}");
        for test in tests {
            assert!(text.contains(&format!("fn {test}(")), "there is no {test}");
        }
    }
}

/// All source text below a folder.
fn read_sources(folder: &Path, into: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read_sources(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push_str(&std::fs::read_to_string(&path).unwrap());
        }
    }
}

/// Tests of hostile handlers by module and name, with their text.
fn hostile_tests() -> BTreeMap<String, String> {
    let sandbox = root().join("host/wasm/tests/sandbox/hostile");
    let files = std::fs::read_dir(sandbox).unwrap().map(|file| {
        let path = file.unwrap().path();
        let module = path.file_stem().unwrap().to_str().unwrap().to_owned();
        (module, path)
    });
    let host = ("host".to_owned(), root().join("tests/weir/hostile.rs"));
    let mut tests = BTreeMap::new();
    for (module, path) in files.chain([host]) {
        let text = std::fs::read_to_string(path).unwrap();
        for test in text.split("test]\n").skip(1) {
            let name = test
                .split_once("fn ")
                .and_then(|(_, rest)| rest.split_once('('));
            let (name, _) = name.unwrap();
            tests.insert(format!("{module}::{name}"), test.to_owned());
        }
    }
    tests
}

#[test]
fn the_table_of_hostile_handlers_has_each_test_once_and_says_what_it_ends_in() {
    let page = page("hostile.md");
    let mut tests = hostile_tests();
    assert!(tests.len() >= 40, "{} tests", tests.len());
    let rows = page.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| ")?.split(" | ");
        let (_, happens, test) = (cells.next()?, cells.next()?, cells.next()?);
        let test = test.strip_prefix('`')?.strip_suffix("` |")?;
        Some((test, happens))
    });
    for (name, happens) in rows {
        let test = tests.remove(name);
        let test = test.unwrap_or_else(|| panic!("no test {name}, or it has two rows"));
        // What is quoted is a code, a stage or an attribute.
        for quoted in happens.split('`').skip(1).step_by(2) {
            let is_there = test.contains(&format!("\"{quoted}\"")) || quoted == "source";
            assert!(is_there, "{name} does not end in {quoted}");
        }
    }
    let missing: Vec<_> = tests.keys().collect();
    assert!(missing.is_empty(), "the table lacks {missing:?}");
}
