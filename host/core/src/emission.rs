//! From what a handler returned to records: checks, identity, and what the host adds.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::binding::{self, ATTRIBUTE_BYTES_MAX};
use crate::event::{Emission, EmissionKey, Event, EventRef, Record};
use crate::identity::{emission_id, hash_128, partition_hash};
use crate::time::Millis;
use crate::unit::OutRecord;

/// Hops after which an event counts as caught in a loop.
pub const HOPS_MAX: u32 = 32;

/// Bytes of the records of one attempt together: the 8 MiB that a handler may return, and as much for what the host adds to
/// each emission, which repeats attributes of the event that caused it.
pub const RECORDS_BYTES_MAX: usize = 16 << 20;

/// Extension that counts the handlers an event has passed.
pub const HOPS: &str = "weirhops";

/// Extension by which an event is known to be ordered, wherever its record's key does not go along.
const KEY: &str = "partitionkey";

/// Extensions that the host adds at most, with the key's.
const HOSTS_OWN: usize = 6;

/// What is shown of a name that is too long.
const SHOWN: usize = 64;
/// Of a `traceparent`, version 00.
const TRACEPARENT_BYTES: usize = 55;

/// Attributes of CloudEvents 1.0 itself, which are fields of an emission and no extensions.
const CONTEXT_ATTRIBUTES: [&str; 10] = [
    "specversion",
    "id",
    "source",
    "type",
    "subject",
    "time",
    "datacontenttype",
    "dataschema",
    "data",
    "data_base64",
];

/// A manifest's choice of the key of emissions whose handler names none.
pub trait ComposedKey: fmt::Debug + Send + Sync {
    /// The key of this emission, complete but for its `partitionkey`.
    ///
    /// # Errors
    /// What it lacks, for people.
    fn of(&self, tenant: &str, event: &Event) -> Result<String, String>;
}

/// Writes an event in the JSON format; an error says which attribute that format refuses, for people.
pub type WriteStructured = fn(&Event) -> Result<Bytes, String>;

/// Where a handler may publish, from its manifest.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// The handler's name: part of every derived id.
    pub handler: Arc<str>,
    /// `source` of every emission.
    pub source: Arc<str>,
    /// The name as the manifest writes it, and the full name.
    pub topics: Vec<(Arc<str>, Arc<str>)>,
    /// Whether emissions may be delayed: the grant `timers`.
    pub timers: bool,
    /// The key of what is emitted without one; none: the input's.
    pub key: Option<Arc<dyn ComposedKey>>,
    /// Writes what is emitted in the structured mode; none: it is written in the binary mode.
    pub structured: Option<WriteStructured>,
}

/// A completed emission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Emitted {
    /// The event's id.
    pub id: String,
    /// What is published.
    pub out: OutRecord,
    /// Not before this long after the commit; none: with the commit.
    pub delay: Option<Duration>,
}

/// The event that caused emissions, and the record that carried it.
#[derive(Clone, Copy, Debug)]
pub struct Cause<'a> {
    /// As the handler saw it.
    pub event: &'a Event,
    /// As the bus delivered it.
    pub record: &'a Record,
    /// Its tenant.
    pub tenant: &'a str,
}

/// An emission that must not be published. The event that caused it dies.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("emission {index}: {reason}")]
pub struct InvalidEmission {
    /// Place in the handler's list.
    pub index: usize,
    /// Stable, lower-case.
    pub code: &'static str,
    /// What is wrong and what would be right.
    pub reason: String,
}

/// Checks the emissions of one attempt and completes them to records; all or none.
pub fn to_records(
    rules: &Rules,
    cause: Cause<'_>,
    now: Millis,
    emissions: Vec<Emission>,
) -> Result<Vec<Emitted>, InvalidEmission> {
    let mut identities = HashSet::with_capacity(if emissions.len() > 1 {
        emissions.len()
    } else {
        0
    });
    let single = emissions.len() == 1;
    let mut records = Vec::with_capacity(emissions.len());
    let mut bytes = 0;
    for (index, emission) in emissions.into_iter().enumerate() {
        let invalid = |(code, reason)| InvalidEmission {
            index,
            code,
            reason,
        };
        let emitted = to_record(rules, cause, now, index, emission).map_err(invalid)?;
        if !single && !identities.insert(emitted.id.clone()) {
            return Err(invalid((
                "duplicate-emission-id",
                "another emission of this attempt has the same id".into(),
            )));
        }
        bytes += emitted.out.record.bytes();
        if bytes > RECORDS_BYTES_MAX {
            let reason = format!(
                "with what the host adds the emissions have more than {RECORDS_BYTES_MAX} bytes"
            );
            return Err(invalid(("emission-limit", reason)));
        }
        records.push(emitted);
    }
    Ok(records)
}

type Fault = (&'static str, String);

fn to_record(
    rules: &Rules,
    cause: Cause<'_>,
    now: Millis,
    index: usize,
    emission: Emission,
) -> Result<Emitted, Fault> {
    check_sizes(&emission)?;
    let topic = resolve(rules, emission.topic.as_deref())?;
    if emission.ty.is_empty() {
        return Err((
            "empty-type",
            "`type` is empty; CloudEvents requires one".into(),
        ));
    }
    if emission.delay_ms.is_some() && !rules.timers {
        return Err((
            "delay-not-granted",
            "`delay-ms` needs the grant `timers`".into(),
        ));
    }
    let media_type = emission.datacontenttype.as_deref();
    if media_type.is_some_and(binding::is_structured) {
        let reason =
            "`datacontenttype` of CloudEvents itself would be read back as a structured event";
        return Err(("bad-content-type", reason.to_owned()));
    }
    let id = id(rules, cause, index, emission.id)?;
    let time = emission.time.map_or_else(|| time_of(cause), Cow::Owned);
    let mut event = EventRef {
        id: &id,
        source: &rules.source,
        ty: &emission.ty,
        subject: emission.subject.as_deref(),
        time: Some(&time),
        datacontenttype: emission.datacontenttype.as_deref(),
        dataschema: emission.dataschema.as_deref(),
        extensions: extensions(cause, &id, &emission.extensions)?,
    };
    let whole = |event: &EventRef<'_>| event.to_event(emission.data.clone());
    let key = key(rules, cause, emission.key, || whole(&event))?;
    let text = key.as_ref().and_then(|key| str::from_utf8(key).ok());
    // Four bytes of a number are text too, and no attribute.
    let text = text.filter(|text| !text.chars().any(char::is_control));
    let is_own = event.extensions.iter().any(|(name, _)| *name == KEY);
    if let Some(text) = text.filter(|_| !is_own) {
        event.extensions.push((KEY, text.into()));
    }
    let partition_hash = partition_hash(key.as_deref(), cause.tenant, event.source, event.id);
    let record = match rules.structured {
        None => binding::write(&event, emission.data, key.clone(), now.0),
        Some(write) => {
            let json = write(&whole(&event)).map_err(|reason| ("bad-attribute", reason))?;
            binding::to_structured(json, key.clone(), now.0)
        }
    };
    Ok(Emitted {
        id,
        out: OutRecord {
            topic,
            partition: None,
            partition_hash,
            record,
        },
        delay: emission.delay_ms.map(Duration::from_millis),
    })
}

fn id(rules: &Rules, cause: Cause<'_>, index: usize, own: Option<String>) -> Result<String, Fault> {
    match own {
        Some(id) if id.is_empty() => Err((
            "empty-id",
            "`id` is empty; leave it out to have one derived".into(),
        )),
        Some(id) => Ok(id),
        None => {
            let index = u32::try_from(index).unwrap_or(u32::MAX);
            let Event { source, id, .. } = cause.event;
            Ok(emission_id(cause.tenant, &rules.handler, source, id, index))
        }
    }
}

/// The key that the handler names, else the one that its manifest composes, else the input's.
fn key(
    rules: &Rules,
    cause: Cause<'_>,
    own: EmissionKey,
    event: impl Fn() -> Event,
) -> Result<Option<Bytes>, Fault> {
    let key = match (own, &rules.key) {
        (EmissionKey::Key(key), _) => Some(key),
        (EmissionKey::Keyless, _) => None,
        // What was taken in is as small as its bus allows, and keeps its place.
        (EmissionKey::Inherit, None) => return Ok(cause.event.key(cause.record).cloned()),
        (EmissionKey::Inherit, Some(composed)) => {
            let key = composed.of(cause.tenant, &event());
            Some(key.map_err(|reason| ("no-key", reason))?.into())
        }
    };
    match key {
        Some(key) if key.len() > ATTRIBUTE_BYTES_MAX => Err((
            "key-too-large",
            format!(
                "the key has {} bytes; at most {ATTRIBUTE_BYTES_MAX} are allowed",
                key.len()
            ),
        )),
        key => Ok(key),
    }
}

/// Attributes are kept and repeated by whoever the event reaches: they are as small as those that come from outside.
fn check_sizes(emission: &Emission) -> Result<(), Fault> {
    let fields = [
        ("id", emission.id.as_deref()),
        ("type", Some(&*emission.ty)),
        ("subject", emission.subject.as_deref()),
        ("time", emission.time.as_deref()),
        ("datacontenttype", emission.datacontenttype.as_deref()),
        ("dataschema", emission.dataschema.as_deref()),
    ];
    let extensions = emission.extensions.iter().flat_map(|(name, value)| {
        [
            ("the name of an extension", Some(&**name)),
            (name, Some(value)),
        ]
    });
    let too_long = |text: Option<&str>| text.is_some_and(|text| text.len() > ATTRIBUTE_BYTES_MAX);
    let mut attributes = fields.into_iter().chain(extensions);
    if let Some((name, _)) = attributes.find(|(_, text)| too_long(*text)) {
        let name = name.get(..SHOWN).unwrap_or(name);
        return Err((
            "attribute-too-large",
            format!(
                "{name} has more than {ATTRIBUTE_BYTES_MAX} bytes; larger texts belong into the data"
            ),
        ));
    }
    Ok(())
}

/// The time of the input, and of one without a time that of its record: every attempt emits the same bytes.
fn time_of(cause: Cause<'_>) -> Cow<'_, str> {
    match &cause.event.time {
        Some(own) => own.into(),
        None => Millis(cause.record.timestamp_ms).to_rfc3339().into(),
    }
}

fn resolve(rules: &Rules, asked: Option<&str>) -> Result<Arc<str>, Fault> {
    match (asked, rules.topics.as_slice()) {
        (None, [(_, full)]) => Ok(Arc::clone(full)),
        (None, _) => {
            let count = rules.topics.len();
            Err((
                "no-topic",
                format!("no topic is named and `[emit] topics` has {count}; name one of them"),
            ))
        }
        (Some(asked), topics) => topics
            .iter()
            .find(|(short, full)| **short == *asked || **full == *asked)
            .map(|(_, full)| Arc::clone(full))
            .ok_or_else(|| {
                (
                    "topic-not-granted",
                    format!("topic {asked:?} is not in `[emit] topics`"),
                )
            }),
    }
}

/// The handler's extensions, checked, and the host's.
fn extensions<'a>(
    cause: Cause<'a>,
    id: &str,
    own: &'a [(String, String)],
) -> Result<Vec<(&'a str, Cow<'a, str>)>, Fault> {
    let input = cause.event;
    for (at, (name, _)) in own.iter().enumerate() {
        if !binding::is_attribute_name(name) {
            return Err((
                "bad-extension",
                format!("extension {name:?} is not made of a-z and 0-9"),
            ));
        }
        if CONTEXT_ATTRIBUTES.contains(&name.as_str()) {
            return Err((
                "bad-extension",
                format!("{name:?} is a context attribute; set its own field"),
            ));
        }
        if name == "causationid" || name == "tenantid" || name.starts_with("weir") {
            return Err((
                "forged-attribute",
                format!("extension {name:?} is set by the host alone"),
            ));
        }
        if own[..at].iter().any(|(earlier, _)| earlier == name) {
            return Err(("bad-extension", format!("extension {name:?} is set twice")));
        }
    }
    let mut all = Vec::with_capacity(own.len() + HOSTS_OWN);
    all.extend(own.iter().map(|(name, value)| (&**name, value.into())));
    let is_own = |name: &str| own.iter().any(|(known, _)| known == name);
    if !is_own("correlationid") {
        let correlation = input.extension("correlationid").unwrap_or(&input.id);
        all.push(("correlationid", correlation.into()));
    }
    all.push(("causationid", (&*input.id).into()));
    if let Some(tenant) = input.extension("tenantid") {
        all.push(("tenantid", tenant.into()));
    }
    if !is_own("traceparent") {
        all.push(("traceparent", traceparent(input, id).into()));
    }
    all.push((HOPS, (hops(input) + 1).to_string().into()));
    Ok(all)
}

/// Handlers that this event has passed; what is no number counts as none.
#[must_use]
pub fn hops(event: &Event) -> u32 {
    event
        .extension(HOPS)
        .and_then(|hops| hops.parse().ok())
        .unwrap_or(0)
}

/// Whether this is a `traceparent` of W3C's, version 00.
pub(crate) fn is_traceparent(value: &str) -> bool {
    value.len() == TRACEPARENT_BYTES
        && value.bytes().enumerate().all(|(at, b)| match at {
            2 | 35 | 52 => b == b'-',
            _ => b.is_ascii_digit() || (b'a'..=b'f').contains(&b),
        })
}

/// W3C trace context: the input's trace, or one derived from its id; the span is derived from the emission's id.
fn traceparent(input: &Event, id: &str) -> String {
    let given = input.extension("traceparent");
    let given = given.filter(|value| is_traceparent(value));
    let mut parent = [0; TRACEPARENT_BYTES];
    if let Some(given) = given {
        parent.copy_from_slice(given.as_bytes());
    } else {
        let source = [input.source.as_bytes(), input.id.as_bytes()];
        parent[..3].copy_from_slice(b"00-");
        parent[3..35].copy_from_slice(&hash_128("weir.trace.v1", &source).hex());
        parent[35] = b'-';
        parent[52..].copy_from_slice(b"-01");
    }
    let span = hash_128("weir.span.v1", &[id.as_bytes()]).hex();
    parent[36..52].copy_from_slice(&span[..16]);
    str::from_utf8(&parent).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests;
