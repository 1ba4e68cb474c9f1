//! The command line: what a person types, and the commands that speak to a running host.
//!
//! Results go to standard output, as a table or with `--json` as JSON; everything else goes to standard error.

mod backup;
mod client;
mod dev;
mod dlq;
mod doctor;
mod drain;
mod inspect;
mod owner;
mod publish;
mod status;
mod steer;
mod table;
mod tail;
mod undeploy;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand};

use self::client::{Client, ClientError};
pub use self::dev::DevArgs;
use crate::config::{self, Config, Faults};
use crate::data_dir::DataDirError;
use crate::data_dir::backup::RestoreError;
use crate::embedded::OpenError;
use crate::handlers;

/// Read when `weir run` names no other.
const CONFIG_FILE: &str = config::FILE;

/// Where the project's own checkout has its built handlers: ./plugins holds their sources there.
const BUILT_HANDLERS: &str = "target/guests";

/// Exit code for what a person has to write differently, the same as clap's.
pub const USAGE: u8 = 2;

/// Exit code of `weir status` while an alarm is raised.
pub const ALARMS: u8 = 2;

/// Exit code of `weir doctor` for a data directory that is damaged.
pub const UNSOUND: u8 = 2;

/// What a newcomer needs, printed when nothing is asked for.
const FIRST_STEPS: &str = "\
Weir hands events to sandboxed WebAssembly handlers: exactly once, in order, retried.

  weir run                                      start a host: data in ./weir-data, handlers from ./plugins
                                                (in Weir's checkout from ./target/guests, see `cargo xtask guests`)
  weir publish events.ndjson --topic TOPIC      send it CloudEvents, one a line
  weir tail TOPIC                               see what arrives in a topic

`weir --help` lists all commands, `weir run --help` what one of them takes.
";

/// A host for event handlers in WebAssembly.
#[derive(Debug, Parser)]
#[command(name = "weir", version, about, disable_help_subcommand = true)]
pub struct Cli {
    /// What to do; without it the first steps are printed.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start a host
    Run(RunArgs),
    /// Send CloudEvents to a topic
    Publish(publish::PublishArgs),
    /// Show the events of a topic as they arrive
    Tail(tail::TailArgs),
    /// Show alarms, handlers, topics and disk of a host; exits with 2 while an alarm is raised
    Status(status::StatusArgs),
    /// Show what a component imports and exports, or what a handler's folder becomes when it is deployed
    Inspect(inspect::InspectArgs),
    /// Let the events of a handler wait, until it is resumed
    Pause(steer::PauseArgs),
    /// Let a handler go on that was paused, or has stopped by itself
    Resume(steer::ResumeArgs),
    /// Hold a handler's circuit breaker open or closed, or let it decide by itself
    Breaker(steer::BreakerArgs),
    /// Give a host's partitions to the other hosts of its fleet for good: it serves nothing until it is started anew
    Drain(drain::DrainArgs),
    /// Look at dead letters and parked sequences, replay, drop or release them
    Dlq(dlq::DlqArgs),
    /// Start a host for whoever writes a handler: on a scratch directory, following changes of the handlers' folders
    Dev(dev::DevArgs),
    /// Copy a host's data directory while it runs
    Backup(backup::BackupArgs),
    /// Make a data directory of such a copy
    Restore(backup::RestoreArgs),
    /// Say what is wrong with a data directory and how to go on; exits with 2 when it is damaged
    Doctor(doctor::DoctorArgs),
    /// Tell what stays of a handler that is taken away; with --purge delete it
    Undeploy(undeploy::UndeployArgs),
    /// The compiler's own process: reads a component, writes native code
    #[command(hide = true)]
    CompileComponent,
}

/// Arguments of `weir run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Configuration; without it ./weir.toml when there is one, else the defaults
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Data directory; else `data` of the configuration, else ./weir-data
    #[arg(long, value_name = "DIR", env = "WEIR_DATA")]
    pub data: Option<PathBuf>,
    /// Write logs as JSON, one object a line
    #[arg(long, visible_alias = "json")]
    pub json_logs: bool,
}

/// Which host to speak to, as whom.
#[derive(Clone, Debug, Args)]
pub struct HostArgs {
    /// Address of the host
    #[arg(
        long,
        value_name = "URL",
        env = "WEIR_URL",
        default_value = "http://127.0.0.1:8080"
    )]
    pub url: String,
    /// File with the bearer token
    #[arg(long, value_name = "FILE", env = "WEIR_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,
    /// Certificates that vouch for a host at https://, in PEM; else those that this machine trusts
    #[arg(long, value_name = "FILE", env = "WEIR_CA")]
    pub ca: Option<PathBuf>,
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// What was asked cannot be done as it was written; says what can.
    #[error("{0}")]
    Usage(String),
    /// Files are wrong.
    #[error("{0}")]
    Faults(#[from] Faults),
    /// The host did not answer, or refused.
    #[error("{0}")]
    Client(#[from] ClientError),
    /// The input is no list of events; says which line and why.
    #[error("{0}")]
    Input(#[from] publish::InputError),
    /// The file is no component.
    #[error("{file}: {source}", file = file.display())]
    Component {
        /// Which one.
        file: PathBuf,
        /// What it is.
        source: weir_wasm::DescribeError,
    },
    /// The data directory cannot be opened.
    #[error("{}", chain(.0))]
    DataDir(#[from] DataDirError),
    /// Its store cannot be opened.
    #[error("{}", chain(.0))]
    Store(#[from] OpenError),
    /// No data directory was made of a copy.
    #[error("{0}")]
    Restore(#[from] RestoreError),
    /// Work on a data directory failed.
    #[error("{0}")]
    Data(Box<dyn std::error::Error + Send + Sync>),
    /// A file could not be read or written.
    #[error("{what}: {source}")]
    File {
        /// What was attempted, on which file.
        what: String,
        /// Cause.
        source: io::Error,
    },
    /// The host was asked how it is, and is not well.
    #[error("{count} alarm(s) raised")]
    Alarms {
        /// How many.
        count: usize,
    },
    /// The data directory is damaged; what and how was printed.
    #[error("the data directory is damaged")]
    Unsound,
    /// Standard output could not be written.
    #[error("write the output: {0}")]
    Output(#[from] io::Error),
}

impl CliError {
    /// The exit code: [`USAGE`] for what a person has to write differently, [`ALARMS`] for alarms, 1 for all else.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) | Self::Faults(_) => USAGE,
            Self::Alarms { .. } => ALARMS,
            Self::Unsound => UNSOUND,
            Self::Client(_)
            | Self::Input(_)
            | Self::DataDir(_)
            | Self::Store(_)
            | Self::Restore(_)
            | Self::Data(_)
            | Self::Component { .. }
            | Self::File { .. }
            | Self::Output(_) => 1,
        }
    }

    /// Whether the reader of our output has left, as `head` does: that is no failure.
    #[must_use]
    pub fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

impl RunArgs {
    /// The configuration and the data directory.
    ///
    /// # Errors
    /// Everything that is wrong with the file, and with the handlers where the file is wrong.
    pub fn load(&self) -> Result<(Config, PathBuf), Faults> {
        let (config, faults) = load_leniently(self.config.as_deref())?;
        if let Err(faults) = faults.check() {
            let more = handlers::deployments(&config).err().unwrap_or_default();
            return Err(Faults([faults.0, more.0].concat()));
        }
        let data = config.data_dir(self.data.clone());
        Ok((config, data))
    }
}

/// The configuration in `file`, else in the working directory, else the defaults.
fn load_config(file: Option<&Path>) -> Result<Config, Faults> {
    let (config, faults) = load_leniently(file)?;
    faults.check().map(|()| config)
}

/// The same, with what is wrong with the file.
fn load_leniently(file: Option<&Path>) -> Result<(Config, Faults), Faults> {
    let default = Path::new(CONFIG_FILE);
    if let Some(file) = file.or_else(|| default.is_file().then_some(default)) {
        return Config::load_leniently(file);
    }
    let mut config = Config::default();
    if Path::new(BUILT_HANDLERS).is_dir() {
        config.handlers = vec![PathBuf::from(BUILT_HANDLERS)];
    }
    Ok((config, Faults::default()))
}

/// Prints the first steps.
///
/// # Errors
/// Standard output cannot be written.
pub fn first_steps() -> Result<(), CliError> {
    Ok(io::stdout().lock().write_all(FIRST_STEPS.as_bytes())?)
}

/// `weir publish`.
///
/// # Errors
/// The input is wrong, or the host did not take it; earlier batches stay published.
pub fn publish(args: &publish::PublishArgs) -> Result<(), CliError> {
    publish::run(args, &mut io::stdout().lock())
}

/// `weir tail`.
///
/// # Errors
/// There is no such topic, or the host went away.
pub fn tail(args: &tail::TailArgs) -> Result<(), CliError> {
    tail::run(args, &mut io::stdout().lock())
}

/// `weir status`.
///
/// # Errors
/// No host answers, or an alarm is raised.
pub fn status(args: &status::StatusArgs) -> Result<(), CliError> {
    status::run(args, &mut io::stdout().lock())
}

/// `weir inspect`.
///
/// # Errors
/// The file is no component, or the handler would not be deployed; all reasons at once.
pub fn inspect(args: &inspect::InspectArgs) -> Result<(), CliError> {
    inspect::run(args, &mut io::stdout().lock())
}

/// `weir backup`.
///
/// # Errors
/// The target is not usable, or the host refused or failed.
pub fn back_up(args: &backup::BackupArgs) -> Result<(), CliError> {
    backup::back_up(args, &mut io::stdout().lock())
}

/// `weir restore`.
///
/// # Errors
/// The copy is not whole, or the data directory not empty.
pub fn restore(args: &backup::RestoreArgs) -> Result<(), CliError> {
    backup::restore(args, &mut io::stdout().lock())
}

/// `weir doctor`.
///
/// # Errors
/// The data directory is damaged, or a host runs on it.
pub fn doctor(args: &doctor::DoctorArgs) -> Result<(), CliError> {
    doctor::run(args, &mut io::stdout().lock())
}

/// `weir undeploy`.
///
/// # Errors
/// It was not confirmed, the handler is deployed, or nothing is known of it.
pub fn undeploy(args: &undeploy::UndeployArgs) -> Result<(), CliError> {
    undeploy::run(args, &mut io::stdout().lock())
}

/// `weir pause`.
///
/// # Errors
/// The host refused: no such handler reads topics there.
pub fn pause(args: &steer::PauseArgs) -> Result<(), CliError> {
    steer::pause(args, &mut io::stdout().lock())
}

/// `weir resume`.
///
/// # Errors
/// As [`pause`], or a position is lost and it was not said where to go on.
pub fn resume(args: &steer::ResumeArgs) -> Result<(), CliError> {
    steer::resume(args, &mut io::stdout().lock())
}

/// `weir breaker`.
///
/// # Errors
/// As [`pause`].
pub fn breaker(args: &steer::BreakerArgs) -> Result<(), CliError> {
    steer::breaker(args, &mut io::stdout().lock())
}

/// `weir drain`.
///
/// # Errors
/// The host refused: it is in no fleet.
pub fn drain(args: &drain::DrainArgs) -> Result<(), CliError> {
    drain::run(args, &mut io::stdout().lock())
}

/// `weir dlq`.
///
/// # Errors
/// The host refused: no such handler, letter or job.
pub fn dlq(args: &dlq::DlqArgs) -> Result<(), CliError> {
    dlq::run(args, &mut io::stdout().lock())
}

/// An error and its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let chain = std::iter::successors(Some(error), |error| error.source());
    chain
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}

impl HostArgs {
    fn client(&self) -> Result<Client, CliError> {
        let read = |file: &PathBuf| {
            std::fs::read_to_string(file)
                .map(|text| text.trim().to_owned())
                .map_err(|source| CliError::File {
                    what: format!("read the token file {}", file.display()),
                    source,
                })
        };
        let token = self.token_file.as_ref().map(read).transpose()?;
        Ok(Client::new(
            &self.url,
            token.as_deref(),
            self.ca.as_deref(),
        )?)
    }
}

#[cfg(test)]
mod tests;
