//! The store's bus, which can be made to answer nothing, as a cluster does whose brokers are away.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use super::*;
use crate::embedded::Embedded;

pub(crate) struct Mute {
    store: Embedded,
    /// How the names of topics begin of which nothing is said.
    silent: Mutex<Option<&'static str>>,
    /// Questions that were not answered.
    refused: AtomicU32,
    /// Readers that were made.
    readers: AtomicU32,
    /// Whether there are other hosts.
    shared: AtomicBool,
}

impl Mute {
    /// One that answers.
    pub(crate) fn new(store: Embedded) -> Arc<Self> {
        Arc::new(Self {
            store,
            silent: Mutex::default(),
            refused: AtomicU32::new(0),
            readers: AtomicU32::new(0),
            shared: AtomicBool::new(false),
        })
    }

    /// Says nothing of topics whose names begin so, from here on; none: answers.
    pub(crate) fn silence(&self, topics: Option<&'static str>) {
        *self.silent.lock().unwrap() = topics;
    }

    /// How many questions were not answered.
    pub(crate) fn refused(&self) -> u32 {
        self.refused.load(Ordering::Acquire)
    }

    /// How many readers there were.
    pub(crate) fn readers(&self) -> u32 {
        self.readers.load(Ordering::Acquire)
    }

    /// From here on others use it too.
    pub(crate) fn share(&self) {
        self.shared.store(true, Ordering::Release);
    }

    fn ask<T>(
        &self,
        topic: &str,
        what: String,
        answer: impl FnOnce(&Embedded) -> T,
    ) -> Result<T, Unanswered> {
        let silent = *self.silent.lock().unwrap();
        if silent.is_some_and(|silent| topic.starts_with(silent)) {
            self.refused.fetch_add(1, Ordering::AcqRel);
            let why = "it is away".to_owned();
            return Err(Unanswered { what, why });
        }
        Ok(answer(&self.store))
    }
}

impl Bus for Mute {
    fn topics(&self) -> Vec<Topic> {
        self.store.topics()
    }

    fn topic(&self, name: &str) -> Option<Topic> {
        self.store.topic(name)
    }

    fn find_topic(&self, name: &str) -> BoxFuture<'static, Result<Option<Topic>, Unanswered>> {
        let found = self.ask(name, format!("topic {name:?}"), |store| store.topic(name));
        future::ready(found).boxed()
    }

    fn ensure_topic(&self, name: &str, partitions: u32) -> Result<(), EnsureTopicError> {
        self.store.ensure_topic(name, partitions)
    }

    fn ensure_kept(&self, name: &str, partitions: u32) -> Result<(), EnsureTopicError> {
        self.store.ensure_kept(name, partitions)
    }

    fn publish(
        &self,
        topic: &str,
        records: Vec<Publish>,
    ) -> BoxFuture<'static, Result<(), PublishError>> {
        self.store.publish(topic, records)
    }

    fn subscribe(&self, joining: Joining<'_>) -> Result<Box<dyn Membership>, SubscribeError> {
        self.store.subscribe(joining)
    }

    fn reader(
        &self,
        topic: &str,
        partition: u32,
        from: u64,
    ) -> BoxFuture<'static, Result<Box<dyn Reader>, ReaderError>> {
        self.readers.fetch_add(1, Ordering::AcqRel);
        let what = format!("read topic {topic:?} partition {partition}");
        let reader = self
            .ask(topic, what, |store| store.reader(topic, partition, from))
            .unwrap_or_else(|unanswered| Err(unanswered.into()));
        future::ready(reader).boxed()
    }

    fn bounds(
        &self,
        topic: &str,
        partition: u32,
    ) -> BoxFuture<'static, Result<Option<(u64, u64)>, Unanswered>> {
        let what = format!("how far topic {topic:?} partition {partition} reaches");
        let bounds = self.ask(topic, what, |store| store.extent(topic, partition));
        future::ready(bounds).boxed()
    }

    fn extent(&self, topic: &str, partition: u32) -> Option<(u64, u64)> {
        self.ask(topic, String::new(), |store| store.extent(topic, partition))
            .ok()?
    }

    fn is_shared(&self) -> bool {
        self.shared.load(Ordering::Acquire)
    }
}
