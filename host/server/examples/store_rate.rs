//! What the embedded store alone does for the writes of the host: groups of 256 events of 1 kB over 12 partitions, each
//! answered by an emission of 600 B, an inbox mark and 64 B of state, two synced commits a group, one after the other.
//! Prints one line of JSON; `cargo xtask bench` puts it beside the host's own rate.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use futures_util::future::join_all;
use weir::bus::{Bus, Publish};
use weir::embedded::{Embedded, EmbeddedConfig};
use weir::ledger::{Committed, Ledger, Scope};
use weir_core::event::{Record, StateWrite};
use weir_core::identity::hash_128;
use weir_core::time::Millis;
use weir_core::unit::{
    CommitResult, Completion, Cursor, Fate, ItemId, OutRecord, Output, Position, SequenceKey, Unit,
};

const PARTITIONS: u32 = 12;
const GROUP: u64 = 256;
const RUN: Duration = Duration::from_secs(5);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    // Beside the build, because the system's scratch directory may lie in memory.
    let scratch = tempfile::tempdir_in("target").context("make a scratch directory in ./target")?;
    let syncs = syncs_per_s(&scratch.path().join("sync"))?;
    let store = Embedded::open(&scratch.path().join("store"), EmbeddedConfig::default())?;
    store.ensure_topic("in", PARTITIONS)?;
    store.ensure_topic("out", PARTITIONS)?;
    let (written, slowest, units) = write(&store).await?;
    let read = read(&store).await?;
    let (part, stretch) = look_up(&store, units)?;
    store.close();
    writeln!(
        std::io::stdout(),
        "{{\"inbox_part_us\":{part:.1},\"inbox_look_up_us\":{stretch:.1},\"store_events_per_s\":{written:.0},\"store_slowest_ms\":{slowest:.1},\"store_reads_per_s\":{read:.0},\"fsync_per_s\":{syncs:.0}}}"
    )?;
    Ok(())
}

fn scope() -> Scope {
    Scope {
        group: "weir.bench.default.rate".into(),
        topics: Arc::new(["in".into()]),
    }
}

/// Events per second, the slowest commit in milliseconds, and the number of the last unit.
async fn write(store: &Embedded) -> anyhow::Result<(f64, f64, u64)> {
    let (scope, mut last) = (scope(), 0);
    let (payload, emission) = (noise(1000), noise(600));
    let (mut events, mut slowest) = (0, Duration::ZERO);
    let mut frontiers = vec![0; PARTITIONS as usize];
    let begun = Instant::now();
    for number in 1.. {
        let group = Instant::now();
        let records = (events..events + GROUP)
            .map(|event| publish(event, &payload))
            .collect();
        store.publish("in", records).await?;
        slowest = slowest.max(group.elapsed());

        let commit = Instant::now();
        let mut completions: Vec<Vec<Arc<Completion>>> = vec![Vec::new(); PARTITIONS as usize];
        for event in events..events + GROUP {
            let partition = partition(event) as usize;
            let offset = frontiers[partition] + completions[partition].len() as u64;
            completions[partition].push(completion(event, offset, &emission));
        }
        let commits = (0..PARTITIONS)
            .zip(completions)
            .map(|(partition, completions)| {
                let frontier = &mut frontiers[partition as usize];
                *frontier += completions.len() as u64;
                store.commit(&scope, partition, unit(number, *frontier, completions))
            });
        for result in join_all(commits.collect::<Vec<_>>()).await {
            anyhow::ensure!(result == CommitResult::Committed, "{result:?}");
        }
        slowest = slowest.max(commit.elapsed());
        events += GROUP;
        last = number;
        if begun.elapsed() > RUN {
            break;
        }
    }
    Ok((
        events as f64 / begun.elapsed().as_secs_f64(),
        slowest.as_secs_f64() * 1e3,
        last,
    ))
}

/// Microseconds that it takes to find that an id is not among those that left memory together (62,500 of them), and that it
/// is not in the stretch that their filter names, a sixty-fourth of them.
fn look_up(store: &Embedded, units: u64) -> anyhow::Result<(f64, f64)> {
    const LOOKS: u32 = 200;
    const PART: u64 = 62_500;
    let of_unit = (GROUP / u64::from(PARTITIONS)).max(1);
    let part = (PART / of_unit).min(units).max(64);
    let time = |units: u64| {
        let begun = Instant::now();
        for look in 0..LOOKS {
            let id = hash_128("bench", &[&look.to_le_bytes()]);
            let found = store.marked(&scope(), 0, id, &[1..=units])?;
            anyhow::ensure!(found.is_none(), "an id that nobody has marked is found");
        }
        anyhow::Ok(begun.elapsed().as_secs_f64() * 1e6 / f64::from(LOOKS))
    };
    // Once before, so that both read from memory.
    time(part)?;
    Ok((time(part)?, time(part / 64)?))
}

/// Records per second, all of a topic once.
async fn read(store: &Embedded) -> anyhow::Result<f64> {
    let begun = Instant::now();
    let mut count = 0;
    for partition in 0..PARTITIONS {
        let (start, end) = store
            .extent("in", partition)
            .context("the topic was made above")?;
        let mut reader = store.reader("in", partition, start)?;
        let mut next = start;
        while next < end {
            let records = reader.fetch(1 << 20).await?;
            next += records.len() as u64;
        }
        count += end - start;
    }
    Ok(count as f64 / begun.elapsed().as_secs_f64())
}

fn publish(event: u64, payload: &Bytes) -> Publish {
    Publish {
        partition_hash: partition(event),
        record: record(event, payload),
    }
}

fn partition(event: u64) -> u32 {
    u32::try_from(event % u64::from(PARTITIONS)).expect("a remainder of a u32")
}

/// As an event lies on the bus: attributes in headers.
fn record(event: u64, payload: &Bytes) -> Record {
    let header = |name: &'static str, value: String| (name.into(), Some(Bytes::from(value)));
    Record {
        key: Some(Bytes::from(format!("customer-{}", event % 10_000))),
        value: Some(payload.clone()),
        headers: vec![
            header("ce_specversion", "1.0".to_owned()),
            header("ce_id", format!("event-{event}")),
            header("ce_source", "/bench".to_owned()),
            header("ce_type", "Purchased".to_owned()),
        ],
        timestamp_ms: Millis::default().0,
    }
}

fn completion(event: u64, offset: u64, emission: &Bytes) -> Arc<Completion> {
    let partition_hash = partition(event);
    let out = OutRecord {
        topic: "out".into(),
        partition: None,
        partition_hash,
        record: record(event, emission),
    };
    let total = StateWrite {
        name: "total".to_owned(),
        value: Some(emission.slice(..64)),
        ttl_ms: None,
    };
    Arc::new(Completion {
        item: ItemId::Record(Position { topic: 0, offset }),
        sequence: SequenceKey::Keyed {
            tenant: "default".into(),
            key: Bytes::from(format!("customer-{}", event % 10_000)),
        },
        fate: Fate::Handled,
        mark: Some(hash_128("bench", &[&event.to_le_bytes()])),
        output: Output {
            records: vec![out],
            state: vec![total],
            ..Output::default()
        },
    })
}

fn unit(number: u64, frontier: u64, completions: Vec<Arc<Completion>>) -> Unit {
    Unit {
        number,
        epoch: 1,
        completions,
        cursors: vec![Cursor {
            frontier,
            completed: Vec::new(),
        }],
        stream_time: Millis(number),
        staged_at: Millis(number),
        ..Unit::default()
    }
}

/// Bytes that do not compress, so that the disk is not flattered.
fn noise(len: usize) -> Bytes {
    let blocks = (0_u64..).flat_map(|block| hash_128("noise", &[&block.to_le_bytes()]).0);
    blocks.take(len).collect()
}

/// Synced appends of 4 KiB to one file, a second long: the limit of the disk.
fn syncs_per_s(path: &Path) -> anyhow::Result<f64> {
    let mut file = std::fs::File::create(path)?;
    let (begun, mut count) = (Instant::now(), 0_u32);
    while begun.elapsed() < Duration::from_secs(1) {
        file.write_all(&[0; 4096])?;
        file.sync_data()?;
        count += 1;
    }
    Ok(f64::from(count) / begun.elapsed().as_secs_f64())
}
