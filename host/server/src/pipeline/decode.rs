//! From records to what the machine is told of them.

use std::sync::Arc;

use bytes::Bytes;
use weir_core::binding::{self, BindingError};
use weir_core::command;
use weir_core::event::{Event, Record};
use weir_core::partition::{Decoded, Ordering, tenant};
use weir_core::unit::{ItemId, Origin, Position, SequenceKey};

use crate::cloudevents;
use crate::handlers::Deployment;
use crate::manifest::Filter;

/// What a record of a subscribed topic carries.
pub(super) fn record(record: &Record, filter: &Filter) -> Decoded {
    match event(record) {
        Ok(None) => Decoded::Skipped,
        Ok(Some(event)) if filter.admits(&event) => Decoded::Event(Arc::new(event)),
        Ok(Some(_)) => Decoded::Filtered,
        Err((code, message)) => Decoded::Poison { code, message },
    }
}

/// What a record carries that has passed the filter before: a parked event, a timer.
pub(super) fn stored(record: &Record) -> Decoded {
    self::record(record, &Filter::default())
}

/// The sequence of an event that stood at `origin`, as its machine named it; none for what is no event.
pub(crate) fn sequence_of(
    deployment: &Deployment,
    origin: &Origin,
    record: &Record,
) -> Option<SequenceKey> {
    let event = event(record).ok()??;
    match &record.key {
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
pub(super) fn command(record: Record) -> (Record, Decoded) {
    match command::from_record(record) {
        Ok((command, letter)) => {
            let decoded = Decoded::Command {
                command: Box::new(command),
                letter: Box::new(stored(&letter)),
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

/// The event that a record carries; none for a tombstone that is no event.
fn event(record: &Record) -> Result<Option<Event>, (String, String)> {
    match binding::from_record(record) {
        Ok(event) => Ok(Some(event)),
        Err(BindingError::NotAnEvent) if record.value.is_none() => Ok(None),
        Err(BindingError::Structured) => {
            let value = record.value.clone().unwrap_or_default();
            let event = cloudevents::from_structured(&value);
            event
                .map(Some)
                .map_err(|error| ("structured".to_owned(), error.to_string()))
        }
        Err(error) => Err((error.code().to_owned(), error.to_string())),
    }
}
