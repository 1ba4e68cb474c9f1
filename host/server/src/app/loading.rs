//! From manifests and components to what runs: components that are loaded, topics that are there, subscriptions that
//! know where they stand.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use tokio::sync::watch;
use weir_core::partition::OnDead;
use weir_wasm::{Component, Sandbox, SandboxConfig};

use super::Seams;
use crate::alarm::Alarms;
use crate::bus::Bus;
use crate::config::{Config, Faults};
use crate::data_dir::DataDir;
use crate::embedded::{Embedded, RegisterError};
use crate::handlers::{Deployment, Handlers};
use crate::kafka::{Connection, Purpose};
use crate::names;
use crate::pipeline::{Memory, SharedSolitude, Subscription};
use crate::status::SubscriptionStatus;
use crate::topics;

pub(super) fn sandbox(data_dir: &DataDir, threads: usize) -> anyhow::Result<Sandbox> {
    let sandbox = Sandbox::new(SandboxConfig {
        cache_dir: data_dir.cache_path(),
        cache_key: *data_dir.cache_key(),
        compiler: std::env::current_exe()
            .context("find this program, which is also the compiler of components")?,
        compiler_args: vec!["compile-component".into()],
        component_bytes_max: SandboxConfig::COMPONENT_BYTES_MAX,
        memory_bytes_ceiling: SandboxConfig::MEMORY_BYTES_CEILING,
        threads,
    })?;
    Ok(sandbox)
}

/// Compiles or loads all components; all faults at once.
pub(super) async fn load(
    sandbox: &Sandbox,
    deployments: &[Deployment],
) -> Result<Vec<Component>, Faults> {
    let mut faults = Faults::default();
    let mut components = Vec::new();
    for deployment in deployments {
        let start = Instant::now();
        match deployment.load(sandbox).await {
            Ok(component) => {
                let manifest = &deployment.manifest;
                let ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
                let digest = component.digest();
                tracing::info!(handler = %manifest.name, version = %manifest.version, %digest, ms, "handler loaded");
                components.push(component);
            }
            Err(more) => faults.0.extend(more.0),
        }
    }
    faults.check()?;
    Ok(components)
}

pub(super) fn warn_of_no_handlers(config: &Config) {
    let folders = config.handlers.iter();
    let folders: Vec<_> = folders.map(|folder| folder.display().to_string()).collect();
    tracing::warn!(
        folders = folders.join(", "),
        "no handlers: events are taken and wait for one; put a folder with a handler.toml below one of these"
    );
}

/// Whether all topics are there that the host may not make: the missing ones are told at once, each with how it is to be
/// made.
pub(super) fn check_topics(
    connection: &Connection,
    config: &Config,
    deployments: &[Deployment],
) -> Result<(), Faults> {
    let existing = |name: &str| connection.partitions(name);
    let planned = topics::plan(&existing, config, deployments)?;
    let count = |name: &str| {
        let planned = planned.iter().find(|topic| &*topic.name == name);
        existing(name).or(planned.map(|topic| topic.partitions))
    };
    let mut wanted = Vec::new();
    // At least once a host does without knowing of others.
    if !config.is_at_least_once() {
        let control = names::control_topic(&config.environment);
        wanted.push((control, 1, Purpose::Control));
    }
    let kept = kept_letters(deployments);
    for topic in &planned {
        let purpose = match kept.contains(&topic.name) {
            true => Purpose::Kept,
            false => Purpose::of(&topic.name),
        };
        wanted.push((topic.name.to_string(), topic.partitions, purpose));
    }
    let keeping = deployments
        .iter()
        .filter(|one| one.takes_commands() && !one.manifest.topics.is_empty());
    for group in keeping.map(|one| &one.scope.group) {
        // Planned, if they are not there.
        let partitions = count(&names::commands_topic(group)).unwrap_or_default();
        for name in [names::ledger_topic(group), names::park_topic(group)] {
            wanted.push((name, partitions, Purpose::Table));
        }
    }
    let missing = wanted
        .iter()
        .filter_map(|(name, partitions, purpose)| connection.missing(name, *partitions, *purpose));
    let faults = missing.map(|message| config.fault("kafka.create_topics", message));
    Faults(faults.collect()).check()
}

/// Topics of letters that hold their sequences: each is looked for there when somebody lets the sequence go.
fn kept_letters(deployments: &[Deployment]) -> BTreeSet<Arc<str>> {
    deployments
        .iter()
        .filter(|one| one.manifest.on_dead == OnDead::Hold)
        .flat_map(|one| one.dead_letter_topics.iter().map(Arc::clone))
        .collect()
}

/// Makes the topics that are missing, unless anything about their numbers of partitions is wrong.
pub(super) fn ensure_topics(
    bus: &dyn Bus,
    config: &Config,
    deployments: &[Deployment],
) -> anyhow::Result<()> {
    let existing = |name: &str| bus.topic(name).map(|topic| topic.partitions);
    let kept = kept_letters(deployments);
    for topic in topics::plan(&existing, config, deployments)? {
        if kept.contains(&topic.name) {
            bus.ensure_kept(&topic.name, topic.partitions)?;
        } else {
            bus.ensure_topic(&topic.name, topic.partitions)?;
        }
    }
    Ok(())
}

/// Puts all components into one table, and makes the subscriptions of those that read topics, which obey what operators
/// commanded before.
pub(super) fn subscriptions(
    config: &Config,
    store: &Embedded,
    Seams {
        bus,
        ledger,
        orders,
        fleet,
    }: &Seams,
    deployments: Vec<Deployment>,
    components: Vec<Component>,
    handlers: &Arc<Handlers>,
    alarms: &Arc<Alarms>,
) -> anyhow::Result<Vec<Arc<Subscription>>> {
    let partitions = deployments
        .iter()
        .map(|one| one.partitions(&**bus) as usize);
    let bytes = config.memory_budget_bytes - config.prefetch_bytes();
    let memory = Arc::new(Memory::new(bytes, partitions.sum()));
    let solitude = Arc::new(SharedSolitude::default());
    let mut subscriptions = Vec::new();
    for (deployment, component) in deployments.into_iter().zip(components) {
        let digest = component.digest().to_owned();
        handlers.deploy(Arc::clone(&deployment.scope.group), component);
        if deployment.manifest.topics.is_empty() {
            // Another handler's fallback: it is called and has no cursor.
            continue;
        }
        match store.register_subscription(&deployment.scope) {
            // It is refused by name when it joins, and the others run.
            Ok(()) | Err(RegisterError::Partitions { .. }) => {}
            // A cluster knows better than this machine what the subscription began with.
            Err(RegisterError::Topics { .. }) if config.kafka.is_some() => {}
            Err(error @ RegisterError::Topics { .. }) => return Err(error.into()),
        }
        let gate = Arc::new(deployment.gate());
        let status = Arc::new(SubscriptionStatus::new(
            deployment.clone(),
            &digest,
            deployment.partitions(&**bus),
            Arc::clone(&gate),
            Arc::clone(alarms),
        ));
        let subscription = Arc::new(Subscription {
            handlers: Arc::clone(handlers),
            bus: Arc::clone(bus),
            ledger: Arc::clone(ledger),
            fleet: Arc::clone(fleet),
            gate,
            memory: Arc::clone(&memory),
            solitude: Arc::clone(&solitude),
            status,
            deployment,
            resumed: watch::Sender::new(0),
            replacing: tokio::sync::Mutex::default(),
        });
        subscription.steer(orders.steering(&subscription.deployment.scope)?);
        subscriptions.push(subscription);
    }
    Ok(subscriptions)
}
