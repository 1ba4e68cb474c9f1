//! The committer's thread: makes one batch of a group, writes and syncs it, lets readers see it, and answers.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use rocksdb::WriteBatch;
use tokio::sync::oneshot;
use weir_core::unit::CommitResult;

use super::{Place, Queue, Work};
use crate::embedded::batch::{BATCH_BYTES_MAX, Batch};
use crate::embedded::catalog::{PartitionLog, TopicLog};
use crate::embedded::key::{Family, Key};
use crate::embedded::progress;
use crate::embedded::staging::{Append, StagedUnit};
use crate::embedded::store::{ReadError, Store};
use crate::fail::{self, Point};

/// The thread's own.
pub(super) struct Writer<'a> {
    store: &'a Store,
    /// Number of the last committed unit by subscription and partition, read once by each owner's first unit.
    numbers: HashMap<Place, u64>,
}

/// What one group writes.
#[derive(Default)]
struct GroupWrite {
    batch: WriteBatch,
    /// By topic and partition number.
    logs: HashMap<(u32, u32), LogWrite>,
}

struct LogWrite {
    log: Arc<TopicLog>,
    partition: u32,
    batches: Vec<Batch>,
}

/// What to tell whom once the group is durable.
enum Answer {
    Published(oneshot::Sender<()>),
    Committed {
        unit: Box<StagedUnit>,
        reply: oneshot::Sender<CommitResult>,
    },
    Told(CommitResult, oneshot::Sender<CommitResult>),
    Settled(oneshot::Sender<()>),
}

impl<'a> Writer<'a> {
    pub(super) fn new(store: &'a Store) -> Self {
        Self {
            store,
            numbers: HashMap::new(),
        }
    }

    pub(super) fn run(&mut self, queue: &Queue, group_bytes_max: usize) {
        while let Some(requests) = queue.take(group_bytes_max) {
            let mut group = GroupWrite::default();
            let mut answers = Vec::with_capacity(requests.len());
            let mut rooms = Vec::with_capacity(requests.len());
            for request in requests {
                rooms.extend(request.room);
                answers.push(match request.work {
                    Work::Publish { appends, reply } => {
                        group.append(appends);
                        Answer::Published(reply)
                    }
                    Work::Unit { unit, reply } => self.stage(&mut group, unit, reply),
                    Work::Settle { place, reply } => {
                        // The next unit follows what its owner reads now.
                        self.numbers.remove(&place);
                        Answer::Settled(reply)
                    }
                });
            }
            fail::pass(Point::GroupTaken);
            *queue.lock_writing() = Some(Instant::now());
            self.write(group);
            *queue.lock_writing() = None;
            drop(rooms);
            fail::pass(Point::GroupVisible);
            answers.into_iter().for_each(Answer::send);
            fail::pass(Point::GroupAnswered);
        }
    }

    fn stage(
        &mut self,
        group: &mut GroupWrite,
        mut unit: Box<StagedUnit>,
        reply: oneshot::Sender<CommitResult>,
    ) -> Answer {
        let place = (unit.group.id, unit.partition);
        let last = match self.last_number(place) {
            Ok(last) => last,
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    group = &*unit.group.name,
                    "cannot read progress"
                );
                return Answer::Told(
                    CommitResult::Unavailable {
                        message: error.to_string(),
                    },
                    reply,
                );
            }
        };
        // Nobody asks twice: who does not hear the answer is gone, and who comes after it has settled first.
        if unit.number != last + 1 {
            let message = format!(
                "unit {} does not follow {last}, the last committed one",
                unit.number
            );
            tracing::error!(
                group = &*unit.group.name,
                partition = unit.partition,
                message,
                "a bug of the host"
            );
            return Answer::Told(CommitResult::Unavailable { message }, reply);
        }
        self.numbers.insert(place, unit.number);
        group.append(std::mem::take(&mut unit.appends));
        unit.write(self.store, &mut group.batch);
        Answer::Committed { unit, reply }
    }

    fn last_number(&mut self, place: Place) -> Result<u64, ReadError> {
        if let Some(&number) = self.numbers.get(&place) {
            return Ok(number);
        }
        let number = match self.store.get(&Key::Progress {
            group: place.0,
            partition: place.1,
        })? {
            Some(value) => progress::decode(&value)?.unit,
            None => 0,
        };
        self.numbers.insert(place, number);
        Ok(number)
    }

    /// Gives the records their offsets, writes and syncs, and lets readers see them.
    fn write(&self, group: GroupWrite) {
        let GroupWrite { mut batch, logs } = group;
        let (log_family, meta_family) = (
            self.store.family(Family::Log),
            self.store.family(Family::Meta),
        );
        let mut extents = Vec::with_capacity(logs.len());
        for ((topic, partition), write) in logs {
            let mut base = write.partition_log().end();
            let mut bytes = 0;
            for records in write.batches {
                let header = records.header();
                batch.put_cf(
                    log_family,
                    Key::Batch {
                        topic,
                        partition,
                        base,
                    }
                    .encode(),
                    records.finish(),
                );
                batch.put_cf(
                    meta_family,
                    Key::BatchHeader {
                        topic,
                        partition,
                        base,
                    }
                    .encode(),
                    header.encode(),
                );
                base += u64::from(header.count);
                bytes += header.bytes;
            }
            extents.push((write.log, partition, base, bytes));
        }
        if batch.is_empty() {
            return;
        }
        self.store.write_synced(batch);
        fail::pass(Point::GroupDurable);
        for (log, partition, end, bytes) in extents {
            log.partition(partition)
                .expect("chosen from its partitions")
                .extend(end, bytes);
        }
    }
}

impl GroupWrite {
    fn append(&mut self, appends: Vec<Append>) {
        for Append {
            log,
            partition,
            batch,
        } in appends
        {
            let place = (log.id, partition);
            let write = self.logs.entry(place).or_insert_with(|| LogWrite {
                log,
                partition,
                batches: Vec::new(),
            });
            match write.batches.last_mut() {
                Some(last) if last.len_bytes() + batch.len_bytes() <= BATCH_BYTES_MAX => {
                    last.join(&batch)
                }
                Some(_) | None => write.batches.push(batch),
            }
        }
    }
}

impl LogWrite {
    fn partition_log(&self) -> &PartitionLog {
        self.log
            .partition(self.partition)
            .expect("chosen from its partitions")
    }
}

impl Answer {
    /// The receiver may be gone: what it asked for is durable all the same.
    fn send(self) {
        match self {
            Self::Published(reply) => drop(reply.send(())),
            Self::Committed { unit, reply } => {
                unit.group.advance(unit.partition, unit.frontiers);
                drop(reply.send(CommitResult::Committed));
            }
            Self::Told(result, reply) => drop(reply.send(result)),
            Self::Settled(reply) => drop(reply.send(())),
        }
    }
}
