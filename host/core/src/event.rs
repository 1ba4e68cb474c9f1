//! The shapes that travel: records of a bus, events of a handler, and what an attempt ends with.

use std::borrow::Cow;

use bytes::Bytes;

use crate::binding::SPEC_VERSION;
use crate::time::Millis;

/// Name of a record header; those of events are shared ([`crate::binding::header_name`]), because every record has ten.
pub type HeaderName = Cow<'static, str>;

/// What a header takes in a topic beside its name and value, at most: the lengths of both.
pub const HEADER_BYTES: usize = 10;

/// The largest record that is taken for an event, by [`Record::stored_bytes`]: an event of 1 MiB, which is what the
/// sandbox takes, with room for its key and for the attributes that hosts add.
pub const EVENT_BYTES_MAX: usize = (1 << 20) + (256 << 10);

/// One header of a record. Kafka knows headers without a value, which are not those of an empty one.
pub type Header = (HeaderName, Option<Bytes>);

/// One record of a bus: Kafka's shape, which the embedded log keeps too.
///
/// An event is carried in the binary mode of the CloudEvents Kafka binding: attributes as headers `ce_*`, the content
/// type as `content-type`, data as the value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// The record key; orders records of equal key. None: no order.
    pub key: Option<Bytes>,
    /// The data; none is a tombstone.
    pub value: Option<Bytes>,
    /// Names and values in the order of arrival; names may repeat.
    pub headers: Vec<Header>,
    /// When the record was accepted, Unix milliseconds.
    pub timestamp_ms: u64,
}

impl Record {
    /// An upper bound of the bytes that this record takes in a topic, alone in its batch.
    #[must_use]
    pub fn stored_bytes(&self) -> usize {
        /// The head of a batch, and what a record has beside its parts.
        const PER_RECORD: usize = 128;
        let headers = self
            .headers
            .iter()
            .map(|(name, value)| name.len() + value.as_ref().map_or(0, Bytes::len) + HEADER_BYTES);
        PER_RECORD
            + headers.sum::<usize>()
            + self.key.as_ref().map_or(0, Bytes::len)
            + self.value.as_ref().map_or(0, Bytes::len)
    }

    /// An upper bound of the bytes that this record holds in memory, for budgets.
    #[must_use]
    pub fn bytes(&self) -> usize {
        const PER_RECORD: usize = 64;
        let headers: usize = self
            .headers
            .iter()
            .map(|(n, v)| n.len() + v.as_ref().map_or(0, Bytes::len) + 48)
            .sum();
        PER_RECORD
            + headers
            + self.key.as_ref().map_or(0, Bytes::len)
            + self.value.as_ref().map_or(0, Bytes::len)
    }

    /// The value of the first header of this name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&Bytes> {
        let (_, value) = self.headers.iter().find(|(n, _)| n == name)?;
        value.as_ref()
    }
}

/// One CloudEvents 1.0 event, as a handler sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// With `source` and the tenant, the identity.
    pub id: String,
    /// URI reference of the producer.
    pub source: String,
    /// What happened, for example `InvoiceCreated`.
    pub ty: String,
    /// What it happened to.
    pub subject: Option<String>,
    /// RFC 3339.
    pub time: Option<String>,
    /// Media type of `data`.
    pub datacontenttype: Option<String>,
    /// URI of the schema of `data`.
    pub dataschema: Option<String>,
    /// Extension attributes in canonical string form.
    pub extensions: Vec<(String, String)>,
    /// None: no data. Some and empty: data of zero bytes.
    pub data: Option<Bytes>,
    /// What orders it in place of its record's key: the manifest's choice, for a record that is no event by itself.
    pub mapped_key: Option<Bytes>,
    /// Its record had no id, and its place and timestamp stand for one: a producer's repeat has another, so the inbox need not
    /// know it.
    pub is_named_by_place: bool,
}

impl Event {
    /// The key that orders it, when `record` carries it.
    #[must_use]
    pub fn key<'a>(&'a self, record: &'a Record) -> Option<&'a Bytes> {
        self.mapped_key.as_ref().or(record.key.as_ref())
    }

    /// The extension attribute of this name.
    #[must_use]
    pub fn extension(&self, name: &str) -> Option<&str> {
        self.extensions
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.as_str())
    }

    /// The attribute of this name, of the context or an extension.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&str> {
        match name {
            "specversion" => Some(SPEC_VERSION),
            "id" => Some(&self.id),
            "source" => Some(&self.source),
            "type" => Some(&self.ty),
            "subject" => self.subject.as_deref(),
            "time" => self.time.as_deref(),
            "datacontenttype" => self.datacontenttype.as_deref(),
            "dataschema" => self.dataschema.as_deref(),
            extension => self.extension(extension),
        }
    }
}

/// An event whose parts lie elsewhere: what is written at once is not put together before.
#[derive(Debug)]
pub(crate) struct EventRef<'a> {
    pub(crate) id: &'a str,
    pub(crate) source: &'a str,
    pub(crate) ty: &'a str,
    pub(crate) subject: Option<&'a str>,
    pub(crate) time: Option<&'a str>,
    pub(crate) datacontenttype: Option<&'a str>,
    pub(crate) dataschema: Option<&'a str>,
    pub(crate) extensions: Vec<(&'a str, Cow<'a, str>)>,
}

impl<'a> From<&'a Event> for EventRef<'a> {
    fn from(event: &'a Event) -> Self {
        let extensions = event.extensions.iter();
        Self {
            id: &event.id,
            source: &event.source,
            ty: &event.ty,
            subject: event.subject.as_deref(),
            time: event.time.as_deref(),
            datacontenttype: event.datacontenttype.as_deref(),
            dataschema: event.dataschema.as_deref(),
            extensions: extensions
                .map(|(name, value)| (&**name, Cow::Borrowed(&**value)))
                .collect(),
        }
    }
}

impl EventRef<'_> {
    /// The same with parts of its own.
    pub(crate) fn to_event(&self, data: Option<Bytes>) -> Event {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        let extensions = self.extensions.iter();
        Event {
            id: self.id.to_owned(),
            source: self.source.to_owned(),
            ty: self.ty.to_owned(),
            subject: owned(self.subject),
            time: owned(self.time),
            datacontenttype: owned(self.datacontenttype),
            dataschema: owned(self.dataschema),
            extensions: extensions
                .map(|(name, value)| ((*name).to_owned(), value.clone().into_owned()))
                .collect(),
            data,
            mapped_key: None,
            is_named_by_place: false,
        }
    }
}

/// The record key that a handler asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum EmissionKey {
    /// The input's key, byte for byte.
    #[default]
    Inherit,
    /// No key.
    Keyless,
    /// These bytes.
    Key(Bytes),
}

/// One event that a handler asks to publish, as it said it: neither checked nor completed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Emission {
    /// Event type.
    pub ty: String,
    /// Short or full topic name; none is the only topic in `[emit]`.
    pub topic: Option<String>,
    /// Record key.
    pub key: EmissionKey,
    /// Event id; none is derived.
    pub id: Option<String>,
    /// CloudEvents `subject`.
    pub subject: Option<String>,
    /// CloudEvents `time`, RFC 3339.
    pub time: Option<String>,
    /// Media type of `data`.
    pub datacontenttype: Option<String>,
    /// URI of the schema of `data`.
    pub dataschema: Option<String>,
    /// Extension attributes.
    pub extensions: Vec<(String, String)>,
    /// Payload.
    pub data: Option<Bytes>,
    /// Publish not before this long after the commit.
    pub delay_ms: Option<u64>,
}

/// One change of the state of a sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateWrite {
    /// Name within the sequence.
    pub name: String,
    /// The value; none removes the name.
    pub value: Option<Bytes>,
    /// How long the value lives after the commit; none keeps it.
    pub ttl_ms: Option<u64>,
}

/// One change of the timers of a sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimerWrite {
    /// Name within the sequence.
    pub name: String,
    /// Which of the attempt's calls of the timers interface made it, from 0: part of the setting's identity.
    pub call: u32,
    /// What the name is set to; none cancels it.
    pub set: Option<TimerSet>,
}

/// What a timer is set to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimerSet {
    /// It fires at this instant or later, never earlier.
    pub due: Millis,
    /// The data of the event that it fires as.
    pub data: Option<Bytes>,
}

/// What a successful attempt wants to change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// In the order in which the handler returned them.
    pub emissions: Vec<Emission>,
    /// At most one per name: the last one wins within an attempt.
    pub state: Vec<StateWrite>,
    /// At most one per name: the last one wins within an attempt.
    pub timers: Vec<TimerWrite>,
}

/// Why an attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FailureKind {
    /// Another attempt may succeed. Costs an attempt.
    Transient,
    /// Something outside is down. Costs no attempt.
    Unavailable,
    /// No attempt can succeed.
    Permanent,
    /// The component trapped. Costs an attempt, at most three.
    Trap,
    /// A limit of the sandbox was exceeded (CPU, wall time, memory, host calls, ...). Treated as a trap.
    Limit,
}

impl FailureKind {
    /// All of them, in the order of the enum.
    pub const ALL: [Self; 5] = [
        Self::Transient,
        Self::Unavailable,
        Self::Permanent,
        Self::Trap,
        Self::Limit,
    ];

    /// The class of a dead letter and the label of metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::Unavailable => "unavailable",
            Self::Permanent => "permanent",
            Self::Trap => "trap",
            Self::Limit => "limit",
        }
    }
}

/// A failed attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What may be done about it.
    pub kind: FailureKind,
    /// Stable, lower-case, at most 64 bytes: metrics and dead letters are grouped by it.
    pub code: String,
    /// For people, at most 1,024 bytes.
    pub message: String,
    /// The handler's hint: not before this long.
    pub retry_after_ms: Option<u64>,
    /// Frames of the component at a trap, innermost first, one in a line; at most 8 KiB.
    pub backtrace: Option<String>,
}

/// What an attempt ended with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The handler returned effects.
    Done(Effects),
    /// It failed, trapped or was stopped at a limit.
    Failed(Failure),
}
