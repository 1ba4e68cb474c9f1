//! A bus in memory: same order, same answers, and refusals on demand.

use std::sync::{Arc, Mutex};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::watch;
use weir_core::event::Record;
use weir_core::unit::Position;

use crate::bus::{
    Bus, EnsureTopicError, FetchError, Joining, Membership, Publish, PublishError, Reader,
    ReaderError, SubscribeError, Topic, Unanswered,
};

/// How the next calls to publish are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mood {
    Takes,
    Busy,
    Stopped,
    /// Accepts nothing and says nothing.
    Silent,
    /// A cluster that does not answer what it is asked.
    Away,
}

type Log = Vec<Vec<Record>>;

pub(super) struct MemoryBus {
    name: Arc<str>,
    log: Arc<watch::Sender<Log>>,
    mood: Mutex<Mood>,
}

impl MemoryBus {
    pub(super) fn new(name: &str, partitions: usize) -> Self {
        Self {
            name: name.into(),
            log: Arc::new(watch::Sender::new(vec![Vec::new(); partitions])),
            mood: Mutex::new(Mood::Takes),
        }
    }

    pub(super) fn set_mood(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    pub(super) fn append(&self, partition: usize, record: Record) {
        self.log.send_modify(|log| log[partition].push(record));
    }

    pub(super) fn records(&self) -> Log {
        self.log.borrow().clone()
    }

    fn ask<T>(&self, what: &str, answer: T) -> Result<T, Unanswered> {
        if *self.mood.lock().unwrap() != Mood::Away {
            return Ok(answer);
        }
        Err(Unanswered {
            what: what.to_owned(),
            why: "it is away".to_owned(),
        })
    }

    /// Readers that are in use.
    pub(super) fn readers(&self) -> usize {
        self.log.receiver_count()
    }
}

impl Bus for MemoryBus {
    fn topics(&self) -> Vec<Topic> {
        self.topic(&self.name).into_iter().collect()
    }

    fn topic(&self, name: &str) -> Option<Topic> {
        let partitions = u32::try_from(self.log.borrow().len()).unwrap();
        (*self.name == *name).then(|| Topic {
            name: self.name.clone(),
            partitions,
        })
    }

    fn ensure_topic(&self, name: &str, _partitions: u32) -> Result<(), EnsureTopicError> {
        Err(EnsureTopicError::Invalid(format!(
            "{name:?}: this bus has one topic"
        )))
    }

    fn publish(
        &self,
        topic: &str,
        records: Vec<Publish>,
    ) -> BoxFuture<'static, Result<(), PublishError>> {
        let answer = match *self.mood.lock().unwrap() {
            Mood::Silent | Mood::Away => return std::future::pending().boxed(),
            Mood::Busy => Err(PublishError::Busy),
            Mood::Stopped => Err(PublishError::Stopped(
                "the disk is nearly full: make room".to_owned(),
            )),
            Mood::Takes if *self.name != *topic => {
                Err(PublishError::UnknownTopic(topic.to_owned()))
            }
            Mood::Takes => {
                self.log.send_modify(|log| {
                    let partitions = log.len();
                    for publish in records {
                        log[publish.partition_hash as usize % partitions].push(publish.record);
                    }
                });
                Ok(())
            }
        };
        std::future::ready(answer).boxed()
    }

    fn subscribe(&self, joining: Joining<'_>) -> Result<Box<dyn Membership>, SubscribeError> {
        let group = joining.scope.group.to_string();
        Err(SubscribeError::UnknownTopic(group))
    }

    fn reader(
        &self,
        topic: &str,
        partition: u32,
        from: u64,
    ) -> BoxFuture<'static, Result<Box<dyn Reader>, ReaderError>> {
        let what = format!("read topic {topic:?} partition {partition}");
        let reader: Result<Box<dyn Reader>, _> = match self.ask(&what, ()) {
            Err(unanswered) => Err(unanswered.into()),
            Ok(()) if *self.name != *topic => Err(ReaderError::UnknownTopic(topic.to_owned())),
            Ok(()) => Ok(Box::new(MemoryReader {
                log: self.log.subscribe(),
                partition: partition as usize,
                next: usize::try_from(from).unwrap(),
            })),
        };
        std::future::ready(reader).boxed()
    }

    fn find_topic(&self, name: &str) -> BoxFuture<'static, Result<Option<Topic>, Unanswered>> {
        std::future::ready(self.ask(&format!("find topic {name:?}"), self.topic(name))).boxed()
    }

    fn bounds(
        &self,
        topic: &str,
        partition: u32,
    ) -> BoxFuture<'static, Result<Option<(u64, u64)>, Unanswered>> {
        let what = format!("how far topic {topic:?} partition {partition} reaches");
        let asked = self.ask(&what, self.extent(topic, partition));
        std::future::ready(asked).boxed()
    }

    fn extent(&self, topic: &str, partition: u32) -> Option<(u64, u64)> {
        let log = self.log.borrow();
        let records = log
            .get(partition as usize)
            .filter(|_| *self.name == *topic)?;
        Some((0, records.len() as u64))
    }
}

struct MemoryReader {
    log: watch::Receiver<Log>,
    partition: usize,
    next: usize,
}

impl Reader for MemoryReader {
    fn seek(&mut self, position: Position) {
        self.next = usize::try_from(position.offset).unwrap();
    }

    fn only(&mut self, _topic: Option<u16>) {}

    fn fetch(
        &mut self,
        _bytes_max: usize,
    ) -> BoxFuture<'_, Result<Vec<(Position, Record)>, FetchError>> {
        async {
            let (partition, next) = (self.partition, self.next);
            let log = self
                .log
                .wait_for(|log| log[partition].len() > next)
                .await
                .unwrap();
            let records: Vec<_> = log[partition]
                .iter()
                .enumerate()
                .skip(next)
                .map(|(offset, record)| {
                    (
                        Position {
                            topic: 0,
                            offset: offset as u64,
                        },
                        record.clone(),
                    )
                })
                .collect();
            drop(log);
            self.next += records.len();
            Ok(records)
        }
        .boxed()
    }
}
