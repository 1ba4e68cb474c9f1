//! A producer that never stops: whichever host takes a batch gets it, and what was not answered is sent again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::Size;
use super::script::Script;
use crate::http::Client;
use crate::publisher::to_any;
use crate::random::Random;
use crate::wait;

/// Events in a request.
const BATCH: u64 = 250;
/// One event in so many is sent again after it was taken.
const AGAIN: u64 = 50;
/// Of those that are to be sent again, one in so many is with each batch: some stay out through a whole disturbance.
const DRAWN: usize = 16;

/// A producer at work.
pub(super) struct Load {
    stop: Arc<AtomicBool>,
    events: Arc<AtomicU64>,
    thread: JoinHandle<anyhow::Result<Producer>>,
}

/// Who sends, and what was sent.
pub(super) struct Producer {
    hosts: Vec<Client>,
    /// The host that took the last batch.
    at: usize,
    topic: &'static str,
    script: Script,
    random: Random,
    again: Vec<String>,
    pub(super) sent: Sent,
}

/// What was sent and taken.
#[derive(Debug, Default)]
pub(super) struct Sent {
    /// How many events each key has: they are numbered from 1.
    pub(super) by_key: Vec<u32>,
    /// Different events.
    pub(super) events: u64,
    /// How many were sent again after they were taken.
    pub(super) repeats: u64,
    /// Requests that were sent again because they were not answered, or refused for the moment.
    pub(super) in_vain: u64,
}

impl Load {
    pub(super) fn spawn(
        hosts: Vec<Client>,
        topic: &'static str,
        size: Size,
        script: Script,
        random: Random,
    ) -> Self {
        let (stop, events) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let mut producer = Producer {
            hosts,
            at: 0,
            topic,
            script,
            random,
            again: Vec::new(),
            sent: Sent {
                by_key: vec![0; usize::try_from(size.keys).unwrap_or(usize::MAX)],
                ..Sent::default()
            },
        };
        let (stopped, shown) = (Arc::clone(&stop), Arc::clone(&events));
        let thread = std::thread::spawn(move || {
            let pace = Duration::from_secs_f64(BATCH as f64 / size.events_per_s as f64);
            while !stopped.load(Ordering::Acquire) || producer.sent.events < size.events {
                let next = Instant::now() + pace;
                producer.batch()?;
                shown.store(producer.sent.events, Ordering::Release);
                wait::pause(next.saturating_duration_since(Instant::now()));
            }
            Ok(producer)
        });
        Self {
            stop,
            events,
            thread,
        }
    }

    /// How many events were taken so far.
    pub(super) fn events(&self) -> u64 {
        self.events.load(Ordering::Acquire)
    }

    /// Waits until more than these were taken, and answers how many; a producer that has given up has what it has.
    pub(super) fn wait_beyond(&self, events: u64, patience: Duration) -> anyhow::Result<u64> {
        wait::until("more events to be taken", patience, || {
            let taken = self.events();
            Ok((taken > events || self.has_ended()).then_some(taken))
        })
    }

    /// Whether the producer has given up; [`Self::finish`] says why.
    pub(super) fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }

    /// Returns when there are as many events as there are to be.
    pub(super) fn finish(self) -> anyhow::Result<Producer> {
        self.stop.store(true, Ordering::Release);
        let ended = self.thread.join();
        ended.map_err(|_panic| anyhow::anyhow!("the producer panicked"))?
    }
}

impl Producer {
    /// New events of any keys, and some that were there before.
    fn batch(&mut self) -> anyhow::Result<()> {
        let mut batch = Vec::new();
        for _ in 0..self.again.len() / DRAWN {
            let drawn = self.random.below(self.again.len() as u64);
            batch.push(self.again.swap_remove(usize::try_from(drawn)?));
        }
        self.sent.repeats += batch.len() as u64;
        // What is to be sent again is drawn with what is new, and must not come before it.
        let mut again = Vec::new();
        for _ in 0..BATCH {
            let key = self.random.below(self.sent.by_key.len() as u64);
            let event = self.next(key)?;
            if self.random.below(AGAIN) == 0 {
                again.push(event.clone());
            }
            batch.push(event);
        }
        self.send(&batch)?;
        self.again.extend(again);
        Ok(())
    }

    /// One more event of each key, and all that was still to be sent again.
    pub(super) fn round(&mut self) -> anyhow::Result<()> {
        let mut events = std::mem::take(&mut self.again);
        self.sent.repeats += events.len() as u64;
        for key in 0..self.sent.by_key.len() as u64 {
            events.push(self.next(key)?);
        }
        let batches = events.chunks(usize::try_from(BATCH)?);
        batches.into_iter().try_for_each(|batch| self.send(batch))
    }

    fn next(&mut self, key: u64) -> anyhow::Result<String> {
        let number = &mut self.sent.by_key[usize::try_from(key)?];
        *number += 1;
        self.sent.events += 1;
        Ok(self.script.event(key, *number))
    }

    fn send(&mut self, batch: &[String]) -> anyhow::Result<()> {
        self.sent.in_vain += to_any(&self.hosts, &mut self.at, self.topic, batch)?;
        Ok(())
    }
}
