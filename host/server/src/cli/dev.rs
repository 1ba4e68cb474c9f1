//! `weir dev`: which folders are watched, and the directory that goes with the command.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use clap::Args;

use super::{CliError, load_config};
use crate::config::Config;
use crate::manifest;

/// Arguments of `weir dev`.
#[derive(Debug, Args)]
pub struct DevArgs {
    /// Folders with handlers; without them this one when it has a handler.toml, else `handlers` of the configuration
    #[arg(value_name = "FOLDER")]
    folders: Vec<PathBuf>,
    /// Configuration; without it ./weir.toml when there is one, else the defaults
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Keep the data here; without it they go when the command ends
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

/// A host to watch handlers with.
pub struct Dev {
    /// With the folders that were asked for.
    pub config: Config,
    /// Where its data go.
    pub data: PathBuf,
    /// Removes them in the end.
    pub scratch: Option<Scratch>,
}

/// A directory that is removed with this value.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl DevArgs {
    /// The configuration and the data directory, which is made here when none is named.
    ///
    /// # Errors
    /// Everything that is wrong with the file; folders without a handler.
    pub fn load(&self) -> Result<Dev, CliError> {
        let mut config = load_config(self.config.as_deref())?;
        let here = Path::new(".");
        if !self.folders.is_empty() {
            config.handlers.clone_from(&self.folders);
        } else if here.join(manifest::FILE).is_file() {
            config.handlers = vec![here.to_owned()];
        }
        if config.handler_folders()?.is_empty() {
            let folders: Vec<_> = config
                .handlers
                .iter()
                .map(|folder| folder.display().to_string())
                .collect();
            return Err(CliError::Usage(format!(
                "no handler in {}: name a folder with a {}, or one whose sub-folders have one",
                folders.join(", "),
                manifest::FILE
            )));
        }
        let (data, scratch) = match &self.data {
            Some(data) => (data.clone(), None),
            None => {
                let scratch = Scratch::new()?;
                (scratch.0.clone(), Some(scratch))
            }
        };
        Ok(Dev {
            config,
            data,
            scratch,
        })
    }
}

impl Scratch {
    fn new() -> Result<Self, CliError> {
        let path = std::env::temp_dir().join(format!("weir-dev-{}", std::process::id()));
        // Fails where something is: nobody can have put it there for us.
        let made = DirBuilder::new().mode(0o700).create(&path);
        made.map_err(|source| CliError::File {
            what: format!("make the scratch directory {}", path.display()),
            source,
        })?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        match fs::remove_dir_all(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %self.0.display(), %error, "the scratch directory stays");
            }
            Ok(()) | Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests;
