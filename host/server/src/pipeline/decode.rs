//! From records to what the machine is told of them.

use std::sync::Arc;

use bytes::Bytes;
use weir_core::binding::BindingError;
use weir_core::command;
use weir_core::event::{EVENT_BYTES_MAX, Event, Record};
use weir_core::partition::{Decoded, Ordering, TIMER_NAME, TIMER_TYPE, tenant, timers_topic};
use weir_core::unit::{ItemId, Origin, Position, SequenceKey};

use crate::bus::UNREAD_HEADERS;
use crate::cloudevents::{self, RecordError};
use crate::handlers::Deployment;
use crate::manifest::{Filter, Manifest};

/// Why a record is no event: a stable code, and a message for people.
type Poison = (String, String);

/// What a record of a subscribed topic carries, that stands at `origin`.
pub(super) fn record(record: &Record, origin: &Origin, deployment: &Deployment) -> Decoded {
    let manifest = &deployment.manifest;
    filtered(event(record, origin, manifest), &manifest.filter)
}

/// What a record carries that has passed the filter before: a parked event, a dead letter. It stood at `origin` when it
/// came.
pub(super) fn stored(record: &Record, origin: &Origin, deployment: &Deployment) -> Decoded {
    filtered(stored_event(record, origin, deployment), &Filter::default())
}

/// What the record of a timer carries, which this host wrote.
pub(super) fn timer(record: &Record) -> Decoded {
    filtered(own(record), &Filter::default())
}

fn filtered(event: Result<Option<Event>, Poison>, filter: &Filter) -> Decoded {
    match event {
        Ok(None) => Decoded::Skipped,
        Ok(Some(event)) if filter.admits(&event) => Decoded::Event(Arc::new(event)),
        Ok(Some(_)) => Decoded::Filtered,
        Err((code, message)) => Decoded::Poison { code, message },
    }
}

/// The sequence of an event that stood at `origin`, as its machine named it; none for what is no event.
pub(crate) fn sequence_of(
    deployment: &Deployment,
    origin: &Origin,
    record: &Record,
) -> Option<SequenceKey> {
    let event = stored_event(record, origin, deployment).ok()??;
    match event.key(record) {
        Some(key) if deployment.manifest.ordering != Ordering::None => Some(SequenceKey::Keyed {
            tenant: tenant(Some(&event)),
            // A slice would keep the whole fetch in memory.
            key: Bytes::copy_from_slice(key),
        }),
        Some(_) | None => {
            let mut topics = (0..).zip(deployment.source_topics());
            let (topic, _) = topics.find(|(_, name)| **name == origin.topic)?;
            let offset = origin.offset;
            let stood_at = ItemId::Record(Position { topic, offset });
            Some(SequenceKey::Alone(stood_at))
        }
    }
}

/// What a record of the command topic asks, and the letter's own record.
pub(super) fn command(record: Record, deployment: &Deployment) -> (Record, Decoded) {
    match command::from_record(record) {
        Ok((command, letter)) => {
            let decoded = Decoded::Command {
                letter: Box::new(stored(&letter, &command.origin, deployment)),
                command: Box::new(command),
            };
            (letter, decoded)
        }
        Err(error) => {
            // Nobody but a host writes to this topic.
            tracing::error!(%error, "a record of the command topic is no command, skipped");
            (Record::default(), Decoded::Skipped)
        }
    }
}

/// The event of a record that came from `origin`, a topic or a timer.
fn stored_event(
    record: &Record,
    origin: &Origin,
    deployment: &Deployment,
) -> Result<Option<Event>, Poison> {
    if *origin.topic == *timers_topic(&deployment.scope.group) {
        own(record)
    } else {
        event(record, origin, &deployment.manifest)
    }
}

/// The event of a timer. The name of one may be any text, which an attribute of others may not.
fn own(record: &Record) -> Result<Option<Event>, Poison> {
    cloudevents::said_by(record).map(Some).map_err(poison)
}

fn poison(error: RecordError) -> Poison {
    (error.code().to_owned(), error.to_string())
}

/// The event that a record of a topic carries, or becomes by the manifest; none for one with nothing to handle.
fn event(record: &Record, origin: &Origin, manifest: &Manifest) -> Result<Option<Event>, Poison> {
    let bytes = record.stored_bytes();
    if bytes > EVENT_BYTES_MAX {
        let message = format!("the record has {bytes} bytes; an event may have {EVENT_BYTES_MAX}");
        return Err(("event-too-large".to_owned(), message));
    }
    if let Some((name, why)) = record.headers.first()
        && name == UNREAD_HEADERS
    {
        let why = String::from_utf8_lossy(why.as_deref().unwrap_or_default());
        let message = format!("its headers cannot be read, and its letter has none of them: {why}");
        return Err(("unread-headers".to_owned(), message));
    }
    let error = match cloudevents::from_record(record) {
        Ok(event) => return of_others(event).map(Some),
        Err(error) => error,
    };
    match (&error, &manifest.mapping) {
        (RecordError::Binary(BindingError::NotAnEvent), Some(mapping)) => {
            let mapped = mapping.event(record, origin);
            let mapped = mapped.map_err(|error| (error.code().to_owned(), error.to_string()))?;
            mapped.map(of_others).transpose()
        }
        (RecordError::Binary(BindingError::NotAnEvent), None) if record.value.is_none() => Ok(None),
        _ => Err(poison(error)),
    }
}

/// Timers fire within the host: what comes from a topic as one is somebody's who would have a handler believe it.
fn of_others(event: Event) -> Result<Event, Poison> {
    if event.ty != TIMER_TYPE && event.extension(TIMER_NAME).is_none() {
        return Ok(event);
    }
    let message = format!(
        "type {TIMER_TYPE:?} and the extension {TIMER_NAME:?} are those of the host's timers, and no topic has any"
    );
    Err(("forged-timer".to_owned(), message))
}

#[cfg(test)]
mod tests;
