//! From what a handler returned to records: checks, identity, and what the host adds.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::binding::{self, ATTRIBUTE_BYTES_MAX, HOSTS_OWN};
use crate::event::{EVENT_BYTES_MAX, Emission, EmissionKey, Event, EventRef, Record};
use crate::identity::{emission_id, hash_128, partition_hash};
use crate::partition::TIMER_TYPE;
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

/// Whether an attribute of this name may have this value; an error says what is wrong with it, for people.
pub type CheckAttribute = fn(name: &str, value: &str) -> Result<(), String>;

/// Writes an event in the JSON format.
pub type WriteStructured = fn(&Event) -> Bytes;

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
    /// The rules that whoever reads an event holds it against; none: those that are checked here.
    pub check: Option<CheckAttribute>,
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
    check(rules, &emission)?;
    let topic = resolve(rules, emission.topic.as_deref())?;
    let id = id(rules, cause, index, emission.id);
    let time = emission.time.map_or_else(|| time_of(cause), Cow::Owned);
    let mut event = EventRef {
        id: &id,
        source: &rules.source,
        ty: &emission.ty,
        subject: emission.subject.as_deref(),
        time: Some(&time),
        datacontenttype: emission.datacontenttype.as_deref(),
        dataschema: emission.dataschema.as_deref(),
        extensions: extensions(cause, &id, &emission.extensions),
    };
    let whole = |event: &EventRef<'_>| event.to_event(emission.data.clone());
    let own = emission.extensions.iter().find(|(name, _)| name == KEY);
    let own = own.map(|(_, key)| key.as_str());
    let key = key(rules, cause, (emission.key, own), || whole(&event))?;
    let text = key.as_deref().and_then(attribute_of);
    if let Some(text) = text.filter(|_| own.is_none()) {
        event.extensions.push((KEY, text.into()));
    }
    let partition_hash = partition_hash(key.as_deref(), cause.tenant, event.source, event.id);
    let record = match rules.structured {
        None => binding::write(&event, emission.data, key.clone(), now.0),
        Some(write) => binding::to_structured(write(&whole(&event)), key.clone(), now.0),
    };
    // Whoever reads it measures it so: JSON and what the host adds make more of what the handler returned.
    let bytes = record.stored_bytes();
    if bytes > EVENT_BYTES_MAX {
        let reason = format!("its record has {bytes} bytes; an event may have {EVENT_BYTES_MAX}");
        return Err(("emission-limit", reason));
    }
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

/// What needs no look at the event that caused it. Whatever the host adds was held against the rules when it came in, so they
/// are asked for the handler's own attributes alone.
fn check(rules: &Rules, emission: &Emission) -> Result<(), Fault> {
    check_sizes(emission)?;
    if emission.ty.is_empty() {
        return Err((
            "empty-type",
            "`type` is empty; CloudEvents requires one".into(),
        ));
    }
    if emission.id.as_deref() == Some("") {
        return Err((
            "empty-id",
            "`id` is empty; leave it out to have one derived".into(),
        ));
    }
    if emission.ty == TIMER_TYPE {
        let reason = format!("type {TIMER_TYPE:?} is that of the host's timers alone");
        return Err(("forged-attribute", reason));
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
    check_extensions(&emission.extensions)?;
    let Some(check) = rules.check else {
        return Ok(());
    };
    let set = context(emission).into_iter();
    let set = set.filter_map(|(name, value)| Some((name, value?)));
    let extensions = emission.extensions.iter();
    set.chain(extensions.map(|(name, value)| (&**name, &**value)))
        .try_for_each(|(name, value)| check(name, value))
        .map_err(|reason| ("bad-attribute", reason))
}

fn id(rules: &Rules, cause: Cause<'_>, index: usize, own: Option<String>) -> String {
    own.unwrap_or_else(|| {
        let index = u32::try_from(index).unwrap_or(u32::MAX);
        let Event { source, id, .. } = cause.event;
        emission_id(cause.tenant, &rules.handler, source, id, index)
    })
}

/// The key that the handler names, by an extension too, else the one that its manifest composes, else the input's.
fn key(
    rules: &Rules,
    cause: Cause<'_>,
    own: (EmissionKey, Option<&str>),
    event: impl Fn() -> Event,
) -> Result<Option<Bytes>, Fault> {
    let key = match own {
        (EmissionKey::Key(key), named) if named.is_none_or(|named| key == named) => Some(key),
        (EmissionKey::Keyless, None) => None,
        (EmissionKey::Key(_) | EmissionKey::Keyless, _) => {
            let reason = format!("extension {KEY:?} is another key than `key`: set one of them");
            return Err(("bad-extension", reason));
        }
        (EmissionKey::Inherit, Some(named)) => Some(Bytes::copy_from_slice(named.as_bytes())),
        (EmissionKey::Inherit, None) => match &rules.key {
            // What was taken in is as small as its bus allows, and keeps its place.
            None => return Ok(cause.event.key(cause.record).cloned()),
            Some(composed) => {
                let key = composed.of(cause.tenant, &event());
                Some(key.map_err(|reason| ("no-key", reason))?.into())
            }
        },
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

/// This key as the attribute that tells of it; none where it can be none, as one that is empty, long, or a number of four bytes.
fn attribute_of(key: &[u8]) -> Option<&str> {
    let text = str::from_utf8(key).ok()?;
    let fits = (1..=ATTRIBUTE_BYTES_MAX).contains(&text.len());
    (fits && !text.chars().any(char::is_control)).then_some(text)
}

/// The attributes of CloudEvents itself that a handler sets.
fn context(emission: &Emission) -> [(&'static str, Option<&str>); 6] {
    [
        ("id", emission.id.as_deref()),
        ("type", Some(&*emission.ty)),
        ("subject", emission.subject.as_deref()),
        ("time", emission.time.as_deref()),
        ("datacontenttype", emission.datacontenttype.as_deref()),
        ("dataschema", emission.dataschema.as_deref()),
    ]
}

/// Attributes are kept and repeated by whoever the event reaches: they are as small as those that come from outside.
fn check_sizes(emission: &Emission) -> Result<(), Fault> {
    let extensions = emission.extensions.iter().flat_map(|(name, value)| {
        [
            ("the name of an extension", Some(&**name)),
            (name, Some(value)),
        ]
    });
    let too_long = |text: Option<&str>| text.is_some_and(|text| text.len() > ATTRIBUTE_BYTES_MAX);
    let mut attributes = context(emission).into_iter().chain(extensions);
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

fn check_extensions(own: &[(String, String)]) -> Result<(), Fault> {
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

/// The handler's extensions and the host's.
fn extensions<'a>(
    cause: Cause<'a>,
    id: &str,
    own: &'a [(String, String)],
) -> Vec<(&'a str, Cow<'a, str>)> {
    let input = cause.event;
    let mut all = Vec::with_capacity(own.len() + HOSTS_OWN.len());
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
    all
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
