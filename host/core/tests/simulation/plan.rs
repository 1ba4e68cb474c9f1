//! What one seed means: the log, the bounds of the machine, and the temper of each event.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use weir_core::event::{Event, Record};
use weir_core::partition::{Config, DEFAULT_TENANT, Decoded, Limits};
use weir_core::unit::{Position, SequenceKey};
use weir_core::{dead_letter, emission, inbox, retry};

/// Noon of some day: instants of a run are after it.
pub(crate) const START_MS: u64 = 1_790_000_000_000;

/// SplitMix64 (<https://prng.di.unimi.it/splitmix64.c>).
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// Uniform enough in `0..bound`; zero for an empty range.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound.max(1)).unwrap_or(u64::MAX);
        usize::try_from(self.next() % bound).unwrap_or(0)
    }

    pub(crate) fn between(&mut self, low: usize, high: usize) -> usize {
        low + self.below(high - low + 1)
    }

    pub(crate) fn percent(&mut self, share: usize) -> bool {
        self.below(100) < share
    }
}

pub(crate) fn mix(seed: u64) -> u64 {
    let z = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// How the handler takes an event, on every attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Temper {
    /// Succeeds, and fails now and then while faults are on.
    Steady,
    /// Fails for good.
    Permanent,
    /// Traps on every attempt.
    Traps,
    /// Returns an emission that nobody granted.
    Invalid,
}

/// Who an event is: tenant, source and id.
pub(crate) type Identity = (String, String, String);

/// One record of the log and what is known about it from the start.
#[derive(Clone)]
pub(crate) struct Item {
    pub(crate) position: Position,
    pub(crate) record: Arc<Record>,
    pub(crate) decoded: Decoded,
    pub(crate) sequence: SequenceKey,
    /// None for what no handler sees.
    pub(crate) identity: Option<Identity>,
    pub(crate) temper: Temper,
    pub(crate) emissions: u32,
    /// Dies before any attempt.
    pub(crate) refused_at_start: bool,
}

pub(crate) struct Plan {
    pub(crate) config: Config,
    /// Per topic, in the order of offsets; offsets are missing here and there.
    pub(crate) log: Vec<BTreeMap<u64, Item>>,
    /// The widest run of missing offsets.
    pub(crate) gap_max: u64,
    pub(crate) record_bytes_max: usize,
    /// Who was compacted away before it had a fate.
    pub(crate) compacted: BTreeSet<Option<Identity>>,
}

impl Plan {
    pub(crate) fn new(rng: &mut Rng) -> Self {
        let topics = rng.between(1, 3);
        let config = config(rng, topics);
        let mut known: Vec<Event> = Vec::new();
        let mut log = vec![BTreeMap::new(); topics];
        let gap_max = 3;
        for (topic, items) in log.iter_mut().enumerate() {
            let topic = u16::try_from(topic).unwrap_or(0);
            let mut offset = 0;
            for _ in 0..rng.between(4, 40) {
                if rng.percent(8) {
                    offset += rng.next() % gap_max + 1;
                }
                let position = Position { topic, offset };
                items.insert(offset, item(rng, &config, position, &mut known));
                offset += 1;
            }
        }
        let record_bytes_max = log
            .iter()
            .flat_map(BTreeMap::values)
            .map(|item| item.record.bytes())
            .max()
            .unwrap_or(0);
        Self {
            config,
            log,
            gap_max,
            record_bytes_max,
            compacted: BTreeSet::new(),
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

fn config(rng: &mut Rng, topics: usize) -> Config {
    let name = |prefix: &str| -> Arc<[Arc<str>]> {
        (0..topics)
            .map(|topic| format!("{prefix}{topic}").into())
            .collect()
    };
    let minutes = |n: usize| Duration::from_secs(60 * n as u64);
    Config {
        source: dead_letter::Source {
            group: "weir.test.acme.ledger".into(),
            handler: "ledger".into(),
            version: "1".into(),
            digest: "blake3:0".into(),
        },
        partition: 7,
        topics: name("in-"),
        dead_letter_topics: name("dlq.in-"),
        emit: emission::Rules {
            handler: "ledger".into(),
            source: "/weir/ledger".into(),
            topics: vec![("out".into(), "out".into())],
        },
        keyed_only: rng.percent(30),
        retry: retry::Config {
            attempts_max: u32::try_from(rng.between(2, 15)).unwrap_or(15),
            jitter_seed: rng.next(),
            ..retry::Config::default()
        },
        inbox: (!rng.percent(10)).then(|| inbox::Config {
            window: minutes([1, 60, 24 * 60][rng.below(3)]),
            ..inbox::Config::default()
        }),
        limits: Limits {
            in_flight_max: rng.between(1, 16),
            running_max: rng.between(1, 8),
            span_max: rng.between(4, 64) as u64,
            bytes_max: rng.between(500, 20_000),
            unit_events_max: rng.between(1, 12),
            unit_bytes_max: rng.between(200, 5_000),
            unit_linger: Duration::from_millis(rng.between(0, 5) as u64),
        },
    }
}

fn item(rng: &mut Rng, config: &Config, position: Position, known: &mut Vec<Event>) -> Item {
    let event = match known.len() {
        0 => new_event(rng, position),
        count if rng.percent(20) => known[rng.below(count)].clone(),
        _ => new_event(rng, position),
    };
    let kind = rng.below(100);
    let decoded = match kind {
        0..5 => Decoded::Poison {
            code: "not-a-cloudevent".into(),
            message: "no ce_id".into(),
        },
        5..9 => Decoded::Filtered,
        9..11 => Decoded::Skipped,
        _ => Decoded::Event(Arc::new(event.clone())),
    };
    let key = (!rng.percent(15)).then(|| Bytes::from(format!("key-{}", rng.below(5))));
    let record = Arc::new(Record {
        key: key.clone(),
        value: Some(Bytes::from(vec![b'x'; rng.below(200)])),
        headers: vec![
            ("ce_id".into(), Bytes::from(event.id.clone())),
            ("weir.dlq.replays".into(), Bytes::from_static(b"forged")),
        ],
        timestamp_ms: START_MS + position.offset * 1_000 - rng.next() % 100_000,
    });
    let is_event = matches!(decoded, Decoded::Event(_));
    let tenant = event
        .extension("tenantid")
        .unwrap_or(DEFAULT_TENANT)
        .to_owned();
    let sequence = match &key {
        Some(key) if is_event => SequenceKey::Keyed {
            tenant: tenant.as_str().into(),
            key: key.clone(),
        },
        Some(_) | None => SequenceKey::Alone(position),
    };
    let temper = match mix(event.id.len() as u64 ^ rng.next()) % 100 {
        0..4 => Temper::Permanent,
        4..7 => Temper::Traps,
        7..9 => Temper::Invalid,
        _ => Temper::Steady,
    };
    if is_event {
        known.push(event.clone());
    }
    let refused_at_start =
        emission::hops(&event) > emission::HOPS_MAX || (config.keyed_only && key.is_none());
    Item {
        position,
        record,
        decoded,
        sequence,
        emissions: u32::try_from(event.id.bytes().map(usize::from).sum::<usize>() % 4).unwrap_or(0),
        identity: is_event.then_some((tenant, event.source, event.id)),
        temper,
        refused_at_start: is_event && refused_at_start,
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
        ..Event::default()
    }
}
