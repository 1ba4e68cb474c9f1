//! Commands on a data directory: a host that runs on it does the work, and where none runs the command does.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::client::{Client, ClientError};
use super::{CliError, HostArgs, load_config};
use crate::admin;
use crate::data_dir::{DataDir, DataDirError};
use crate::embedded::{Embedded, EmbeddedConfig};
use crate::http::{AdminError, AdminResult};

/// Which data directory.
#[derive(Clone, Debug, Args)]
pub(super) struct DataArgs {
    /// Data directory; a host that runs on it is asked by --url. Without it: that of the host at --url, and where no
    /// host answers `data` of the configuration, else ./weir-data
    #[arg(long, value_name = "DIR", env = "WEIR_DATA")]
    data: Option<PathBuf>,
    /// Configuration; without it ./weir.toml when there is one, else the defaults
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    host: HostArgs,
}

/// Who has the data directory.
pub(super) enum Owner {
    /// A running host.
    Host {
        /// How it is asked.
        client: Client,
        /// Whether it is one of a fleet.
        in_fleet: bool,
    },
    /// This command.
    Directory {
        /// Locked.
        data_dir: DataDir,
        /// First part of a group's name.
        environment: String,
        /// Whether the host that runs there is one of a fleet.
        in_fleet: bool,
    },
}

/// What is used of a host's status.
#[derive(Deserialize)]
struct Status {
    /// For those who may see the whole host.
    store: Option<Store>,
    /// All of the fleet; none without one.
    #[serde(default)]
    hosts: Vec<IgnoredAny>,
    /// Why no others are known, where there may be some.
    alone: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Store {
    data_dir: PathBuf,
}

impl DataArgs {
    /// Finds out who has the directory, and takes it when nobody does.
    pub(super) fn owner(&self) -> Result<Owner, CliError> {
        let client = self.host.client()?;
        if self.data.is_none() {
            match Status::ask(&client) {
                Ok(status) => {
                    let in_fleet = status.in_fleet();
                    return Ok(Owner::Host { client, in_fleet });
                }
                Err(ClientError::NoHost { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let config = load_config(self.config.as_deref())?;
        let path = config.data_dir(self.data.clone());
        match DataDir::open_existing(&path) {
            Ok(data_dir) => Ok(Owner::Directory {
                data_dir,
                environment: config.environment,
                in_fleet: config.kafka.is_some(),
            }),
            Err(DataDirError::InUse { .. }) => {
                let in_fleet = check_host(&client, &path)?.in_fleet();
                Ok(Owner::Host { client, in_fleet })
            }
            Err(error) => Err(error.into()),
        }
    }
}

impl Status {
    fn ask(client: &Client) -> Result<Self, ClientError> {
        let text = client.get("/v1/status")?;
        serde_json::from_str(&text).map_err(|error| ClientError::Answer {
            url: client.url().to_owned(),
            reason: error.to_string(),
        })
    }

    /// Whether the host keeps what it has of handlers on a cluster.
    fn in_fleet(&self) -> bool {
        !self.hosts.is_empty() || self.alone.is_some()
    }
}

/// A host runs on the directory; the one that is asked must be it. Answers what it says of itself.
fn check_host(client: &Client, path: &Path) -> Result<Status, CliError> {
    let status = Status::ask(client)?;
    let url = client.url();
    let Some(Store { data_dir }) = &status.store else {
        return Err(CliError::Usage(format!(
            "the host at {url} does not tell this token where its data are: use one with admin = true, or leave --data away"
        )));
    };
    if path.canonicalize().is_ok_and(|path| path == *data_dir) {
        return Ok(status);
    }
    Err(CliError::Usage(format!(
        "the host at {url} has its data in {}, and another one runs on {}: name that one by --url",
        data_dir.display(),
        path.display()
    )))
}

impl Owner {
    /// Whether it keeps what it has of handlers on a cluster.
    pub(super) fn in_fleet(&self) -> bool {
        match self {
            Self::Host { in_fleet, .. } | Self::Directory { in_fleet, .. } => *in_fleet,
        }
    }

    /// Copies the data directory.
    pub(super) fn back_up(&self, target: &Path) -> Result<Value, CliError> {
        match self {
            Self::Host { client, .. } => {
                let body = serde_json::json!({ "path": target });
                Ok(client.ask("/v1/admin/backup", &body)?)
            }
            Self::Directory { data_dir, .. } => done(with_store(data_dir, |store| {
                admin::back_up(data_dir, store, target)
            })?),
        }
    }

    /// Deletes what is kept of a handler.
    pub(super) fn purge(&self, handler: &str, tenant: Option<&str>) -> Result<Value, CliError> {
        use super::client::segment;
        match self {
            Self::Host { client, .. } => {
                let tenant = tenant
                    .map_or_else(String::new, |tenant| format!("?tenant={}", segment(tenant)));
                let path = format!("/v1/admin/handlers/{}/purge{tenant}", segment(handler));
                Ok(client.ask(&path, &serde_json::json!({}))?)
            }
            Self::Directory { in_fleet: true, .. } => Err(CliError::Usage(
                "what operators commanded of a handler of a fleet lies on its cluster, and no host answers that could delete \
                 it there: start one, or name another one with --url"
                    .to_owned(),
            )),
            Self::Directory {
                data_dir,
                environment,
                in_fleet: false,
            } => {
                let tenant = tenant.unwrap_or(crate::manifest::TENANT);
                let group = crate::names::group(environment, tenant, handler);
                done(with_store(data_dir, |store| admin::purge(store, &group))?)
            }
        }
    }
}

fn with_store(
    data_dir: &DataDir,
    work: impl FnOnce(&Embedded) -> AdminResult,
) -> Result<AdminResult, CliError> {
    let store = Embedded::open(&data_dir.store_path(), EmbeddedConfig::default())?;
    let result = work(&store);
    store.close();
    Ok(result)
}

fn done(result: AdminResult) -> Result<Value, CliError> {
    result.map_err(|error| match error {
        AdminError::Invalid(message)
        | AdminError::Unknown(message)
        | AdminError::Conflict(message) => CliError::Usage(message),
        AdminError::Failed(message)
        | AdminError::Unavailable(message)
        | AdminError::Unanswered(message) => CliError::Data(message.into()),
    })
}

#[cfg(test)]
mod tests;
