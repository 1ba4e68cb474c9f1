//! Kafka's libraries, and others that a `pom.xml` names, fetched with Maven where they are not there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use anyhow::Context as _;

use super::{VERSION, last_lines};

/// Kafka's own programs: the broker, its storage tool, the tools for topics and consoles.
const POM: &str = include_str!("pom.xml");

/// What keeps Kafka from running on this machine.
#[derive(Debug)]
pub struct Missing(pub String);

/// Kafka's libraries below `root`, fetched where they are not there.
///
/// # Errors
/// Java or Maven is not installed, or Maven reached no repository.
pub fn libraries(root: &Path) -> Result<PathBuf, Missing> {
    libraries_of(&root.join("target/kafka").join(VERSION), POM)
}

/// What a `pom.xml` names, with [`VERSION`] for `KAFKA_VERSION`, in `folder`; fetched where it is not there.
///
/// # Errors
/// As [`libraries`].
pub fn libraries_of(folder: &Path, pom: &str) -> Result<PathBuf, Missing> {
    for program in ["java", "mvn"] {
        if !on_path(program) {
            return Err(Missing(format!(
                "there is no `{program}` on the path (Debian: `apt-get install default-jre-headless maven`)"
            )));
        }
    }
    // Threads of one process would share a draft: who comes second waits, and finds what the first has fetched.
    static FETCHING: Mutex<()> = Mutex::new(());
    let _alone = FETCHING.lock().unwrap_or_else(PoisonError::into_inner);
    let libraries = folder.join("libs");
    if !libraries.is_dir() {
        fetch(folder, &libraries, pom).map_err(|error| Missing(format!("{error:#}")))?;
    }
    Ok(libraries)
}

/// Fetches into a draft first: what is there is there as a whole.
fn fetch(folder: &Path, libraries: &Path, pom: &str) -> anyhow::Result<()> {
    eprintln!(
        "fetching Apache Kafka {VERSION} with mvn into {}",
        libraries.display()
    );
    fs::create_dir_all(folder)?;
    fs::write(
        folder.join("pom.xml"),
        pom.replace("KAFKA_VERSION", VERSION),
    )?;
    let draft = folder.join(format!("libs.{}", std::process::id()));
    let output = Command::new("mvn")
        .args([
            "-q",
            "-B",
            "dependency:copy-dependencies",
            "-DincludeScope=runtime",
        ])
        .arg(format!("-DoutputDirectory={}", draft.display()))
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .context("start mvn")?;
    anyhow::ensure!(
        output.status.success(),
        "mvn could not fetch Apache Kafka {VERSION}: {}",
        last_lines(&String::from_utf8_lossy(&output.stdout), 3)
    );
    if let Err(error) = fs::rename(&draft, libraries) {
        // Another process may have been faster.
        fs::remove_dir_all(&draft)?;
        anyhow::ensure!(libraries.is_dir(), "rename {}: {error}", draft.display());
    }
    Ok(())
}

fn on_path(name: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(name).is_file()))
}
