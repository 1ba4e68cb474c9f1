//! The sample input that ships with the project: purchases of the same shape as the full log, made by arithmetic.
//!
//! The file is committed, so that the demo works from a clone alone; a test keeps it and this generator the same.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;

pub(crate) mod format;
#[cfg(test)]
mod tests;

/// The file, from the root of the repository.
pub(crate) const PATH: &str = "tests/data/invoices-sample.ndjson.gz";

/// Enough for a kill in the middle to hit something, few enough for a demo of seconds.
const EVENTS: u64 = 5_000;
const CUSTOMERS: u64 = 1_200;
const SEED: u64 = 1_997;

/// Writes the sample anew.
///
/// # Errors
/// The file cannot be written.
pub(crate) fn write(root: &Path) -> anyhow::Result<()> {
    let path = root.join(PATH);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    }
    let file = fs::File::create(&path).with_context(|| format!("create {}", path.display()))?;
    let mut gzip = flate2::write::GzEncoder::new(file, flate2::Compression::best());
    gzip.write_all(events().as_bytes())
        .with_context(|| format!("write {}", path.display()))?;
    gzip.finish()
        .with_context(|| format!("write {}", path.display()))?;
    eprintln!("wrote {EVENTS} events to {}", path.display());
    Ok(())
}

/// One structured CloudEvent a line.
fn events() -> String {
    let mut random = Random(SEED);
    let mut lines = String::new();
    for number in 1..=EVENTS {
        // The smaller of two draws: a few customers buy often, most of them rarely.
        let customer = random.below(CUSTOMERS).min(random.below(CUSTOMERS)) + 1;
        let quantity = 1 + random.below(5);
        let cents = if random.below(100) == 0 {
            0
        } else {
            quantity * (499 + random.below(1_500))
        };
        // Eighteen months of 28 days, in order.
        let day = (number - 1) * 18 * 28 / EVENTS;
        let (month, day) = (day / 28, day % 28 + 1);
        let (year, month) = (1997 + month / 12, month % 12 + 1);
        let (dollars, cents) = (cents / 100, cents % 100);
        let (high, low) = (random.next(), random.next());
        writeln!(
            lines,
            r#"{{"specversion":"1.0","id":"sample-{number:06}","source":"/sample/sales","type":"InvoiceCreated","subject":"customer/{customer:05}","time":"{year}-{month:02}-{day:02}T00:00:00Z","datacontenttype":"application/json","tenantid":"sample","partitionkey":"{customer:05}","data":{{"invoiceId":"{:08x}-{:04x}-8{:03x}-8{:03x}-{:012x}","customerId":"{customer:05}","quantity":{quantity},"amount":"{dollars}.{cents:02}","currency":"USD"}}}}"#,
            high >> 32,
            (high >> 16) & 0xffff,
            high & 0xfff,
            low >> 52,
            low & 0xffff_ffff_ffff,
        )
        .expect("writing to a string cannot fail");
    }
    lines
}

/// SplitMix64: the same numbers on every machine, without a dependency.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Less than `bound`; its bias is far below what a sample shows.
    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}
