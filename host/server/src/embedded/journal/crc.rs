//! CRC-32C as RocksDB uses it, eight bytes a step.

/// The polynomial of Castagnoli, reflected.
const POLYNOMIAL: u32 = 0x82f6_3b78;
/// RocksDB masks checksums that it stores, because one of data that holds checksums is weak.
const MASK: u32 = 0xa282_ead8;

static TABLES: [[u32; 256]; 8] = tables();

/// A checksum in the making.
#[derive(Clone, Copy)]
pub(super) struct Crc(u32);

impl Crc {
    pub(super) fn of(bytes: &[u8]) -> Self {
        let mut crc = Self(!0);
        crc.add(bytes);
        crc
    }

    pub(super) fn add(&mut self, bytes: &[u8]) {
        let table = |step: usize, byte: u32| TABLES[step][(byte & 0xff) as usize];
        let mut crc = self.0;
        let (words, rest) = bytes.as_chunks::<8>();
        for &[a, b, c, d, e, f, g, h] in words {
            crc ^= u32::from_le_bytes([a, b, c, d]);
            crc = table(7, crc)
                ^ table(6, crc >> 8)
                ^ table(5, crc >> 16)
                ^ table(4, crc >> 24)
                ^ table(3, e.into())
                ^ table(2, f.into())
                ^ table(1, g.into())
                ^ table(0, h.into());
        }
        for &byte in rest {
            crc = table(0, crc ^ u32::from(byte)) ^ (crc >> 8);
        }
        self.0 = crc;
    }

    /// As it is stored.
    pub(super) fn masked(self) -> u32 {
        (!self.0).rotate_right(15).wrapping_add(MASK)
    }
}

const fn tables() -> [[u32; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        #[expect(clippy::cast_possible_truncation, reason = "below 256")]
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 {
                (crc >> 1) ^ POLYNOMIAL
            } else {
                crc >> 1
            };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut step = 1;
    while step < 8 {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[step - 1][byte];
            tables[step][byte] = tables[0][(before & 0xff) as usize] ^ (before >> 8);
            byte += 1;
        }
        step += 1;
    }
    tables
}
