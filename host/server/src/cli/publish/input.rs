//! The events of a file: JSON lines or one JSON array, either of them gzipped.
//!
//! Reads as a stream and holds one event at a time, so that neither a large file nor a small one that unpacks to a
//! large one fills the memory. Events keep their bytes: they are checked, not written anew.

use std::borrow::Cow;
use std::io::{self, BufRead, BufReader, Cursor, Read};

use flate2::bufread::MultiGzDecoder;
use serde::Deserialize;

/// One event in its JSON form: the host's limit of 1 MiB, in base64 and with escapes, with room to spare.
const EVENT_BYTES_MAX: usize = 4 << 20;
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Reads event after event.
pub(super) struct Input<'r> {
    reader: Box<dyn BufRead + 'r>,
    form: Form,
    line: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Lines,
    /// The next thing is an element or the end; a comma before it when there was one before.
    Array {
        comma: bool,
    },
    Ended,
}

/// One event as it was written.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Item {
    /// The line on which it starts, from 1.
    pub(super) line: u64,
    /// One JSON object.
    pub(super) json: Vec<u8>,
}

/// The input is no list of events.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// A line is no event.
    #[error("line {line}: {reason}")]
    Line {
        /// From 1.
        line: u64,
        /// What is wrong, and what would be right.
        reason: String,
    },
    /// The host refused events of a batch; says which lines and why.
    #[error("nothing of the last batch was taken: {0}")]
    Refused(String),
    /// The input could not be read or unpacked.
    #[error("read the input after line {line}: {source}")]
    Read {
        /// The last line that was read.
        line: u64,
        /// Cause.
        source: io::Error,
    },
}

/// What every CloudEvent has; checked here so that the line can be named before anything is sent.
#[derive(Deserialize)]
struct Required<'a> {
    #[serde(borrow)]
    specversion: Option<Cow<'a, str>>,
    #[serde(borrow)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    source: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "type")]
    ty: Option<Cow<'a, str>>,
}

impl<'r> Input<'r> {
    /// Recognises gzip by its first two bytes and an array by its first bracket. The byte order mark that some editors
    /// write is passed over.
    pub(super) fn new(mut raw: impl Read + 'r) -> Result<Self, InputError> {
        let failed = |source| InputError::Read { line: 0, source };
        let mut head = Vec::with_capacity(GZIP_MAGIC.len());
        (&mut raw)
            .take(GZIP_MAGIC.len() as u64)
            .read_to_end(&mut head)
            .map_err(failed)?;
        let zipped = head == GZIP_MAGIC;
        let raw = BufReader::new(Cursor::new(head).chain(raw));
        let reader: Box<dyn BufRead> = if zipped {
            Box::new(BufReader::new(MultiGzDecoder::new(raw)))
        } else {
            Box::new(raw)
        };
        let mut input = Self {
            reader,
            form: Form::Lines,
            line: 0,
        };
        input.skip_mark()?;
        if input.peek_solid()? == Some(b'[') {
            input.reader.consume(1);
            input.form = Form::Array { comma: false };
            input.line += 1;
        }
        Ok(input)
    }

    /// The next event; none at the end.
    pub(super) fn next(&mut self) -> Result<Option<Item>, InputError> {
        let item = match self.form {
            Form::Lines => self.next_line()?,
            Form::Array { comma } => self.next_element(comma)?,
            Form::Ended => None,
        };
        if let Some(item) = &item {
            check(&item.json).map_err(|reason| InputError::Line {
                line: item.line,
                reason,
            })?;
        }
        Ok(item)
    }

    fn next_line(&mut self) -> Result<Option<Item>, InputError> {
        loop {
            let mut json = Vec::new();
            let limit = EVENT_BYTES_MAX as u64 + 1;
            let read = (&mut self.reader).take(limit).read_until(b'\n', &mut json);
            let read = read.map_err(|source| InputError::Read {
                line: self.line,
                source,
            })?;
            if read == 0 {
                return Ok(None);
            }
            self.line += 1;
            if json.len() > EVENT_BYTES_MAX {
                return Err(self.too_long(self.line));
            }
            json.truncate(json.trim_ascii_end().len());
            if !json.is_empty() {
                return Ok(Some(Item {
                    line: self.line,
                    json,
                }));
            }
        }
    }

    fn next_element(&mut self, comma: bool) -> Result<Option<Item>, InputError> {
        let mut found = self.peek_solid()?;
        if found == Some(b']') {
            self.reader.consume(1);
            self.form = Form::Ended;
            return match self.peek_solid()? {
                None => Ok(None),
                Some(_) => Err(self.fault("something follows the array: remove it")),
            };
        }
        if comma {
            if found != Some(b',') {
                return Err(self.fault("expected `,` or `]` after an event of the array"));
            }
            self.reader.consume(1);
            found = self.peek_solid()?;
        }
        if found != Some(b'{') {
            return Err(self.fault("expected an event, as in {\"specversion\":\"1.0\", ..}"));
        }
        self.form = Form::Array { comma: true };
        self.object().map(Some)
    }

    /// The bytes from an opening brace to the one that closes it.
    fn object(&mut self) -> Result<Item, InputError> {
        let first = self.line;
        let mut json = Vec::new();
        let (mut depth, mut quoted, mut escaped) = (0_u32, false, false);
        loop {
            let chunk = self.reader.fill_buf().map_err(|source| InputError::Read {
                line: self.line,
                source,
            })?;
            if chunk.is_empty() {
                return Err(InputError::Line {
                    line: first,
                    reason: "the event is cut off".to_owned(),
                });
            }
            let mut ended = None;
            for (index, byte) in chunk.iter().enumerate() {
                self.line += u64::from(*byte == b'\n');
                match byte {
                    _ if escaped => escaped = false,
                    b'\\' if quoted => escaped = true,
                    b'"' => quoted = !quoted,
                    _ if quoted => {}
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' => depth -= 1,
                    _ => {}
                }
                if depth == 0 {
                    ended = Some(index + 1);
                    break;
                }
            }
            let taken = ended.unwrap_or(chunk.len());
            json.extend_from_slice(&chunk[..taken]);
            self.reader.consume(taken);
            if json.len() > EVENT_BYTES_MAX {
                return Err(self.too_long(first));
            }
            if ended.is_some() {
                return Ok(Item { line: first, json });
            }
        }
    }

    fn skip_mark(&mut self) -> Result<(), InputError> {
        const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();
        let mut head = Vec::with_capacity(BYTE_ORDER_MARK.len());
        let limit = BYTE_ORDER_MARK.len() as u64;
        (&mut self.reader)
            .take(limit)
            .read_to_end(&mut head)
            .map_err(|source| InputError::Read { line: 0, source })?;
        if head != BYTE_ORDER_MARK {
            let rest = std::mem::replace(&mut self.reader, Box::new(io::empty()));
            self.reader = Box::new(Cursor::new(head).chain(rest));
        }
        Ok(())
    }

    /// The next byte that is no white space, which stays unread.
    fn peek_solid(&mut self) -> Result<Option<u8>, InputError> {
        loop {
            let chunk = self.reader.fill_buf().map_err(|source| InputError::Read {
                line: self.line,
                source,
            })?;
            let solid = chunk.iter().position(|byte| !byte.is_ascii_whitespace());
            let blank = &chunk[..solid.unwrap_or(chunk.len())];
            let (blanks, found, ended) = (blank.len(), solid.map(|at| chunk[at]), chunk.is_empty());
            self.line += blank
                .iter()
                .map(|byte| u64::from(*byte == b'\n'))
                .sum::<u64>();
            self.reader.consume(blanks);
            if found.is_some() || ended {
                return Ok(found);
            }
        }
    }

    fn fault(&self, reason: &str) -> InputError {
        InputError::Line {
            line: self.line,
            reason: reason.to_owned(),
        }
    }

    fn too_long(&self, line: u64) -> InputError {
        InputError::Line {
            line,
            reason: format!("the event is longer than {} MiB", EVENT_BYTES_MAX >> 20),
        }
    }
}

fn check(json: &[u8]) -> Result<(), String> {
    const REMEDY: &str = "write each CloudEvent in JSON on one line, or put all between [ and ]";
    let event: Required<'_> =
        serde_json::from_slice(json).map_err(|error| match error.classify() {
            serde_json::error::Category::Data => format!("not an event ({error}): {REMEDY}"),
            serde_json::error::Category::Io
            | serde_json::error::Category::Syntax
            | serde_json::error::Category::Eof => {
                format!("not JSON (column {}): {REMEDY}", error.column())
            }
        })?;
    if event.specversion.as_deref() != Some("1.0") {
        return Err("`specversion` must be \"1.0\"".to_owned());
    }
    for (name, value) in [
        ("id", event.id),
        ("source", event.source),
        ("type", event.ty),
    ] {
        if value.is_none_or(|value| value.is_empty()) {
            return Err(format!("`{name}` is missing or empty: every event has one"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
