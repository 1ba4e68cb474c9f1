//! What an operator must look at: every alarm there is, and those that are raised.
//!
//! Whoever notices a condition raises its alarm, and clears it when the condition is over. An alarm says what is wrong
//! in one sentence and what to do about it; `weir status`, `/metrics` and the log show it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use weir_core::time::Millis;

use crate::clock;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Something stands still.
    Critical,
    /// Everything goes on, for now or with less than was promised.
    Warning,
}

impl Severity {
    /// The name in status, metrics and logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Warning => "warning",
        }
    }
}

/// Makes the enum and its texts of one table, so that no alarm comes without them. The comment of an alarm is what
/// people are told.
macro_rules! alarms {
    ($($(#[doc = $meaning:literal])+ $name:ident = $code:literal, $severity:ident;)+) => {
        /// Every alarm.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Alarm {
            $($(#[doc = $meaning])+ $name,)+
        }

        impl Alarm {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// The stable name in status, metrics and logs.
            #[must_use]
            pub fn code(self) -> &'static str {
                match self {
                    $(Self::$name => $code,)+
                }
            }

            /// How bad it is.
            #[must_use]
            pub fn severity(self) -> Severity {
                match self {
                    $(Self::$name => Severity::$severity,)+
                }
            }

            /// What it means, in one sentence.
            #[must_use]
            pub fn meaning(self) -> &'static str {
                match self {
                    $(Self::$name => concat!($($meaning),+).trim_ascii(),)+
                }
            }
        }
    };
}

alarms! {
    /// The committed position is not in the log any more: the records from there on are lost, and the partition stands
    /// still.
    PositionLost = "position-lost", Critical;
    /// A topic has another number of partitions than when the subscription first started: keys would move, so it is
    /// stopped.
    TopicGrown = "topic-grown", Critical;
    /// A setting of the manifest has changed that is fixed from the subscription's first start on: it does not start.
    SettingChanged = "setting-changed", Critical;
    /// A partition stopped for an error that trying again does not cure.
    HandlerStopped = "handler-stopped", Critical;
    /// Events wait, and for 30 s nothing was completed, started or tried again, or an open transaction of others keeps them from being read.
    Stalled = "stalled", Critical;
    /// The ledger takes no commits: partitions wait and nothing is dead-lettered.
    CommitFailing = "commit-failing", Critical;
    /// The bus cannot be read: the partition tries again and again.
    ReadFailing = "read-failing", Critical;
    /// The disk is down to the reserve that commits and compaction need: no events are taken in.
    IntakeStopped = "intake-stopped", Critical;
    /// An event is to die and no dead-letter topic takes it: its partition is paused.
    DeadLetterStopped = "dead-letter-stopped", Critical;
    /// The park storage of the subscription is full: its partitions are paused.
    ParkStorageFull = "park-storage-full", Critical;
    /// So many attempts trapped or events died that the breaker opened for five minutes.
    Flood = "flood", Critical;
    /// The breaker has been open for long: what the handler depends on does not come back.
    BreakerOpen = "breaker-open", Warning;
    /// At least 10,000 sequences are parked.
    SequencesParked = "sequences-parked", Warning;
    /// A parked sequence has at least 1,000 events.
    SequenceLong = "sequence-long", Warning;
    /// Sequences are held behind a dead event until the operator replays, drops or releases it.
    SequencesHeld = "sequences-held", Warning;
    /// More ids than the inbox keeps came within its window: a repeat that is older than what is left is not caught.
    InboxShort = "inbox-short", Warning;
    /// Retention cannot delete: records, dead letters and their statuses stay longer than they should, and the disk fills.
    RetentionFailing = "retention-failing", Warning;
    /// A changed handler could not be loaded: the version before it goes on.
    ReloadFailed = "reload-failed", Warning;
}

impl Alarm {
    /// What to do about it where it was raised, with the commands in backticks.
    #[must_use]
    pub fn remedy(self, site: &Site) -> String {
        let handler = site.handler().unwrap_or("HANDLER");
        match self {
            Self::PositionLost => format!(
                "say where it goes on with `weir resume {handler} --from earliest`, or latest, or an offset; what is lost comes back only from who published it or, of a host without Kafka, from its backup"
            ),
            Self::TopicGrown => format!(
                "deploy the handler under another name, which begins without its state, handles all kept events again unless subscribe.from is \"latest\", and emits under other ids; or make the topic anew with its former number of partitions, let it go on with `weir resume {handler}`, and say where when the alarm position-lost asks for it"
            ),
            Self::SettingChanged => {
                "write it back, or give the handler another name, under which it begins without its state, handles all kept events again unless subscribe.from is \"latest\", and emits under other ids; then stop the host and start it again with `weir run`, which reads the manifests (`weir dev` does so by itself)"
                    .to_owned()
            }
            Self::HandlerStopped => format!(
                "see why in `weir status` and the host's log, mend the cause, and let it go on with `weir resume {handler}`"
            ),
            Self::Stalled => {
                "where the message names an open transaction, end that: a restart does not help. Else look at the host's log; on Kafka the host joins its group anew by itself. If the alarm stays, stop the host and start it again with `weir run`: it goes on where it was"
                    .to_owned()
            }
            Self::CommitFailing | Self::ReadFailing => {
                "look at the disk, the connection, the right or the topic that the message names; `weir status` shows when it is over".to_owned()
            }
            Self::IntakeStopped => {
                "free space, or shorten [retention] in weir.toml; `weir status` shows what takes how much".to_owned()
            }
            Self::DeadLetterStopped => format!(
                "see why in `weir status` and mend the cause: give the topic, or kafka.letter_bytes, room for the letter, or take dead_letter = \"stop\" out of the manifest; then let it try that event again with `weir resume {handler}`, or by a new start of the host where its settings changed"
            ),
            Self::ParkStorageFull | Self::SequencesParked | Self::SequenceLong => format!(
                "see what fails with `weir dlq list {handler} --parked`, correct it, and replay or drop"
            ),
            Self::SequencesHeld => format!(
                "see them with `weir dlq list {handler}`, then replay, drop or release them"
            ),
            Self::Flood => {
                format!("see what fails with `weir dlq list {handler}`, and correct or replace the handler")
            }
            Self::BreakerOpen => format!(
                "bring back what the handler depends on; `weir pause {handler}` keeps it from being asked"
            ),
            Self::RetentionFailing => {
                "see what cannot be read in the message; stop the host, and `weir doctor DIR` on its data directory says what is damaged and how to go on"
                    .to_owned()
            }
            Self::InboxShort => {
                "spread the events over a topic with more partitions: each keeps a million ids".to_owned()
            }
            Self::ReloadFailed => {
                "see what is wrong with `weir inspect` and the handler's folder, and build it again".to_owned()
            }
        }
    }
}

/// Where an alarm was raised.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Site {
    /// The whole host.
    Host,
    /// A handler.
    Handler {
        /// Its owner.
        tenant: Arc<str>,
        /// Its name.
        handler: Arc<str>,
        /// One of its partitions; none: all of them.
        partition: Option<u32>,
    },
}

impl Site {
    /// The handler's name.
    #[must_use]
    pub fn handler(&self) -> Option<&str> {
        match self {
            Self::Host => None,
            Self::Handler { handler, .. } => Some(handler),
        }
    }

    /// The handler's owner.
    #[must_use]
    pub fn tenant(&self) -> Option<&str> {
        match self {
            Self::Host => None,
            Self::Handler { tenant, .. } => Some(tenant),
        }
    }

    /// The partition number.
    #[must_use]
    pub fn partition(&self) -> Option<u32> {
        match self {
            Self::Host => None,
            Self::Handler { partition, .. } => *partition,
        }
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host => f.write_str("host"),
            Self::Handler {
                handler, partition, ..
            } => {
                f.write_str(handler)?;
                partition.map_or(Ok(()), |partition| write!(f, " partition {partition}"))
            }
        }
    }
}

/// An alarm that is raised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raised {
    /// Which one.
    pub alarm: Alarm,
    /// Where.
    pub site: Site,
    /// What is known of this case, for people.
    pub detail: String,
    /// Since when.
    pub since: Millis,
}

/// The alarms that are raised. Bounded: one for each kind and place, and places are what is deployed.
#[derive(Debug, Default)]
pub struct Alarms {
    raised: Mutex<BTreeMap<(Alarm, Site), (String, Millis)>>,
    /// Lets the many calls that clear what is not raised pass without the lock.
    count: AtomicUsize,
}

impl Alarms {
    /// Raises an alarm; one that is raised keeps its time and gets the new detail.
    pub fn raise(&self, alarm: Alarm, site: Site, detail: impl Into<String>) {
        let detail = detail.into();
        let mut raised = self.lock();
        if let Some((known, _)) = raised.get_mut(&(alarm, site.clone())) {
            *known = detail;
            return;
        }
        match alarm.severity() {
            Severity::Critical => {
                tracing::error!(alarm = alarm.code(), %site, %detail, "{}", alarm.meaning());
            }
            Severity::Warning => {
                tracing::warn!(alarm = alarm.code(), %site, %detail, "{}", alarm.meaning());
            }
        }
        raised.insert((alarm, site), (detail, clock::now()));
        self.count.store(raised.len(), Ordering::Release);
    }

    /// Says that the condition is over; does nothing when the alarm is not raised.
    pub fn clear(&self, alarm: Alarm, site: &Site) {
        if self.count.load(Ordering::Acquire) == 0 {
            return;
        }
        let mut raised = self.lock();
        if raised.remove(&(alarm, site.clone())).is_some() {
            tracing::info!(alarm = alarm.code(), %site, "alarm is over");
        }
        self.count.store(raised.len(), Ordering::Release);
    }

    /// Clears all alarms of a handler, because it is no longer deployed here.
    pub fn clear_handler(&self, tenant: &str, handler: &str) {
        let mut raised = self.lock();
        raised.retain(|(_, site), _| {
            site.tenant() != Some(tenant) || site.handler() != Some(handler)
        });
        self.count.store(raised.len(), Ordering::Release);
    }

    /// Raises or clears, as the condition is.
    pub fn set(&self, alarm: Alarm, site: Site, detail: Option<String>) {
        match detail {
            Some(detail) => self.raise(alarm, site, detail),
            None => self.clear(alarm, &site),
        }
    }

    /// What is raised, the worst first.
    #[must_use]
    pub fn raised(&self) -> Vec<Raised> {
        let one = |((alarm, site), (detail, since)): (&(Alarm, Site), &(String, Millis))| Raised {
            alarm: *alarm,
            site: site.clone(),
            detail: detail.clone(),
            since: *since,
        };
        let mut raised: Vec<_> = self.lock().iter().map(one).collect();
        raised.sort_by_key(|one| (one.alarm.severity(), one.since));
        raised
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(Alarm, Site), (String, Millis)>> {
        self.raised.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
