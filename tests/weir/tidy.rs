//! Rules of the code base that no compiler checks, over the files that git knows.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::fixture::root;

/// A longer file wants a room with its own door.
const LINES_MAX: usize = 800;
/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 5] = ["util", "common", "helper", "misc", "manager"];

struct File {
    /// From the root of the repository.
    path: PathBuf,
    text: String,
}

impl File {
    fn name(&self) -> &str {
        self.path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap()
    }

    fn is(&self, extension: &str) -> bool {
        self.path.extension().is_some_and(|own| own == extension)
    }
}

/// Everything that is tracked or about to be, and is text.
fn files() -> Vec<File> {
    let arguments = ["ls-files", "--cached", "--others", "--exclude-standard"];
    let output = Command::new("git")
        .args(arguments)
        .current_dir(root())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let names = String::from_utf8(output.stdout).unwrap();
    let read = |name: &str| {
        Some(File {
            path: name.into(),
            text: std::fs::read_to_string(root().join(name)).ok()?,
        })
    };
    names.lines().filter_map(read).collect()
}

/// Fails with all that `fault` says, one a line.
fn check(rule: &str, fault: impl Fn(&File) -> Vec<String>) {
    let files = files();
    assert!(files.len() > 50, "git lists only {} files", files.len());
    let faults: Vec<_> = files
        .iter()
        .flat_map(|file| {
            fault(file)
                .into_iter()
                .map(|fault| format!("{}: {fault}", file.path.display()))
        })
        .collect();
    assert!(faults.is_empty(), "{rule}:\n{}", faults.join("\n"));
}

/// The rule broken or not.
fn one(broken: bool, fault: impl FnOnce() -> String) -> Vec<String> {
    if broken { vec![fault()] } else { Vec::new() }
}

#[test]
fn no_source_file_outgrows_its_readers() {
    check("at most 800 lines", |file| {
        let lines = file.text.lines().count();
        one(file.is("rs") && lines > LINES_MAX, || {
            format!("{lines} lines")
        })
    });
    let lines = std::fs::read_to_string(root().join("ARCHITECTURE.md"))
        .unwrap()
        .lines()
        .count();
    assert!(
        lines <= 200,
        "ARCHITECTURE.md has {lines} lines, and 200 are what people read"
    );
}

#[test]
fn unit_tests_stand_in_files_of_their_own() {
    check("tests of foo.rs stand in foo/tests.rs", |file| {
        let inline = file
            .text
            .lines()
            .any(|line| line.trim_start().starts_with("mod tests {"));
        one(file.is("rs") && inline, || {
            "a test module inside the file".to_owned()
        })
    });
}

#[test]
fn names_say_what_is_inside() {
    check("no empty names", |file| {
        let parts = file.path.iter().filter_map(|part| part.to_str());
        let empty = parts
            .map(|part| part.split('.').next().unwrap_or(part))
            .find(|part| {
                EMPTY_NAMES.iter().any(|name| {
                    part.strip_prefix(name)
                        .is_some_and(|rest| matches!(rest, "" | "s"))
                })
            });
        one(empty.is_some() || file.name() == "mod.rs", || {
            "a name that says nothing".to_owned()
        })
    });
}

#[test]
fn lines_end_where_their_text_ends() {
    check(
        "no trailing white space, one newline at the end, no carriage return",
        |file| {
            if file.path.extension().is_none_or(|own| {
                !["rs", "toml", "md", "wit", "sh"]
                    .iter()
                    .any(|text| own == *text)
            }) {
                return Vec::new();
            }
            let mut faults: Vec<_> = (1_usize..)
                .zip(file.text.split('\n'))
                .filter(|(_, line)| line.ends_with([' ', '\t', '\r']))
                .map(|(number, _)| format!("line {number}"))
                .collect();
            let text = &file.text;
            faults.extend(one(
                !text.is_empty() && (!text.ends_with('\n') || text.ends_with("\n\n")),
                || "its end".to_owned(),
            ));
            faults
        },
    );
}

#[test]
fn no_test_is_switched_off_and_nothing_is_left_undone() {
    // Written in two parts, so that this file does not find itself.
    let forbidden = [
        ["#[", "ignore"].concat(),
        ["todo", "!("].concat(),
        ["unimplemented", "!("].concat(),
    ];
    check("nothing left for later", |file| {
        forbidden
            .iter()
            .filter(|word| file.is("rs") && file.text.contains(*word))
            .cloned()
            .collect()
    });
}

#[test]
fn links_of_the_documents_lead_somewhere() {
    check("links to files and their headings exist", |file| {
        if !file.is("md") {
            return Vec::new();
        }
        let folder = root().join(&file.path).parent().unwrap().to_path_buf();
        links(&file.text)
            .filter(|link| !leads_somewhere(&folder, file, link))
            .map(|link| format!("no {link}"))
            .collect()
    });
}

/// Targets of `[text](target)` within the repository.
fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](").skip(1).filter_map(|rest| {
        let target = rest.split(')').next()?;
        (!target.contains("://") && !target.starts_with("mailto:")).then_some(target)
    })
}

/// Whether the link's file exists, and the heading in it that its fragment names. Without a file it means its own.
fn leads_somewhere(folder: &Path, file: &File, link: &str) -> bool {
    let (target, fragment) = link.split_once('#').unwrap_or((link, ""));
    let target = folder.join(target);
    if fragment.is_empty() || link.starts_with('#') {
        return target.exists() && (fragment.is_empty() || has_heading(&file.text, fragment));
    }
    std::fs::read_to_string(target).is_ok_and(|text| has_heading(&text, fragment))
}

/// Whether a heading has this anchor: its text in lower case, with `-` for spaces and without punctuation.
fn has_heading(text: &str, anchor: &str) -> bool {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let mut anchors = headings.map(|line| {
        let text = line.trim_start_matches('#').trim().to_lowercase();
        let kept = text.replace(' ', "-");
        kept.replace(|c: char| !c.is_alphanumeric() && c != '-' && c != '_', "")
    });
    anchors.any(|found| found == anchor)
}

#[test]
fn the_life_of_an_event_is_short_and_names_what_there_is() {
    const LINES: usize = 40;
    let files = files();
    let page = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let (_, life) = page.split_once("## Life of an event\n").unwrap();
    let (life, _) = life.split_once("\n## ").unwrap();
    assert!(
        life.trim().lines().count() < LINES,
        "more than {LINES} lines"
    );
    let sources = files.iter().filter(|file| file.is("rs"));
    let declared = |name: &str| {
        let kinds = ["fn", "struct", "trait", "mod", "enum", "use"];
        let mut declarations = kinds.map(|kind| format!("{kind} {name}")).to_vec();
        // A variant.
        declarations.extend([
            format!("    {name}("),
            format!("    {name} {{"),
            format!("    {name},"),
        ]);
        sources
            .clone()
            .any(|file| declarations.iter().any(|one| file.text.contains(one)))
    };
    let is_name = |text: &&str| {
        text.chars()
            .all(|c| c.is_ascii_alphanumeric() || "_:".contains(c))
    };
    // `Type::function(argument)`; what is no path is a command, an address or a setting.
    let named = life.split('`').skip(1).step_by(2);
    let paths: Vec<_> = named
        .map(|name| name.split_once('(').map_or(name, |(name, _)| name))
        .filter(is_name)
        .collect();
    let unknown: Vec<_> = paths
        .iter()
        .filter(|path| !path.split("::").all(declared))
        .collect();
    assert!(paths.len() > 20 && unknown.is_empty(), "{unknown:?}");
}

#[test]
fn copies_of_the_contract_are_equal_to_it() {
    let contract = |version: &str| root().join("wit").join(version).join("handler.wit");
    check(
        "a copy of handler.wit equals wit/<version>/handler.wit",
        |file| {
            if file.name() != "handler.wit" || file.path.starts_with("wit") {
                return Vec::new();
            }
            let version = file.text.lines().find_map(|line| {
                line.strip_prefix("package weir:handler@")?
                    .strip_suffix(';')
            });
            let truth = version.and_then(|version| std::fs::read_to_string(contract(version)).ok());
            one(truth.as_deref() != Some(&file.text), || {
                format!("differs from version {version:?}")
            })
        },
    );
    assert!(contract("0.1.0").is_file());
}

#[test]
fn every_hostile_guest_has_a_test() {
    let files = files();
    let tests: String = files
        .iter()
        .filter(|file| is_test(&file.path))
        .map(|file| file.text.as_str())
        .collect();
    check("a fixture in tests/guests is named by a test", |file| {
        let Ok(inside) = file.path.strip_prefix("tests/guests") else {
            return Vec::new();
        };
        let name = inside
            .iter()
            .next()
            .and_then(|part| Path::new(part).file_stem()?.to_str())
            .unwrap_or_default();
        let is_fixture = inside.iter().count() > 1
            || inside
                .extension()
                .is_some_and(|own| own == "wat" || own == "wasm");
        one(is_fixture && !tests.contains(name), || {
            format!("no test names {name}")
        })
    });
}

fn is_test(path: &Path) -> bool {
    let text = path.to_string_lossy();
    text.ends_with(".rs") && !text.starts_with("tests/guests") && text.contains("tests")
}
