//! What a host is told: the file `weir.toml` becomes a validated [`Config`], or all its faults at once.
//!
//! Every default is a named constant with its reason; `weir.example.toml` shows them and a test compares the two.
//! Relative paths start at the folder of the file.

pub(crate) mod document;
mod faults;
mod http;
mod kafka;
mod policy;
pub(crate) mod retry;
mod tls;

use std::path::{Path, PathBuf};
use std::time::Duration;

use self::document::{Document, Section};
pub use self::faults::{Fault, Faults};
pub use self::http::{Http, HttpLimits, Secret, Tls, Token};
#[cfg(test)]
pub(crate) use self::kafka::ours as kafka_ours;
pub use self::kafka::{CreateTopics, Delivery, Kafka, RECORD_BYTES, Settings, Transaction};
pub use self::policy::{Grant, Policy};
pub use self::tls::TlsFault;
use crate::names::{self, LABEL_RULE};

/// The name of the file, where none is given.
pub const FILE: &str = "weir.toml";
/// First part of short topic names: a newcomer's machine is a development environment.
pub const ENVIRONMENT: &str = "dev";
/// Second part of short topic names: nobody else's domain.
pub const DOMAIN: &str = "local";
/// The data directory, below the working directory, where a newcomer sees it.
pub const DATA: &str = "weir-data";
/// Where handlers are looked for.
pub const HANDLERS: &str = "plugins";
/// Partitions of a topic: divides evenly over 1, 2, 3, 4, 6 and 12 hosts.
pub const PARTITIONS: u32 = 12;
/// More partitions than this cost more in files and memory than they bring.
pub const PARTITIONS_MAX: u32 = 1024;
/// Kafka's own retention.
pub const RETENTION_AGE: Duration = Duration::from_hours(7 * 24);
/// Bytes kept per partition: 12 partitions stay below 13 GiB, what a laptop can spare.
pub const RETENTION_BYTES: u64 = 1 << 30;
/// Fetched, running and staged bytes of the whole host: fits a machine of 2 GiB beside the store's caches.
pub const MEMORY_BUDGET_BYTES: u64 = 512 << 20;
/// On a cluster a quarter of it lies in the client's queues: enough that handlers do not wait for the next answer.
const PREFETCH_PART: u64 = 4;
/// Attempts that run or wait to run in one partition: enough to hide waiting, few enough to hand over quickly.
pub const IN_FLIGHT_PER_PARTITION: u32 = 256;
/// Positions from the first open one to the last admitted: bounds what a restart looks at again.
pub const SPAN_POSITIONS: u32 = 65_536;
/// Events of a partition in one unit of work: enough that a commit costs each of them little, and what one of them
/// undoes is done again in a moment.
pub const UNIT_EVENTS: u32 = 1_024;
/// What a unit writes: a disk takes it in a moment, and several partitions' go in one transaction.
pub const UNIT_BYTES: u32 = 4 << 20;
/// How long an event that is done waits for others while attempts still run: less than a commit takes.
pub const UNIT_LINGER_MS: u32 = 2;

/// What [`crate::fail`] is to do; nothing but tests sets it.
#[cfg(debug_assertions)]
#[expect(
    clippy::disallowed_methods,
    reason = "this module is the one that reads the environment"
)]
pub(crate) fn fail_point() -> Option<String> {
    std::env::var("WEIR_FAIL_POINT").ok()
}

/// A validated configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The file it was read from.
    pub file: Option<PathBuf>,
    /// First part of expanded topic names and of groups.
    pub environment: String,
    /// Second part of expanded topic names.
    pub domain: String,
    /// The data directory, when the file names one.
    pub data: Option<PathBuf>,
    /// The name of this host; none: made once and kept in the data directory.
    pub host_id: Option<String>,
    /// The ingress and admin API.
    pub http: Http,
    /// Folders with handlers: each holds a `handler.toml`, or its sub-folders do.
    pub handlers: Vec<PathBuf>,
    /// Topics that exist whatever the handlers say.
    pub topics: Vec<Topic>,
    /// The second key of the grants.
    pub policy: Policy,
    /// How long the embedded log keeps records.
    pub retention: Retention,
    /// The retry schedule of handlers that have none of their own.
    pub retry: weir_core::retry::Config,
    /// Budget of fetched, running and staged bytes of the host.
    pub memory_budget_bytes: u64,
    /// Bounds of each partition's state machine.
    pub pipeline: Pipeline,
    /// The cluster that is bus and ledger; none: the embedded store is.
    pub kafka: Option<Kafka>,
}

/// A topic that the config asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Full name.
    pub name: String,
    /// Number of partitions, fixed when the topic is made.
    pub partitions: u32,
}

/// How long records are kept; what a deployed subscription has not read is never deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Older records go.
    pub age: Duration,
    /// Beyond this many bytes of a partition the oldest go.
    pub bytes: u64,
}

/// Bounds of each partition's state machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pipeline {
    /// Attempts running or waiting to run.
    pub in_flight_per_partition: u32,
    /// Positions from the first open one to the last admitted.
    pub span_positions: u32,
    /// Events in one unit of work.
    pub unit_events: u32,
    /// Bytes that a unit of work writes, unless a single event's are more.
    pub unit_bytes: u32,
    /// How long an event that is done waits for others while attempts still run, milliseconds.
    pub unit_linger_ms: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            file: None,
            environment: ENVIRONMENT.to_owned(),
            domain: DOMAIN.to_owned(),
            data: None,
            host_id: None,
            http: Http::default(),
            handlers: vec![PathBuf::from(HANDLERS)],
            topics: Vec::new(),
            policy: Policy::default(),
            retention: Retention {
                age: RETENTION_AGE,
                bytes: RETENTION_BYTES,
            },
            retry: weir_core::retry::Config::default(),
            memory_budget_bytes: MEMORY_BUDGET_BYTES,
            pipeline: Pipeline {
                in_flight_per_partition: IN_FLIGHT_PER_PARTITION,
                span_positions: SPAN_POSITIONS,
                unit_events: UNIT_EVENTS,
                unit_bytes: UNIT_BYTES,
                unit_linger_ms: UNIT_LINGER_MS,
            },
            kafka: None,
        }
    }
}

impl Config {
    /// The part of the memory for events that librdkafka has for what it fetches ahead; the embedded store fetches
    /// nothing before it is asked.
    #[must_use]
    pub fn prefetch_bytes(&self) -> u64 {
        match self.kafka {
            Some(_) => self.memory_budget_bytes / PREFETCH_PART,
            None => 0,
        }
    }

    /// Whether the host keeps nothing of a subscription but its positions.
    #[must_use]
    pub fn is_at_least_once(&self) -> bool {
        let kafka = self.kafka.as_ref();
        kafka.is_some_and(|kafka| kafka.delivery == Delivery::AtLeastOnce)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn load(file: &Path) -> Result<Self, Faults> {
        let (config, faults) = Self::load_leniently(file)?;
        faults.check().map(|()| config)
    }

    /// Reads a file with everything that is wrong with it: what is, has its default. For those who look for more faults.
    ///
    /// # Errors
    /// The file cannot be read, or is not TOML.
    pub fn load_leniently(file: &Path) -> Result<(Self, Faults), Faults> {
        Ok(Self::read(Document::load(file)?))
    }

    /// Reads the text of `file`.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(file: &Path, text: &str) -> Result<Self, Faults> {
        let (config, faults) = Self::read(Document::parse(file, text)?);
        faults.check().map(|()| config)
    }

    /// A fault of one key, whether there is a file or the default was meant.
    #[must_use]
    pub fn fault(&self, key: impl Into<String>, message: impl Into<String>) -> Fault {
        let unnamed = || PathBuf::from(FILE);
        Fault {
            file: self.file.clone().unwrap_or_else(unnamed),
            key: key.into(),
            message: message.into(),
        }
    }

    /// The data directory: what the command line or the environment says, else the file, else [`DATA`].
    #[must_use]
    pub fn data_dir(&self, asked: Option<PathBuf>) -> PathBuf {
        asked
            .or_else(|| self.data.clone())
            .unwrap_or_else(|| PathBuf::from(DATA))
    }

    /// The full name of a topic as people write it.
    ///
    /// # Errors
    /// It follows none of the three forms.
    pub fn expand_topic(&self, name: &str) -> Result<String, names::TopicNameError> {
        names::expand_topic(name, &self.environment, &self.domain)
    }

    /// Where the other hosts of a fleet reach this one that listens on `port`; none where that is not known.
    #[must_use]
    pub fn advertised(&self, port: u16) -> Option<String> {
        self.http.advertised(port)
    }

    /// The name by which they do, without port.
    #[must_use]
    pub fn advertised_name(&self) -> Option<String> {
        let url = self.http.advertised(0)?;
        let (_, authority) = url.split_once("://")?;
        let authority = authority.trim_end_matches('/');
        let name = match authority.rsplit_once(':') {
            // The last part of an IPv6 address in brackets is none.
            Some((name, port)) if !port.contains(']') => name,
            Some(_) | None => authority,
        };
        Some(name.to_ascii_lowercase())
    }

    /// What to warn of at each start, when the host listens to more than this machine without TLS and tokens.
    #[must_use]
    pub fn insecure_warning(&self) -> Option<String> {
        let open = self.http.exposed_without()?;
        Some(format!(
            "listening on {} without {open} because http.insecure is true: anybody who reaches this address can \
             publish and read events",
            self.http.listen
        ))
    }

    /// The folders that hold a `handler.toml`: those that are configured and their direct sub-folders, sorted.
    ///
    /// # Errors
    /// A folder that cannot be listed. A missing one is found by [`Config::load`] when the file names it.
    pub fn handler_folders(&self) -> Result<Vec<PathBuf>, Faults> {
        let mut found = Vec::new();
        for folder in self.handlers.iter().filter(|folder| folder.is_dir()) {
            if folder.join(crate::manifest::FILE).is_file() {
                found.push(folder.clone());
                continue;
            }
            let unreadable = |error| Faults::of_file(folder, format!("cannot be listed: {error}"));
            for entry in std::fs::read_dir(folder).map_err(unreadable)? {
                let path = entry.map_err(unreadable)?.path();
                if path.join(crate::manifest::FILE).is_file() {
                    found.push(path);
                }
            }
        }
        found.sort();
        found.dedup();
        Ok(found)
    }

    fn read(document: Document) -> (Self, Faults) {
        let mut config = Self {
            file: Some(document.file().to_owned()),
            ..Self::default()
        };
        let mut root = document.root();
        read_label(&mut root, "environment", &mut config.environment);
        read_label(&mut root, "domain", &mut config.domain);
        config.data = root.text("data").map(|path| document.resolve(path));
        config.host_id = root.text("host_id").map(str::to_owned);
        if config
            .host_id
            .as_deref()
            .is_some_and(|id| !names::is_label(id))
        {
            root.fault("host_id", format!("must be {LABEL_RULE}"));
        }
        config.http = http::read(root.section("http"));
        config.handlers = read_handlers(&mut root);
        config.topics = read_topics(&mut root, &config);
        config.policy = Policy::read(root.section("policy"));
        read_retention(root.section("retention"), &mut config.retention);
        config.retry = retry::read(root.section("retry"), &config.retry);
        let mut memory = root.section("memory");
        // Below 16 MiB one batch of a request and its copy would not fit.
        if let Some(bytes) = memory.number("budget_bytes", 16 << 20..=1 << 40) {
            config.memory_budget_bytes = bytes;
        }
        memory.close();
        read_pipeline(root.section("pipeline"), &mut config.pipeline);
        config.kafka = kafka::read(root.section("kafka"));
        root.close();
        (config, document.faults())
    }
}

fn read_label(section: &mut Section<'_>, key: &'static str, into: &mut String) {
    if let Some(name) = section.text(key) {
        if names::is_label(name) {
            name.clone_into(into);
        } else {
            section.fault(key, format!("is {name:?}: must be {LABEL_RULE}"));
        }
    }
}

fn read_handlers(root: &mut Section<'_>) -> Vec<PathBuf> {
    let Some(folders) = root.texts("handlers") else {
        return vec![root.resolve(HANDLERS)];
    };
    let folders: Vec<_> = folders
        .into_iter()
        .map(|folder| root.resolve(folder))
        .collect();
    for (index, folder) in folders.iter().enumerate() {
        if !folder.is_dir() {
            let message = format!(
                "there is no folder {}: make it, or name another",
                folder.display()
            );
            root.fault(&format!("handlers[{index}]"), message);
        }
    }
    folders
}

fn read_topics(root: &mut Section<'_>, config: &Config) -> Vec<Topic> {
    let mut topics: Vec<Topic> = Vec::new();
    for mut section in root.sections("topics") {
        let name = section.required("name", "\"public.orders.v1\"");
        let partitions = read_partitions(&mut section).unwrap_or(PARTITIONS);
        match name.map(|name| config.expand_topic(name)) {
            Some(Ok(name)) if topics.iter().any(|topic| topic.name == name) => {
                section.fault("name", format!("{name:?} is there twice: keep one of them"));
            }
            Some(Ok(name)) if names::is_own_topic(&name) => section.fault(
                "name",
                format!("{name:?} is made by who writes there, Weir or Kafka: remove it"),
            ),
            Some(Ok(name)) => topics.push(Topic { name, partitions }),
            Some(Err(error)) => section.fault("name", error.to_string()),
            None => {}
        }
        section.close();
    }
    topics
}

pub(crate) fn read_partitions(section: &mut Section<'_>) -> Option<u32> {
    let number = section.number("partitions", 1..=u64::from(PARTITIONS_MAX));
    number.and_then(|n| u32::try_from(n).ok())
}

fn read_retention(mut section: Section<'_>, retention: &mut Retention) {
    if let Some(days) = section.number("age_days", 1..=3650) {
        retention.age = Duration::from_hours(24 * days);
    }
    // Below 1 MiB a single event of the largest size would fill a partition.
    if let Some(bytes) = section.number("bytes", 1 << 20..=1 << 50) {
        retention.bytes = bytes;
    }
    section.close();
}

fn read_pipeline(mut section: Section<'_>, pipeline: &mut Pipeline) {
    let mut read = |key, range, into: &mut u32| {
        if let Some(n) = section.number(key, range) {
            *into = u32::try_from(n).unwrap_or(*into);
        }
    };
    read(
        "in_flight_per_partition",
        1..=65_536,
        &mut pipeline.in_flight_per_partition,
    );
    read("span_positions", 1..=1 << 20, &mut pipeline.span_positions);
    // What a unit marks in the inbox is one entry of a ledger.
    read("unit_events", 1..=65_536, &mut pipeline.unit_events);
    // A partition holds 16 MiB.
    read("unit_bytes", 64 << 10..=16 << 20, &mut pipeline.unit_bytes);
    // Beyond a second nobody would call it waiting for company.
    read("unit_linger_ms", 0..=1_000, &mut pipeline.unit_linger_ms);
    if pipeline.span_positions < pipeline.in_flight_per_partition {
        let message = format!(
            "is {}: must be at least in_flight_per_partition, {}",
            pipeline.span_positions, pipeline.in_flight_per_partition
        );
        section.fault("span_positions", message);
    }
    section.close();
}

#[cfg(test)]
mod tests;
