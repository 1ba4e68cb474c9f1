//! The hosts of a fleet as they know of one another.
//!
//! Each host says on a topic that all of them follow ([`kafka::Control`]) what it is, where it is reached and which
//! partitions it serves, and is asked over HTTP ([`Peers`]) what only the owner of a partition knows. The embedded store
//! has one host, and a cluster without that topic has hosts that do not know of one another.
//!
//! [`kafka::Control`]: crate::kafka::Control

mod peers;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub(crate) use self::peers::PATH;
pub use self::peers::{PeerError, Peers};
use crate::jobs::JobCommand;
use crate::kafka::Control;
use crate::letters::Selection;
use crate::lookup::Asked;

/// Between two records of a host about itself.
pub const SAY_EVERY: Duration = Duration::from_secs(5);
/// A host that has missed two of them is taken for dead, or cut off.
pub const SILENT_AFTER: Duration = Duration::from_secs(15);
/// A host that has been silent for so long is no longer shown.
pub const GONE_AFTER: Duration = Duration::from_secs(300);

/// The version of [`HostRecord`]; fields may be added to it.
const VERSION: u32 = 1;

/// What a host knows of others.
pub enum Fleet {
    /// There are none.
    Single,
    /// Nothing, for this reason: on a cluster that has no control topic.
    Alone(String),
    /// What they say of themselves.
    Shared(Arc<Control>),
}

/// What a host says of itself.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostRecord {
    /// Of this record's form.
    pub v: u32,
    /// Where it answers the other hosts; none where it does not know.
    pub url: Option<String>,
    /// By which they show that they are hosts of the fleet: made anew at each start.
    pub secret: String,
    /// Of the program.
    pub version: String,
    /// When it started, in Unix milliseconds.
    pub started: u64,
    /// Whether it takes events and every handler is ready there, as `/readyz` says.
    pub ready: bool,
    /// What it promises, in the configuration's words; none of a version that does not say.
    #[serde(default)]
    pub delivery: Option<String>,
    /// Its handlers that read topics.
    pub handlers: Vec<HandlerRecord>,
}

/// What a host says of one handler.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandlerRecord {
    /// Its subscription.
    pub group: String,
    /// Who owns it.
    pub tenant: String,
    /// Its name.
    pub name: String,
    /// The version that serves there.
    pub version: String,
    /// Of its component.
    pub digest: String,
    /// In a word.
    pub state: String,
    /// How many partitions there are.
    pub of: u32,
    /// Those that the host serves.
    pub partitions: Vec<u32>,
    /// Whether something of it waits there for an operator.
    pub stopped: bool,
    /// Records without a durable fate in its partitions; none where the host does not know.
    pub lag: Option<u64>,
    /// Events that were read and have no fate.
    pub open: u64,
    /// Events that are set aside.
    pub parked_events: u64,
    /// Sequences that wait for an operator.
    pub held_sequences: u64,
}

/// A host, as another one knows it.
#[derive(Clone)]
pub struct Member {
    /// Its name.
    pub id: String,
    /// What it said last.
    pub record: HostRecord,
    /// How long ago.
    pub age: Duration,
}

/// What one host asks of another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// What it knows of partitions that it owns; answered by as many answers, none for a partition that it does not own.
    Lookups {
        /// The subscription.
        group: String,
        /// In the order of the answers.
        asked: Vec<Asked>,
    },
    /// What an operator wants that this host has to do.
    Wish {
        /// Who owns the handler.
        tenant: String,
        /// Its name.
        handler: String,
        /// What.
        wish: Wish,
    },
}

/// What an operator wants of one host among many.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wish {
    /// All replay jobs.
    Jobs,
    /// One of them, after it has obeyed.
    Job(u64, Option<JobCommand>),
    /// A new one.
    Replay(Selection, NonZeroU32, Option<String>),
    /// Let go on what has stopped, from there.
    Resume {
        /// As `weir resume --from` takes it.
        from: Option<String>,
        /// In this partition alone.
        partition: Option<u32>,
    },
}

impl HostRecord {
    /// Whether this version knows its form.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.v == VERSION
    }

    /// The record of a host of this version.
    #[must_use]
    pub fn new(url: Option<String>, secret: String, started: u64) -> Self {
        Self {
            v: VERSION,
            url,
            secret,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started,
            ready: false,
            delivery: None,
            handlers: Vec::new(),
        }
    }

    /// Which start of a host said this: what its secret is made of tells no other the secret.
    #[must_use]
    pub fn start(&self) -> String {
        start_of(&self.secret)
    }

    fn serves(&self, group: &str, partition: u32) -> bool {
        let mut handlers = self.handlers.iter();
        handlers.any(|one| one.group == group && one.partitions.contains(&partition))
    }
}

impl Member {
    /// Whether it has said nothing for longer than a host does that works.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        self.age > SILENT_AFTER
    }
}

impl Fleet {
    /// Why what is told and commanded here concerns this host alone, where there may be others.
    #[must_use]
    pub fn alone(&self) -> Option<&str> {
        match self {
            Self::Alone(why) => Some(why),
            Self::Single | Self::Shared(_) => None,
        }
    }

    /// What hosts have to send to be answered as hosts of this fleet.
    #[must_use]
    pub fn secret(&self) -> Option<&str> {
        match self {
            Self::Shared(control) => Some(control.secret()),
            Self::Single | Self::Alone(_) => None,
        }
    }

    /// The hosts that are there, or were a moment ago, by name; this one as the others know it.
    #[must_use]
    pub fn members(&self) -> Vec<Member> {
        match self {
            Self::Shared(control) => control.members(),
            Self::Single | Self::Alone(_) => Vec::new(),
        }
    }

    /// The other hosts that are there.
    #[must_use]
    pub fn others(&self) -> Vec<Member> {
        let own = self.own_id();
        let mut others = self.members();
        others.retain(|member| !member.is_silent() && Some(&*member.id) != own);
        others
    }

    /// The name of this host, where it has others.
    #[must_use]
    pub fn own_id(&self) -> Option<&str> {
        match self {
            Self::Shared(control) => Some(control.host_id()),
            Self::Single | Self::Alone(_) => None,
        }
    }

    /// Which other host serves the partition.
    ///
    /// # Errors
    /// Why nobody can be asked.
    pub fn owner(&self, group: &str, partition: u32) -> Result<Member, String> {
        let control = match self {
            Self::Shared(control) => control,
            Self::Single => return Err("this host does not serve it at present".to_owned()),
            Self::Alone(why) => {
                return Err(format!(
                    "this host does not serve it, and knows of no other: {why}"
                ));
            }
        };
        owner_of(control.members(), control.host_id(), group, partition)
    }

    /// Has another host do or tell something.
    ///
    /// # Errors
    /// It could not be reached in this time, or refused.
    pub async fn ask<T: DeserializeOwned>(
        &self,
        member: &Member,
        request: &Request,
        time: Duration,
    ) -> Result<T, PeerError> {
        match self {
            Self::Shared(control) => control.peers().ask(member, request, time).await,
            Self::Single | Self::Alone(_) => Err(PeerError::Unknown),
        }
    }
}

/// The name of the start that has made this secret.
#[must_use]
pub fn start_of(secret: &str) -> String {
    blake3::hash(secret.as_bytes()).to_hex().to_string()
}

/// Who serves the partition, beside the host that asks. A host that was frozen says for a moment that it serves what
/// others have taken over: where two say so, neither is believed.
fn owner_of(
    members: Vec<Member>,
    own: &str,
    group: &str,
    partition: u32,
) -> Result<Member, String> {
    let serving = members
        .into_iter()
        .filter(|one| one.id != own && one.record.serves(group, partition));
    let (silent, mut live): (Vec<_>, Vec<_>) = serving.partition(Member::is_silent);
    match (live.pop(), live.pop()) {
        (Some(one), None) => Ok(one),
        (Some(one), Some(other)) => Err(format!(
            "it moves, and hosts {} and {} both say that they serve it",
            other.id, one.id
        )),
        (None, _) => Err(match silent.first() {
            Some(one) => format!(
                "host {} served it and has been silent for {} s",
                one.id,
                one.age.as_secs()
            ),
            None => "no host serves it at present".to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests;
