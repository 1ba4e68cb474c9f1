//! The binary mode of the HTTP protocol binding: attributes are headers `ce-<name>`, data is the body.

use std::borrow::Cow;

use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use bytes::Bytes;
use weir_core::event::Event;

use super::{Attributes, EventError};

const PREFIX: &str = "ce-";

/// Whether any header is an attribute: the mark of the binary mode.
#[must_use]
pub fn has_attributes(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| name.as_str().starts_with(PREFIX))
}

/// The event in these headers and this body. HTTP cannot tell an empty body from none: both are no data.
pub fn from_http(headers: &HeaderMap, body: Bytes) -> Result<Event, EventError> {
    let mut attributes = Attributes::default();
    for (header, value) in headers {
        let (name, text) = match header.as_str().strip_prefix(PREFIX) {
            // It has a header of its own, the content type, which is not encoded.
            Some("datacontenttype") => return Err(EventError::Name(header.to_string())),
            Some(name) => (name, decode(value.as_bytes())),
            None if header == CONTENT_TYPE => {
                ("datacontenttype", value.to_str().ok().map(str::to_owned))
            }
            None => continue,
        };
        attributes.add(
            name,
            Some(text.ok_or_else(|| EventError::Header(header.to_string()))?),
        )?;
    }
    let mut event = attributes.finish()?;
    event.data = (!body.is_empty()).then_some(body);
    Ok(event)
}

/// Whether the attributes that headers repeat beside a structured event are the event's own.
pub fn check_headers(headers: &HeaderMap, event: &Event) -> Result<(), EventError> {
    for (header, value) in headers {
        let Some(name) = header.as_str().strip_prefix(PREFIX) else {
            continue;
        };
        let text = decode(value.as_bytes());
        let text = text.ok_or_else(|| EventError::Header(header.to_string()))?;
        if event.attribute(name) != Some(text.as_str()) {
            return Err(EventError::Disagrees(header.to_string()));
        }
    }
    Ok(())
}

/// A header's value as the binding says: quotes of older versions go first, then one round of percent-decoding.
fn decode(value: &[u8]) -> Option<String> {
    let value = unquote(value)?;
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.iter();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => hex(*rest.next()?)? << 4 | hex(*rest.next()?)?,
            byte => *byte,
        });
    }
    String::from_utf8(bytes).ok()
}

/// The content of a quoted string of RFC 9110; other values as they are.
fn unquote(value: &[u8]) -> Option<Cow<'_, [u8]>> {
    let Some(inner) = value.strip_prefix(b"\"") else {
        return Some(Cow::Borrowed(value));
    };
    let inner = inner.strip_suffix(b"\"")?;
    let mut out = Vec::with_capacity(inner.len());
    let mut rest = inner.iter();
    while let Some(byte) = rest.next() {
        match byte {
            b'\\' => out.push(*rest.next()?),
            b'"' => return None,
            byte => out.push(*byte),
        }
    }
    Some(Cow::Owned(out))
}

fn hex(digit: u8) -> Option<u8> {
    u8::try_from(char::from(digit).to_digit(16)?).ok()
}
