//! Running cargo: the same one that runs us, in an environment that does not leak from us.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context as _;

/// A command `cargo <arguments>` in `root`.
///
/// `cargo run` sets variables that describe xtask. Build scripts watch some of them, and a build of the store that
/// runs again because of one costs ten minutes.
pub(crate) fn command<S: AsRef<OsStr>>(
    root: &Path,
    arguments: impl IntoIterator<Item = S>,
) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    for (name, _) in std::env::vars_os() {
        let leaks = name.to_str().is_some_and(|name| {
            name.starts_with("CARGO_PKG_")
                || name.starts_with("CARGO_MANIFEST_")
                || name.starts_with("CARGO_BIN_")
                || matches!(
                    name,
                    "CARGO"
                        | "CARGO_CRATE_NAME"
                        | "CARGO_PRIMARY_PACKAGE"
                        | "OUT_DIR"
                        | "LD_LIBRARY_PATH"
                        | "DYLD_FALLBACK_LIBRARY_PATH"
                )
        });
        if leaks {
            command.env_remove(&name);
        }
    }
    command
        .args(arguments)
        .current_dir(root)
        .stdin(Stdio::null());
    command
}

/// Runs to the end; an exit code other than 0 is an error that names the command.
pub(crate) fn run(mut command: Command) -> anyhow::Result<()> {
    let shown = show(&command);
    eprintln!("+ {shown}");
    let status = command
        .status()
        .with_context(|| format!("start `{shown}`"))?;
    anyhow::ensure!(status.success(), "`{shown}` ended with {status}");
    Ok(())
}

/// Runs to the end and hands each line of standard output to `line`; the result says whether it exited with 0.
pub(crate) fn lines(mut command: Command, mut line: impl FnMut(&str)) -> anyhow::Result<bool> {
    let shown = show(&command);
    eprintln!("+ {shown}");
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("start `{shown}`"))?;
    let stdout = child
        .stdout
        .take()
        .context("standard output was asked for as a pipe")?;
    for text in BufReader::new(stdout).split(b'\n') {
        line(
            String::from_utf8_lossy(&text.context("read standard output")?).trim_end_matches('\r'),
        );
    }
    Ok(child
        .wait()
        .with_context(|| format!("wait for `{shown}`"))?
        .success())
}

/// What a quiet query prints.
pub(crate) fn output(mut command: Command) -> anyhow::Result<String> {
    let shown = show(&command);
    let output = command
        .output()
        .with_context(|| format!("start `{shown}`"))?;
    anyhow::ensure!(
        output.status.success(),
        "`{shown}`: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A built test binary.
pub(crate) struct TestBinary {
    /// Of the target: `simulation`, `weir`.
    pub(crate) target: String,
    /// Folder of its package: where it runs.
    pub(crate) folder: PathBuf,
    /// The program.
    pub(crate) program: PathBuf,
}

/// Builds the tests of all packages and says where they are.
pub(crate) fn build_tests(root: &Path) -> anyhow::Result<Vec<TestBinary>> {
    let mut binaries = Vec::new();
    let arguments = [
        "test",
        "--workspace",
        "--no-run",
        "--quiet",
        "--message-format=json-render-diagnostics",
    ];
    let built = lines(command(root, arguments), |line| {
        let Ok(message) = serde_json::from_str::<serde_json::Value>(line) else {
            return;
        };
        let manifest = message["manifest_path"].as_str().map(Path::new);
        let binary = (
            message["executable"].as_str(),
            message["target"]["name"].as_str(),
            manifest.and_then(Path::parent),
            message["profile"]["test"].as_bool(),
        );
        if let (Some(program), Some(target), Some(folder), Some(true)) = binary {
            binaries.push(TestBinary {
                target: target.to_owned(),
                folder: folder.to_owned(),
                program: program.into(),
            });
        }
    })?;
    anyhow::ensure!(built, "the tests do not build");
    Ok(binaries)
}

/// Builds the host as tests, demo and chaos use it: always the whole workspace, because cargo chooses features by what is built
/// together, and another choice would compile the Wasm runtime again.
pub(crate) fn build_host(root: &Path) -> anyhow::Result<()> {
    run(command(root, ["build", "--workspace"])).context("build the host")
}

fn show(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name();
    let words = program.into_iter().chain(command.get_args());
    words
        .map(OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join(" ")
}
