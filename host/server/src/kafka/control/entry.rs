//! What stands on the control topic: keys as text, each with a value of its own form.
//!
//! | key | value |
//! |---|---|
//! | `host/<host id>` | JSON of a [`HostRecord`] |
//! | `steering/<group>/pause` | JSON: `v`, `paused` |
//! | `steering/<group>/breaker` | JSON: `v`, `breaker` |
//! | `job/<group>/<number>` | how far a replay job is, as the embedded store keeps it |
//! | `job/<group>/<number>/plan/<part>` | `version u8, parts u32`, then a part of what it is to do, as the embedded store keeps it |
//!
//! A pause and a breaker have records of their own: two operators who command them at the same time on two hosts both have
//! what they want. A record without a value takes back what was there. What a later version writes under other keys, or in another form,
//! is passed over and left alone.

use serde::{Deserialize, Serialize};

use crate::fleet::HostRecord;
use crate::steering::{BreakerCommand, Change};

/// Of values in JSON.
const VERSION: u32 = 1;

/// A longer name of a host or a group is none.
const NAME_BYTES_MAX: usize = 249;

/// What a record is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Host(String),
    Pause(String),
    Breaker(String),
    Progress { group: String, job: u64 },
    Plan { group: String, job: u64, part: u32 },
}

impl Key {
    pub(super) fn encode(&self) -> String {
        match self {
            Self::Host(id) => format!("host/{id}"),
            Self::Pause(group) => format!("steering/{group}/pause"),
            Self::Breaker(group) => format!("steering/{group}/breaker"),
            Self::Progress { group, job } => format!("job/{group}/{job}"),
            Self::Plan { group, job, part } => format!("job/{group}/{job}/plan/{part}"),
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
            ["steering", group, "pause"] => Self::Pause(name(group)?),
            ["steering", group, "breaker"] => Self::Breaker(name(group)?),
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
}

#[derive(Serialize, Deserialize)]
struct BreakerRecord {
    v: u32,
    breaker: BreakerCommand,
}

/// The record of a command for a group.
pub(super) fn change(group: &str, change: Change) -> (Key, Vec<u8>) {
    let (v, group) = (VERSION, group.to_owned());
    let (key, value) = match change {
        Change::Paused(paused) => (
            Key::Pause(group),
            serde_json::to_vec(&PauseRecord { v, paused }),
        ),
        Change::Breaker(breaker) => (
            Key::Breaker(group),
            serde_json::to_vec(&BreakerRecord { v, breaker }),
        ),
    };
    (key, value.expect("a number and a word serialise"))
}

pub(super) fn paused_from_bytes(bytes: &[u8]) -> Option<bool> {
    let record: PauseRecord = serde_json::from_slice(bytes).ok()?;
    (record.v == VERSION).then_some(record.paused)
}

pub(super) fn breaker_from_bytes(bytes: &[u8]) -> Option<BreakerCommand> {
    let record: BreakerRecord = serde_json::from_slice(bytes).ok()?;
    (record.v == VERSION).then_some(record.breaker)
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
