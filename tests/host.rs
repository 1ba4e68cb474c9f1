//! The program `weir` as a child process: started on a directory, killed, drained, started again.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context as _;

use crate::http::Client;
use crate::{ports, wait};

/// Compiling handlers of a fresh directory takes most of it.
const START: Duration = Duration::from_secs(60);
/// The drain deadline is 25 s.
const DRAIN: Duration = Duration::from_secs(30);

/// The default, which most tests' topics begin with.
const ENVIRONMENT: &str = "dev";

/// Where a host lives: its configuration, data directory, log and address. Outlives the processes that run there.
#[derive(Debug)]
pub struct Place {
    binary: PathBuf,
    folder: PathBuf,
    address: String,
}

/// What became of a start.
#[derive(Debug)]
pub enum Start {
    /// A host that is ready.
    Ready(Host),
    /// The process ended before it was.
    Ended(ExitStatus),
}

/// A running host; killed when dropped.
#[derive(Debug)]
pub struct Host {
    child: Child,
    client: Client,
    log: PathBuf,
}

impl Place {
    /// Lays out `folder` for a host with these handlers. `config` is added to the end of its `weir.toml`.
    ///
    /// # Errors
    /// The binary is missing, or the folder cannot be written.
    pub fn new(
        binary: &Path,
        folder: &Path,
        handlers: &[PathBuf],
        config: &str,
    ) -> anyhow::Result<Self> {
        Self::in_environment(binary, folder, handlers, ENVIRONMENT, config)
    }

    /// The same in another environment: its topics and subscriptions are others.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn in_environment(
        binary: &Path,
        folder: &Path,
        handlers: &[PathBuf],
        environment: &str,
        config: &str,
    ) -> anyhow::Result<Self> {
        anyhow::ensure!(
            binary.is_file(),
            "there is no {}: run `cargo build --package weir`",
            binary.display()
        );
        let [port] = ports::free()?;
        let address = format!("127.0.0.1:{port}");
        let handlers = serde_json::to_string(handlers)?;
        let text = format!(
            "handlers = {handlers}\nenvironment = \"{environment}\"\n[http]\nlisten = \"{address}\"\n{config}"
        );
        std::fs::create_dir_all(folder)
            .and_then(|()| std::fs::write(folder.join("weir.toml"), text))
            .with_context(|| format!("write the configuration in {}", folder.display()))?;
        Ok(Self {
            binary: binary.to_path_buf(),
            folder: folder.to_path_buf(),
            address,
        })
    }

    /// A client of whichever process runs here.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::new(&self.address)
    }

    /// The same for one that waits no longer than this for an answer.
    #[must_use]
    pub fn client_within(&self, answer: Duration) -> Client {
        Client::within(&self.address, answer)
    }

    /// The configuration file.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.folder.join("weir.toml")
    }

    /// The data directory.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// What all processes that ran here wrote to standard error.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.folder.join("host.log")
    }

    /// `weir <arguments>`, away from the caller's environment and standard input.
    #[must_use]
    pub fn weir(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .args(arguments)
            .stdin(Stdio::null())
            .env_remove("WEIR_DATA")
            .env_remove("WEIR_URL")
            .env_remove("WEIR_FAIL_POINT")
            .env_remove("RUST_LOG");
        command
    }

    /// `weir run` for this place.
    #[must_use]
    pub fn run_command(&self) -> Command {
        let mut command = self.weir(&["run", "--config"]);
        command.arg(self.config()).arg("--data").arg(self.data());
        command
    }

    /// Starts a host and waits until it is ready.
    ///
    /// # Errors
    /// It ended, or was not ready in time; the end of its log is told.
    pub fn start(&self) -> anyhow::Result<Host> {
        self.start_command(self.run_command())
    }

    /// The same for a command of [`Self::weir`] that is a host.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_command(&self, command: Command) -> anyhow::Result<Host> {
        match self.try_start(command)? {
            Start::Ready(host) => Ok(host),
            Start::Ended(status) => anyhow::bail!(
                "the host ended with {status} at start: {}",
                self.end_of_log()
            ),
        }
    }

    /// Starts a host that fails at this point (`group-durable:3`), which may be before it is ready.
    ///
    /// # Errors
    /// It was not ready in time and did not end; the end of its log is told.
    pub fn start_to_fail(&self, point: &str) -> anyhow::Result<Start> {
        let mut command = self.run_command();
        command.env("WEIR_FAIL_POINT", point);
        self.try_start(command)
    }

    /// Starts a host and does not wait: it may have a reason not to be ready.
    ///
    /// # Errors
    /// The process could not be started.
    pub fn spawn(&self) -> anyhow::Result<Host> {
        self.spawn_command(self.run_command())
    }

    /// The same for a command of [`Self::weir`] that is a host.
    ///
    /// # Errors
    /// As [`Self::spawn`].
    pub fn spawn_command(&self, mut command: Command) -> anyhow::Result<Host> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log())
            .context("open the host's log")?;
        let child = command
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("start {}", self.binary.display()))?;
        Ok(Host {
            child,
            client: self.client(),
            log: self.log(),
        })
    }

    fn try_start(&self, command: Command) -> anyhow::Result<Start> {
        let mut host = self.spawn_command(command)?;
        let ready = wait::until("the host to be ready", START, || {
            if let Some(status) = host.child.try_wait()? {
                return Ok(Some(Err(status)));
            }
            Ok((host.client.get("/readyz")?.status == 200).then_some(Ok(())))
        });
        match ready {
            Ok(Ok(())) => Ok(Start::Ready(host)),
            Ok(Err(status)) => Ok(Start::Ended(status)),
            Err(error) => Err(error.context(self.end_of_log())),
        }
    }

    /// The last lines of the log, for messages.
    #[must_use]
    pub fn end_of_log(&self) -> String {
        end_of(&self.log())
    }
}

fn end_of(log: &Path) -> String {
    let log = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = log.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

impl Host {
    /// A client of this host.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL; returns when the process is gone.
    ///
    /// # Errors
    /// It had ended before: a host that dies by itself is a fault of its own.
    pub fn kill(mut self) -> anyhow::Result<()> {
        if let Some(status) = self.child.try_wait()? {
            anyhow::bail!("the host had ended by itself with {status}");
        }
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Stops the process where it stands, until [`Self::resume`].
    ///
    /// # Errors
    /// It is gone.
    pub fn freeze(&self) -> anyhow::Result<()> {
        self.signal(rustix::process::Signal::STOP)
    }

    /// Lets a frozen process go on.
    ///
    /// # Errors
    /// It is gone.
    pub fn resume(&self) -> anyhow::Result<()> {
        self.signal(rustix::process::Signal::CONT)
    }

    fn signal(&self, signal: rustix::process::Signal) -> anyhow::Result<()> {
        let process = rustix::process::Pid::from_child(&self.child);
        Ok(rustix::process::kill_process(process, signal)?)
    }

    /// SIGTERM; waits for the drain.
    ///
    /// # Errors
    /// It did not end within its drain deadline.
    pub fn drain(mut self) -> anyhow::Result<ExitStatus> {
        self.signal(rustix::process::Signal::TERM)?;
        wait::until("the host to drain", DRAIN, || Ok(self.child.try_wait()?))
    }

    /// How the process ended; none while it runs.
    ///
    /// # Errors
    /// The process could not be asked for.
    pub fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Bytes of memory that the process has at this moment.
    ///
    /// # Errors
    /// The system does not tell.
    pub fn resident_bytes(&self) -> anyhow::Result<u64> {
        let file = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(&file).with_context(|| format!("read {file}"))?;
        let kib = status.lines().find_map(|line| {
            let value = line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?;
            value.parse::<u64>().ok()
        });
        Ok(kib.with_context(|| format!("no VmRSS in {file}"))? << 10)
    }

    /// Whether the process is there.
    ///
    /// # Errors
    /// The process could not be asked for.
    pub fn is_running(&mut self) -> anyhow::Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // What a host was at when its test failed is gone with its folder.
            eprintln!("{}:\n{}", self.log.display(), end_of(&self.log));
        }
        // Either may fail because the process is gone, which is what is wanted.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Where `cargo xtask test` puts built handlers: the examples, and what only tests use.
///
/// # Errors
/// One of them is not there.
pub fn handlers(root: &Path, names: &[&str]) -> anyhow::Result<Vec<PathBuf>> {
    let folder = |name: &&str| {
        let [example, fixture] =
            ["target/guests", "target/fixtures"].map(|built| root.join(built).join(name));
        if fixture.is_dir() { fixture } else { example }
    };
    let folders: Vec<_> = names.iter().map(folder).collect();
    for folder in &folders {
        let manifest = folder.join("handler.toml");
        anyhow::ensure!(
            manifest.is_file(),
            "there is no {}: run `cargo xtask test`, which builds it",
            manifest.display()
        );
    }
    Ok(folders)
}

/// The host as cargo built it: beside the program that runs now, which shares its profile and target folder.
///
/// # Errors
/// This program cannot say where it is.
pub fn binary() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("find this program")?;
    // Test binaries stand one folder deeper.
    let folder = own
        .ancestors()
        .skip(1)
        .find(|folder| !folder.ends_with("deps"));
    let folder = folder.with_context(|| format!("{} has no folder", own.display()))?;
    Ok(folder
        .join("weir")
        .with_extension(std::env::consts::EXE_EXTENSION))
}
