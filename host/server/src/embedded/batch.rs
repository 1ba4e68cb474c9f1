//! Record batches: the value of [`Key::Batch`](super::key::Key::Batch), and its header kept apart.
//!
//! ```text
//! batch  = version u8, count u32, newest timestamp u64, record*
//! record = length u32, flags u8 (1 key, 2 value, 4 headers without value), timestamp u64, [key], [value],
//!          headers varint, (name, value)*, [count varint, (index varint)*]
//! ```
//!
//! A header without a value is written with an empty one, and its index at the end of the record.
//!
//! Nothing in a record depends on its neighbours, so two batches become one by putting their records one after the
//! other: this is how the committer joins what many callers have encoded.

use bytes::Bytes;
use weir_core::binding;
use weir_core::event::Record;

use super::codec::{DecodeError, Input, put_bytes, put_varint};

const VERSION: u8 = 1;
const HEADER: usize = 1 + 4 + 8;
const HAS_KEY: u8 = 1;
const HAS_VALUE: u8 = 2;
const HAS_NULL_HEADERS: u8 = 4;

/// An encoder starts another batch beyond this many bytes: a reader in the middle of a partition reads whole batches.
pub(super) const BATCH_BYTES_MAX: usize = 256 * 1024;

/// A batch being written. Invariant: it holds at least one record when it reaches the store.
#[derive(Debug)]
pub(super) struct Batch {
    /// Header, filled in last, and records.
    bytes: Vec<u8>,
    count: u32,
    newest_ms: u64,
}

impl Batch {
    pub(super) fn new() -> Self {
        Self {
            bytes: vec![0; HEADER],
            count: 0,
            newest_ms: 0,
        }
    }

    /// Appends a record and answers its encoded size.
    pub(super) fn push(&mut self, record: &Record) -> usize {
        let size = put_record(&mut self.bytes, record);
        self.count += 1;
        self.newest_ms = self.newest_ms.max(record.timestamp_ms);
        size
    }

    /// Takes over the other's records, behind its own.
    pub(super) fn join(&mut self, other: &Self) {
        self.bytes.extend_from_slice(&other.bytes[HEADER..]);
        self.count += other.count;
        self.newest_ms = self.newest_ms.max(other.newest_ms);
    }

    pub(super) fn len_bytes(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn header(&self) -> BatchHeader {
        BatchHeader {
            count: self.count,
            bytes: self.bytes.len() as u64,
            newest_ms: self.newest_ms,
        }
    }

    /// The stored value.
    pub(super) fn finish(mut self) -> Bytes {
        self.bytes[0] = VERSION;
        self.bytes[1..5].copy_from_slice(&self.count.to_le_bytes());
        self.bytes[5..HEADER].copy_from_slice(&self.newest_ms.to_le_bytes());
        self.bytes.into()
    }
}

/// What retention and a start need to know of a batch: the value of
/// [`Key::BatchHeader`](super::key::Key::BatchHeader).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BatchHeader {
    /// Records.
    pub(super) count: u32,
    /// Size of the batch before compression.
    pub(super) bytes: u64,
    /// The newest timestamp in it.
    pub(super) newest_ms: u64,
}

impl BatchHeader {
    pub(super) fn encode(&self) -> [u8; 21] {
        let mut out = [0; 21];
        out[0] = VERSION;
        out[1..5].copy_from_slice(&self.count.to_le_bytes());
        out[5..13].copy_from_slice(&self.bytes.to_le_bytes());
        out[13..].copy_from_slice(&self.newest_ms.to_le_bytes());
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut input = Input::versioned("batch header", Bytes::copy_from_slice(bytes), VERSION)?;
        let header = Self {
            count: input.u32()?,
            bytes: input.u64()?,
            newest_ms: input.u64()?,
        };
        input.finish()?;
        Ok(header)
    }
}

/// Reads a stored batch, record by record. Records share the batch's memory: the cost of one copy fewer is that a
/// record which is kept keeps its batch, at most [`BATCH_BYTES_MAX`] and one record.
pub(super) struct Records {
    input: Input,
    left: u32,
}

impl Records {
    pub(super) fn new(value: Bytes) -> Result<Self, DecodeError> {
        let mut input = Input::versioned("batch", value, VERSION)?;
        let left = input.u32()?;
        let _newest = input.u64()?;
        Ok(Self { input, left })
    }

    /// Records not read yet.
    pub(super) fn left(&self) -> u32 {
        self.left
    }

    /// Passes over the next record; false at the end.
    pub(super) fn skip(&mut self) -> Result<bool, DecodeError> {
        self.take().map(|record| record.is_some())
    }

    /// The next record and its encoded size.
    pub(super) fn next(&mut self) -> Result<Option<(Record, usize)>, DecodeError> {
        let Some(bytes) = self.take()? else {
            return Ok(None);
        };
        let size = bytes.len();
        Ok(Some((decode_record(bytes)?, size)))
    }

    fn take(&mut self) -> Result<Option<Bytes>, DecodeError> {
        if self.left == 0 {
            return if self.input.is_empty() {
                Ok(None)
            } else {
                Err(self.input.malformed())
            };
        }
        self.left -= 1;
        length_prefixed(&mut self.input).map(Some)
    }
}

/// Appends a record and answers its encoded size.
pub(super) fn put_record(out: &mut Vec<u8>, record: &Record) -> usize {
    let start = out.len();
    out.reserve(32 + record.bytes());
    out.extend_from_slice(&[0; 4]);
    let mut nulls = Vec::new();
    for (index, (_, value)) in record.headers.iter().enumerate() {
        if value.is_none() {
            nulls.push(index);
        }
    }
    out.push(
        u8::from(record.key.is_some()) * HAS_KEY
            + u8::from(record.value.is_some()) * HAS_VALUE
            + u8::from(!nulls.is_empty()) * HAS_NULL_HEADERS,
    );
    out.extend_from_slice(&record.timestamp_ms.to_le_bytes());
    for field in [&record.key, &record.value].into_iter().flatten() {
        put_bytes(out, field);
    }
    put_varint(out, record.headers.len() as u64);
    for (name, value) in &record.headers {
        put_bytes(out, name.as_bytes());
        put_bytes(out, value.as_deref().unwrap_or_default());
    }
    if !nulls.is_empty() {
        put_varint(out, nulls.len() as u64);
        for index in nulls {
            put_varint(out, index as u64);
        }
    }
    let size = out.len() - start;
    let length = u32::try_from(size - 4).expect("a record is far below 4 GiB");
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
    size
}

/// What [`put_record`] wrote.
pub(super) fn record(input: &mut Input) -> Result<Record, DecodeError> {
    decode_record(length_prefixed(input)?)
}

fn length_prefixed(input: &mut Input) -> Result<Bytes, DecodeError> {
    let length = input.u32()?;
    input.take(usize::try_from(length).unwrap_or(usize::MAX))
}

fn decode_record(bytes: Bytes) -> Result<Record, DecodeError> {
    let mut input = Input::new("record", bytes);
    let flags = input.u8()?;
    let timestamp_ms = input.u64()?;
    let mut field = |flag| {
        if flags & flag == 0 {
            Ok(None)
        } else {
            input.bytes().map(Some)
        }
    };
    let (key, value) = (field(HAS_KEY)?, field(HAS_VALUE)?);
    let count = input.count(2)?;
    let mut headers = Vec::with_capacity(count);
    for _ in 0..count {
        let name = input.bytes()?;
        let name = str::from_utf8(&name).map_err(|_utf8| input.malformed())?;
        headers.push((binding::header_name(name), Some(input.bytes()?)));
    }
    if flags & HAS_NULL_HEADERS != 0 {
        for _ in 0..input.count(1)? {
            let index = usize::try_from(input.varint()?).unwrap_or(usize::MAX);
            match headers.get_mut(index) {
                Some((_, value)) if value.as_ref().is_some_and(Bytes::is_empty) => *value = None,
                Some(_) | None => return Err(input.malformed()),
            }
        }
    }
    input.finish()?;
    Ok(Record {
        key,
        value,
        headers,
        timestamp_ms,
    })
}

#[cfg(test)]
pub(super) mod tests;
