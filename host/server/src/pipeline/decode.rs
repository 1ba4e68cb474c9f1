//! From records to what the machine is told of them.

use std::sync::Arc;

use bytes::Bytes;
use weir_core::binding::BindingError;
use weir_core::command;
use weir_core::event::{EVENT_BYTES_MAX, Event, Record};
use weir_core::partition::{Decoded, Ordering, tenant};
use weir_core::unit::{ItemId, Origin, Position, SequenceKey};

use crate::cloudevents::{self, RecordError};
use crate::handlers::Deployment;
use crate::manifest::{Filter, Manifest};

/// What a record of a subscribed topic carries, that stands at `origin`.
pub(super) fn record(record: &Record, origin: &Origin, manifest: &Manifest) -> Decoded {
    filtered(record, origin, manifest, &manifest.filter)
}

/// What a record carries that has passed the filter before: a parked event, a dead letter. It stood at `origin` when it
/// came.
pub(super) fn stored(record: &Record, origin: &Origin, manifest: &Manifest) -> Decoded {
    filtered(record, origin, manifest, &Filter::default())
}

/// What the record of a timer carries, which this host wrote.
pub(super) fn timer(record: &Record) -> Decoded {
    match cloudevents::from_record(record) {
        Ok(event) => Decoded::Event(Arc::new(event)),
        Err(error) => Decoded::Poison {
            code: error.code().to_owned(),
            message: error.to_string(),
        },
    }
}

fn filtered(record: &Record, origin: &Origin, manifest: &Manifest, filter: &Filter) -> Decoded {
    match event(record, origin, manifest) {
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
    let event = event(record, origin, &deployment.manifest).ok()??;
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
pub(super) fn command(record: Record, manifest: &Manifest) -> (Record, Decoded) {
    match command::from_record(record) {
        Ok((command, letter)) => {
            let decoded = Decoded::Command {
                letter: Box::new(stored(&letter, &command.origin, manifest)),
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

/// The event that a record carries, or becomes by the manifest; none for one with nothing to handle.
fn event(
    record: &Record,
    origin: &Origin,
    manifest: &Manifest,
) -> Result<Option<Event>, (String, String)> {
    let bytes = record.stored_bytes();
    if bytes > EVENT_BYTES_MAX {
        let message = format!("the record has {bytes} bytes; an event may have {EVENT_BYTES_MAX}");
        return Err(("event-too-large".to_owned(), message));
    }
    let error = match cloudevents::from_record(record) {
        Ok(event) => return Ok(Some(event)),
        Err(error) => error,
    };
    match (&error, &manifest.mapping) {
        (RecordError::Binary(BindingError::NotAnEvent), Some(mapping)) => mapping
            .event(record, origin)
            .map_err(|error| (error.code().to_owned(), error.to_string())),
        (RecordError::Binary(BindingError::NotAnEvent), None) if record.value.is_none() => Ok(None),
        _ => Err((error.code().to_owned(), error.to_string())),
    }
}

#[cfg(test)]
mod tests;
