//! A handler's manifest: `handler.toml`, beside its component.
//!
//! Identity, what it subscribes to, what it may emit and what it is granted. The names in it are short, so that the
//! same manifest and digest go from one environment to the next; [`Manifest`] holds the deployed form.

mod emit;
mod failures;
mod field;
mod filter;
mod grants;
mod inbox;
mod limits;
mod mapping;

use std::path::{Path, PathBuf};

use weir_core::breaker::{self, WhileOpen};
use weir_core::partition::{OnDead, Ordering};

pub use self::emit::{Emit, KeyFields, Mode};
pub use self::failures::RateLimit;
pub use self::field::Field;
pub use self::filter::Filter;
pub use self::grants::Grants;
pub use self::limits::{CPU, Limits, MEMORY_MIB, MEMORY_MIB_MAX, WALL};
pub use self::mapping::{Mapping, MappingError};
use crate::config::document::{Document, Section};
use crate::config::{self, Config, Faults, Grant};
use crate::ledger::Fixed;
use crate::names::{self, LABEL_RULE};

/// The name of the file.
pub const FILE: &str = "handler.toml";
/// The owner of a handler that names none.
pub const TENANT: &str = "default";

/// Parts of the design that the host does not have.
const NOT_IN_THIS_RELEASE: [&str; 1] = ["self_test"];

/// A validated manifest in its deployed form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The file it was read from.
    pub file: PathBuf,
    /// Identity: names the subscription, its state and its metrics.
    pub name: String,
    /// Three numbers, with an optional suffix.
    pub version: String,
    /// The component's file.
    pub component: PathBuf,
    /// Who owns the handler.
    pub tenant: String,
    /// Full names of the topics it reads, in the manifest's order; none for a fallback.
    pub topics: Vec<String>,
    /// Where a new subscription starts.
    pub from: From,
    /// Which events it wants.
    pub filter: Filter,
    /// How a record becomes an event that is none by itself; none: it is a dead letter.
    pub mapping: Option<Mapping>,
    /// Where it may publish, and how.
    pub emit: Emit,
    /// What it asks for and the host allows.
    pub grants: Grants,
    /// Its retry schedule.
    pub retry: weir_core::retry::Config,
    /// When it is no longer fed.
    pub breaker: breaker::Config,
    /// The name of the handler that takes its place then.
    pub fallback: Option<String>,
    /// How many attempts may start in a second.
    pub rate: Option<RateLimit>,
    /// What follows the death of an event.
    pub on_dead: OnDead,
    /// Which events wait for one another.
    pub ordering: Ordering,
    /// Whether those of one key do so over all its topics, also where it has neither state nor timers.
    pub across_topics: bool,
    /// Limits of an attempt and its instance.
    pub limits: Limits,
    /// Whether instances are used again.
    pub isolation: Isolation,
    /// Partitions that its topics must have; none: those that do not exist get [`config::PARTITIONS`].
    pub partitions: Option<u32>,
    /// Whether the inbox drops repeats of an event.
    pub inbox: bool,
    /// What the inbox knows an event by; none: its `source` and `id`.
    pub inbox_key: Option<Field>,
}

/// Where a new subscription starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum From {
    /// At the first record that is kept.
    #[default]
    Earliest,
    /// At the records that come after it.
    Latest,
}

/// Whether instances are used again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Isolation {
    /// For many events, one at a time.
    #[default]
    Reuse,
    /// A fresh one for every event.
    Event,
}

impl Manifest {
    /// Reads the manifest in the folder `dir`.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn load(dir: &Path, config: &Config) -> Result<Self, Faults> {
        let (manifest, faults) = Self::load_leniently(dir, config)?;
        faults.check().map(|()| manifest)
    }

    /// Reads the manifest in the folder `dir` with everything that is wrong with it: what is, has a default. For those
    /// who look for more faults.
    ///
    /// # Errors
    /// The file cannot be read, or is not TOML.
    pub fn load_leniently(dir: &Path, config: &Config) -> Result<(Self, Faults), Faults> {
        let document = Document::load(&dir.join(FILE))?;
        let mut manifest = Self::read(document.root(), config);
        document.file().clone_into(&mut manifest.file);
        Ok((manifest, document.faults()))
    }

    /// Reads the text of `file`.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(file: &Path, text: &str, config: &Config) -> Result<Self, Faults> {
        let document = Document::parse(file, text)?;
        let manifest = Self::read(document.root(), config);
        document.faults().check().map(|()| manifest)
    }

    /// What its subscription keeps from its first start on.
    #[must_use]
    pub fn fixed(&self) -> Fixed {
        Fixed {
            ordering: self.ordering,
            across_topics: self.across_topics,
            inbox: self.inbox,
            inbox_key: self.inbox_key.as_ref().map(|key| key.text().into()),
            mapping: self.mapping.as_ref().map(|mapping| mapping.text().into()),
        }
    }

    /// Whether its topics' partitions of one number are served as one: their numbers of partitions are equal.
    #[must_use]
    pub fn joins_topics(&self) -> bool {
        self.across_topics || self.grants.state || self.grants.timers
    }

    /// The subscription's group.
    #[must_use]
    pub fn group(&self, config: &Config) -> String {
        names::group(&config.environment, &self.tenant, &self.name)
    }

    /// Faults leave defaults behind: the result counts only when there were none.
    fn read(mut root: Section<'_>, config: &Config) -> Self {
        for key in NOT_IN_THIS_RELEASE {
            root.refuse(key, "is not in this release: remove it");
        }
        let name = root.required("name", "\"billing\"").unwrap_or_default();
        if !name.is_empty() && !names::is_label(name) {
            root.fault("name", format!("is {name:?}: must be {LABEL_RULE}"));
        }
        let version = root.required("version", "\"1.0.0\"").unwrap_or_default();
        if !version.is_empty() && !is_version(version) {
            root.fault(
                "version",
                format!("is {version:?}: must be three numbers, as in \"1.2.0\" or \"1.2.0-rc.1\""),
            );
        }
        let tenant = root.text("tenant").unwrap_or(TENANT);
        if !names::is_label(tenant) {
            root.fault("tenant", format!("is {tenant:?}: must be {LABEL_RULE}"));
        }
        let (topics, from, filter) = read_subscribe(root.section("subscribe"), config);
        let mapping = mapping::read(root.section("mapping"));
        let emit = emit::read(root.section("emit"), config, name);
        let (breaker, fallback) = failures::read_breaker(root.section("breaker"));
        let (limits, rate) = limits::read(root.section("limits"));
        let (ordering, across_topics) = failures::read_ordering(&mut root);
        let (inbox, inbox_key) = inbox::read(root.section("inbox"), !config.is_at_least_once());
        let manifest = Self {
            file: PathBuf::new(),
            name: name.to_owned(),
            version: version.to_owned(),
            component: read_component(&mut root),
            tenant: tenant.to_owned(),
            topics,
            from,
            filter,
            mapping,
            emit,
            grants: grants::read(root.section("grants"), config, name),
            retry: config::retry::read(root.section("retry"), &config.retry),
            breaker,
            fallback,
            rate,
            on_dead: failures::read_dead_letter(&mut root),
            ordering,
            across_topics,
            limits,
            isolation: choice(
                &mut root,
                "isolation",
                &[("reuse", Isolation::Reuse), ("event", Isolation::Event)],
            ),
            partitions: config::read_partitions(&mut root),
            inbox,
            inbox_key,
        };
        manifest.check_ordering(&mut root);
        if config.is_at_least_once() {
            manifest.check_kept(&root);
        }
        root.close();
        manifest
    }
}

impl Manifest {
    /// What needs a ledger, where there is none.
    fn check_kept(&self, root: &Section<'_>) {
        let wanted = [
            ("grants.state", self.grants.state),
            ("grants.timers", self.grants.timers),
            ("inbox", self.inbox || self.inbox_key.is_some()),
            (
                "breaker.while_open",
                self.breaker.while_open == WhileOpen::Park,
            ),
            ("dead_letter.on_dead", self.on_dead == OnDead::Hold),
        ];
        for (key, _) in wanted.iter().filter(|(_, wanted)| *wanted) {
            root.fault(
                key,
                "needs a ledger, and with kafka.delivery = \"at-least-once\" the host keeps nothing but positions: \
                 remove it, or deploy the handler on hosts with \"exactly-once\"",
            );
        }
    }

    /// What an order cannot give: a manifest that wants it must not run as if it had got it.
    fn check_ordering(&self, root: &mut Section<'_>) {
        let remedy = "remove it there, or write ordering = \"key\"";
        let fault = |why: &str| root.fault("ordering", format!("{why}: {remedy}"));
        match self.ordering {
            Ordering::Key => {}
            Ordering::Partition => {
                if self.breaker.while_open == WhileOpen::Park {
                    fault(
                        "\"partition\" sets nothing aside, and breaker.while_open = \"park\" does",
                    );
                }
                if self.on_dead == OnDead::Hold {
                    fault(
                        "\"partition\" sets nothing aside, and dead_letter.on_dead = \"hold\" does",
                    );
                }
            }
            Ordering::None => {
                if self.across_topics {
                    fault(
                        "\"none\" keeps no order, and ordering.across_topics = true asks for one",
                    );
                }
                for grant in [Grant::State, Grant::Timers] {
                    if self.grants.asks(grant) {
                        let name = grant.name();
                        fault(&format!(
                            "\"none\" runs events of a key at the same time, and grants.{name} belong to a key"
                        ));
                    }
                }
            }
        }
    }
}

fn read_component(root: &mut Section<'_>) -> PathBuf {
    let Some(file) = root.required("component", "\"billing.wasm\"") else {
        return PathBuf::new();
    };
    let path = root.resolve(file);
    if Path::new(file).is_absolute() {
        root.fault(
            "component",
            format!("is {file:?}: must be relative to the manifest's folder"),
        );
    } else if !path.is_file() {
        root.fault(
            "component",
            format!(
                "there is no file {}: build the handler (the project's own: `cargo xtask guests`, into \
                 target/guests), or correct the path",
                path.display()
            ),
        );
    }
    path
}

fn read_subscribe(mut section: Section<'_>, config: &Config) -> (Vec<String>, From, Filter) {
    let topics = read_topics(&mut section, config).unwrap_or_else(|| {
        section.fault(
            "topics",
            "is missing: write topics = [\"public.orders.v1\"] under [subscribe]",
        );
        Vec::new()
    });
    let from = choice(
        &mut section,
        "from",
        &[("earliest", From::Earliest), ("latest", From::Latest)],
    );
    let filter = match section.value("filter").map(Filter::parse) {
        Some(Ok(filter)) => filter,
        Some(Err(error)) => {
            section.fault(&format!("filter{}", error.place), error.message);
            Filter::default()
        }
        None => Filter::default(),
    };
    section.close();
    (topics, from, filter)
}

fn read_topics(section: &mut Section<'_>, config: &Config) -> Option<Vec<String>> {
    let mut full: Vec<String> = Vec::new();
    section.value("topics")?;
    for (index, name) in section
        .texts("topics")
        .unwrap_or_default()
        .into_iter()
        .enumerate()
    {
        let key = format!("topics[{index}]");
        match config.expand_topic(name) {
            Ok(name) if full.contains(&name) => {
                section.fault(&key, format!("{name:?} is there twice: remove one"))
            }
            Ok(name) if names::is_internal_topic(&name) => section.fault(
                &key,
                format!(
                    "{name:?} is internal to Weir or Kafka, and holds what no handler may see: name a topic of events"
                ),
            ),
            Ok(name) => full.push(name),
            Err(error) => section.fault(&key, error.to_string()),
        }
    }
    Some(full)
}

/// One of a few words; the default of the type when it is absent or wrong.
fn choice<T: Copy + Default>(
    section: &mut Section<'_>,
    key: &'static str,
    words: &[(&str, T)],
) -> T {
    let Some(word) = section.text(key) else {
        return T::default();
    };
    if let Some((_, value)) = words.iter().find(|(known, _)| *known == word) {
        return *value;
    }
    let known: Vec<_> = words
        .iter()
        .map(|(known, _)| format!("{known:?}"))
        .collect();
    section.fault(key, format!("is {word:?}: must be {}", known.join(" or ")));
    T::default()
}

/// Three numbers and an optional suffix, as semantic versioning has them.
fn is_version(version: &str) -> bool {
    let numbers = version.split(['-', '+']).next().unwrap_or_default();
    let suffix = &version[numbers.len()..];
    let is_number = |part: &str| {
        !part.is_empty() && part.len() <= 9 && part.bytes().all(|b| b.is_ascii_digit())
    };
    let is_suffix_byte = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'+');
    numbers.split('.').count() == 3
        && numbers.split('.').all(is_number)
        && suffix.len() != 1
        && suffix.bytes().all(is_suffix_byte)
        && version.len() <= 64
}

#[cfg(test)]
mod tests;
