//! Events in: `POST /v1/topics/{topic}/events`, one event in binary or structured mode, or a batch.
//!
//! All events of a request are taken or none: they are decoded and checked together and go to the bus in one call,
//! and the answer is sent when that call says that they are durable.

use axum::Extension;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde_json::json;
use tokio::time::timeout;
use weir_core::binding;
use weir_core::emission::HOPS;
use weir_core::event::Event;
use weir_core::identity::partition_hash;
use weir_core::partition::TIMER_TYPE;

use super::access::Tenant;
use super::body::read_body;
use super::problem::{EventFault, Problem, json_response};
use super::{AppState, HttpConfig};
use crate::bus::{Bus, Publish, PublishError, Topic};
use crate::clock;
use crate::cloudevents::{self, DecodeError};
use crate::fail::{self, Point};
use crate::names;

/// The owner of events that name none.
pub(super) const TENANT_DEFAULT: &str = "default";
/// Names that an unknown topic is answered with.
const NEAREST_MAX: usize = 3;
/// How alike two names must be (Jaro-Winkler) for one to be meant by the other.
const LIKENESS_MIN: f64 = 0.75;

pub(super) async fn publish(
    State(state): State<AppState>,
    Extension(tenant): Extension<Tenant>,
    topic: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let Path(topic) = topic.map_err(|rejection| Problem::malformed(rejection.body_text()))?;
    let topic = find_topic(&state, &topic).await?.name;
    if names::is_own_topic(&topic) {
        return Err(Problem::own_topic(&topic));
    }
    let mode = mode(&headers)?;
    let (body, _memory) = read_body(&state, &headers, body).await?;
    let events = decode(mode, &state.config, &headers, body)?;
    check_origin(&events)?;
    let events = own(events, &tenant)?;
    check_sizes(&events, state.config.event_bytes_max)?;
    let accepted = events.len();
    // An empty batch asks for nothing.
    if accepted > 0 {
        let now_ms = clock::now().0;
        let records = events
            .into_iter()
            .map(|event| to_publish(event, now_ms))
            .collect();
        match timeout(
            state.config.request_timeout,
            state.bus.publish(&topic, records),
        )
        .await
        {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(refused(state.bus.as_ref(), &topic, error)),
            Err(_) => {
                let detail = "the commit was not confirmed in time and may still happen; sending the same events \
                              again is safe, repeats are dropped";
                return Err(Problem::unavailable("unconfirmed", detail.to_owned()));
            }
        }
    }
    fail::pass(Point::RequestDurable);
    state.traffic.accept(accepted);
    Ok((
        StatusCode::ACCEPTED,
        json_response(&json!({ "accepted": accepted })),
    )
        .into_response())
}

fn refused(bus: &dyn Bus, topic: &str, error: PublishError) -> Problem {
    match error {
        PublishError::UnknownTopic(_) => unknown_topic(bus, topic),
        PublishError::Busy => {
            Problem::busy("the commit queue is full: nothing was taken, send it again")
        }
        PublishError::Stopped(reason) => Problem::unavailable("intake-stopped", reason),
    }
}

/// The topic of this full or short name.
pub(super) async fn find_topic(state: &AppState, name: &str) -> Result<Topic, Problem> {
    let bus = state.bus.as_ref();
    // Short names are for people and clients that know no environment; a name that is none is unknown as it stands.
    let full = names::expand_topic(name, &state.config.environment, &state.config.domain)
        .unwrap_or(name.to_owned());
    if let Some(topic) = bus.topic(name).or_else(|| bus.topic(&full)) {
        return Ok(topic);
    }
    // Asked for only where neither is known: of a short name there is mostly no topic.
    for name in [name, &*full] {
        if let Some(topic) = bus.find_topic(name).await? {
            return Ok(topic);
        }
    }
    Err(unknown_topic(bus, &full))
}

/// 404 with the names that may have been meant.
fn unknown_topic(bus: &dyn Bus, name: &str) -> Problem {
    let mut alike: Vec<_> = bus
        .topics()
        .into_iter()
        .map(|topic| (strsim::jaro_winkler(name, &topic.name), topic.name))
        .filter(|(likeness, _)| *likeness >= LIKENESS_MIN)
        .collect();
    alike.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    Problem::unknown_topic(
        name,
        alike
            .into_iter()
            .take(NEAREST_MAX)
            .map(|(_, name)| name.to_string())
            .collect(),
    )
}

/// How a request carries its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Binary,
    Structured,
    Batched,
}

/// The mode that the headers say. A browser sends none of them to another site without asking first, which is why
/// nothing is guessed from the body.
fn mode(headers: &HeaderMap) -> Result<Mode, Problem> {
    if let Some(encoding) = headers
        .get(CONTENT_ENCODING)
        .filter(|encoding| *encoding != "identity")
    {
        return Err(Problem::media_type(format!(
            "content-encoding {encoding:?} is not supported: send the body as it is"
        )));
    }
    let content_type = match headers.get(CONTENT_TYPE).map(|value| value.to_str()) {
        None => "",
        Some(Ok(content_type)) => content_type,
        Some(Err(_)) => return Err(Problem::media_type("the content type is not ASCII")),
    };
    if !binding::is_structured(content_type) {
        return if cloudevents::has_attributes(headers) {
            Ok(Mode::Binary)
        } else {
            Err(Problem::media_type(format!(
                "content type {content_type:?} without ce- headers is no CloudEvent: send application/cloudevents+json, \
                 application/cloudevents-batch+json, or the attributes as ce- headers"
            )))
        };
    }
    let charset = content_type
        .split(';')
        .skip(1)
        .filter_map(|parameter| parameter.trim().split_once('='));
    for (name, value) in charset {
        if name.eq_ignore_ascii_case("charset")
            && !value.trim_matches('"').eq_ignore_ascii_case("utf-8")
        {
            return Err(Problem::media_type("the only charset of JSON is utf-8"));
        }
    }
    match cloudevents::essence(content_type)
        .to_ascii_lowercase()
        .as_str()
    {
        "application/cloudevents+json" => Ok(Mode::Structured),
        "application/cloudevents-batch+json" => Ok(Mode::Batched),
        other => Err(Problem::media_type(format!(
            "the format {other:?} is not supported, JSON is"
        ))),
    }
}

fn decode(
    mode: Mode,
    config: &HttpConfig,
    headers: &HeaderMap,
    body: Bytes,
) -> Result<Vec<Event>, Problem> {
    let decoded = match mode {
        Mode::Binary => cloudevents::from_http(headers, body)
            .map(|event| vec![event])
            .map_err(|e| DecodeError::Events(vec![(0, e)])),
        Mode::Structured => cloudevents::from_structured(&body).and_then(|event| {
            // Whatever stands before the host may have decided by the headers what the host takes from the body.
            cloudevents::check_headers(headers, &event)
                .map(|()| vec![event])
                .map_err(|error| DecodeError::Events(vec![(0, error)]))
        }),
        Mode::Batched if cloudevents::has_attributes(headers) => {
            return Err(Problem::malformed(
                "ce- headers are attributes of one event, and a batch has several: send it without",
            ));
        }
        Mode::Batched => cloudevents::from_batch(&body, config.batch_events_max),
    };
    decoded.map_err(|error| {
        let detail = error.to_string();
        match error {
            DecodeError::Syntax { index: None, .. } => Problem::invalid_events(detail, Vec::new()),
            DecodeError::Syntax {
                index: Some(index),
                source,
                ..
            } => Problem::invalid_events(
                detail,
                vec![EventFault {
                    index,
                    detail: source.to_string(),
                }],
            ),
            DecodeError::TooMany { .. } => Problem::too_large(detail, Vec::new()),
            DecodeError::Events(faults) => {
                let fault = |(index, error): (usize, cloudevents::EventError)| EventFault {
                    index,
                    detail: error.to_string(),
                };
                Problem::invalid_events(detail, faults.into_iter().map(fault).collect())
            }
        }
    })
}

/// Refuses what only the host says: a timer that fired, and attributes of its own. A count of hops may come back with
/// an event that was read here and is published again.
fn check_origin(events: &[Event]) -> Result<(), Problem> {
    let forged = |event: &Event| {
        if event.ty == TIMER_TYPE {
            return Some(format!("type {TIMER_TYPE:?} is a timer of the host"));
        }
        let mut names = event.extensions.iter().map(|(name, _)| name.as_str());
        let own = names.find(|name| name.starts_with("weir") && *name != HOPS)?;
        Some(format!(
            "extension {own:?} is set by the host alone: remove it"
        ))
    };
    let faults: Vec<_> = events
        .iter()
        .enumerate()
        .filter_map(|(index, event)| {
            let detail = forged(event)?;
            Some(EventFault { index, detail })
        })
        .collect();
    if faults.is_empty() {
        return Ok(());
    }
    Err(Problem::invalid_events(
        "an event says what only the host may say",
        faults,
    ))
}

/// With tokens, makes the token's tenant the owner of the events, and refuses events that name another.
fn own(mut events: Vec<Event>, tenant: &Tenant) -> Result<Vec<Event>, Problem> {
    let Some(tenant) = &tenant.0 else {
        return Ok(events);
    };
    let foreign = events.iter().position(|event| {
        event
            .extension("tenantid")
            .is_some_and(|named| *named != **tenant)
    });
    if let Some(index) = foreign {
        return Err(Problem::foreign_tenant(vec![EventFault {
            index,
            detail: "foreign tenantid".to_owned(),
        }]));
    }
    for event in &mut events {
        if event.extension("tenantid").is_none() {
            event
                .extensions
                .push(("tenantid".to_owned(), tenant.to_string()));
        }
    }
    Ok(events)
}

fn check_sizes(events: &[Event], event_bytes_max: usize) -> Result<(), Problem> {
    let large = |event: &Event| bytes_of(event) > event_bytes_max;
    match events.iter().position(large) {
        None => Ok(()),
        Some(index) => {
            let detail = format!("an event may have {event_bytes_max} bytes, attributes included");
            let fault = EventFault {
                index,
                detail: format!("it has {} bytes", bytes_of(&events[index])),
            };
            Err(Problem::too_large(detail, vec![fault]))
        }
    }
}

/// Bytes of data and of attributes with their names.
fn bytes_of(event: &Event) -> usize {
    let optional = [
        &event.subject,
        &event.time,
        &event.datacontenttype,
        &event.dataschema,
    ];
    let extensions: usize = event
        .extensions
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    event.id.len()
        + event.source.len()
        + event.ty.len()
        + optional
            .into_iter()
            .flatten()
            .map(String::len)
            .sum::<usize>()
        + extensions
        + event.data.as_ref().map_or(0, Bytes::len)
}

/// The record of an event: its key orders it, its identity places it when it has no key.
fn to_publish(event: Event, now_ms: u64) -> Publish {
    let key = event.extension("partitionkey").or(event.subject.as_deref());
    let key = key.map(|key| Bytes::copy_from_slice(key.as_bytes()));
    let tenant = event.extension("tenantid").unwrap_or(TENANT_DEFAULT);
    let partition_hash = partition_hash(key.as_deref(), tenant, &event.source, &event.id);
    Publish {
        partition_hash,
        record: binding::to_record(&event, key, now_ms),
    }
}
