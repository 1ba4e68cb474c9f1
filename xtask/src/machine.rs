//! What the machine must have before the store and the Kafka client can be compiled: a C++ compiler, libclang for the store's
//! bindings, OpenSSL and make for the client.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context as _;

/// Finds what the build needs, installs what is missing where that is possible, and says what to install where not.
///
/// Invariant: never sets `LIBCLANG_PATH` where the bindings find libclang by themselves. Cargo rebuilds the store when that
/// variable changes, and a plain `cargo build` does not have it.
pub(crate) fn prepare() -> anyhow::Result<()> {
    null_device()?;
    let mut packages = Vec::new();
    if !["c++", "g++", "clang++"].iter().any(|name| on_path(name)) {
        packages.push("g++");
    }
    if !libclang_is_found() {
        packages.push("libclang-dev");
    }
    if !on_path("make") && !on_path("gmake") {
        packages.push("make");
    }
    if !openssl_is_found() {
        packages.extend(["libssl-dev", "pkg-config"]);
    }
    if packages.is_empty() {
        return Ok(());
    }
    let advice = format!(
        "the embedded store and the Kafka client are built from C and C++ and need {0}: install it (Debian, Ubuntu: `apt-get \
         install {0}`; Fedora: `dnf install gcc-c++ clang-devel make openssl-devel pkgconf`; macOS: `xcode-select --install` \
         and `brew install openssl pkgconf`)",
        packages.join(" ")
    );
    if !on_path("apt-get") || !is_root() {
        anyhow::bail!(advice);
    }
    install(&packages).context(advice)
}

/// Installs what some tests try Kafka's records with, where that is possible; without it they say what did not run.
pub(crate) fn prepare_tests() {
    let installed = if !on_path("kcat") && on_path("apt-get") && is_root() {
        install(&["kcat"])
    } else {
        Ok(())
    };
    if let Err(error) = installed {
        eprintln!("{error:#}");
    }
}

/// A compiler that root runs with `-o /dev/null` may put a file in place of the device. From then on each program reads what
/// others threw away: cargo's questions to rustc fail with errors in code that nobody wrote.
#[cfg(unix)]
fn null_device() -> anyhow::Result<()> {
    use std::os::unix::fs::FileTypeExt as _;

    let device = std::fs::metadata("/dev/null").context("look at /dev/null")?;
    if device.file_type().is_char_device() {
        return Ok(());
    }
    const MEND: &str = "rm -f /dev/null && mknod -m 666 /dev/null c 1 3";
    let advice = format!("/dev/null is no device but a file: mend it as root with `{MEND}`");
    if !is_root() || !cfg!(target_os = "linux") {
        anyhow::bail!(advice);
    }
    eprintln!("{advice}; doing so");
    let mended = Command::new("sh").args(["-c", MEND]).status();
    anyhow::ensure!(mended.context("start sh")?.success(), advice);
    Ok(())
}

#[cfg(not(unix))]
fn null_device() -> anyhow::Result<()> {
    Ok(())
}

/// Installs Debian packages, as root, without questions.
pub(crate) fn install(packages: &[&str]) -> anyhow::Result<()> {
    eprintln!("installing {}", packages.join(" "));
    let apt = |arguments: &[&str]| {
        Command::new("apt-get")
            .args(arguments)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdin(Stdio::null())
            .status()
    };
    let mut arguments = vec!["install", "--yes", "--no-install-recommends"];
    arguments.extend(packages);
    let installed = apt(&arguments).context("start apt-get")?.success()
        // The lists of a fresh container are empty or old.
        || (apt(&["update"]).context("start apt-get")?.success() && apt(&arguments).context("start apt-get")?.success());
    anyhow::ensure!(
        installed,
        "apt-get could not install {}",
        packages.join(" ")
    );
    Ok(())
}

/// Whether a program of this name is on the path.
pub(crate) fn on_path(name: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(name).is_file()))
}

/// Whether we may install packages.
pub(crate) fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output();
    id.is_ok_and(|id| id.stdout.trim_ascii() == b"0")
}

/// Looks where the crate `clang-sys` looks.
fn libclang_is_found() -> bool {
    if std::env::var_os("LIBCLANG_PATH").is_some() || cfg!(target_os = "macos") {
        return true;
    }
    let mut folders: Vec<PathBuf> = std::env::var_os("LD_LIBRARY_PATH")
        .iter()
        .flat_map(std::env::split_paths)
        .collect();
    if let Ok(config) = Command::new("llvm-config").arg("--libdir").output() {
        folders.push(PathBuf::from(
            String::from_utf8_lossy(&config.stdout).trim(),
        ));
    }
    for top in [
        "/usr/lib",
        "/usr/lib64",
        "/usr/local/lib",
        "/usr/local/lib64",
    ] {
        folders.push(PathBuf::from(top));
        for inner in subfolders(Path::new(top)) {
            folders.extend(subfolders(&inner));
            folders.push(inner);
        }
    }
    folders.iter().any(|folder| holds_libclang(folder))
}

/// Looks where the crate `openssl-sys` looks first; on macOS it asks Homebrew itself.
fn openssl_is_found() -> bool {
    let pkg_config = || {
        Command::new("pkg-config")
            .args(["--exists", "openssl"])
            .status()
    };
    std::env::var_os("OPENSSL_DIR").is_some()
        || cfg!(target_os = "macos")
        || pkg_config().is_ok_and(|status| status.success())
}

fn subfolders(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .collect()
}

fn holds_libclang(folder: &Path) -> bool {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| {
        let name = entry.file_name();
        // Not libclang-cpp, which is another library.
        name.to_str().is_some_and(|name| {
            name.starts_with("libclang.so")
                || name.starts_with("libclang-1")
                || name.starts_with("libclang-2")
        })
    })
}
