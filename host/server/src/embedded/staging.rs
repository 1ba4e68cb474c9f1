//! What callers make ready before they queue: records and values in their stored form.

use std::collections::HashMap;
use std::sync::Arc;

use rocksdb::WriteBatch;
use weir_core::event::Record;
use weir_core::unit::{CommitResult, Completion, ItemId, OutRecord, TimerChange, TimerSlot, Unit};

use super::batch::{BATCH_BYTES_MAX, Batch};
use super::catalog::{Catalog, Group, TopicLog};
use super::key::{Family, Key};
use super::store::{ReadError, Store};
use super::writes::{UnitWriter, Writes};
use super::{begun, inbox, progress};

/// The largest record that a handler may emit, headers included: an event of 1 MiB with its dead-letter headers fits
/// well, and so it does in a broker's batch.
pub(crate) const RECORD_BYTES_MAX: usize = 2 << 20;

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
    /// That there are positions; with the first unit.
    begun: Option<Vec<u8>>,
    writes: Writes,
}

/// Why a unit cannot be staged.
#[derive(Debug)]
enum StageError {
    /// An output cannot be written: a stable code, and a message for people.
    Refused(&'static str, String),
    /// What it changes cannot be read.
    Read(ReadError),
}

impl From<ReadError> for StageError {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

impl StagedUnit {
    /// Encodes a unit; refused when an output cannot be written.
    pub(super) fn new(
        store: &Store,
        catalog: &Catalog,
        group: Arc<Group>,
        partition: u32,
        unit: &Unit,
    ) -> Result<Box<Self>, CommitResult> {
        let mut appender = Appender::default();
        let mut writer = UnitWriter::new(store, group.id, partition, unit.staged_at);
        for completion in &unit.completions {
            stage(catalog, &mut appender, &mut writer, completion)
                .map_err(|error| error.of(completion.item, &group))?;
        }
        for (sequence, parked) in &unit.heads {
            writer
                .head(sequence, *parked)
                .map_err(|error| unavailable(&error, &group))?;
        }
        Ok(Box::new(Self {
            begun: (unit.number == 1).then(|| begun::encode(catalog, &group)),
            group,
            partition,
            number: unit.number,
            frontiers: unit.cursors.iter().map(|cursor| cursor.frontier).collect(),
            appends: appender.finish(),
            progress: progress::encode_unit(unit),
            inbox: inbox::encode_unit(unit),
            expired_blocks: unit.expired_blocks.clone(),
            writes: writer.finish(),
        }))
    }

    pub(super) fn len_bytes(&self) -> usize {
        let appends: usize = self.appends.iter().map(Append::len_bytes).sum();
        appends
            + self.progress.len()
            + self.inbox.as_ref().map_or(0, Vec::len)
            + self.writes.len_bytes()
    }

    /// Adds everything but the records, whose offsets are the committer's to assign.
    pub(super) fn write(&self, store: &Store, batch: &mut WriteBatch) {
        let (group, partition) = (self.group.id, self.partition);
        store.put(batch, &Key::Progress { group, partition }, &self.progress);
        if let Some(begun) = &self.begun {
            store.put(batch, &Key::Begun { group, partition }, begun);
        }
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
        self.writes.add_to(store, batch);
    }
}

impl StageError {
    fn of(self, item: ItemId, group: &Group) -> CommitResult {
        match self {
            Self::Refused(code, message) => CommitResult::Refused {
                item,
                code: code.to_owned(),
                message,
            },
            Self::Read(error) => unavailable(&error, group),
        }
    }
}

fn unavailable(error: &ReadError, group: &Group) -> CommitResult {
    tracing::error!(
        error = error as &dyn std::error::Error,
        group = &*group.name,
        "cannot read what a unit of work changes"
    );
    CommitResult::Unavailable {
        message: error.to_string(),
    }
}

fn stage<'a>(
    catalog: &Catalog,
    appender: &mut Appender,
    writer: &mut UnitWriter<'a>,
    completion: &'a Completion,
) -> Result<(), StageError> {
    let output = &completion.output;
    for out in &output.records {
        append(catalog, appender, out)?;
    }
    writer.state(completion);
    for change in &output.timers {
        stage_timer(catalog, writer, change)?;
    }
    if let Some(parking) = &output.parking {
        writer.parking(&completion.sequence, parking);
    }
    Ok(writer.letter(completion)?)
}

/// What would be refused when the timer fires is refused when it is set, while the event that asked for it can still
/// be told.
fn stage_timer<'a>(
    catalog: &Catalog,
    writer: &mut UnitWriter<'a>,
    change: &'a TimerChange,
) -> Result<(), StageError> {
    let bytes = writer.timer(change)?;
    let Some(timer) = &change.timer else {
        return Ok(());
    };
    check_size(&timer.out, bytes)?;
    match change.key.slot {
        TimerSlot::Emission(_) => destination(catalog, &timer.out).map(drop),
        TimerSlot::Named(_) => Ok(()),
    }
}

fn append(catalog: &Catalog, appender: &mut Appender, out: &OutRecord) -> Result<(), StageError> {
    let (log, partition) = destination(catalog, out)?;
    check_size(out, appender.push(&log, partition, &out.record))
}

/// The topic and partition that a record goes to.
fn destination(catalog: &Catalog, out: &OutRecord) -> Result<(Arc<TopicLog>, u32), StageError> {
    let Some(log) = catalog.topic(&out.topic) else {
        let message = format!("there is no topic {:?}", out.topic);
        return Err(StageError::Refused("unknown-topic", message));
    };
    let partition = out.partition.unwrap_or(out.partition_hash % log.count());
    if partition >= log.count() {
        let message = format!(
            "topic {:?} has {} partitions, {partition} is beyond them",
            out.topic,
            log.count()
        );
        return Err(StageError::Refused("unknown-partition", message));
    }
    Ok((log, partition))
}

/// The size is that of the encoded record.
fn check_size(out: &OutRecord, bytes: usize) -> Result<(), StageError> {
    if bytes <= RECORD_BYTES_MAX {
        return Ok(());
    }
    let message = format!(
        "a record of {bytes} bytes for topic {:?}; {RECORD_BYTES_MAX} are allowed",
        out.topic
    );
    Err(StageError::Refused("record-too-large", message))
}
