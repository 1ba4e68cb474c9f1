//! Numbers and byte strings of the stored values, and how a malformed value is refused.
//!
//! Fixed-width numbers are little-endian; lengths are LEB128. Checksums are RocksDB's.

use bytes::Bytes;

/// A stored value that this program cannot read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum DecodeError {
    /// Written by another version.
    #[error("{what} of version {found}; this program reads {supported}")]
    Version {
        /// Kind of value.
        what: &'static str,
        /// Its first byte.
        found: u8,
        /// What can be read.
        supported: u8,
    },
    /// It ends early, goes on too long, or says what cannot be.
    #[error("malformed {0}")]
    Malformed(&'static str),
}

pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(low_byte(value) | 0x80);
        value >>= 7;
    }
    out.push(low_byte(value));
}

pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// One byte that says whether a value follows.
pub(super) fn put_option<T>(
    out: &mut Vec<u8>,
    value: Option<T>,
    put: impl FnOnce(&mut Vec<u8>, T),
) {
    out.push(u8::from(value.is_some()));
    if let Some(value) = value {
        put(out, value);
    }
}

fn low_byte(value: u64) -> u8 {
    (value & 0x7f) as u8
}

/// Takes values off the front of a buffer; byte strings share it.
pub(super) struct Input {
    rest: Bytes,
    what: &'static str,
}

impl Input {
    /// `what` names the kind of value in errors.
    pub(super) fn new(what: &'static str, bytes: Bytes) -> Self {
        Self { rest: bytes, what }
    }

    /// Reads the first byte, which must be `supported`.
    pub(super) fn versioned(
        what: &'static str,
        bytes: Bytes,
        supported: u8,
    ) -> Result<Self, DecodeError> {
        let mut input = Self::new(what, bytes);
        let found = input.u8()?;
        if found == supported {
            Ok(input)
        } else {
            Err(DecodeError::Version {
                what,
                found,
                supported,
            })
        }
    }

    pub(super) fn malformed(&self) -> DecodeError {
        DecodeError::Malformed(self.what)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn take(&mut self, len: usize) -> Result<Bytes, DecodeError> {
        if len > self.rest.len() {
            return Err(self.malformed());
        }
        Ok(self.rest.split_to(len))
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (array, _) = self
            .rest
            .split_first_chunk::<N>()
            .ok_or(DecodeError::Malformed(self.what))?;
        let array = *array;
        bytes::Buf::advance(&mut self.rest, N);
        Ok(array)
    }

    pub(super) fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn bool(&mut self) -> Result<bool, DecodeError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(self.malformed()),
        }
    }

    pub(super) fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, DecodeError> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn varint(&mut self) -> Result<u64, DecodeError> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.malformed())
    }

    /// A varint of a narrower type.
    pub(super) fn varint_of<T: TryFrom<u64>>(&mut self) -> Result<T, DecodeError> {
        T::try_from(self.varint()?).map_err(|_range| self.malformed())
    }

    /// What [`put_option`] wrote.
    pub(super) fn option<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Option<T>, DecodeError> {
        if self.bool()? {
            read(self).map(Some)
        } else {
            Ok(None)
        }
    }

    /// A varint that counts things of at least `bytes_each` bytes, so that a damaged count cannot ask for more memory
    /// than the value's own size.
    pub(super) fn count(&mut self, bytes_each: usize) -> Result<usize, DecodeError> {
        let count = usize::try_from(self.varint()?).unwrap_or(usize::MAX);
        if count.saturating_mul(bytes_each) > self.rest.len() {
            Err(self.malformed())
        } else {
            Ok(count)
        }
    }

    /// As many things of at least `bytes_each` bytes as a varint says.
    pub(super) fn list<T>(
        &mut self,
        bytes_each: usize,
        mut read: impl FnMut(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        let count = self.count(bytes_each)?;
        let mut list = Vec::with_capacity(count);
        for _ in 0..count {
            list.push(read(self)?);
        }
        Ok(list)
    }

    pub(super) fn bytes(&mut self) -> Result<Bytes, DecodeError> {
        let len = self.count(1)?;
        self.take(len)
    }

    pub(super) fn string(&mut self) -> Result<String, DecodeError> {
        let bytes = self.bytes()?;
        str::from_utf8(&bytes)
            .map(str::to_owned)
            .map_err(|_utf8| self.malformed())
    }

    pub(super) fn rest(self) -> Bytes {
        self.rest
    }

    pub(super) fn finish(self) -> Result<(), DecodeError> {
        if self.is_empty() {
            Ok(())
        } else {
            Err(self.malformed())
        }
    }
}
