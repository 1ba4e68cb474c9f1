//! The table of live handlers: read for every attempt, changed while running.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use weir_core::breaker::Breaker;
use weir_core::rate::Rate;
use weir_core::{dead_letter, emission, inbox, partition};
use weir_wasm::{Component, Grants, Isolation, Limits, LoadOptions, Sandbox, SandboxConfig};

use crate::bus::Bus;
use crate::clock;
use crate::cloudevents;
use crate::config::{Config, Fault, Faults};
use crate::embedded::RECORD_BYTES_MAX;
use crate::ledger::Scope;
use crate::manifest::{self, Manifest};
use crate::names;
use crate::pipeline::{Memory, SharedGate, SharedSolitude};

/// Attempts that a reused instance serves before it is replaced: bounds what a leaking guest keeps.
const INSTANCE_USES_MAX: u32 = 10_000;

/// Components by group.
#[derive(Default)]
pub struct Handlers(DashMap<Arc<str>, Component>);

impl Handlers {
    /// The component that serves this group.
    #[must_use]
    pub fn component(&self, group: &str) -> Option<Component> {
        self.0.get(group).map(|entry| entry.value().clone())
    }

    /// Makes `component` the one that serves this group from its next attempt on.
    pub fn deploy(&self, group: Arc<str>, component: Component) {
        self.0.insert(group, component);
    }
}

/// One deployed handler: its manifest in deployed form and the names that follow from it.
#[derive(Clone, Debug)]
pub struct Deployment {
    /// The manifest.
    pub manifest: Arc<Manifest>,
    /// Whose work.
    pub scope: Scope,
    /// Dead-letter topics, in the order of the manifest's topics.
    pub dead_letter_topics: Arc<[Arc<str>]>,
    /// Who takes its place while its breaker is open.
    pub fallback: Option<Fallback>,
}

/// A handler that takes another one's place.
#[derive(Clone, Debug)]
pub struct Fallback {
    /// Its component in the table.
    pub group: Arc<str>,
    /// What it may emit.
    pub emit: emission::Rules,
}

impl Deployment {
    /// What the manifest becomes under this configuration.
    #[must_use]
    pub fn new(manifest: Manifest, config: &Config) -> Self {
        let group: Arc<str> = manifest.group(config).into();
        let own = manifest
            .topics
            .iter()
            .map(|topic| Arc::from(topic.as_str()));
        // A command changes what the ledger keeps of a letter.
        let commands = (!config.is_at_least_once()).then(|| names::commands_topic(&group).into());
        let topics: Arc<[Arc<str>]> = own.chain(commands).collect();
        let dead_letter_topics = manifest
            .topics
            .iter()
            .map(|topic| names::dlq_topic(&group, topic).into())
            .collect();
        Self {
            scope: Scope { group, topics },
            dead_letter_topics,
            fallback: None,
            manifest: Arc::new(manifest),
        }
    }

    /// The place of the command topic among the scope's topics: after the manifest's.
    #[must_use]
    pub fn command_topic(&self) -> u16 {
        u16::try_from(self.manifest.topics.len()).unwrap_or(u16::MAX)
    }

    /// Whether operators' commands come to it: without a ledger there is nothing that they could change.
    #[must_use]
    pub fn takes_commands(&self) -> bool {
        self.scope.topics.len() > self.manifest.topics.len()
    }

    /// The topics that it reads for its handler.
    #[must_use]
    pub fn source_topics(&self) -> &[Arc<str>] {
        &self.scope.topics[..self.manifest.topics.len()]
    }

    /// What attempts must pass before they start.
    #[must_use]
    pub fn gate(&self) -> SharedGate {
        let breaker = Breaker::new(self.manifest.breaker, clock::now());
        let rate = self.manifest.rate;
        SharedGate::new(
            breaker,
            rate.map(|rate| Rate::new(rate.per_second, rate.burst)),
        )
    }

    /// What it may emit.
    pub(crate) fn emit(&self) -> emission::Rules {
        let manifest = &self.manifest;
        let topics = manifest.emit.topics.iter();
        emission::Rules {
            handler: manifest.name.as_str().into(),
            source: manifest.emit.source.as_str().into(),
            topics: topics
                .map(|full| (short_topic(full).into(), full.as_str().into()))
                .collect(),
            timers: manifest.grants.timers,
            key: manifest.emit.key.clone().map(|key| Arc::new(key) as _),
            check: Some(|name, value| {
                cloudevents::check_attribute(name, value).map_err(|error| error.to_string())
            }),
            structured: match manifest.emit.mode {
                manifest::Mode::Binary => None,
                manifest::Mode::Structured => Some(cloudevents::to_structured),
            },
        }
    }

    /// How many partition numbers its topics have: each is served by a machine of its own.
    #[must_use]
    pub fn partitions(&self, bus: &dyn Bus) -> u32 {
        let topics = self.source_topics().iter();
        let counts = topics
            .filter_map(|topic| bus.topic(topic))
            .map(|topic| topic.partitions);
        counts.max().unwrap_or(0)
    }

    /// What the machine of one partition is given.
    #[must_use]
    pub fn machine(
        &self,
        config: &Config,
        digest: &str,
        partition: u32,
        memory: &Memory,
        solitude: &SharedSolitude,
    ) -> partition::Config {
        let manifest = &self.manifest;
        partition::Config {
            source: dead_letter::Source {
                group: Arc::clone(&self.scope.group),
                handler: manifest.name.as_str().into(),
                version: manifest.version.as_str().into(),
                digest: digest.into(),
            },
            partition,
            // Its own: each event counts users of a name, and threads would wait for one another.
            topics: self
                .scope
                .topics
                .iter()
                .map(|name| (**name).into())
                .collect(),
            dead_letter_topics: Arc::clone(&self.dead_letter_topics),
            commands: self.takes_commands().then(|| self.command_topic()),
            on_dead: manifest.on_dead,
            ordering: manifest.ordering,
            emit: self.emit(),
            fallback: self.fallback.as_ref().map(|fallback| fallback.emit.clone()),
            parks: !config.is_at_least_once(),
            keyed_only: manifest.grants.state || manifest.grants.timers,
            retry: manifest.retry.clone(),
            inbox: manifest.inbox.then(|| inbox::Config {
                resident_bytes_max: memory.inbox_bytes(),
                ..inbox::Config::default()
            }),
            inbox_key: manifest.inbox_key.clone().map(|key| Arc::new(key) as _),
            limits: partition::Limits {
                in_flight_max: config.pipeline.in_flight_per_partition as usize,
                span_max: u64::from(config.pipeline.span_positions),
                unit_events_max: config.pipeline.unit_events as usize,
                unit_bytes_max: config.pipeline.unit_bytes as usize,
                unit_linger: Duration::from_millis(config.pipeline.unit_linger_ms.into()),
                letter_bytes_max: letter_bytes_max(config),
                ..partition::Limits::default()
            },
            memory: memory.budget(),
            solitude: solitude.solitude(),
        }
    }

    /// What its component may import.
    #[must_use]
    pub fn grants(&self) -> Grants {
        Grants {
            state: self.manifest.grants.state,
            timers: self.manifest.grants.timers,
            ..Grants::default()
        }
    }

    /// What loading the component would refuse, as far as it shows without compiling it.
    fn component_faults(&self) -> Faults {
        let path = &self.manifest.component;
        let Ok(bytes) = read_component(path) else {
            // Told with the manifest's key.
            return Faults::default();
        };
        let refused: Vec<String> = match weir_wasm::describe(&bytes) {
            Ok(found) => weir_wasm::check_description(&found, &self.grants())
                .iter()
                .map(|error| chain(error))
                .collect(),
            Err(error) => vec![chain(&error)],
        };
        let fault = |message| Faults::of_file(path, message).0;
        Faults(refused.into_iter().flat_map(fault).collect())
    }

    /// Reads and loads the component.
    pub async fn load(&self, sandbox: &Sandbox) -> Result<Component, Faults> {
        let manifest = &self.manifest;
        let path = &manifest.component;
        let fault = |message: String| Faults::of_file(path, message);
        let bytes =
            read_component(path).map_err(|error| fault(format!("cannot be read: {error}")))?;
        let limits = Limits {
            memory_bytes: manifest.limits.memory_bytes,
            log_bytes_per_s: manifest.limits.log_bytes_per_s,
            // What sixteen seconds of it are, at once.
            log_burst_bytes: manifest.limits.log_bytes_per_s.saturating_mul(16),
            cpu: manifest.limits.cpu,
            wall: manifest.limits.wall,
            ..Limits::default()
        };
        let isolation = match manifest.isolation {
            manifest::Isolation::Event => Isolation::Event,
            manifest::Isolation::Reuse => Isolation::Reuse {
                uses_max: INSTANCE_USES_MAX,
            },
        };
        let options = LoadOptions {
            handler: manifest.name.as_str().into(),
            grants: self.grants(),
            limits,
            isolation,
        };
        sandbox
            .load(bytes, &options)
            .await
            .map_err(|error| fault(chain(&error)))
    }
}

/// What a topic for dead letters takes.
fn letter_bytes_max(config: &Config) -> usize {
    let kafka = config.kafka.as_ref();
    kafka.map_or(RECORD_BYTES_MAX, |kafka| kafka.letter_bytes)
}

/// The bytes of a component's file, and no more of a file that is too large than it takes to say so.
fn read_component(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let bytes = file.metadata()?.len();
    if bytes > SandboxConfig::COMPONENT_BYTES_MAX as u64 {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!(
                "the component has {bytes} bytes, more than {}; strip its debug information (`wasm-tools strip`)",
                SandboxConfig::COMPONENT_BYTES_MAX
            ),
        ));
    }
    let mut read = Vec::new();
    // It may grow meanwhile.
    file.take(SandboxConfig::COMPONENT_BYTES_MAX as u64 + 1)
        .read_to_end(&mut read)?;
    Ok(read)
}

/// All manifests of the configured folders.
///
/// # Errors
/// Everything that is wrong with any of them.
pub fn deployments(config: &Config) -> Result<Vec<Deployment>, Faults> {
    let mut faults = Faults::default();
    let mut found: Vec<Deployment> = Vec::new();
    for folder in config.handler_folders()? {
        let (manifest, more) = match Manifest::load_leniently(&folder, config) {
            Ok(read) => read,
            Err(more) => {
                faults.0.extend(more.0);
                continue;
            }
        };
        faults.0.extend(more.0);
        let deployment = Deployment::new(manifest, config);
        let twin = found
            .iter()
            .find(|other| other.scope.group == deployment.scope.group);
        match twin {
            // A missing name is told already.
            Some(_) if deployment.manifest.name.is_empty() => {}
            Some(other) => faults.0.push(twice(&deployment.manifest, &other.manifest)),
            None => found.push(deployment),
        }
    }
    let fallbacks = resolve_fallbacks(&found, &mut faults);
    if faults.0.is_empty() {
        let with_fallback = found.into_iter().zip(fallbacks);
        return Ok(with_fallback
            .map(|(deployment, fallback)| Deployment {
                fallback,
                ..deployment
            })
            .collect());
    }
    // The host will not come to load the components: what can be seen without compiling is told with the rest.
    found
        .iter()
        .for_each(|deployment| faults.0.extend(deployment.component_faults().0));
    Err(faults)
}

/// Who takes whose place: a handler of the same tenant that reads no topic itself.
fn resolve_fallbacks(found: &[Deployment], faults: &mut Faults) -> Vec<Option<Fallback>> {
    let fault = |deployment: &Deployment, key: &str, message: String| Fault {
        file: deployment.manifest.file.clone(),
        key: key.to_owned(),
        message,
    };
    let mut used = Vec::new();
    let mut fallbacks = Vec::new();
    for deployment in found {
        let manifest = &deployment.manifest;
        let Some(name) = &manifest.fallback else {
            fallbacks.push(None);
            continue;
        };
        let named = |other: &&Deployment| {
            other.manifest.name == *name && other.manifest.tenant == manifest.tenant
        };
        fallbacks.push(match found.iter().find(named) {
            Some(other) if other.manifest.topics.is_empty() => {
                used.push(Arc::clone(&other.scope.group));
                Some(Fallback {
                    group: Arc::clone(&other.scope.group),
                    emit: other.emit(),
                })
            }
            Some(_) => {
                let message = format!(
                    "{name:?} reads topics itself: write topics = [] there, or name another"
                );
                faults
                    .0
                    .push(fault(deployment, "breaker.fallback", message));
                None
            }
            None => {
                let tenant = &manifest.tenant;
                let message = format!(
                    "there is no handler {name:?} of tenant {tenant:?} in the handlers' folders"
                );
                faults
                    .0
                    .push(fault(deployment, "breaker.fallback", message));
                None
            }
        });
    }
    for deployment in found {
        let manifest = &deployment.manifest;
        let is_told = |fault: &Fault| {
            fault.file == manifest.file && fault.key.starts_with("subscribe.topics")
        };
        if faults.0.iter().any(is_told) {
            continue;
        }
        if manifest.topics.is_empty() && !used.contains(&deployment.scope.group) {
            let message = "is empty, which is for a handler that another one names as its fallback: name the topics \
                           that it reads";
            faults
                .0
                .push(fault(deployment, "subscribe.topics", message.to_owned()));
        }
    }
    fallbacks
}

fn twice(manifest: &Manifest, other: &Manifest) -> Fault {
    Fault {
        file: manifest.file.clone(),
        key: "name".to_owned(),
        message: format!(
            "{:?} is also the name in {}: a name is one subscription",
            manifest.name,
            other.file.display()
        ),
    }
}

/// The name that a guest writes: a full name without its environment and domain.
fn short_topic(full: &str) -> &str {
    let parts = full.split('.').count();
    if parts == 5 {
        full.splitn(3, '.').last().unwrap_or(full)
    } else {
        full
    }
}

/// An error and its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source())
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}

#[cfg(test)]
mod tests;
