//! The topics that a host makes at its start: planned as a whole, so that what contradicts is told before any is made.

use std::sync::Arc;

use weir_core::partition::OnDead;

use crate::bus::Topic;
use crate::config::{Config, Fault, Faults, PARTITIONS};
use crate::handlers::Deployment;
use crate::names;

/// What is to be made: the topics of the configuration, those that manifests name and nobody has made, and where their
/// dead letters go. `existing` tells the number of partitions of a topic that there is.
///
/// A number that somebody wrote counts before the default, whoever names the topic first.
///
/// # Errors
/// All numbers that contradict a topic that exists, or one another.
pub fn plan(
    existing: &dyn Fn(&str) -> Option<u32>,
    config: &Config,
    deployments: &[Deployment],
) -> Result<Vec<Topic>, Faults> {
    let mut plan = Plan {
        existing,
        topics: Vec::new(),
        faults: Faults::default(),
    };
    for (index, topic) in config.topics.iter().enumerate() {
        if let Some(found) = plan.differs(&topic.name, topic.partitions) {
            let message = differs(topic.partitions, &topic.name, found);
            let key = format!("topics[{index}].partitions");
            plan.faults.0.push(config.fault(key, message));
        }
    }
    for deployment in deployments {
        let manifest = &deployment.manifest;
        let named = manifest.topics.iter().chain(&manifest.emit.topics);
        for (name, wanted) in named.filter_map(|name| Some((name, manifest.partitions?))) {
            if let Some(found) = plan.differs(name, wanted) {
                let message = format!(
                    "{}, or remove the key; topics with different numbers go under [[topics]] in the host's config",
                    differs(wanted, name, found)
                );
                plan.fault(deployment, "partitions", message);
            }
        }
    }
    for deployment in deployments {
        let manifest = &deployment.manifest;
        for name in manifest.topics.iter().chain(&manifest.emit.topics) {
            plan.make(name, PARTITIONS);
        }
        plan.check_equal(deployment);
        let letters = deployment.dead_letter_topics.iter();
        let mut partitions_max = None;
        for (topic, letters) in manifest.topics.iter().zip(letters) {
            let partitions = plan.count(topic).unwrap_or(PARTITIONS);
            partitions_max = partitions_max.max(Some(partitions));
            if manifest.on_dead != OnDead::Stop {
                // A dead letter keeps its partition.
                plan.make(letters, partitions);
            }
        }
        if let Some(partitions) = partitions_max.filter(|_| deployment.takes_commands()) {
            // A command goes to the owner of the partition that it is about.
            plan.make(&names::commands_topic(&deployment.scope.group), partitions);
        }
    }
    plan.faults.check().map(|()| plan.topics)
}

struct Plan<'a> {
    existing: &'a dyn Fn(&str) -> Option<u32>,
    topics: Vec<Topic>,
    faults: Faults,
}

impl Plan<'_> {
    fn count(&self, name: &str) -> Option<u32> {
        let planned = || self.topics.iter().find(|topic| &*topic.name == name);
        (self.existing)(name).or_else(|| planned().map(|topic| topic.partitions))
    }

    /// Plans the topic unless it is there.
    fn make(&mut self, name: &str, partitions: u32) {
        if self.count(name).is_none() {
            self.topics.push(Topic {
                name: Arc::from(name),
                partitions,
            });
        }
    }

    /// The number of partitions that the topic has, where it is another; plans a topic that is not there.
    fn differs(&mut self, name: &str, wanted: u32) -> Option<u32> {
        self.make(name, wanted);
        self.count(name).filter(|found| *found != wanted)
    }

    /// State, timers and an order across topics belong to a key in one partition number: over topics with different
    /// numbers, the events of one key would meet in two of them.
    fn check_equal(&mut self, deployment: &Deployment) {
        let manifest = &deployment.manifest;
        if !manifest.joins_topics() {
            return;
        }
        let counts = manifest.topics.iter();
        let counts: Vec<_> = counts
            .filter_map(|name| Some((name, self.count(name)?)))
            .collect();
        if counts.iter().all(|(_, count)| *count == counts[0].1) {
            return;
        }
        let have: Vec<_> = counts
            .iter()
            .map(|(name, count)| format!("{name} has {count} partitions"))
            .collect();
        let message = format!(
            "{}: a handler with state, timers or ordering.across_topics needs equal numbers, because one key's events \
             must meet in one partition; use topics with equal numbers, or a handler for each",
            have.join(", ")
        );
        self.fault(deployment, "subscribe.topics", message);
    }

    fn fault(&mut self, deployment: &Deployment, key: &str, message: String) {
        self.faults.0.push(Fault {
            file: deployment.manifest.file.clone(),
            key: key.to_owned(),
            message,
        });
    }
}

fn differs(wanted: u32, name: &str, found: u32) -> String {
    format!(
        "is {wanted}, and the topic {name} has {found}: the number is fixed when a topic is made, write {found}"
    )
}

#[cfg(test)]
mod tests;
