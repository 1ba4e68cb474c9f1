//! What callers make ready before they queue: records and values in their stored form.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rocksdb::WriteBatch;
use weir_core::event::Record;
use weir_core::time::Millis;
use weir_core::unit::{CommitResult, Completion, OutRecord, SequenceKey, Unit};

use super::batch::{BATCH_BYTES_MAX, Batch};
use super::catalog::{Catalog, Group, TopicLog};
use super::key::{Family, Key};
use super::store::Store;
use super::{inbox, progress, state};

/// The largest record that a handler may emit, headers included: an event of 1 MiB with its dead-letter headers fits
/// well, and so it does in a broker's batch.
pub(super) const RECORD_BYTES_MAX: usize = 2 << 20;

/// Records on their way into one partition.
#[derive(Debug)]
pub(super) struct Append {
    pub(super) log: Arc<TopicLog>,
    pub(super) partition: u32,
    pub(super) batch: Batch,
}

impl Append {
    pub(super) fn len_bytes(&self) -> usize {
        self.batch.len_bytes()
    }
}

/// Sorts records into batches by partition, keeping their order.
#[derive(Default)]
pub(super) struct Appender {
    appends: Vec<Append>,
    /// The batch of a topic and partition that still takes records.
    current: HashMap<(u32, u32), usize>,
}

impl Appender {
    /// Answers the encoded size of the record.
    pub(super) fn push(&mut self, log: &Arc<TopicLog>, partition: u32, record: &Record) -> usize {
        let place = (log.id, partition);
        let index = match self.current.get(&place) {
            Some(&index) if self.appends[index].len_bytes() < BATCH_BYTES_MAX => index,
            Some(_) | None => {
                self.appends.push(Append {
                    log: Arc::clone(log),
                    partition,
                    batch: Batch::new(),
                });
                self.current.insert(place, self.appends.len() - 1);
                self.appends.len() - 1
            }
        };
        self.appends[index].batch.push(record)
    }

    pub(super) fn finish(self) -> Vec<Append> {
        self.appends
    }
}

/// A unit of work in its stored form.
#[derive(Debug)]
pub(super) struct StagedUnit {
    pub(super) group: Arc<Group>,
    pub(super) partition: u32,
    pub(super) number: u64,
    pub(super) frontiers: Vec<u64>,
    pub(super) appends: Vec<Append>,
    progress: Vec<u8>,
    inbox: Option<Vec<u8>>,
    expired_blocks: Vec<u64>,
    state: StateWrites,
}

/// Keys and values of state, one after the other in one buffer: a unit writes hundreds.
#[derive(Debug, Default)]
struct StateWrites {
    buffer: Vec<u8>,
    /// Ends of key and value; a value as long as nothing at all is a removal.
    ends: Vec<(usize, usize)>,
}

impl StagedUnit {
    /// Encodes a unit; refused when an output cannot be written.
    pub(super) fn new(
        catalog: &Catalog,
        group: Arc<Group>,
        partition: u32,
        unit: &Unit,
    ) -> Result<Box<Self>, CommitResult> {
        let mut appender = Appender::default();
        let mut state = StateWrites::default();
        for completion in &unit.completions {
            for out in &completion.output.records {
                append(catalog, &mut appender, out).map_err(|(code, message)| {
                    CommitResult::Refused {
                        position: completion.position,
                        code: code.to_owned(),
                        message,
                    }
                })?;
            }
            state.push(group.id, partition, completion, unit.staged_at);
        }
        Ok(Box::new(Self {
            group,
            partition,
            number: unit.number,
            frontiers: unit.cursors.iter().map(|cursor| cursor.frontier).collect(),
            appends: appender.finish(),
            progress: progress::encode_unit(unit),
            inbox: inbox::encode_unit(unit),
            expired_blocks: unit.expired_blocks.clone(),
            state,
        }))
    }

    pub(super) fn len_bytes(&self) -> usize {
        let appends: usize = self.appends.iter().map(Append::len_bytes).sum();
        appends
            + self.progress.len()
            + self.inbox.as_ref().map_or(0, Vec::len)
            + self.state.buffer.len()
    }

    /// Adds everything but the records, whose offsets are the committer's to assign.
    pub(super) fn write(&self, store: &Store, batch: &mut WriteBatch) {
        let (group, partition) = (self.group.id, self.partition);
        store.put(batch, &Key::Progress { group, partition }, &self.progress);
        if let Some(block) = &self.inbox {
            store.put(
                batch,
                &Key::InboxBlock {
                    group,
                    partition,
                    unit: self.number,
                },
                block,
            );
        }
        let ledger = store.family(Family::Ledger);
        for &unit in &self.expired_blocks {
            batch.delete_cf(
                ledger,
                Key::InboxBlock {
                    group,
                    partition,
                    unit,
                }
                .encode(),
            );
        }
        let family = store.family(Family::State);
        let mut start = 0;
        for &(key_end, value_end) in &self.state.ends {
            let (key, value) = (
                &self.state.buffer[start..key_end],
                &self.state.buffer[key_end..value_end],
            );
            if value.is_empty() {
                batch.delete_cf(family, key)
            } else {
                batch.put_cf(family, key, value)
            }
            start = value_end;
        }
    }
}

impl StateWrites {
    fn push(&mut self, group: u32, partition: u32, completion: &Completion, staged_at: Millis) {
        // A sequence of one event has no state: nobody could read it back.
        let SequenceKey::Keyed { tenant, key } = &completion.sequence else {
            return;
        };
        for write in &completion.output.state {
            Key::State {
                group,
                partition,
                tenant,
                key,
                name: &write.name,
            }
            .encode_into(&mut self.buffer);
            let key_end = self.buffer.len();
            if let Some(value) = &write.value {
                let expires = write
                    .ttl_ms
                    .map(|ttl| staged_at + Duration::from_millis(ttl));
                state::encode_into(&mut self.buffer, expires, value);
            }
            self.ends.push((key_end, self.buffer.len()));
        }
    }
}

fn append(
    catalog: &Catalog,
    appender: &mut Appender,
    out: &OutRecord,
) -> Result<(), (&'static str, String)> {
    let Some(log) = catalog.topic(&out.topic) else {
        return Err((
            "unknown-topic",
            format!("there is no topic {:?}", out.topic),
        ));
    };
    let partition = out.partition.unwrap_or(out.partition_hash % log.count());
    if partition >= log.count() {
        let message = format!(
            "topic {:?} has {} partitions, {partition} is beyond them",
            out.topic,
            log.count()
        );
        return Err(("unknown-partition", message));
    }
    let bytes = appender.push(&log, partition, &out.record);
    if bytes > RECORD_BYTES_MAX {
        let message = format!(
            "a record of {bytes} bytes for topic {:?}; {RECORD_BYTES_MAX} are allowed",
            out.topic
        );
        return Err(("record-too-large", message));
    }
    Ok(())
}
