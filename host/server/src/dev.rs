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

use crate::alarm::{Alarm, Alarms, Site};
use crate::config::{Config, Fault, Faults};
use crate::handlers::{self, Deployment, Handlers};
use crate::manifest::{self, Manifest};
use crate::pipeline::Subscription;
use crate::versions::Versions;

/// Between two looks: below what a person notices. Looking works on every file system, mounted and remote ones too.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Handlers that are to run, and their components.
pub(crate) type Redeployment = (Vec<Deployment>, Vec<Component>);

/// What runs, and what it was made of.
pub(crate) struct Running {
    pub(crate) config: Arc<Config>,
    pub(crate) sandbox: Arc<Sandbox>,
    /// All handlers, those that only take another one's place included.
    pub(crate) deployments: Vec<Deployment>,
    pub(crate) handlers: Arc<Handlers>,
    pub(crate) subscriptions: Vec<Arc<Subscription>>,
    pub(crate) alarms: Arc<Alarms>,
    pub(crate) versions: Arc<Versions>,
    /// When the command was given, or handlers changed.
    pub(crate) since: Instant,
}

/// Looks at the folders of running handlers.
pub(crate) struct Watch {
    running: Running,
    /// The files as they were when they were last taken over or refused.
    settled: Files,
}

/// What was not taken over, by the alarm's place.
type Failed = BTreeMap<Site, Vec<String>>;

/// All files that matter, with what changes when somebody writes them.
type Files = BTreeMap<PathBuf, (Option<SystemTime>, u64)>;

impl Watch {
    /// Of what runs. The first look compares everything, so that nothing is missed that changed during the start.
    pub(crate) fn new(running: Running) -> Self {
        Self {
            running,
            settled: Files::new(),
        }
    }

    /// Swaps components as they change; answers when other handlers are to run.
    pub(crate) async fn next(mut self) -> Redeployment {
        let mut before = Files::new();
        let mut is_told = false;
        loop {
            is_told = is_told || self.tell_first();
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

    /// Says how long whoever tries a handler has waited for it; false while nothing is handled.
    fn tell_first(&self) -> bool {
        let handled = |one: &Arc<Subscription>| {
            let at = one.status.first_handled()?;
            Some((at, Arc::clone(one)))
        };
        let all = self.running.subscriptions.iter().filter_map(handled);
        let Some((at, one)) = all.min_by_key(|(at, _)| *at) else {
            return false;
        };
        let waited = at.saturating_duration_since(self.running.since);
        let ms = u64::try_from(waited.as_millis()).unwrap_or(u64::MAX);
        tracing::info!(handler = %one.deployment.manifest.name, ms, "first event handled");
        true
    }

    /// Manifests, components beside them, and components of running handlers wherever they are.
    fn files(&self) -> Files {
        // A folder that is gone shows as missing files.
        let folders = self.running.config.handler_folders().unwrap_or_default();
        let beside = folders.iter().flat_map(|folder| {
            let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
            entries
                .map(|entry| entry.path())
                .filter(|path| is_handlers(path))
        });
        let running = self.running.deployments.iter();
        let running = running.map(|one| one.manifest.component.clone());
        let stamp = |path: PathBuf| {
            let metadata = std::fs::metadata(&path).ok()?;
            Some((path, (metadata.modified().ok(), metadata.len())))
        };
        beside.chain(running).filter_map(stamp).collect()
    }

    /// Takes over what changed; what cannot be is an alarm until the next change.
    async fn take_over(&self) -> Option<Redeployment> {
        let mut failed = Failed::new();
        let next = self.compare(&mut failed).await;
        let sites = self.running.deployments.iter().map(site);
        for site in sites.chain([Site::Host]) {
            let faults = failed.remove(&site).map(|faults| faults.join("; "));
            let alarms = &self.running.alarms;
            alarms.set(Alarm::ReloadFailed, site, faults);
        }
        next
    }

    /// Swaps changed components; answers when more changed than that.
    async fn compare(&self, failed: &mut Failed) -> Option<Redeployment> {
        let mut wanted = match handlers::deployments(&self.running.config) {
            Ok(wanted) => wanted,
            Err(faults) => {
                self.tell(faults, failed);
                return None;
            }
        };
        let mut same = wanted.len() == self.running.deployments.len();
        for wanted in &mut wanted {
            let Some(running) = self.deployed(wanted) else {
                same = false;
                continue;
            };
            let (old, new) = (&running.manifest, &wanted.manifest);
            if old == new {
                self.swap(running, failed).await;
            } else if let Some(message) = fixed(old, new) {
                let (file, key) = (new.file.clone(), String::new());
                self.tell(Faults(vec![Fault { file, key, message }]), failed);
                *wanted = running.clone();
            } else {
                same = false;
            }
        }
        if same {
            return None;
        }
        let mut components = Vec::new();
        for deployment in &wanted {
            match deployment.load(&self.running.sandbox).await {
                Ok(component) => components.push(component),
                Err(faults) => {
                    self.tell(faults, failed);
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

    fn deployed(&self, wanted: &Deployment) -> Option<&Deployment> {
        let mut deployed = self.running.deployments.iter();
        deployed.find(|one| one.scope.group == wanted.scope.group)
    }

    /// Puts the component in its file into the running one's place, unless it is the same.
    async fn swap(&self, deployment: &Deployment, failed: &mut Failed) {
        let (handlers, group) = (&self.running.handlers, &deployment.scope.group);
        let old = handlers.component(group);
        let old = old.as_ref().map_or("", Component::digest);
        // A file that cannot be read is told by the load.
        let is_same = std::fs::read(&deployment.manifest.component)
            .is_ok_and(|bytes| blake3::hash(&bytes).to_hex().as_str() == old);
        if is_same {
            return;
        }
        let start = Instant::now();
        let new = match deployment.load(&self.running.sandbox).await {
            Ok(component) => component,
            Err(faults) => return self.tell(faults, failed),
        };
        let ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
        let digest = new.digest().to_owned();
        self.running.versions.keep(deployment, &digest);
        handlers.deploy(Arc::clone(group), new);
        // Told once it is so: who reads it may count on the new one.
        let mut subscriptions = self.running.subscriptions.iter();
        if let Some(one) = subscriptions.find(|one| one.deployment.scope.group == *group) {
            one.status.deploy(&digest);
        }
        tracing::info!(handler = %deployment.manifest.name, from = old, to = digest, ms, "handler swapped");
    }

    /// One line for each fault, and its alarm at the handler whose file has it.
    fn tell(&self, faults: Faults, failed: &mut Failed) {
        for fault in faults.0 {
            tracing::error!("not taken over, what runs goes on: {fault}");
            let of_file = |one: &&Deployment| {
                [&one.manifest.file, &one.manifest.component].contains(&&fault.file)
            };
            let running = self.running.deployments.iter().find(of_file);
            let site = running.map_or(Site::Host, site);
            failed.entry(site).or_default().push(fault.to_string());
        }
    }
}

/// Where an alarm of this handler is raised.
fn site(deployment: &Deployment) -> Site {
    Site::Handler {
        tenant: deployment.manifest.tenant.as_str().into(),
        handler: deployment.manifest.name.as_str().into(),
        partition: None,
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
        "subscribe.topics".to_owned()
    } else {
        old.fixed().change_to(&new.fixed())?
    };
    Some(format!("{differs} differs; {remedy}"))
}

#[cfg(test)]
mod tests;
