//! The versions of handlers that this host has had: manifest and component of each, kept in the data directory by the
//! digests of both, so that dead letters can be tried with an earlier one.
//!
//! A version is a folder as an author writes it, which is why it is read back as one.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use std::{fs, io, path};

use weir_wasm::{Component, Sandbox};

use crate::clock;
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
        let is_inside = |part| matches!(part, path::Component::Normal(_) | path::Component::CurDir);
        if !name.components().all(is_inside) {
            let message = "the component lies outside of its manifest's folder, where it cannot be kept beside it";
            return Err(io::Error::other(message));
        }
        let handler = self.folder_of(&deployment.scope.group);
        let manifest = &blake3::hash(&text).to_hex()[..MANIFEST_DIGITS];
        let folder = handler.join(format!("{digest}-{manifest}"));
        let new = handler.join(NEW);
        // One that is damaged is kept anew.
        if !self.is_whole(&folder) {
            for old in [&new, &folder] {
                remove(old)?;
            }
            let target = new.join(name);
            fs::create_dir_all(target.parent().unwrap_or(&new))?;
            write_synced(&target, &bytes)?;
            write_synced(&new.join(manifest::FILE), &text)?;
            fs::rename(&new, &folder)?;
        }
        // The time of its manifest says when it was deployed.
        let manifest = fs::File::options()
            .write(true)
            .open(folder.join(manifest::FILE))?;
        let now = Duration::from_millis(clock::now().0);
        manifest.set_modified(SystemTime::UNIX_EPOCH + now)?;
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
        if !self.is_whole(&kept.folder) {
            let damaged = "this kept version is damaged: its files have not the digests that its folder is named by; deploy \
                           it again to have it kept anew";
            return Err(Faults::of_file(&kept.folder, damaged));
        }
        let manifest = Manifest::load(&kept.folder, &self.config)?;
        let deployment = Deployment::new(manifest, &self.config);
        let component = deployment.load(&self.sandbox).await?;
        Ok((deployment, component))
    }

    /// Whether manifest and component are those whose digests the folder is named by.
    fn is_whole(&self, folder: &Path) -> bool {
        let name = folder.file_name().and_then(|name| name.to_str());
        let Some((digest, manifest)) = name.and_then(|name| name.split_once('-')) else {
            return false;
        };
        let hash = |path: &Path| fs::read(path).map(|bytes| blake3::hash(&bytes).to_hex());
        let is = |path: &Path, digest: &str| hash(path).is_ok_and(|hash| hash.starts_with(digest));
        is(&folder.join(manifest::FILE), manifest)
            && Manifest::load_leniently(folder, &self.config)
                .is_ok_and(|(manifest, _)| is(&manifest.component, digest))
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
            let deployed = match fs::metadata(folder.join(manifest::FILE)) {
                Ok(file) => file.modified()?,
                // It was being removed when the host was killed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    remove(&folder)?;
                    continue;
                }
                Err(error) => return Err(error),
            };
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

/// Removes a folder that may not be there.
fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = fs::File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests;
