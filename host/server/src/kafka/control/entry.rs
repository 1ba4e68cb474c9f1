//! What stands on the control topic: keys as text, each with a value of its own form.
//!
//! | key | value |
//! |---|---|
//! | `host/<host id>` | JSON of a [`HostRecord`] |
//! | `steering/<group>/pause/<name>` | JSON: `v`, `paused`, `upon` |
//! | `steering/<group>/breaker/<name>` | JSON: `v`, `breaker`, `upon` |
//! | `job/<group>/<number>` | how far a replay job is, as the embedded store keeps it |
//! | `job/<group>/<number>/plan/<part>` | `version u8, parts u32`, then a part of what it is to do, as the embedded store keeps it |
//!
//! A pause and a breaker have records of their own: two operators who command them at the same time on two hosts both have
//! what they want. Of two who command the same, the first has: each command has a key of its own, 16 random hexadecimal
//! digits, so that compaction keeps both, and says at which offset the command stands that it is `upon`. A record without a value takes back what was there. What a later version writes under other keys, or in another form,
//! is passed over and left alone.

use serde::{Deserialize, Serialize};

use crate::fleet::HostRecord;
use crate::steering::{BreakerCommand, Change};

/// Of values in JSON.
const VERSION: u32 = 1;

/// A longer name of a host or a group is none.
const NAME_BYTES_MAX: usize = 249;

/// What a record is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    Host(String),
    Command {
        group: String,
        what: What,
        name: u64,
    },
    Progress {
        group: String,
        job: u64,
    },
    Plan {
        group: String,
        job: u64,
        part: u32,
    },
}

/// What operators command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum What {
    Pause,
    Breaker,
}

impl What {
    pub(super) const ALL: [Self; 2] = [Self::Pause, Self::Breaker];

    pub(super) fn of(change: Change) -> Self {
        match change {
            Change::Paused(_) => Self::Pause,
            Change::Breaker(_) => Self::Breaker,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Breaker => "breaker",
        }
    }
}

impl Key {
    pub(super) fn encode(&self) -> String {
        match self {
            Self::Host(id) => format!("host/{id}"),
            Self::Command { group, what, name } => {
                format!("steering/{group}/{}/{name:016x}", what.word())
            }
            Self::Progress { group, job } => format!("job/{group}/{job}"),
            Self::Plan { group, job, part } => format!("job/{group}/{job}/plan/{part}"),
        }
    }

    /// Of which subscription it is; none of a host's.
    pub(super) fn group(&self) -> Option<&str> {
        match self {
            Self::Host(_) => None,
            Self::Command { group, .. }
            | Self::Progress { group, .. }
            | Self::Plan { group, .. } => Some(group),
        }
    }

    /// None of what this version does not know.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let text = str::from_utf8(bytes).ok()?;
        let parts: Vec<&str> = text.splitn(6, '/').collect();
        let name = |name: &str| {
            let is_name = !name.is_empty() && name.len() <= NAME_BYTES_MAX;
            is_name.then(|| name.to_owned())
        };
        let key = match parts[..] {
            ["host", id] => Self::Host(name(id)?),
            ["steering", group, word, command] => Self::Command {
                group: name(group)?,
                what: What::ALL.into_iter().find(|what| what.word() == word)?,
                name: u64::from_str_radix(command, 16).ok()?,
            },
            ["job", group, job] => Self::Progress {
                group: name(group)?,
                job: job.parse().ok()?,
            },
            ["job", group, job, "plan", part] => Self::Plan {
                group: name(group)?,
                job: job.parse().ok()?,
                part: part.parse().ok()?,
            },
            _ => return None,
        };
        // Numbers have one form, so that no two keys mean the same.
        (key.encode() == text).then_some(key)
    }
}

#[derive(Serialize, Deserialize)]
struct PauseRecord {
    v: u32,
    paused: bool,
    upon: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct BreakerRecord {
    v: u32,
    breaker: BreakerCommand,
    upon: Option<u64>,
}

/// A command, and the offset of the one that held when it was given; none where none did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Command {
    pub(super) change: Change,
    pub(super) upon: Option<u64>,
}

impl Command {
    pub(super) fn encode(self) -> Vec<u8> {
        let Self { change, upon } = self;
        let v = VERSION;
        let bytes = match change {
            Change::Paused(paused) => serde_json::to_vec(&PauseRecord { v, paused, upon }),
            Change::Breaker(breaker) => serde_json::to_vec(&BreakerRecord { v, breaker, upon }),
        };
        bytes.expect("numbers and a word serialise")
    }

    /// None of what this version does not know.
    pub(super) fn decode(what: What, bytes: &[u8]) -> Option<Self> {
        let (v, change, upon) = match what {
            What::Pause => {
                let record: PauseRecord = serde_json::from_slice(bytes).ok()?;
                (record.v, Change::Paused(record.paused), record.upon)
            }
            What::Breaker => {
                let record: BreakerRecord = serde_json::from_slice(bytes).ok()?;
                (record.v, Change::Breaker(record.breaker), record.upon)
            }
        };
        (v == VERSION).then_some(Self { change, upon })
    }
}

pub(super) fn host_to_bytes(record: &HostRecord) -> Vec<u8> {
    serde_json::to_vec(record).expect("text, numbers and lists of them serialise")
}

pub(super) fn host_from_bytes(bytes: &[u8]) -> Option<HostRecord> {
    let record: HostRecord = serde_json::from_slice(bytes).ok()?;
    record.is_known().then_some(record)
}

#[cfg(test)]
mod tests;
