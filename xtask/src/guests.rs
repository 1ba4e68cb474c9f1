//! Builds the example handlers on any machine: finds a Wasm toolchain, or installs one, or says what to install.
//!
//! Reads `plugins/<name>/`, writes `target/guests/<name>/` with the component and its manifest, the shape of a folder
//! that `weir run` takes handlers from. What only tests use goes from `tests/guests/` to `target/fixtures/`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context as _;

use crate::machine;

/// Names a toolchain (`wasip2` or `debian`) instead of taking the first that works, so that each can be tested.
const CHOICE: &str = "WEIR_GUEST_TOOLCHAIN";
const WASIP2: &str = "wasm32-wasip2";
const UNKNOWN: &str = "wasm32-unknown-unknown";

/// Debian's second Rust toolchain, the one that its browsers are built with: new enough, with the source of `std`.
const DEBIAN_PACKAGES: [&str; 5] = [
    "rustc-web",
    "cargo-web",
    "rust-web-src",
    "libstd-rust-web-dev",
    "lld-19",
];

/// What is needed where no toolchain could be found.
const ADVICE: &str = "no toolchain for WebAssembly: `rustup target add wasm32-wasip2` where rustup reaches the network, \
     or as root on Debian `apt-get install rustc-web cargo-web rust-web-src libstd-rust-web-dev lld-19`";

/// What cargo hands to the programs that it runs, and flags meant for the host: none of it fits a guest.
const LEAKS: [&str; 10] = [
    "CARGO",
    "CARGO_BUILD_TARGET",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_TARGET_DIR",
    "LD_LIBRARY_PATH",
    "OUT_DIR",
    "RUSTC",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_WRAPPER",
    "RUSTFLAGS",
];

/// A handler ready to run.
#[derive(Clone, Debug)]
pub(crate) struct Guest {
    /// The handler's name.
    pub(crate) name: String,
    /// The component, in a folder with its manifest.
    pub(crate) component: PathBuf,
}

/// Builds every handler in `plugins/` into `target/guests/`.
///
/// # Errors
/// There is no toolchain and none could be installed, or the handlers do not compile.
pub(crate) fn build(root: &Path) -> anyhow::Result<Vec<Guest>> {
    build_workspace(root, "plugins", "target/guests")
}

/// Builds every handler in `tests/guests/` into `target/fixtures/`, where no host finds it that is not told.
///
/// # Errors
/// As of [`build`].
pub(crate) fn build_fixtures(root: &Path) -> anyhow::Result<Vec<Guest>> {
    build_workspace(root, "tests/guests", "target/fixtures")
}

fn build_workspace(root: &Path, workspace: &str, into: &str) -> anyhow::Result<Vec<Guest>> {
    let toolchain = Toolchain::find()?;
    eprintln!("{workspace}: built with {}", toolchain.describe());

    let workspace = root.join(workspace);
    // One folder for all, so that the SDK and its dependencies are compiled once.
    let target = root.join("plugins/target");
    let shown = format!("cargo build --release --target {}", toolchain.target());
    let status = toolchain
        .cargo(&target)
        .current_dir(&workspace)
        .status()
        .with_context(|| format!("start `{shown}`"))?;
    anyhow::ensure!(
        status.success(),
        "`{shown}` in {} ended with {status}",
        workspace.display()
    );

    let built = target.join(toolchain.target()).join("release");
    let names = names(&workspace)?;
    names
        .into_iter()
        .map(|name| place(&root.join(into), &workspace.join(&name), &built, name))
        .collect()
}

/// The folders of a workspace that hold a manifest, in order.
fn names(workspace: &Path) -> anyhow::Result<Vec<String>> {
    let reading = || format!("read {}", workspace.display());
    let entries = fs::read_dir(workspace).with_context(reading)?;
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.with_context(reading)?;
        if entry.path().join("handler.toml").is_file() {
            let name = entry.file_name().into_string();
            names.push(name.map_err(|name| {
                anyhow::anyhow!("the folder {} is not named in UTF-8", name.display())
            })?);
        }
    }
    names.sort();
    Ok(names)
}

/// Puts a component and its manifest where the host looks for them.
fn place(into: &Path, plugin: &Path, built: &Path, name: String) -> anyhow::Result<Guest> {
    // Cargo names the file after the crate.
    let file = built.join(format!("{}.wasm", name.replace('-', "_")));
    let module = fs::read(&file).with_context(|| format!("read {}", file.display()))?;
    let component =
        componentize(module).with_context(|| format!("make a component of {}", file.display()))?;
    let manifest = plugin.join("handler.toml");
    let manifest = fs::read(&manifest).with_context(|| format!("read {}", manifest.display()))?;

    let directory = into.join(&name);
    fs::create_dir_all(&directory).with_context(|| format!("create {}", directory.display()))?;
    let path = directory.join(format!("{name}.wasm"));
    write(&path, &component)?;
    write(&directory.join("handler.toml"), &manifest)?;
    Ok(Guest {
        name,
        component: path,
    })
}

/// Leaves a component as it is and makes one of a core module that carries its world.
fn componentize(wasm: Vec<u8>) -> anyhow::Result<Vec<u8>> {
    /// Magic, then version 1 of layer 0: a core module. A component is layer 1.
    const MODULE: &[u8] = b"\0asm\x01\0\0\0";
    if !wasm.starts_with(MODULE) {
        return Ok(wasm);
    }
    wit_component::ComponentEncoder::default()
        .module(&wasm)?
        .validate(true)
        .encode()
}

/// Replaces a file as a whole, so that a host that watches the folder never reads half of one.
fn write(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    let draft = path.with_extension("draft");
    fs::write(&draft, content).with_context(|| format!("write {}", draft.display()))?;
    fs::rename(&draft, path)
        .with_context(|| format!("rename {} to {}", draft.display(), path.display()))
}

/// A way to compile Rust to WebAssembly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Toolchain {
    /// The target was there.
    Installed,
    /// rustup has just added the target.
    Added,
    /// Debian's second toolchain, which builds `std` from source.
    Debian,
}

impl Toolchain {
    /// The first of the three that works here.
    fn find() -> anyhow::Result<Self> {
        let choice = std::env::var_os(CHOICE);
        let choice = choice.as_deref().map(|choice| choice.to_string_lossy());
        let found = match choice.as_deref() {
            None => Self::find_wasip2().or_else(Self::find_debian),
            Some("wasip2") => Self::find_wasip2(),
            Some("debian") => Self::find_debian(),
            Some(other) => {
                anyhow::bail!("{CHOICE} is {other:?}: it may be `wasip2`, `debian` or unset")
            }
        };
        found.context(ADVICE)
    }

    fn find_wasip2() -> Option<Self> {
        if has_target() {
            return Some(Self::Installed);
        }
        if !machine::on_path("rustup") {
            return None;
        }
        eprintln!("guests: rustup target add {WASIP2}");
        let added = clean("rustup")
            .args(["target", "add", WASIP2])
            .stdin(Stdio::null())
            .status();
        (added.is_ok_and(|status| status.success()) && has_target()).then_some(Self::Added)
    }

    fn find_debian() -> Option<Self> {
        let missing: Vec<_> = DEBIAN_PACKAGES
            .into_iter()
            .filter(|package| !is_installed(package))
            .collect();
        if missing.is_empty() {
            return Some(Self::Debian);
        }
        if !machine::on_path("apt-get") || !machine::is_root() {
            return None;
        }
        match machine::install(&missing) {
            Ok(()) => Some(Self::Debian),
            Err(error) => {
                eprintln!("guests: {error:#}");
                None
            }
        }
    }

    fn describe(self) -> String {
        match self {
            Self::Installed => format!("the installed target {WASIP2}"),
            Self::Added => format!("the target {WASIP2}, which rustup added"),
            Self::Debian => format!("Debian's rustc-web for {UNKNOWN}, componentized here"),
        }
    }

    fn target(self) -> &'static str {
        match self {
            Self::Installed | Self::Added => WASIP2,
            Self::Debian => UNKNOWN,
        }
    }

    /// Builds the workspace of the current directory.
    fn cargo(self, target: &Path) -> Command {
        let mut command = match self {
            Self::Installed | Self::Added => clean("cargo"),
            Self::Debian => {
                let mut command = clean("/usr/bin/cargo");
                command
                    // rustup's programs would come first and take over.
                    .env("PATH", "/usr/bin:/bin")
                    .env_remove("RUSTUP_TOOLCHAIN")
                    .env("RUSTC", "/usr/bin/rustc")
                    // Debian ships no `std` for this target: a stable compiler builds it from source.
                    .env("RUSTC_BOOTSTRAP", "1")
                    .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", "wasm-ld-19");
                command
            }
        };
        command.args(["build", "--release", "--quiet", "--target", self.target()]);
        command.arg("--target-dir").arg(target);
        if self == Self::Debian {
            command.arg("-Zbuild-std=std,panic_abort");
        }
        // Whoever adds a handler has a lock file that does not know it. CI takes only what was committed.
        if std::env::var_os("CI").is_some() {
            command.arg("--locked");
        }
        command.stdin(Stdio::null());
        command
    }
}

/// A command without what cargo set for us; the choice of a rustup toolchain stays.
fn clean(program: &str) -> Command {
    let mut command = Command::new(program);
    for name in LEAKS {
        command.env_remove(name);
    }
    command
}

/// Whether the compiler on the path has `std` for the target, however it came there.
fn has_target() -> bool {
    let output = clean("rustc")
        .args(["--print", "target-libdir", "--target", WASIP2])
        .output();
    output.is_ok_and(|output| {
        output.status.success()
            && Path::new(String::from_utf8_lossy(&output.stdout).trim()).is_dir()
    })
}

/// Whether a Debian package is installed.
fn is_installed(package: &str) -> bool {
    let output = Command::new("dpkg-query")
        .args(["--show", "--showformat=${Status}", package])
        .output();
    output.is_ok_and(|output| output.status.success() && output.stdout.ends_with(b" installed"))
}
