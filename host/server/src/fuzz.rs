//! What must hold for any bytes that come from outside: nothing panics, and what is taken can be told again.
//!
//! One function for each door. The fuzzer in `fuzz/` calls them, and so do tests, with the seeds that it starts from and
//! mutations of them.

use std::path::Path;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;
use weir_core::binding;
use weir_core::event::{Event, Record};
use weir_core::unit::Origin;

use crate::cloudevents;
use crate::config::Config;
use crate::manifest::{Manifest, Mapping};

/// Events of one request.
const BATCH_EVENTS_MAX: usize = 100;

/// Takes bytes in at one door.
pub type Door = fn(&[u8]);

/// All doors by name.
pub const DOORS: [(&str, Door); 8] = [
    ("structured", structured),
    ("batch", batch),
    ("binary", binary),
    ("record", record),
    ("mapping", mapping),
    ("config", config),
    ("manifest", manifest),
    ("component", component),
];

/// A request in the structured mode.
pub fn structured(bytes: &[u8]) {
    let body = Bytes::copy_from_slice(bytes);
    if let Ok(event) = cloudevents::from_structured(&body) {
        survives(&event);
        assert_eq!(in_json(&event), as_json_has_it(event), "told in JSON");
    }
}

/// A batch.
pub fn batch(bytes: &[u8]) {
    let body = Bytes::copy_from_slice(bytes);
    let Ok(events) = cloudevents::from_batch(&body, BATCH_EVENTS_MAX) else {
        return;
    };
    assert!(events.len() <= BATCH_EVENTS_MAX, "{}", events.len());
    events.iter().for_each(survives);
}

/// A request in the binary mode: lines of `name: value`, an empty one, and the body.
pub fn binary(bytes: &[u8]) {
    let (lines, body) = head_and_body(bytes);
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        if let (Ok(name), Ok(value)) = (
            HeaderName::from_bytes(name),
            HeaderValue::from_bytes(value.unwrap_or_default()),
        ) {
            headers.append(name, value);
        }
    }
    if let Ok(event) = cloudevents::from_http(&headers, Bytes::copy_from_slice(body)) {
        survives(&event);
    }
    let structured = cloudevents::from_structured(&Bytes::copy_from_slice(body));
    if let Ok(event) = structured {
        // Either answer is right; that there is one is what counts.
        let _agrees = cloudevents::check_headers(&headers, &event).is_ok();
    }
}

/// A record of a bus: as `binary`, and a line without a colon is a header without a value.
pub fn record(bytes: &[u8]) {
    if let Ok(event) = cloudevents::from_record(&record_of(bytes)) {
        survives(&event);
        let json = cloudevents::to_structured(&event);
        let again = binding::to_structured(json, None, 0);
        let again = cloudevents::from_record(&again).expect("what is written is read");
        assert_eq!(again, as_json_has_it(event), "in the structured mode");
    }
}

/// The `[mapping]` of a manifest, a line `---`, and a record.
pub fn mapping(bytes: &[u8]) {
    let Some(end) = bytes.windows(5).position(|part| part == b"\n---\n") else {
        return;
    };
    let Ok(text) = std::str::from_utf8(&bytes[..end]) else {
        return;
    };
    let mapping = match Mapping::parse(Path::new("handler.toml"), text) {
        Ok(mapping) => mapping,
        Err(faults) => return explained(Some(faults)),
    };
    let record = record_of(&bytes[end + 5..]);
    let origin = Origin {
        topic: "t".into(),
        partition: 1,
        offset: 2,
    };
    let mapped = mapping.event(&record, &origin);
    assert_eq!(mapped, mapping.event(&record, &origin), "a second time");
    match mapped {
        Ok(Some(mut event)) => {
            assert_eq!(event.data, record.value);
            event.mapped_key = None;
            event.is_named_by_place = false;
            survives(&event);
        }
        Ok(None) => assert_eq!(record.value, None),
        Err(error) => assert!(!error.code().is_empty() && !error.to_string().is_empty()),
    }
}

fn record_of(bytes: &[u8]) -> Record {
    let (lines, body) = head_and_body(bytes);
    let headers = lines.filter_map(|(name, value)| {
        let name = std::str::from_utf8(name).ok()?;
        Some((
            binding::header_name(name),
            value.map(Bytes::copy_from_slice),
        ))
    });
    Record {
        key: Some(Bytes::from_static(b"key")),
        value: (!body.is_empty()).then(|| Bytes::copy_from_slice(body)),
        headers: headers.collect(),
        timestamp_ms: 0,
    }
}

/// `weir.toml`.
pub fn config(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        explained(Config::parse(Path::new("weir.toml"), text).err());
    }
}

/// `handler.toml`.
pub fn manifest(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let file = Path::new("handler.toml");
        explained(Manifest::parse(file, text, &Config::default()).err());
    }
}

/// The file of a component, as far as it is read without compiling it.
pub fn component(bytes: &[u8]) {
    if let Ok(found) = weir_wasm::describe(bytes) {
        let refused = weir_wasm::check_description(&found, &weir_wasm::Grants::default());
        assert!(refused.iter().all(|error| !error.to_string().is_empty()));
    }
}

/// An event that was taken is the same after it has been a record.
fn survives(event: &Event) {
    assert!(!event.id.is_empty() && !event.source.is_empty() && !event.ty.is_empty());
    let record = binding::to_record(event, None, 0);
    assert_eq!(
        binding::from_record(&record).as_ref(),
        Ok(event),
        "as a record"
    );
}

fn in_json(event: &Event) -> Event {
    let json = cloudevents::to_json(event).get().to_owned();
    cloudevents::from_structured(&Bytes::from(json)).expect("what the host tells is valid")
}

/// What is told in JSON stands on one line: of data that are JSON line ends between the parts become spaces, and what stands
/// around them goes. Data of no type are JSON. All others, those that only say that they are JSON too, stay byte for byte.
fn as_json_has_it(event: Event) -> Event {
    let ty = event.datacontenttype.as_deref();
    let ty = ty.unwrap_or("application/json");
    let text = event.data.as_deref().map(str::from_utf8);
    let Some(Ok(text)) = text.filter(|_| cloudevents::is_json(ty)) else {
        return event;
    };
    let parsed = serde_json::from_str::<&serde_json::value::RawValue>(text);
    match parsed.map(serde_json::value::RawValue::get) {
        Ok("null") | Err(_) => event,
        Ok(json) => Event {
            data: Some(json.replace(['\r', '\n'], " ").into()),
            datacontenttype: Some(ty.to_owned()),
            ..event
        },
    }
}

/// A file is refused with a reason for each fault.
fn explained(faults: Option<crate::config::Faults>) {
    for fault in faults.into_iter().flat_map(|faults| faults.0) {
        assert!(!fault.message.is_empty(), "{fault:?}");
    }
}

/// A name, and the value of one that has a colon.
type Line<'a> = (&'a [u8], Option<&'a [u8]>);

fn head_and_body(bytes: &[u8]) -> (impl Iterator<Item = Line<'_>>, &[u8]) {
    let end = bytes.windows(2).position(|pair| pair == b"\n\n");
    let (head, body) = match end {
        Some(end) => (&bytes[..end], &bytes[end + 2..]),
        None => (bytes, &[][..]),
    };
    let lines = head.split(|byte| *byte == b'\n').map(|line| {
        let colon = line.iter().position(|byte| *byte == b':');
        match colon {
            Some(colon) => (&line[..colon], Some(line[colon + 1..].trim_ascii())),
            None => (line, None),
        }
    });
    (lines, body)
}

#[cfg(test)]
mod tests;
