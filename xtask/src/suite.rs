//! `cargo xtask test`: every part runs whatever became of the others, and the end says what ran, what could not and why, and
//! what each part took beside its share of the time.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::{cargo, guests, machine};

mod purity;
#[cfg(test)]
mod tests;

/// What a group of parts may take, in minutes on two cores. A suite that outgrows its share stops being run.
const SHARES: [(&str, u64); 7] = [
    (BUILD, 30),
    (UNIT, 4),
    (HOSTILE, 4),
    (KILLS, 3),
    (KAFKA, 8),
    (LANGUAGES, 6),
    (SURFACE, 3),
];
const BUILD: &str = "build and clippy";
const UNIT: &str = "unit and simulation";
const HOSTILE: &str = "hostile and damage";
const KILLS: &str = "kills";
const KAFKA: &str = "Kafka";
const LANGUAGES: &str = "languages";
const SURFACE: &str = "swaps and API";

/// Where guests are built for this machine, by clippy and for their native tests.
const NATIVE: &str = "target/native";

/// How the harness of `tests` says that a test could not run: this, then its name and the reason.
const SKIPPED: &str = "SKIPPED: ";
/// And that a part of a test was passed over: this, then what it was and the reason.
const UNTRIED: &str = "UNTRIED: ";
/// In the line by which the simulator says what it would have noticed.
const NOTICED: &str = " planted bugs noticed";

/// What the parts found so far.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    passed: usize,
    failed: usize,
    /// Skipped tests that the binary at work will count as passed, since they return.
    returned_early: usize,
    /// Name and reason of what could not run.
    skipped: Vec<String>,
    /// The same of parts of tests that ran.
    untried: Vec<String>,
    /// Names of what failed.
    failures: Vec<String>,
    /// What tests proved of themselves.
    proved: Vec<String>,
}

/// One part, and whose share it spends.
struct Part {
    group: &'static str,
    name: &'static str,
    run: fn(&Path, &mut Tally) -> anyhow::Result<()>,
}

const PARTS: &[Part] = &[
    Part {
        group: BUILD,
        name: "format",
        run: format,
    },
    Part {
        group: BUILD,
        name: "build",
        run: |root, tally| {
            check(
                root,
                tally,
                "build",
                &["build", "--workspace", "--all-targets"],
            )
        },
    },
    Part {
        group: BUILD,
        name: "clippy",
        run: clippy,
    },
    Part {
        group: BUILD,
        name: "borders",
        run: purity::run,
    },
    Part {
        group: LANGUAGES,
        name: "handlers",
        run: handlers,
    },
    Part {
        group: LANGUAGES,
        name: "handlers, native tests",
        run: native,
    },
    Part {
        group: UNIT,
        name: "xtask",
        run: |root, tally| package(root, tally, "xtask", None, &[]),
    },
    Part {
        group: UNIT,
        name: "examples in documents",
        run: |root, tally| {
            test(
                cargo::command(root, ["test", "--workspace", "--doc"]),
                "examples in documents",
                tally,
            )
        },
    },
    Part {
        group: UNIT,
        name: "core and simulation",
        run: |root, tally| package(root, tally, "host/core", None, &[]),
    },
    Part {
        group: UNIT,
        name: "server",
        run: |root, tally| package(root, tally, "host/server", None, &[]),
    },
    Part {
        group: HOSTILE,
        name: "sandbox",
        run: |root, tally| package(root, tally, "host/wasm", None, &[]),
    },
    Part {
        group: HOSTILE,
        name: "damage",
        run: |root, tally| package(root, tally, "tests", Some("weir"), &["damage::"]),
    },
    Part {
        group: KILLS,
        name: "kills",
        run: |root, tally| package(root, tally, "tests", Some("weir"), &["kills::"]),
    },
    Part {
        group: KAFKA,
        name: "Kafka",
        // They wait for sessions to end as much as they work: more at a time wait for the processors.
        run: |root, tally| {
            let waiting = ["kafka::", "--test-threads=4"];
            package(root, tally, "tests", Some("weir"), &waiting)
        },
    },
    Part {
        group: SURFACE,
        name: "whole host",
        run: |root, tally| {
            let others = [
                "--skip", "kills::", "--skip", "damage::", "--skip", "kafka::",
            ];
            package(root, tally, "tests", Some("weir"), &others)
        },
    },
];

/// Runs all parts; true when nothing failed.
pub(crate) fn run(root: &Path) -> anyhow::Result<bool> {
    machine::prepare()?;
    machine::prepare_tests();
    let mut tally = Tally::default();
    let mut spent = Vec::new();
    for part in PARTS {
        eprintln!("\n== {} ==", part.name);
        let started = Instant::now();
        if let Err(error) = (part.run)(root, &mut tally) {
            eprintln!("{}: {error:#}", part.name);
            tally.fail(format!("{}: {error:#}", part.name));
        }
        spent.push((part, started.elapsed()));
    }
    print!("{}", report(&spent, &tally));
    Ok(tally.failed == 0)
}

impl Tally {
    fn fail(&mut self, what: String) {
        self.failed += 1;
        self.failures.push(what);
    }

    /// Counts a check that is not a libtest binary as one test.
    fn check(&mut self, name: &str, outcome: anyhow::Result<()>) {
        match outcome {
            Ok(()) => self.passed += 1,
            Err(error) => self.fail(format!("{name}: {error:#}")),
        }
    }

    fn skip(&mut self, name: &str, reason: &str) {
        self.skipped.push(format!("{name}: {reason}"));
    }

    /// Reads one line of a test binary.
    fn read(&mut self, line: &str) {
        if let Some(counts) = line.strip_prefix("test result: ") {
            for (count, what) in counts
                .split([';', '.'])
                .filter_map(|part| part.trim().split_once(' '))
            {
                let Ok(count) = count.parse::<usize>() else {
                    continue;
                };
                match what {
                    "passed" => {
                        let early = std::mem::take(&mut self.returned_early);
                        self.passed += count.saturating_sub(early);
                    }
                    "failed" => self.failed += count,
                    "ignored" => self.skipped.extend(std::iter::repeat_n(
                        "ignored by its attribute".to_owned(),
                        count,
                    )),
                    _ => {}
                }
            }
        } else if let Some(name) = line
            .strip_prefix("test ")
            .and_then(|line| line.strip_suffix(" ... FAILED"))
        {
            self.failures.push(name.to_owned());
        } else if line.contains(NOTICED) {
            self.proved.push(line.to_owned());
        } else if let Some(at) = line.find(SKIPPED) {
            self.skipped.push(line[at + SKIPPED.len()..].to_owned());
            self.returned_early += 1;
        } else if let Some(at) = line.find(UNTRIED) {
            self.untried.push(line[at + UNTRIED.len()..].to_owned());
        }
    }
}

/// One cargo command that is right or wrong as a whole.
fn check(root: &Path, tally: &mut Tally, name: &str, arguments: &[&str]) -> anyhow::Result<()> {
    tally.check(name, cargo::run(cargo::command(root, arguments)));
    Ok(())
}

fn format(root: &Path, tally: &mut Tally) -> anyhow::Result<()> {
    if !component(root, tally, "fmt", "rustfmt") {
        return Ok(());
    }
    check(root, tally, "format", &["fmt", "--all", "--check"])?;
    for manifest in guest_manifests(root) {
        check(
            root,
            tally,
            &manifest,
            &["fmt", "--all", "--check", "--manifest-path", &manifest],
        )?;
    }
    Ok(())
}

fn clippy(root: &Path, tally: &mut Tally) -> anyhow::Result<()> {
    if !component(root, tally, "clippy", "clippy") {
        return Ok(());
    }
    check(
        root,
        tally,
        "clippy",
        &[
            "clippy",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ],
    )?;
    for manifest in guest_manifests(root) {
        let mut command = cargo::command(root, ["clippy", "--workspace", "--all-targets"]);
        command
            .args(["--manifest-path", &manifest, "--", "-D", "warnings"])
            .env("CARGO_TARGET_DIR", root.join(NATIVE));
        tally.check(&format!("clippy, {manifest}"), cargo::run(command));
    }
    Ok(())
}

/// Whether the toolchain has this part of itself; asks rustup for it where it has not.
fn component(root: &Path, tally: &mut Tally, subcommand: &str, name: &str) -> bool {
    let has = || cargo::output(cargo::command(root, [subcommand, "--version"])).is_ok();
    let add = || {
        std::process::Command::new("rustup")
            .args(["component", "add", name])
            .status()
            .is_ok_and(|status| status.success())
    };
    let found = has() || (add() && has());
    if !found {
        tally.skip(
            name,
            &format!(
                "the toolchain has no {name}, and `rustup component add {name}` did not bring it"
            ),
        );
    }
    found
}

fn handlers(root: &Path, tally: &mut Tally) -> anyhow::Result<()> {
    let mut built = guests::build(root).context("build the handlers")?;
    built.extend(guests::build_fixtures(root).context("build the handlers of the tests")?);
    anyhow::ensure!(!built.is_empty(), "no handler was found to build");
    tally.passed += built.len();
    Ok(())
}

/// The tests that handlers and the SDK run without Wasm, as their authors do.
fn native(root: &Path, tally: &mut Tally) -> anyhow::Result<()> {
    for manifest in guest_manifests(root) {
        let mut command = cargo::command(
            root,
            [
                "test",
                "--workspace",
                "--no-fail-fast",
                "--manifest-path",
                &manifest,
            ],
        );
        command.env("CARGO_TARGET_DIR", root.join(NATIVE));
        test(command, &manifest, tally)?;
    }
    Ok(())
}

/// Workspaces of their own, outside ours.
fn guest_manifests(root: &Path) -> Vec<String> {
    let all = [
        "sdk/rust/Cargo.toml",
        "plugins/Cargo.toml",
        "tests/guests/Cargo.toml",
    ];
    all.into_iter()
        .filter(|manifest| root.join(manifest).is_file())
        .map(str::to_owned)
        .collect()
}

/// The tests of the package in `folder`, those of the target `target` only if one is named; `filter` goes to the test
/// binaries.
fn package(
    root: &Path,
    tally: &mut Tally,
    folder: &str,
    target: Option<&str>,
    filter: &[&str],
) -> anyhow::Result<()> {
    let binaries = cargo::build_tests(root)?;
    let mut found = false;
    for binary in binaries {
        if binary.folder != root.join(folder) || target.is_some_and(|name| name != binary.target) {
            continue;
        }
        found = true;
        let mut command = std::process::Command::new(&binary.program);
        command.args(filter).current_dir(&binary.folder);
        test(command, &binary.target, tally)?;
    }
    anyhow::ensure!(found, "{folder} has no tests");
    Ok(())
}

fn test(mut command: std::process::Command, name: &str, tally: &mut Tally) -> anyhow::Result<()> {
    let failed_before = tally.failed;
    // A hundred lines of frames bury the one that says what failed and where.
    command.env("RUST_BACKTRACE", "0");
    let succeeded = cargo::lines(command, |line| {
        println!("{line}");
        tally.read(line);
    })?;
    if !succeeded && tally.failed == failed_before {
        tally.fail(format!(
            "{name}: the tests did not build, or ended without a result"
        ));
    }
    Ok(())
}

/// What is said at the end; the counts alone on the last line.
fn report(spent: &[(&Part, Duration)], tally: &Tally) -> String {
    let mut text = format!("\n{:<28} {:>8}\n", "part", "minutes");
    for (part, time) in spent {
        text += &format!("{:<28} {:>8.1}\n", part.name, minutes(*time));
    }
    text += &format!("\n{:<28} {:>8} {:>8}\n", "share", "minutes", "of");
    for (group, share) in SHARES {
        let time: Duration = spent
            .iter()
            .filter(|(part, _)| part.group == group)
            .map(|(_, time)| *time)
            .sum();
        let mark = if time > Duration::from_secs(share * 60) {
            "  outgrew its share"
        } else {
            ""
        };
        text += &format!("{group:<28} {:>8.1} {share:>8}{mark}\n", minutes(time));
    }
    let not_run = [&tally.skipped[..], &tally.untried].concat();
    for (title, lines) in [
        ("proved", &tally.proved),
        ("could not run", &not_run),
        ("failed", &tally.failures),
    ] {
        if !lines.is_empty() {
            text += &format!("\n{title}:\n");
            text.extend(lines.iter().map(|line| format!("  {line}\n")));
        }
    }
    let (passed, failed, skipped) = (tally.passed, tally.failed, tally.skipped.len());
    text + &format!(
        "\n{} ran, {skipped} could not\n{passed} passed, {failed} failed, {skipped} skipped\n",
        passed + failed
    )
}

fn minutes(time: Duration) -> f64 {
    time.as_secs_f64() / 60.0
}
