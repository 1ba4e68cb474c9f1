//! Identities that are the same on every attempt, host and version, and the hash that places keys.

use std::fmt;

/// 128 bits of BLAKE3 over a label and length-prefixed fields.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash128(pub [u8; 16]);

impl fmt::Debug for Hash128 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Hash128 {
    /// 32 hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(str::from_utf8(&self.hex()).expect("hexadecimal digits are ASCII"))
    }
}

impl Hash128 {
    /// This hash with six bits replaced by version and variant of a UUID of version 8 (RFC 9562).
    #[must_use]
    pub fn as_uuid(self) -> Self {
        let mut bytes = self.0;
        bytes[6] = (bytes[6] & 0x0f) | 0x80;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        Self(bytes)
    }

    /// What [`Hash128::to_uuid`] wrote.
    #[must_use]
    pub fn from_uuid(text: &str) -> Option<Self> {
        let dashes = |at: usize| matches!(at, 8 | 13 | 18 | 23);
        let fits = text.len() == 36
            && text.bytes().enumerate().all(|(at, byte)| match byte {
                b'-' => dashes(at),
                b'0'..=b'9' | b'a'..=b'f' => !dashes(at),
                _ => false,
            });
        let hex: String = text.chars().filter(|digit| *digit != '-').collect();
        let bytes = u128::from_str_radix(&hex, 16).ok().filter(|_| fits)?;
        Some(Self(bytes.to_be_bytes()))
    }

    /// This hash as a UUID of version 8 (RFC 9562): six bits are replaced by version and variant.
    #[must_use]
    pub fn to_uuid(self) -> String {
        let hex = self.as_uuid().hex();
        let mut text = [b'-'; 36];
        text[..8].copy_from_slice(&hex[..8]);
        text[9..13].copy_from_slice(&hex[8..12]);
        text[14..18].copy_from_slice(&hex[12..16]);
        text[19..23].copy_from_slice(&hex[16..20]);
        text[24..].copy_from_slice(&hex[20..]);
        str::from_utf8(&text).unwrap_or_default().to_owned()
    }

    /// 32 hexadecimal digits, in ASCII. Each emission has three of them, so no formatter is asked.
    pub(crate) fn hex(self) -> [u8; 32] {
        const DIGITS: [u8; 16] = *b"0123456789abcdef";
        let mut hex = [0; 32];
        for (byte, pair) in self.0.into_iter().zip(hex.as_chunks_mut().0) {
            *pair = [
                DIGITS[usize::from(byte >> 4)],
                DIGITS[usize::from(byte & 15)],
            ];
        }
        hex
    }
}

/// BLAKE3 cut to 16 bytes over `label` and `fields`, each prefixed with its length as a little-endian u64.
#[must_use]
pub fn hash_128(label: &str, fields: &[&[u8]]) -> Hash128 {
    /// Most are shorter, and a buffer is hashed faster than a dozen parts.
    const SHORT: usize = 256;
    let all = || std::iter::once(label.as_bytes()).chain(fields.iter().copied());
    let length = |field: &[u8]| (field.len() as u64).to_le_bytes();
    let bytes = all().map(|field| length(field).len() + field.len()).sum();
    let mut buffer = [0; SHORT];
    let hash = if let Some(short) = buffer.get_mut(..bytes) {
        let mut rest = &mut *short;
        for part in all() {
            for bytes in [&length(part)[..], part] {
                let (here, after) = rest.split_at_mut(bytes.len());
                here.copy_from_slice(bytes);
                rest = after;
            }
        }
        blake3::hash(short)
    } else {
        let mut hasher = blake3::Hasher::new();
        for field in all() {
            hasher.update(&length(field)).update(field);
        }
        hasher.finalize()
    };
    let mut out = [0; 16];
    out.copy_from_slice(&hash.as_bytes()[..16]);
    Hash128(out)
}

/// The id of the emission at `index` of an event: a UUID.
#[must_use]
pub fn emission_id(tenant: &str, handler: &str, source: &str, id: &str, index: u32) -> String {
    let fields: [&[u8]; 5] = [
        tenant.as_bytes(),
        handler.as_bytes(),
        source.as_bytes(),
        id.as_bytes(),
        &index.to_le_bytes(),
    ];
    hash_128("weir.emission.v1", &fields).to_uuid()
}

/// The inbox identity (L1) of an event under a subscription.
#[must_use]
pub fn inbox_mark(subscription: &str, tenant: &str, source: &str, id: &str) -> Hash128 {
    let fields = [
        subscription.as_bytes(),
        tenant.as_bytes(),
        source.as_bytes(),
        id.as_bytes(),
    ];
    hash_128("weir.inbox.v1", &fields)
}

/// The same of an event that has a key of its subscription's own choice, in place of its `source` and `id`.
#[must_use]
pub fn inbox_key_mark(subscription: &str, tenant: &str, key: &str) -> Hash128 {
    let fields = [subscription.as_bytes(), tenant.as_bytes(), key.as_bytes()];
    hash_128("weir.inbox-key.v1", &fields)
}

/// The identity of one setting of a timer: which one of the sequence, by which event, in which call.
#[must_use]
pub fn timer_id(
    subscription: &str,
    tenant: &str,
    key: &[u8],
    name: &str,
    event: (&str, &str),
    call: u32,
) -> Hash128 {
    let fields: [&[u8]; 7] = [
        subscription.as_bytes(),
        tenant.as_bytes(),
        key,
        name.as_bytes(),
        event.0.as_bytes(),
        event.1.as_bytes(),
        &call.to_le_bytes(),
    ];
    hash_128("weir.timer.v1", &fields).as_uuid()
}

/// The key for calls to systems outside: the same on every attempt, host and version.
#[must_use]
pub fn idempotency_key(tenant: &str, handler: &str, source: &str, id: &str, label: &str) -> String {
    let fields = [
        tenant.as_bytes(),
        handler.as_bytes(),
        source.as_bytes(),
        id.as_bytes(),
        label.as_bytes(),
    ];
    hash_128("weir.idempotency.v1", &fields).to_uuid()
}

/// The hash that places a record: Kafka's murmur2 of the key, made positive; of the identity for a record without a
/// key, so that a repeat meets the inbox that has seen it.
#[must_use]
pub fn partition_hash(key: Option<&[u8]>, tenant: &str, source: &str, id: &str) -> u32 {
    match key {
        Some(key) => murmur2(key) & 0x7fff_ffff,
        None => {
            let mut bytes = Vec::with_capacity(24 + tenant.len() + source.len() + id.len());
            for field in [tenant, source, id] {
                bytes.extend_from_slice(&(field.len() as u64).to_le_bytes());
                bytes.extend_from_slice(field.as_bytes());
            }
            murmur2(&bytes) & 0x7fff_ffff
        }
    }
}

/// MurmurHash2 with Kafka's seed (`org.apache.kafka.common.utils.Utils.murmur2`).
#[must_use]
pub fn murmur2(data: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    const R: u32 = 24;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "Kafka hashes an int length; records are far below 4 GiB"
    )]
    let mut h = SEED ^ data.len() as u32;
    let (words, tail) = data.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> R;
        h = h.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !tail.is_empty() {
        for (i, byte) in tail.iter().enumerate() {
            h ^= u32::from(*byte) << (8 * i);
        }
        h = h.wrapping_mul(M);
    }
    h ^= h >> 13;
    h = h.wrapping_mul(M);
    h ^ (h >> 15)
}

#[cfg(test)]
mod tests;
