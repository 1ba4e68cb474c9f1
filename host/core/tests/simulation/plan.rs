//! What one seed means: the log, the bounds of the machine, and the habits of the handler.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use weir_core::breaker::{self, Breaker, WhileOpen};
use weir_core::budget::Budget;
use weir_core::command::Command;
use weir_core::event::{Event, Record};
use weir_core::gate::Gate;
use weir_core::partition::{Config, DEFAULT_TENANT, Decoded, Limits, OnDead, Ordering};
use weir_core::rate::Rate;
use weir_core::time::Millis;
use weir_core::unit::{ItemId, Position, SequenceKey};
use weir_core::{binding, dead_letter, emission, inbox, retry};

use crate::handler::Habits;
use crate::rng::Rng;

/// Noon of some day: instants of a run are after it.
pub(crate) const START_MS: u64 = 1_790_000_000_000;

/// The rate limit of a run that has one: attempts a second, and at once.
pub(crate) const RATE: u32 = 5;
pub(crate) const BURST: u32 = 2;

/// Who an event is: tenant, source and id.
pub(crate) type Identity = (String, String, String);

/// One record of the log and what is known about it from the start.
#[derive(Clone)]
pub(crate) struct Item {
    pub(crate) position: Position,
    pub(crate) record: Arc<Record>,
    pub(crate) decoded: Decoded,
    /// None for a command: it stands in the sequence that it is about.
    pub(crate) sequence: Option<SequenceKey>,
    /// None for what no handler sees.
    pub(crate) identity: Option<Identity>,
    /// Dies before any attempt.
    pub(crate) refused_at_start: bool,
}

impl Item {
    /// A shell took it for a repeat.
    pub(crate) fn forget_event(&mut self) {
        self.decoded = Decoded::Filtered;
        self.identity = None;
        self.refused_at_start = false;
        self.sequence = Some(SequenceKey::Alone(ItemId::Record(self.position)));
    }

    pub(crate) fn command(&self) -> Option<&Command> {
        match &self.decoded {
            Decoded::Command { command, .. } => Some(command),
            Decoded::Event(_) | Decoded::Filtered | Decoded::Skipped | Decoded::Poison { .. } => {
                None
            }
        }
    }

    /// What its handler sees: of a command, the letter's.
    pub(crate) fn event(&self) -> Option<&Arc<Event>> {
        event(&self.decoded)
    }
}

pub(crate) struct Plan {
    pub(crate) config: Config,
    pub(crate) breaker: breaker::Config,
    pub(crate) rate: Option<Rate>,
    /// What the partition has of the host's memory for itself.
    pub(crate) own_bytes: usize,
    pub(crate) habits: Habits,
    /// Per topic, in the order of offsets; offsets are missing here and there. The last one is that of the commands.
    pub(crate) log: Vec<BTreeMap<u64, Item>>,
    /// The widest run of missing offsets.
    pub(crate) gap_max: u64,
    pub(crate) record_bytes_max: usize,
    /// Who was compacted away before it had a fate.
    pub(crate) compacted: BTreeSet<Option<Identity>>,
}

impl Plan {
    pub(crate) fn new(rng: &mut Rng) -> Self {
        let topics = rng.between(1, 2);
        let (own_bytes, partitions) = (rng.between(100, 20_000), rng.between(1, 4));
        let memory = Arc::new(Budget::new(2 * own_bytes * partitions, partitions));
        let config = config(rng, topics, memory);
        let habits = Habits {
            salt: rng.next(),
            timers: config.emit.timers,
            killers: rng.percent(40),
        };
        let breaker = breaker(rng, &config);
        let rate = rng.percent(15).then(|| {
            let tokens = |n| std::num::NonZeroU32::new(n).unwrap_or(std::num::NonZeroU32::MIN);
            Rate::new(tokens(RATE), tokens(BURST))
        });
        let mut plan = Self {
            config,
            breaker,
            rate,
            own_bytes,
            habits,
            log: vec![BTreeMap::new(); topics + 1],
            gap_max: 3,
            record_bytes_max: 0,
            compacted: BTreeSet::new(),
        };
        let mut known = Vec::new();
        for topic in 0..topics {
            let mut offset = 0;
            for _ in 0..rng.between(4, 40) {
                if rng.percent(8) {
                    offset += rng.next() % plan.gap_max + 1;
                }
                let topic = u16::try_from(topic).unwrap_or(0);
                let item = item(rng, &plan.config, Position { topic, offset }, &mut known);
                plan.append(item);
                offset += 1;
            }
        }
        plan
    }

    pub(crate) fn gate(&self, now: Millis) -> Gate {
        Gate::new(Breaker::new(self.breaker, now), self.rate)
    }

    pub(crate) fn append(&mut self, item: Item) {
        self.record_bytes_max = self.record_bytes_max.max(item.record.bytes());
        let topic = usize::from(item.position.topic);
        self.log[topic].insert(item.position.offset, item);
    }

    /// An operator says something about a letter whose record is this.
    pub(crate) fn command(&mut self, command: Command, record: Record) -> Position {
        let topic = self.log.len() - 1;
        let offset = self.log[topic].len() as u64;
        let position = Position {
            topic: u16::try_from(topic).unwrap_or(0),
            offset,
        };
        let letter = Box::new(decode(&record));
        self.append(Item {
            position,
            record: Arc::new(record),
            decoded: Decoded::Command {
                command: Box::new(command),
                letter,
            },
            sequence: None,
            identity: None,
            refused_at_start: false,
        });
        position
    }

    /// Whether sequences are set aside.
    pub(crate) fn parks(&self) -> bool {
        self.config.parks && self.config.ordering != Ordering::Partition
    }

    /// What stands for the order that a sequence is in: itself, or the partition.
    pub(crate) fn lane(&self, sequence: &SequenceKey) -> SequenceKey {
        if self.config.ordering == Ordering::Partition {
            let nowhere = Position {
                topic: u16::MAX,
                offset: 0,
            };
            return SequenceKey::Alone(ItemId::Record(nowhere));
        }
        sequence.clone()
    }

    /// Where an event stands in the order of others; none where it stands alone.
    pub(crate) fn place(&self, item: &Item) -> Option<SequenceKey> {
        let event = item.event()?;
        let key = item.record.key.clone();
        match (self.config.ordering, key) {
            (Ordering::Key, Some(key)) => Some(SequenceKey::Keyed {
                tenant: tenant(event).into(),
                key,
            }),
            (Ordering::Partition, _) => {
                let own = SequenceKey::Alone(ItemId::Record(item.position));
                Some(self.lane(&own))
            }
            (Ordering::Key, None) | (Ordering::None, _) => None,
        }
    }

    pub(crate) fn compact(&mut self, position: Position) {
        if let Some(item) = self.log[usize::from(position.topic)].remove(&position.offset) {
            self.compacted.insert(item.identity);
            // A record may have stood between two gaps.
            self.gap_max += 4;
        }
    }

    pub(crate) fn item(&self, position: Position) -> Option<&Item> {
        self.log[usize::from(position.topic)].get(&position.offset)
    }

    pub(crate) fn items(&self) -> impl Iterator<Item = &Item> {
        self.log.iter().flat_map(BTreeMap::values)
    }
}

/// What an item that comes out of the ledger decodes to.
pub(crate) fn decode(record: &Record) -> Decoded {
    match binding::from_record(record) {
        Ok(event) => Decoded::Event(Arc::new(event)),
        Err(error) => Decoded::Poison {
            code: error.code().into(),
            message: error.to_string(),
        },
    }
}

fn event(decoded: &Decoded) -> Option<&Arc<Event>> {
    match decoded {
        Decoded::Event(event) => Some(event),
        Decoded::Command { letter, .. } => event(letter),
        Decoded::Filtered | Decoded::Skipped | Decoded::Poison { .. } => None,
    }
}

/// Names the component of this version.
pub(crate) fn digest(version: u64) -> String {
    format!("blake3:{version}")
}

pub(crate) fn identity(event: &Event) -> Identity {
    (tenant(event), event.source.clone(), event.id.clone())
}

fn tenant(event: &Event) -> String {
    let tenant = event.extension("tenantid");
    tenant.unwrap_or(DEFAULT_TENANT).to_owned()
}

fn config(rng: &mut Rng, topics: usize, memory: Arc<Budget>) -> Config {
    let name = |prefix: &str| -> Arc<[Arc<str>]> {
        let names = (0..=topics).map(|topic| format!("{prefix}{topic}").into());
        names.collect()
    };
    let rules = |handler: &str, timers| emission::Rules {
        handler: handler.into(),
        source: format!("/weir/{handler}").into(),
        topics: vec![("out".into(), "out".into())],
        timers,
        ..emission::Rules::default()
    };
    let timers = rng.percent(60);
    let parks = rng.percent(90) || timers;
    let ordering = match rng.below(100) {
        0..15 => Ordering::Partition,
        15..25 if !timers => Ordering::None,
        _ => Ordering::Key,
    };
    let holds = parks && ordering != Ordering::Partition;
    Config {
        source: dead_letter::Source {
            group: "weir.test.acme.ledger".into(),
            handler: "ledger".into(),
            version: "1".into(),
            digest: digest(0).into(),
        },
        partition: 7,
        topics: name("in-"),
        commands: u16::try_from(topics).ok(),
        dead_letter_topics: name("dlq.in-"),
        on_dead: if holds && rng.percent(40) {
            OnDead::Hold
        } else {
            OnDead::Release
        },
        ordering,
        emit: rules("ledger", timers),
        fallback: rng.percent(30).then(|| rules("spare", false)),
        keyed_only: timers || (ordering != Ordering::None && rng.percent(20)),
        parks,
        retry: retry::Config {
            attempts_max: u32::try_from(rng.between(2, 15)).unwrap_or(15),
            jitter_seed: rng.next(),
            ..retry::Config::default()
        },
        inbox: (!rng.percent(10)).then(|| inbox::Config {
            window: Duration::from_secs([60, 3_600, 24 * 3_600][rng.below(3)]),
            resident_bytes_max: [0, 700, 256 << 20][rng.below(3)],
            ..inbox::Config::default()
        }),
        inbox_key: None,
        limits: limits(rng),
        memory,
        solitude: Arc::default(),
    }
}

fn limits(rng: &mut Rng) -> Limits {
    // More than the machine looks through for one that the gate lets pass, too.
    let in_flight_max = [16, 16, 48][rng.below(3)];
    Limits {
        in_flight_max: rng.between(1, in_flight_max),
        running_max: rng.between(1, 8),
        span_max: rng.between(4, 64) as u64,
        bytes_max: rng.between(1_000, 40_000),
        park_bytes_max: [2_000, 8_000, 1 << 30][rng.below(3)],
        unit_events_max: rng.between(1, 12),
        unit_bytes_max: rng.between(200, 5_000),
        unit_linger: Duration::from_millis(rng.between(0, 5) as u64),
        timers_resident_max: [3, 8, 10_000][rng.below(3)],
        ..Limits::default()
    }
}

fn breaker(rng: &mut Rng, config: &Config) -> breaker::Config {
    breaker::Config {
        while_open: match rng.below(3) {
            0 if config.fallback.is_some() => WhileOpen::Fallback,
            1 if config.parks && config.ordering != Ordering::Partition => WhileOpen::Park,
            _ => WhileOpen::Pause,
        },
        row: rng.between(3, 10),
        sequences_min: rng.between(1, 3),
        ..breaker::Config::default()
    }
}

fn item(rng: &mut Rng, config: &Config, position: Position, known: &mut Vec<Event>) -> Item {
    let event = match known.len() {
        0 => new_event(rng, position),
        count if rng.percent(20) => known[rng.below(count)].clone(),
        _ => new_event(rng, position),
    };
    let decoded = match rng.below(100) {
        0..4 => Decoded::Poison {
            code: "not-a-cloudevent".into(),
            message: "no ce_id".into(),
        },
        4..7 => Decoded::Filtered,
        7..9 => Decoded::Skipped,
        _ => Decoded::Event(Arc::new(event.clone())),
    };
    let key = (!rng.percent(12)).then(|| Bytes::from(format!("key-{}", rng.below(5))));
    let timestamp_ms = START_MS + position.offset * 1_000 - rng.next() % 100_000;
    let mut record = binding::to_record(&event, key.clone(), timestamp_ms);
    let forged = (
        "weir.dlq.replays".into(),
        Some(Bytes::from_static(b"forged")),
    );
    record.headers.push(forged);
    let is_event = matches!(decoded, Decoded::Event(_));
    let sequence = match &key {
        Some(key) if is_event && config.ordering != Ordering::None => SequenceKey::Keyed {
            tenant: tenant(&event).into(),
            key: key.clone(),
        },
        Some(_) | None => SequenceKey::Alone(ItemId::Record(position)),
    };
    if is_event {
        known.push(event.clone());
    }
    let hops = emission::hops(&event) > emission::HOPS_MAX;
    Item {
        position,
        record: Arc::new(record),
        decoded,
        sequence: Some(sequence),
        identity: is_event.then(|| identity(&event)),
        refused_at_start: is_event && (hops || (config.keyed_only && key.is_none())),
    }
}

fn new_event(rng: &mut Rng, position: Position) -> Event {
    let mut extensions = Vec::new();
    if rng.percent(40) {
        extensions.push(("tenantid".into(), format!("tenant-{}", rng.below(2))));
    }
    if rng.percent(3) {
        extensions.push((emission::HOPS.into(), (emission::HOPS_MAX + 1).to_string()));
    }
    Event {
        id: format!("{}-{}", position.topic, position.offset),
        source: "/till".into(),
        ty: "Sold".into(),
        extensions,
        data: Some(Bytes::from(vec![b'x'; rng.below(200)])),
        ..Event::default()
    }
}
