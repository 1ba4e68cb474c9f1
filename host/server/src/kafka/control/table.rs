//! What the control topic says at present, as far as every host wants to know it.
//!
//! Bounded: others may write to the topic, by mistake or on purpose, and a host has to outlive what they write.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use super::entry::{self, Command, Key, What};
use crate::fleet::{GONE_AFTER, HostRecord, Member};
use crate::steering::Steering;

/// Hosts of a fleet; a hundred handlers of a hundred partitions each are a fifth of the bytes.
const HOSTS_MAX: usize = 1_000;
const HOST_BYTES_MAX: usize = 256 << 10;
/// Handlers of an environment.
const GROUPS_MAX: usize = 100_000;
/// A word and a few numbers.
const STEERING_BYTES_MAX: usize = 1 << 10;
/// Commands about one thing that were not taken back: the next one takes back all before it.
const COMMANDS_MAX: usize = 100;

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
    /// What was commanded of each group, and not taken back.
    commands: HashMap<(String, What), Commands>,
    /// Groups that have replay jobs, or had some.
    with_jobs: HashSet<String>,
}

/// Commands about the same, by name: where each stands, and what it says.
///
/// Invariant: which of them holds follows from what is there, not from the order in which it came or from what was there
/// before. A host that reads the topic after its compaction finds the same one as those that have read all of it.
#[derive(Default)]
struct Commands(BTreeMap<u64, (u64, Command)>);

impl Commands {
    /// The one upon the latest, and of those the first: whoever was given meanwhile did not know of it.
    fn holding(&self) -> Option<(u64, u64, Command)> {
        let all = self.0.iter();
        let holding = all.max_by_key(|(_, (at, command))| (command.upon, Reverse(*at)));
        holding.map(|(&name, &(at, command))| (name, at, command))
    }
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
    /// Takes the record at this offset over, which is so old; no value takes back what was there.
    pub(super) fn apply(
        &mut self,
        (at, age): (u64, Duration),
        key: &[u8],
        value: Option<&[u8]>,
    ) -> Result<(), Skipped> {
        match Key::decode(key).ok_or(Skipped::Key)? {
            Key::Host(id) => match value {
                Some(value) => self.hear(id, value, age)?,
                None => drop(self.hosts.remove(&id)),
            },
            Key::Command { group, what, name } => match value {
                Some(value) => self.command(at, (group, what), name, value)?,
                None => self.take_back((group, what), name),
            },
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

    fn command(
        &mut self,
        at: u64,
        about: (String, What),
        name: u64,
        value: &[u8],
    ) -> Result<(), Skipped> {
        small(value, STEERING_BYTES_MAX)?;
        let mut command = Command::decode(about.1, value).ok_or(Skipped::Value)?;
        // What it was upon stood in another topic, or elsewhere in this one: nothing could be given upon that.
        command.upon = command.upon.filter(|upon| *upon < at);
        let is_known = self.commands.contains_key(&about);
        room(self.commands.len(), GROUPS_MAX, is_known)?;
        let Commands(commands) = self.commands.entry(about).or_default();
        room(commands.len(), COMMANDS_MAX, commands.contains_key(&name))?;
        commands.insert(name, (at, command));
        Ok(())
    }

    fn take_back(&mut self, about: (String, What), name: u64) {
        if let Some(Commands(commands)) = self.commands.get_mut(&about) {
            commands.remove(&name);
            if commands.is_empty() {
                self.commands.remove(&about);
            }
        }
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

    /// Whether the host has said something since; none where it has said that it stops.
    pub(super) fn has_said(&self, id: &str, since: Instant) -> Option<bool> {
        self.hosts.get(id).map(|said| said.read > since)
    }

    /// Hosts of which nothing was heard here for so long that nobody asks for them. What their records say of the time does
    /// not count: a host whose clock is wrong would take all others' back.
    pub(super) fn gone(&self, now: Instant) -> Vec<String> {
        let gone = self
            .hosts
            .iter()
            .filter(|(_, said)| now.duration_since(said.read) > GONE_AFTER);
        gone.map(|(id, _)| id.clone()).collect()
    }

    pub(super) fn steering(&self, group: &str) -> Steering {
        let held = What::ALL.map(|what| self.holding(group, what));
        let held = held.into_iter().flatten();
        held.fold(Steering::default(), |steering, (_, _, command)| {
            steering.with(command.change)
        })
    }

    /// The command that holds: its name, where it stands, and what it says.
    pub(super) fn holding(&self, group: &str, what: What) -> Option<(u64, u64, Command)> {
        let commands = self.commands.get(&(group.to_owned(), what));
        commands.and_then(Commands::holding)
    }

    /// The names of all commands about one thing that were not taken back.
    pub(super) fn commanded(&self, group: &str, what: What) -> Vec<u64> {
        let commands = self.commands.get(&(group.to_owned(), what));
        commands.map_or(Vec::new(), |all| all.0.keys().copied().collect())
    }

    pub(super) fn has_jobs(&self, group: &str) -> bool {
        self.with_jobs.contains(group)
    }
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
