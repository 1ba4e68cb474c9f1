//! The topics that the host makes, or finds as they have to be: ledgers, what is set aside, commands, dead letters, and the
//! one on which hosts tell one another what they are. Whatever asks for them blocks.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::FutureExt as _;
use rdkafka::admin::{AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::cluster::Cluster;
use super::denied::{Refusal, refused, unavailable, unjoined};
use super::native::Description;
use super::origin::Origin;
use super::records::number;
use super::waiting::{ANSWER, block_on, pause};
use crate::bus::{EnsureTopicError, SubscribeError};
use crate::config::{self, CreateTopics, RECORD_BYTES};
use crate::ledger::Scope;
use crate::names;

/// Between two looks at a topic that was just made.
const LOOK: Duration = Duration::from_millis(20);
/// Dead letters are kept so long: people have to come to them.
const DEAD_LETTER_RETENTION: Duration = Duration::from_hours(30 * 24);
/// A host that was away for less still finds the tombstones of what it had.
const TOMBSTONE_RETENTION: Duration = Duration::from_hours(7 * 24);
/// A copy of a ledger that is older may have what was removed since, and finds no tombstone of it: half of the time that
/// they are kept, for clocks that differ and for the reading.
pub(super) const CHECKPOINT_AGE_MAX: Duration =
    Duration::from_secs(TOMBSTONE_RETENTION.as_secs() / 2);

/// The setting of a topic that bounds its records.
const BOUND: &str = "max.message.bytes";
/// The setting of a topic that says what becomes of old records, and its value where the last of each key stays.
const CLEANUP: &str = "cleanup.policy";
const COMPACT: &str = "compact";
/// The setting of a compacted topic that says how long a removal stays.
const TOMBSTONES: &str = "delete.retention.ms";

/// By its defaults a broker compacts nothing of the last 1 GiB, which a fleet of many handlers writes in a day, and which each
/// start would read: this is some seconds of reading.
const COMPACTED_SOON: [(&str, &str); 3] = [
    ("segment.bytes", "16777216"),
    ("segment.ms", "600000"),
    ("min.cleanable.dirty.ratio", "0.1"),
];

/// What is deleted by age and by size: nothing, where both are [`KEEP_ALL`].
const RETENTION_MS: &str = "retention.ms";
const RETENTION_BYTES: &str = "retention.bytes";
const KEEP_ALL: &str = "-1";

/// What to do about a topic that was made with too few partitions.
const MADE_ANEW: &str = "delete the first, and have it made anew with as many";
/// The same of one that people have to come to.
const ENLARGED: &str = "give the first as many, since a dead letter keeps its partition";

/// What a topic is for, which says how it has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Keeps the last record of each key.
    Table,
    /// The same, written all the time and read from its beginning by whoever starts.
    Control,
    /// Takes what is published and emitted, and commands.
    Events,
    /// Takes letters, whole.
    Letters,
    /// And keeps them until somebody has decided about each.
    Kept,
}

impl Purpose {
    /// What a topic of this name is for, where its letters hold no sequences.
    #[must_use]
    pub fn of(name: &str) -> Self {
        match names::is_dlq_topic(name) {
            true => Self::Letters,
            false => Self::Events,
        }
    }
}

/// What came of the making of a topic.
enum Made {
    /// It is there, whoever made it.
    There,
    /// It is not, and the host may make none.
    NotMade,
}

/// Why a topic is not there as it has to be.
#[derive(Debug)]
enum MakeError {
    /// Somebody has made it with another number of partitions.
    PartitionCount {
        name: String,
        found: u32,
        wanted: u32,
    },
    /// Others have to make it; says how.
    Missing(String),
    /// The cluster did not do it.
    Refused { name: String, error: KafkaError },
}

impl From<MakeError> for EnsureTopicError {
    fn from(error: MakeError) -> Self {
        match error {
            MakeError::PartitionCount {
                name,
                found,
                wanted,
            } => Self::PartitionCount {
                name,
                found,
                wanted,
            },
            MakeError::Missing(how) => Self::Invalid(how),
            MakeError::Refused { name, error } => Self::Store {
                name,
                source: Refusal(error).into(),
            },
        }
    }
}

/// Makes and checks them.
pub(super) struct OwnTopics {
    cluster: Arc<Cluster>,
    create: CreateTopics,
    replication: i32,
    letter_bytes: usize,
}

impl OwnTopics {
    pub(super) fn new(cluster: &Arc<Cluster>, config: &config::Kafka) -> Self {
        let replication = config.replication.and_then(|n| i32::try_from(n).ok());
        Self {
            cluster: Arc::clone(cluster),
            create: config.create_topics,
            replication: replication.unwrap_or(-1),
            letter_bytes: config.letter_bytes,
        }
    }

    /// Makes a topic, or finds it with this number of partitions.
    pub(super) fn ensure_topic(&self, name: &str, partitions: u32) -> Result<(), EnsureTopicError> {
        self.make(name, partitions, Purpose::of(name))?;
        Ok(())
    }

    /// The same of one that keeps its records whatever their age.
    pub(super) fn ensure_kept(&self, name: &str, partitions: u32) -> Result<(), EnsureTopicError> {
        self.make(name, partitions, Purpose::Kept)?;
        Ok(())
    }

    /// How a topic is to be made that is not there.
    pub(super) fn missing(&self, name: &str, partitions: u32, purpose: Purpose) -> Option<String> {
        match self.cluster.metadata.partitions(name) {
            Some(_) => None,
            None => Some(self.how_to_make(name, partitions, purpose)),
        }
    }

    fn how_to_make(&self, name: &str, partitions: u32, purpose: Purpose) -> String {
        let settings = self.settings(purpose).into_iter();
        let settings: Vec<_> = settings
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        format!(
            "there is no topic {name:?}: make it with {partitions} partitions and {}, or write kafka.create_topics = \
             \"auto\"",
            settings.join(" and ")
        )
    }

    /// The largest record that it has to take.
    fn record_bytes(&self, purpose: Purpose) -> u64 {
        match purpose {
            Purpose::Table | Purpose::Control => RECORD_BYTES,
            Purpose::Events | Purpose::Letters | Purpose::Kept => self.letter_bytes as u64,
        }
    }

    /// With what a topic is made.
    fn settings(&self, purpose: Purpose) -> Vec<(&'static str, String)> {
        let bytes = (BOUND, self.record_bytes(purpose).to_string());
        let keep_all = KEEP_ALL.to_owned();
        let table = [
            (CLEANUP, COMPACT.to_owned()),
            (TOMBSTONES, TOMBSTONE_RETENTION.as_millis().to_string()),
            bytes.clone(),
        ];
        match purpose {
            Purpose::Table => table.to_vec(),
            Purpose::Control => {
                let soon = COMPACTED_SOON.map(|(key, value)| (key, value.to_owned()));
                [table, soon].concat()
            }
            Purpose::Events => vec![bytes],
            Purpose::Letters => vec![
                bytes,
                (RETENTION_MS, DEAD_LETTER_RETENTION.as_millis().to_string()),
            ],
            Purpose::Kept => vec![
                bytes,
                (RETENTION_MS, keep_all.clone()),
                (RETENTION_BYTES, keep_all),
            ],
        }
    }

    /// The ledger of a subscription and what it sets aside: compacted, with as many partitions as its commands.
    pub(super) fn ensure_ledger(&self, scope: &Scope) -> Result<(), SubscribeError> {
        let commands = scope.topics.last().map_or("", |topic| topic);
        let partitions = self.ensure_commands(scope, commands)?;
        let ledger = names::ledger_topic(&scope.group);
        let park = names::park_topic(&scope.group);
        let commands = (commands, partitions);
        let kept = self.look_for(scope, &ledger)?;
        match kept {
            // The ledger holds what is committed: it is the others that are made anew.
            Some(found) if found != partitions => {
                return Err(self.different(scope, commands, (&ledger, found), MADE_ANEW));
            }
            Some(_) => {}
            None => self.check_commands(scope, commands)?,
        }
        let parked = self.look_for(scope, &park)?;
        if let Some(found) = parked.filter(|found| *found != partitions) {
            return Err(self.different(scope, (&park, found), commands, MADE_ANEW));
        }
        for (name, found) in [(ledger, kept), (park, parked)] {
            match found {
                Some(_) => self
                    .check_settings(&name, Purpose::Table)
                    .map_err(|message| refused(scope, message))?,
                None => {
                    let made = self.make(&name, partitions, Purpose::Table);
                    made.map_err(|error| unready(scope, error))?;
                }
            }
        }
        Ok(())
    }

    /// How many partitions the commands of a handler have. They were made at the start of the host, and may have been deleted
    /// since.
    fn ensure_commands(&self, scope: &Scope, commands: &str) -> Result<u32, SubscribeError> {
        if let Some(found) = self.look_for(scope, commands)? {
            return Ok(found);
        }
        // As many as its ledger has, where there is one: the topics may have grown since.
        let ledger = self.look_for(scope, &names::ledger_topic(&scope.group))?;
        let mut largest = ledger.unwrap_or_default();
        let events = scope.topics.iter().filter(|topic| ***topic != *commands);
        for topic in events.filter(|_| ledger.is_none()) {
            let found = self.look_for(scope, topic)?;
            let found = found
                .ok_or_else(|| unavailable(scope, format!("there is no topic {topic:?} yet")))?;
            largest = largest.max(found);
        }
        let made = self.make(commands, largest, Purpose::of(commands));
        made.map_err(|error| unready(scope, error))?;
        Ok(largest)
    }

    /// The topic on which hosts tell one another what they are, with one partition; false where there is none and none
    /// may be made.
    pub(super) fn ensure_control(&self, name: &str) -> Result<bool, EnsureTopicError> {
        match self.make(name, 1, Purpose::Control)? {
            Made::NotMade => Ok(false),
            Made::There => {
                let checked = self.check_settings(name, Purpose::Control);
                checked.map(|()| true).map_err(EnsureTopicError::Invalid)
            }
        }
    }

    /// Whether the commands of a handler that has no ledger yet have a partition for each that it reads.
    fn check_commands(
        &self,
        scope: &Scope,
        (commands, partitions): (&str, u32),
    ) -> Result<(), SubscribeError> {
        for topic in scope.topics.iter().filter(|topic| ***topic != *commands) {
            let found = self.look_for(scope, topic)?.unwrap_or_default();
            if found > partitions {
                return Err(self.different(
                    scope,
                    (commands, partitions),
                    (topic, found),
                    MADE_ANEW,
                ));
            }
        }
        Ok(())
    }

    /// Whether there is a place for the letter of each record: one keeps its partition.
    pub(super) fn check_letter_sizes(
        &self,
        scope: &Scope,
        origin: &Origin,
    ) -> Result<(), SubscribeError> {
        for (topic, kept) in scope.topics.iter().zip(&origin.topics) {
            let letters = names::dlq_topic(&scope.group, topic);
            let needed = kept.description.partitions;
            if let Some(found) = self
                .look_for(scope, &letters)?
                .filter(|found| *found < needed)
            {
                return Err(self.different(scope, (&letters, found), (topic, needed), ENLARGED));
            }
        }
        Ok(())
    }

    /// Why a topic of a handler's own does not fit another, unless what is known of it is old: then it is asked for again.
    fn different(
        &self,
        scope: &Scope,
        (wrong, found): (&str, u32),
        (right, needed): (&str, u32),
        remedy: &str,
    ) -> SubscribeError {
        let message = format!("topic {wrong:?} has {found} partitions, and {right:?} has {needed}");
        let is_known =
            |known: &Option<Description>| known.is_some_and(|known| known.partitions == found);
        match self.cluster.describe(&[wrong.into()]) {
            Ok(known) if !known.iter().all(is_known) => {
                unavailable(scope, format!("{message}, as it was"))
            }
            Ok(_) | Err(_) => refused(scope, format!("{message}: {remedy}")),
        }
    }

    /// Whether the topics for dead letters that are there take all of them, and keep those that hold sequences.
    pub(super) fn check_letters(
        &self,
        scope: &Scope,
        holds_letters: bool,
    ) -> Result<(), SubscribeError> {
        let purpose = match holds_letters {
            true => Purpose::Kept,
            false => Purpose::Letters,
        };
        let topics = scope.topics.iter();
        let letters = topics.map(|topic| names::dlq_topic(&scope.group, topic));
        for letters in letters {
            if self.look_for(scope, &letters)?.is_some() {
                self.check_settings(&letters, purpose)
                    .map_err(|message| refused(scope, message))?;
            }
        }
        Ok(())
    }

    /// How many partitions a topic of the subscription has; nothing where there is none.
    fn look_for(&self, scope: &Scope, topic: &str) -> Result<Option<u32>, SubscribeError> {
        self.cluster
            .partitions(topic)
            .map_err(|error| unjoined(scope, &format!("look for topic {topic:?}"), &error))
    }

    fn make(&self, name: &str, partitions: u32, purpose: Purpose) -> Result<Made, MakeError> {
        let failed = |error| unmade(name, error);
        if let Some(found) = self.cluster.partitions(name).map_err(failed)? {
            let different = MakeError::PartitionCount {
                name: name.to_owned(),
                found,
                wanted: partitions,
            };
            return if found == partitions {
                Ok(Made::There)
            } else {
                Err(different)
            };
        }
        if self.create == CreateTopics::Off {
            tracing::warn!(
                topic = name,
                "there is no such topic, and kafka.create_topics is \"off\""
            );
            return Ok(Made::NotMade);
        }
        if self.create == CreateTopics::Check {
            let message = self.how_to_make(name, partitions, purpose);
            return Err(MakeError::Missing(message));
        }
        let mut topic = NewTopic::new(
            name,
            number(partitions),
            TopicReplication::Fixed(self.replication),
        );
        let settings = self.settings(purpose);
        for (key, value) in &settings {
            topic = topic.set(key, value);
        }
        let options = AdminOptions::new()
            .request_timeout(Some(ANSWER))
            .operation_timeout(Some(ANSWER));
        let made = self.cluster.admin.create_topics([&topic], &options);
        let made = block_on(made.boxed()).map_err(failed)?;
        for result in made {
            match result {
                Ok(_) => tracing::info!(topic = name, partitions, "topic made"),
                // Another host was faster.
                Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((_, code)) => return Err(failed(KafkaError::AdminOp(code))),
            }
        }
        self.wait_for(name, partitions).map(|()| Made::There)
    }

    /// Whether a topic that is there keeps what it is for, and takes the largest record of it; else what to do.
    fn check_settings(&self, name: &str, purpose: Purpose) -> Result<(), String> {
        let found = match self.cluster.settings_of(ResourceSpecifier::Topic(name)) {
            Ok(found) => found,
            // Who may not be told goes on, as it would with a topic of these settings.
            Err(error) => {
                tracing::warn!(topic = name, %error, "cannot ask for a topic's settings");
                return Ok(());
            }
        };
        judge(name, purpose, self.record_bytes(purpose), &found)
    }

    /// Waits until all partitions of a new topic are known.
    fn wait_for(&self, name: &str, partitions: u32) -> Result<(), MakeError> {
        let failed = |error| unmade(name, error);
        let deadline = Instant::now() + ANSWER;
        loop {
            let metadata = self
                .cluster
                .asking
                .fetch_metadata(Some(name), ANSWER)
                .map_err(failed)?;
            let found = metadata.topics().iter().find(|topic| topic.name() == name);
            let led = found.map_or(0, |topic| {
                let led = |one: &&rdkafka::metadata::MetadataPartition| one.leader() >= 0;
                topic.partitions().iter().filter(led).count()
            });
            if let Some(found) = found
                && led == partitions as usize
            {
                self.cluster.metadata.insert(found);
                return Ok(());
            }
            if Instant::now() > deadline {
                let count = found.map_or(0, |topic| topic.partitions().len());
                let timed_out = failed(KafkaError::AdminOp(RDKafkaErrorCode::OperationTimedOut));
                return Err(match u32::try_from(count) {
                    // Whoever was faster wanted another number.
                    Ok(found) if found != 0 && found != partitions => MakeError::PartitionCount {
                        name: name.to_owned(),
                        found,
                        wanted: partitions,
                    },
                    Ok(_) | Err(_) => timed_out,
                });
            }
            pause(LOOK);
        }
    }
}

fn unmade(name: &str, error: KafkaError) -> MakeError {
    MakeError::Refused {
        name: name.to_owned(),
        error,
    }
}

/// Why a subscription has not all topics that it needs.
fn unready(scope: &Scope, error: MakeError) -> SubscribeError {
    match error {
        MakeError::Refused { name, error } => {
            unjoined(scope, &format!("make topic {name:?}"), &error)
        }
        other @ (MakeError::PartitionCount { .. } | MakeError::Missing(_)) => {
            refused(scope, EnsureTopicError::from(other).to_string())
        }
    }
}

/// Whether a topic of these settings keeps what it is for, and takes records of so many bytes; else what to do.
fn judge(
    name: &str,
    purpose: Purpose,
    needed: u64,
    settings: &HashMap<String, Option<String>>,
) -> Result<(), String> {
    let value = |name: &str| settings.get(name).and_then(Option::as_deref);
    let bytes = value(BOUND).and_then(|bytes| bytes.parse::<u64>().ok());
    if let Some(bytes) = bytes.filter(|bytes| *bytes < needed) {
        return Err(format!(
            "topic {name:?} takes records of {bytes} bytes at most: set its {BOUND} to {needed}, or what it has to \
             take has nowhere to go"
        ));
    }
    let limited = [RETENTION_MS, RETENTION_BYTES]
        .into_iter()
        .find_map(|name| {
            let limit = value(name).filter(|limit| *limit != KEEP_ALL)?;
            Some((name, limit))
        });
    if purpose == Purpose::Kept
        && let Some((setting, limit)) = limited
    {
        return Err(format!(
            "topic {name:?} has {setting} {limit}: set it to {KEEP_ALL}, or a letter goes with age whose sequence is held \
             (dead_letter.on_dead = \"hold\"), and nobody can let that go on"
        ));
    }
    let compacted = matches!(purpose, Purpose::Table | Purpose::Control);
    let policy = value(CLEANUP).unwrap_or(COMPACT);
    if compacted && policy != COMPACT {
        return Err(format!(
            "topic {name:?} has {CLEANUP} {policy:?}: set it to {COMPACT:?}, or what is kept there is deleted with age"
        ));
    }
    let kept = value(TOMBSTONES).and_then(|ms| ms.parse().ok());
    let kept = kept.map(Duration::from_millis);
    if compacted && kept.is_some_and(|kept| kept < TOMBSTONE_RETENTION) {
        return Err(format!(
            "topic {name:?} has {TOMBSTONES} {}: set it to {}, or a host that was away for less brings back what was \
             removed meanwhile",
            value(TOMBSTONES).unwrap_or_default(),
            TOMBSTONE_RETENTION.as_millis()
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
