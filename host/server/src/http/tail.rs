//! Events out: `GET /v1/topics/{topic}/events`, one line of JSON per record, for people and tests.
//!
//! Reads without a subscription, so it moves nobody's position. Memory is bounded by one fetch per partition: a client
//! that does not read stops the fetches.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, SelectAll};
use futures_util::{Stream, StreamExt};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};
use weir_core::event::{Event, Record};
use weir_core::time::Millis;
use weir_core::unit::Position;

use super::AppState;
use super::access::Tenant;
use super::ingress::{TENANT_DEFAULT, find_topic};
use super::problem::Problem;
use crate::bus::{Bus, FetchError, Reader, ReaderError, Topic};
use crate::{cloudevents, names};

/// One fetch of one partition: small, because each open tail holds one per partition.
const FETCH_BYTES_MAX: usize = 64 * 1024;
/// Partitions that are read at a time, of all tails: on Kafka each takes a client of its own, with a few threads.
pub(super) const PARTITIONS_MAX: usize = 256;
/// An idle answer sends an empty line this often, so that proxies keep it and a dead client is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TailQuery {
    /// Only this partition; none: all.
    partition: Option<u32>,
    /// `beginning` (default), `end`, or an offset of `partition`.
    from: Option<String>,
    /// Whether to wait for more at the end.
    #[serde(default)]
    follow: bool,
    /// Stop after this many records.
    limit: Option<u64>,
}

pub(super) async fn events(
    State(state): State<AppState>,
    Extension(tenant): Extension<Tenant>,
    topic: Result<Path<String>, PathRejection>,
    query: Result<Query<TailQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let Path(topic) = topic.map_err(|rejection| Problem::malformed(rejection.body_text()))?;
    let Query(query) = query.map_err(|rejection| Problem::malformed(rejection.body_text()))?;
    let topic = find_topic(&state, &topic).await?;
    if names::is_internal_topic(&topic.name) {
        return Err(Problem::internal_topic(&topic.name));
    }
    let mut spans = spans(state.bus.as_ref(), &topic, &query).await?;
    if !query.follow {
        spans.retain(|span| span.from < span.end);
    }
    if spans.len() > PARTITIONS_MAX {
        return Err(Problem::malformed(format!(
            "{PARTITIONS_MAX} partitions are read at a time, and topic {:?} has more: name one (--partition)",
            topic.name
        )));
    }
    let places = u32::try_from(spans.len()).unwrap_or(u32::MAX);
    let Ok(places) = Arc::clone(&state.tails).try_acquire_many_owned(places) else {
        return Err(Problem::busy(format!(
            "{PARTITIONS_MAX} partitions are read at a time, of all tails together: end another `weir tail`, or name one \
             partition (--partition)"
        )));
    };
    let mut partitions = SelectAll::new();
    for span in spans {
        let reader = state.bus.reader(&topic.name, span.partition, span.from);
        let reader = reader.await.map_err(unread)?;
        partitions.push(records(reader, span, query.follow).boxed());
    }
    let tail = Tail {
        topic: topic.name,
        tenant,
        partitions,
        left: query.limit.unwrap_or(u64::MAX),
        shutdown: state.shutdown.clone(),
        _places: places,
    };
    let body = Body::from_stream(stream::unfold(tail, async |mut tail| {
        Some((tail.next().await?, tail))
    }));
    Ok((
        [(
            CONTENT_TYPE,
            HeaderValue::from_static("application/x-ndjson"),
        )],
        body,
    )
        .into_response())
}

/// What is read of one partition.
#[derive(Clone, Copy)]
struct Span {
    partition: u32,
    from: u64,
    /// The end when the request came; a tail that does not follow stops there.
    end: u64,
}

async fn spans(bus: &dyn Bus, topic: &Topic, query: &TailQuery) -> Result<Vec<Span>, Problem> {
    if let Some(partition) = query
        .partition
        .filter(|partition| *partition >= topic.partitions)
    {
        return Err(Problem::malformed(format!(
            "topic {:?} has {} partitions, numbered from 0; there is no {partition}",
            topic.name, topic.partitions
        )));
    }
    let partitions = query
        .partition
        .map_or(0..topic.partitions, |partition| partition..partition + 1);
    let mut spans = Vec::new();
    for partition in partitions {
        // Between two calls a topic may go; then there is nothing to read.
        let Some((first, end)) = bus.bounds(&topic.name, partition).await? else {
            continue;
        };
        let from = match query.from.as_deref() {
            None | Some("beginning") => first,
            Some("end") => end,
            Some(offset) => from_offset(offset, query.partition.is_some(), first, end)?,
        };
        spans.push(Span {
            partition,
            from,
            end,
        });
    }
    Ok(spans)
}

/// Why a partition cannot be read: nothing of it is the caller's fault, who named a topic that was there.
fn unread(error: ReaderError) -> Problem {
    match error {
        ReaderError::UnknownTopic(name) => Problem::unknown_topic(&name, Vec::new()),
        ReaderError::UnknownPartition { .. } => Problem::malformed(error.to_string()),
        ReaderError::Unanswered(error) => error.into(),
    }
}

fn from_offset(text: &str, one_partition: bool, first: u64, end: u64) -> Result<u64, Problem> {
    let Ok(offset) = text.parse() else {
        return Err(Problem::malformed(
            "`from` is `beginning`, `end` or an offset",
        ));
    };
    if !one_partition {
        return Err(Problem::malformed(
            "an offset counts within one partition: name it with `partition` (--partition)",
        ));
    }
    if !(first..=end).contains(&offset) {
        return Err(Problem::malformed(format!(
            "offset {offset} is not kept: the partition has {first} to {end}"
        )));
    }
    Ok(offset)
}

/// Records and their partition's number.
type Fetched = Result<(u32, Vec<(Position, Record)>), FetchError>;

/// The records of one partition; ends at the span's end unless it follows.
fn records(
    reader: Box<dyn Reader>,
    span: Span,
    follow: bool,
) -> impl Stream<Item = Fetched> + Send {
    stream::unfold((reader, span.from), move |(mut reader, next)| async move {
        if !follow && next >= span.end {
            return None;
        }
        let (records, next) = match reader.fetch(FETCH_BYTES_MAX).await {
            Ok(mut records) => {
                let after = |(position, _): &(Position, Record)| position.offset + 1;
                let next = records.last().map_or(next, after).max(reader.passed(0));
                if !follow {
                    records.retain(|(position, _)| position.offset < span.end);
                }
                (Ok((span.partition, records)), next)
            }
            // Retention went past this reader: what is gone is gone, the rest is still to be shown.
            Err(FetchError::OutOfRange { first, .. }) if first > next => {
                reader.seek(Position {
                    topic: 0,
                    offset: first,
                });
                (Ok((span.partition, Vec::new())), first)
            }
            // The answer ends at an error, so where this goes on does not matter.
            Err(error) => (Err(error), next),
        };
        Some((records, (reader, next)))
    })
}

/// One answer.
struct Tail {
    topic: Arc<str>,
    tenant: Tenant,
    partitions: SelectAll<BoxStream<'static, Fetched>>,
    left: u64,
    shutdown: CancellationToken,
    /// Of all tails.
    _places: OwnedSemaphorePermit,
}

impl Tail {
    /// Lines of the next records; none at the end. An error breaks the connection off, so that a client does not take
    /// a part for the whole.
    async fn next(&mut self) -> Option<Result<Bytes, FetchError>> {
        while self.left > 0 {
            let next = timeout(KEEP_ALIVE, self.partitions.next());
            let next = tokio::select! {
                () = self.shutdown.cancelled() => return None,
                next = next => next,
            };
            match next {
                Err(_) => return Some(Ok(Bytes::from_static(b"\n"))),
                Ok(None) => return None,
                Ok(Some(Ok((partition, records)))) => {
                    let lines = self.lines(partition, &records);
                    if !lines.is_empty() {
                        return Some(Ok(Bytes::from(lines)));
                    }
                    // A topic of other tenants' events is looked through to its end: others come first, and whether
                    // anybody still listens is looked at too.
                    tokio::task::yield_now().await;
                }
                Ok(Some(Err(error))) => {
                    warn!(topic = &*self.topic, %error, "tail broke off");
                    return Some(Err(error));
                }
            }
        }
        None
    }

    fn lines(&mut self, partition: u32, records: &[(Position, Record)]) -> Vec<u8> {
        let mut lines = Vec::new();
        for (position, record) in records {
            if self.left == 0 {
                break;
            }
            let event = decode(record);
            if !self.may_see(event.as_ref()) {
                continue;
            }
            self.left -= 1;
            let line = Line::new(
                &self.topic,
                partition,
                position.offset,
                record,
                event.as_ref(),
            );
            serde_json::to_writer(&mut lines, &line)
                .expect("text and numbers serialise, a Vec takes them");
            lines.push(b'\n');
        }
        lines
    }

    /// A token shows the events of its tenant.
    fn may_see(&self, event: Option<&Event>) -> bool {
        let owner = event
            .and_then(|event| event.extension("tenantid"))
            .unwrap_or(TENANT_DEFAULT);
        self.tenant
            .0
            .as_deref()
            .is_none_or(|tenant| tenant == owner)
    }
}

/// The event in a record of either mode; none when it holds none, which a tail shows as it is. One that breaks a rule is its
/// tenant's all the same.
fn decode(record: &Record) -> Option<Event> {
    cloudevents::said_by(record)
        .inspect_err(|error| debug!(%error, "not an event"))
        .ok()
}

/// One line of the answer.
#[derive(Serialize)]
struct Line<'a> {
    topic: &'a str,
    partition: u32,
    offset: u64,
    timestamp: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<Box<RawValue>>,
    /// The value of a record that is no event.
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
    /// Those that are no part of the event.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    headers: Vec<Header<'a>>,
}

#[derive(Serialize)]
struct Header<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
}

impl<'a> Line<'a> {
    fn new(
        topic: &'a str,
        partition: u32,
        offset: u64,
        record: &'a Record,
        event: Option<&Event>,
    ) -> Self {
        let (key, key_base64) = record.key.as_ref().map_or((None, None), text_or_base64);
        let shown = |name: &str| {
            event.is_none()
                || !(name.starts_with("ce_") || name.eq_ignore_ascii_case("content-type"))
        };
        let headers = record.headers.iter().filter(|(name, _)| shown(name));
        Self {
            topic,
            partition,
            offset,
            timestamp: Millis(record.timestamp_ms).to_rfc3339(),
            key,
            key_base64,
            event: event.map(cloudevents::to_json),
            value_base64: record
                .value
                .as_ref()
                .filter(|_| event.is_none())
                .map(|value| BASE64.encode(value)),
            headers: headers
                .map(|(name, value)| {
                    let (value, value_base64) = value.as_ref().map_or((None, None), text_or_base64);
                    Header {
                        name,
                        value,
                        value_base64,
                    }
                })
                .collect(),
        }
    }
}

fn text_or_base64(bytes: &Bytes) -> (Option<&str>, Option<String>) {
    match str::from_utf8(bytes) {
        Ok(text) => (Some(text), None),
        Err(_) => (None, Some(BASE64.encode(bytes))),
    }
}
