//! The versions of handlers that this host has had: manifest and component of each, kept in the data directory by the
//! digests of both, so that dead letters can be tried with an earlier one.
//!
//! A version is a folder as an author writes it, which is why it is read back as one.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;
use std::{fs, io};

use weir_wasm::{Component, Sandbox};

use crate::config::{Config, Faults};
use crate::handlers::Deployment;
use crate::manifest::{self, Manifest};

/// Versions of a handler that are kept: the latest ones.
const KEPT: usize = 10;
/// A shorter beginning of a digest means too many.
const PREFIX_MIN: usize = 6;
/// What tells manifests of one component apart in the names of folders.
const MANIFEST_DIGITS: usize = 16;
/// The folder of a version that is being written.
pub(crate) const NEW: &str = "new";
/// What people are shown of a digest.
const SHOWN: usize = 12;

/// The versions of a host's handlers.
pub struct Versions {
    folder: PathBuf,
    config: Arc<Config>,
    sandbox: Arc<Sandbox>,
}

/// One version that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// As its manifest says.
    pub version: String,
    /// Of its component.
    pub digest: String,
    folder: PathBuf,
    /// When it was deployed the last time.
    deployed: SystemTime,
}

/// Why there is no such version.
#[derive(Debug, thiserror::Error)]
pub enum VersionError {
    /// None that is kept is called so.
    #[error("{handler} has no version {asked:?} here; there are {}", list(known))]
    Unknown {
        /// Whose.
        handler: String,
        /// What was asked.
        asked: String,
        /// What there is.
        known: Vec<Kept>,
    },
    /// The folder cannot be read.
    #[error("read the versions of {handler}")]
    Io {
        /// Whose.
        handler: String,
        /// Cause.
        source: io::Error,
    },
}

fn list(known: &[Kept]) -> String {
    if known.is_empty() {
        return "none".to_owned();
    }
    let names = known.iter().map(Kept::name);
    names.collect::<Vec<_>>().join(", ")
}

impl Kept {
    /// For people.
    #[must_use]
    pub fn name(&self) -> String {
        let digest = self.digest.get(..SHOWN).unwrap_or(&self.digest);
        format!("{} ({digest})", self.version)
    }
}

impl Versions {
    /// Those below `folder`.
    #[must_use]
    pub fn new(folder: PathBuf, config: Arc<Config>, sandbox: Arc<Sandbox>) -> Self {
        Self {
            folder,
            config,
            sandbox,
        }
    }

    /// Keeps a version that is deployed, as far as its files are still those that were loaded, and forgets the oldest
    /// beyond those that are kept. That it fails costs nobody an event: it is told, and the host goes on.
    pub fn keep(&self, deployment: &Deployment, digest: &str) {
        if let Err(error) = self.try_keep(deployment, digest) {
            let handler = &deployment.manifest.name;
            tracing::warn!(%handler, digest, error = &error as &dyn std::error::Error, "cannot keep a version");
        }
    }

    fn try_keep(&self, deployment: &Deployment, digest: &str) -> io::Result<()> {
        let Manifest {
            file, component, ..
        } = &*deployment.manifest;
        let (text, bytes) = (fs::read(file)?, fs::read(component)?);
        if blake3::hash(&bytes).to_hex().as_str() != digest {
            return Ok(());
        }
        let own = file.parent().unwrap_or(Path::new(""));
        let name = component.strip_prefix(own).unwrap_or(component);
        let handler = self.folder_of(&deployment.scope.group);
        let manifest = &blake3::hash(&text).to_hex()[..MANIFEST_DIGITS];
        let folder = handler.join(format!("{digest}-{manifest}"));
        let new = handler.join(NEW);
        if folder.is_dir() {
            // The time of its manifest says when it was deployed.
            fs::write(folder.join(manifest::FILE), text)?;
        } else {
            drop(fs::remove_dir_all(&new));
            let target = new.join(name);
            fs::create_dir_all(target.parent().unwrap_or(&new))?;
            fs::write(target, bytes)?;
            fs::write(new.join(manifest::FILE), text)?;
            fs::rename(&new, &folder)?;
        }
        for old in self.list(&handler)?.into_iter().skip(KEPT) {
            fs::remove_dir_all(old.folder)?;
        }
        Ok(())
    }

    /// The version of a handler that is called so, or whose digest begins so; the latest of several.
    pub fn find(&self, deployment: &Deployment, asked: &str) -> Result<Kept, VersionError> {
        let handler = || deployment.manifest.name.clone();
        let known = self.list(&self.folder_of(&deployment.scope.group));
        let known = known.map_err(|source| VersionError::Io {
            handler: handler(),
            source,
        })?;
        let is_it = |one: &&Kept| {
            one.version == asked || (asked.len() >= PREFIX_MIN && one.digest.starts_with(asked))
        };
        match known.iter().find(is_it) {
            Some(found) => Ok(found.clone()),
            None => Err(VersionError::Unknown {
                handler: handler(),
                asked: asked.to_owned(),
                known,
            }),
        }
    }

    /// Makes it ready to run.
    pub async fn load(&self, kept: &Kept) -> Result<(Deployment, Component), Faults> {
        let manifest = Manifest::load(&kept.folder, &self.config)?;
        let deployment = Deployment::new(manifest, &self.config);
        let component = deployment.load(&self.sandbox).await?;
        Ok((deployment, component))
    }

    fn folder_of(&self, group: &str) -> PathBuf {
        self.folder.join(group)
    }

    /// The versions in a handler's folder, the one first that was deployed last.
    fn list(&self, handler: &Path) -> io::Result<Vec<Kept>> {
        let entries = match fs::read_dir(handler) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut kept = Vec::new();
        for entry in entries {
            let folder = entry?.path();
            let digest = folder.file_name().and_then(|name| name.to_str());
            // One that was being written when the host was killed has another name.
            let digest = digest.and_then(|name| name.split('-').next());
            let digest = digest.filter(|name| name.len() == blake3::OUT_LEN * 2);
            let Some(digest) = digest.map(str::to_owned) else {
                continue;
            };
            let deployed = fs::metadata(folder.join(manifest::FILE))?.modified()?;
            // What the policy allows by now does not matter for its name.
            let Ok((manifest, _)) = Manifest::load_leniently(&folder, &self.config) else {
                continue;
            };
            kept.push(Kept {
                version: manifest.version,
                digest,
                folder,
                deployed,
            });
        }
        kept.sort_by_key(|one| std::cmp::Reverse(one.deployed));
        Ok(kept)
    }
}

#[cfg(test)]
mod tests;
