//! What the control topic says at present, as far as every host wants to know it.
//!
//! Bounded: others may write to the topic, by mistake or on purpose, and a host has to outlive what they write.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use super::entry::{self, Key};
use crate::fleet::{GONE_AFTER, HostRecord, Member};
use crate::steering::{Change, Steering};

/// Hosts of a fleet; a hundred handlers of a hundred partitions each are a fifth of the bytes.
const HOSTS_MAX: usize = 1_000;
const HOST_BYTES_MAX: usize = 256 << 10;
/// Handlers of an environment.
const GROUPS_MAX: usize = 100_000;
/// A flag and a word.
const STEERING_BYTES_MAX: usize = 1 << 10;

/// Why a record is passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Skipped {
    #[error("its key is none that this version knows")]
    Key,
    #[error("its value is none that this version knows")]
    Value,
    #[error("it is larger than such a record can be")]
    TooLarge,
    #[error("there are more of its kind than any fleet has")]
    TooMany,
}

#[derive(Default)]
pub(super) struct Table {
    hosts: BTreeMap<String, Said>,
    steering: HashMap<String, Steering>,
    /// Groups that have replay jobs, or had some.
    with_jobs: HashSet<String>,
}

/// What a host said last.
struct Said {
    record: HostRecord,
    /// How old it was when it was read.
    age: Duration,
    read: Instant,
}

impl Said {
    fn age(&self) -> Duration {
        self.age + self.read.elapsed()
    }
}

impl Table {
    /// Takes a record over that is so old; no value takes back what was there.
    pub(super) fn apply(
        &mut self,
        key: &[u8],
        value: Option<&[u8]>,
        age: Duration,
    ) -> Result<(), Skipped> {
        match Key::decode(key).ok_or(Skipped::Key)? {
            Key::Host(id) => match value {
                Some(value) => self.hear(id, value, age)?,
                None => drop(self.hosts.remove(&id)),
            },
            Key::Pause(group) => {
                let paused = command(value, entry::paused_from_bytes)?;
                self.steer(group, Change::Paused(paused))?;
            }
            Key::Breaker(group) => {
                let breaker = command(value, entry::breaker_from_bytes)?;
                self.steer(group, Change::Breaker(breaker))?;
            }
            Key::Progress { group, .. } => {
                room(
                    self.with_jobs.len(),
                    GROUPS_MAX,
                    self.with_jobs.contains(&group),
                )?;
                self.with_jobs.insert(group);
            }
            // Whoever runs the job reads it when it takes the job over.
            Key::Plan { .. } => {}
        }
        Ok(())
    }

    fn hear(&mut self, id: String, value: &[u8], age: Duration) -> Result<(), Skipped> {
        small(value, HOST_BYTES_MAX)?;
        room(self.hosts.len(), HOSTS_MAX, self.hosts.contains_key(&id))?;
        let said = Said {
            record: entry::host_from_bytes(value).ok_or(Skipped::Value)?,
            age,
            read: Instant::now(),
        };
        self.hosts.insert(id, said);
        Ok(())
    }

    fn steer(&mut self, group: String, change: Change) -> Result<(), Skipped> {
        let is_known = self.steering.contains_key(&group);
        room(self.steering.len(), GROUPS_MAX, is_known)?;
        let steering = self.steering.entry(group).or_default();
        *steering = steering.with(change);
        Ok(())
    }

    /// Hosts that are there, or were a moment ago, by name.
    pub(super) fn members(&self) -> Vec<Member> {
        let near = self.hosts.iter().map(|(id, said)| (id, said, said.age()));
        near.filter(|(_, _, age)| *age <= GONE_AFTER)
            .map(|(id, said, age)| Member {
                id: id.clone(),
                record: said.record.clone(),
                age,
            })
            .collect()
    }

    /// Hosts of which nothing was heard for so long that nobody asks for them.
    pub(super) fn gone(&self) -> Vec<String> {
        let gone = self
            .hosts
            .iter()
            .filter(|(_, said)| said.age() > GONE_AFTER);
        gone.map(|(id, _)| id.clone()).collect()
    }

    pub(super) fn steering(&self, group: &str) -> Steering {
        self.steering.get(group).copied().unwrap_or_default()
    }

    pub(super) fn has_jobs(&self, group: &str) -> bool {
        self.with_jobs.contains(group)
    }
}

/// What a record commands; one without a value, what holds where nothing was commanded.
fn command<T: Default>(
    value: Option<&[u8]>,
    read: impl FnOnce(&[u8]) -> Option<T>,
) -> Result<T, Skipped> {
    let Some(value) = value else {
        return Ok(T::default());
    };
    small(value, STEERING_BYTES_MAX)?;
    read(value).ok_or(Skipped::Value)
}

fn small(value: &[u8], bytes_max: usize) -> Result<(), Skipped> {
    if value.len() > bytes_max {
        return Err(Skipped::TooLarge);
    }
    Ok(())
}

/// Whether another one, or the same again, is taken.
fn room(count: usize, max: usize, is_known: bool) -> Result<(), Skipped> {
    if count >= max && !is_known {
        return Err(Skipped::TooMany);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
