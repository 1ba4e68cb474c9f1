//! What `weir dev` adds to a host: it looks at the handlers' folders and takes over what has changed.
//!
//! A changed component takes the old one's place in the table of handlers: attempts that run finish on the old one, the
//! next ones start on the new one. A changed manifest, a new or a missing folder ends the host's work in an orderly
//! way, as a stop does, and goes on with the new handlers on the same store. What does not load, or changes what is
//! fixed for a subscription, is told and not taken: what runs goes on.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use weir_wasm::{Component, Sandbox};

use crate::config::{Config, Faults};
use crate::handlers::{self, Deployment};
use crate::manifest::{self, Manifest};
use crate::pipeline::Subscription;

/// Between two looks: below what a person notices. Looking works on every file system, mounted and remote ones too.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Handlers that are to run, and their components.
pub(crate) type Redeployment = (Vec<Deployment>, Vec<Component>);

/// Looks at the folders of running handlers.
pub(crate) struct Watch {
    config: Arc<Config>,
    sandbox: Arc<Sandbox>,
    subscriptions: Vec<Arc<Subscription>>,
    /// The files as they were when they were last taken over or refused.
    settled: Files,
}

/// All files that matter, with what changes when somebody writes them.
type Files = BTreeMap<PathBuf, (Option<SystemTime>, u64)>;

impl Watch {
    /// Of what runs. The first look compares everything, so that nothing is missed that changed during the start.
    pub(crate) fn new(
        config: &Arc<Config>,
        sandbox: &Arc<Sandbox>,
        subscriptions: &[Arc<Subscription>],
    ) -> Self {
        Self {
            config: Arc::clone(config),
            sandbox: Arc::clone(sandbox),
            subscriptions: subscriptions.to_vec(),
            settled: Files::new(),
        }
    }

    /// Swaps components as they change; answers when other handlers are to run.
    pub(crate) async fn next(mut self) -> Redeployment {
        let mut before = Files::new();
        loop {
            let files = self.files();
            // A file that changed since the last look may still be written.
            if files == before && files != self.settled {
                self.settled = files;
                if let Some(next) = self.take_over().await {
                    return next;
                }
            } else {
                before = files;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Manifests, components beside them, and components of running handlers wherever they are.
    fn files(&self) -> Files {
        // A folder that is gone shows as missing files.
        let folders = self.config.handler_folders().unwrap_or_default();
        let beside = folders.iter().flat_map(|folder| {
            let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
            entries
                .map(|entry| entry.path())
                .filter(|path| is_handlers(path))
        });
        let running = self.subscriptions.iter();
        let running = running.map(|one| one.deployment.manifest.component.clone());
        let stamp = |path: PathBuf| {
            let metadata = std::fs::metadata(&path).ok()?;
            Some((path, (metadata.modified().ok(), metadata.len())))
        };
        beside.chain(running).filter_map(stamp).collect()
    }

    async fn take_over(&self) -> Option<Redeployment> {
        let mut wanted = match handlers::deployments(&self.config) {
            Ok(wanted) => wanted,
            Err(faults) => {
                tell(&faults);
                return None;
            }
        };
        let mut same = wanted.len() == self.subscriptions.len();
        for wanted in &mut wanted {
            let Some(running) = self.running(wanted) else {
                same = false;
                continue;
            };
            let (old, new) = (&running.deployment.manifest, &wanted.manifest);
            if old == new {
                self.swap(running).await;
            } else if let Some(reason) = fixed(old, new) {
                tracing::error!(handler = %old.name, "manifest changed and is not taken over: {reason}");
                *wanted = running.deployment.clone();
            } else {
                same = false;
            }
        }
        if same {
            return None;
        }
        let mut components = Vec::new();
        for deployment in &wanted {
            match deployment.load(&self.sandbox).await {
                Ok(component) => components.push(component),
                Err(faults) => {
                    tell(&faults);
                    return None;
                }
            }
        }
        let names: Vec<_> = wanted
            .iter()
            .map(|one| one.manifest.name.as_str())
            .collect();
        tracing::info!(
            handlers = names.join(", "),
            "handlers changed, going on with them"
        );
        Some((wanted, components))
    }

    fn running(&self, wanted: &Deployment) -> Option<&Arc<Subscription>> {
        let mut running = self.subscriptions.iter();
        running.find(|one| one.deployment.scope.group == wanted.scope.group)
    }

    /// Puts the component in its file into the running one's place, unless it is the same.
    async fn swap(&self, running: &Subscription) {
        let deployment = &running.deployment;
        let group = &deployment.scope.group;
        let old = running.handlers.component(group);
        let old = old.as_ref().map_or("", Component::digest);
        // A file that cannot be read is told by the load.
        let is_same = std::fs::read(&deployment.manifest.component)
            .is_ok_and(|bytes| blake3::hash(&bytes).to_hex().as_str() == old);
        if is_same {
            return;
        }
        let start = Instant::now();
        let new = match deployment.load(&self.sandbox).await {
            Ok(component) => component,
            Err(faults) => return tell(&faults),
        };
        let ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::info!(handler = %deployment.manifest.name, from = old, to = new.digest(), ms, "handler swapped");
        running.status.deploy(new.digest());
        running.handlers.deploy(Arc::clone(group), new);
    }
}

/// Whether a change of this file may change a handler.
fn is_handlers(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == manifest::FILE)
        || path
            .extension()
            .is_some_and(|extension| extension == "wasm")
}

/// Why the new manifest cannot follow the old one in the same subscription.
fn fixed(old: &Manifest, new: &Manifest) -> Option<String> {
    let remedy = "it is fixed for a subscription, so write it back, or give the handler another name, or start \
                  `weir dev` anew on other data";
    let differs = if old.topics != new.topics {
        "[subscribe] topics"
    } else if old.inbox != new.inbox {
        "[inbox] enabled"
    } else {
        return None;
    };
    Some(format!("{differs} differs; {remedy}"))
}

/// One line for each fault.
fn tell(faults: &Faults) {
    for fault in &faults.0 {
        tracing::error!("not taken over, what runs goes on: {fault}");
    }
}

#[cfg(test)]
mod tests;
