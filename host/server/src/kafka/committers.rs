//! Units that wait to be committed, and the threads that do it.
//!
//! The partitions of a subscription are divided among its producers by their number, so that no partition has two open
//! transactions, and one producer's partitions work while another commits. Under load units gather while those before
//! them commit; when little is to do a unit goes alone and at once.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use futures_util::FutureExt as _;
use futures_util::future::{self, BoxFuture};
use tokio::sync::{oneshot, watch};
use weir_core::unit::{CommitResult, Unit};

use super::producer::{END, Producer};
use super::share::{Leave, Share};
use crate::config;

/// Producers of a subscription: while one commits, the partitions of the other work.
const PRODUCERS: u32 = 2;

/// The producers of one subscription.
pub(super) struct Committers {
    share: Arc<Share>,
    queues: Vec<Arc<Queue>>,
    threads: Vec<JoinHandle<()>>,
    /// By partition number: the end of what it tells is that the last unit of the partition is decided.
    undecided: Mutex<HashMap<u32, watch::Receiver<()>>>,
}

pub(super) struct Queue {
    /// What is taken together is no more than this.
    bounds: config::Transaction,
    waiting: Mutex<Waiting>,
    wake: Condvar,
}

#[derive(Default)]
struct Waiting {
    requests: VecDeque<Request>,
    closed: bool,
}

/// How many units go together. What a slow cluster does not take together before it is late, it may take one after the other:
/// they would come back together, and be late again.
pub(super) struct Size(usize);

impl Default for Size {
    /// All that wait.
    fn default() -> Self {
        Self(usize::MAX)
    }
}

impl Size {
    /// Of those that wait.
    pub(super) fn of(&self, waiting: usize) -> usize {
        self.0.min(waiting)
    }

    /// So many were not taken.
    pub(super) fn shrink(&mut self, count: usize) {
        self.0 = (count / 2).max(1);
    }

    /// What went together was taken.
    pub(super) fn grow(&mut self) {
        self.0 = self.0.saturating_add(1);
    }
}

/// A unit of a partition that waits for its producer.
pub(super) struct Request {
    pub(super) partition: u32,
    /// Of the assignment in which the unit was staged.
    pub(super) epoch: u64,
    pub(super) unit: Unit,
    reply: oneshot::Sender<CommitResult>,
    /// Gone when this is decided.
    decided: watch::Sender<()>,
}

impl Committers {
    /// One thread for each producer. `make` makes by its number what runs there until the queue is closed, and hands over
    /// the producer that it has.
    pub(super) fn spawn<C: FnOnce(&Queue) -> Option<Producer> + Send + 'static>(
        share: &Arc<Share>,
        bounds: config::Transaction,
        make: impl Fn(u32) -> C,
    ) -> std::io::Result<Self> {
        let mut committers = Self {
            share: Arc::clone(share),
            queues: Vec::new(),
            threads: Vec::new(),
            undecided: Mutex::default(),
        };
        for number in 0..PRODUCERS {
            let queue = Arc::new(Queue::new(bounds));
            let committer = make(number);
            let membership = Arc::clone(share);
            let shared = Arc::clone(&queue);
            let thread = std::thread::Builder::new()
                .name("weir-committer".to_owned())
                .spawn(move || {
                    let _membership = Renewed(membership);
                    if let Some(producer) = committer(&shared) {
                        producer.end(END);
                    }
                })?;
            committers.queues.push(queue);
            committers.threads.push(thread);
        }
        Ok(committers)
    }

    /// Commits the unit; once this was called it is, whether or not the answer is awaited.
    pub(super) fn commit(&self, partition: u32, unit: Unit) -> BoxFuture<'static, CommitResult> {
        // Where a partition starts is committed before there is a machine with an epoch.
        let epoch = match unit.epoch {
            0 => self.share.tenure.epoch(partition),
            epoch => Some(epoch),
        };
        let Some(epoch) = epoch else {
            return Box::pin(future::ready(CommitResult::Moved));
        };
        let (request, answer) = Request::new(partition, epoch, unit);
        let mut undecided = self
            .undecided
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        undecided.insert(partition, request.decided.subscribe());
        drop(undecided);
        let queue = &self.queues[(partition % PRODUCERS) as usize];
        queue.lock().requests.push_back(request);
        queue.wake.notify_one();
        // Unanswered, the membership is over.
        Box::pin(answer.map(|answer| answer.unwrap_or(CommitResult::Moved)))
    }

    /// Waits until what was handed over of a partition is committed or absent: whoever goes on with a partition reads its
    /// ledger after that, or a unit whose answer nobody has awaited comes after what was read.
    pub(super) fn wait_decided(&self, partition: u32) -> impl Future<Output = ()> + use<> {
        let undecided = self.undecided.lock();
        let undecided = undecided.unwrap_or_else(PoisonError::into_inner);
        let last = undecided.get(&partition).cloned();
        async move {
            if let Some(mut last) = last {
                while last.changed().await.is_ok() {}
            }
        }
    }
}

impl Drop for Committers {
    fn drop(&mut self) {
        for queue in &self.queues {
            queue.lock().closed = true;
            queue.wake.notify_one();
        }
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a committer panicked");
            }
        }
    }
}

impl Queue {
    fn new(bounds: config::Transaction) -> Self {
        Self {
            bounds,
            waiting: Mutex::default(),
            wake: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All that waits, within the bounds and at least one; none when closed and empty.
    pub(super) fn take(&self) -> Option<Vec<Request>> {
        let mut waiting = self.lock();
        while waiting.requests.is_empty() {
            if waiting.closed {
                return None;
            }
            waiting = self
                .wake
                .wait(waiting)
                .unwrap_or_else(PoisonError::into_inner);
        }
        let (mut events, mut bytes) = (0, 0);
        let fits = |request: &&Request| {
            let first = events == 0;
            events += request.unit.completions.len().max(1);
            bytes += request.unit.bytes;
            first || (events <= self.bounds.events && bytes <= self.bounds.bytes)
        };
        let count = waiting.requests.iter().take_while(fits).count();
        Some(waiting.requests.drain(..count).collect())
    }
}

impl Request {
    /// With whoever waits for its answer.
    pub(super) fn new(
        partition: u32,
        epoch: u64,
        unit: Unit,
    ) -> (Self, oneshot::Receiver<CommitResult>) {
        let (reply, answer) = oneshot::channel();
        let request = Self {
            partition,
            epoch,
            unit,
            reply,
            decided: watch::channel(()).0,
        };
        (request, answer)
    }

    /// Whether the partition is still this host's, in the epoch of the unit.
    pub(super) fn is_owned(&self, share: &Share) -> bool {
        share.tenure.owns(self.partition, self.epoch)
    }

    /// The receiver may be gone: what it asked for is as it is all the same.
    pub(super) fn answer(self, result: CommitResult) {
        drop(self.reply.send(result));
    }
}

/// The membership of a thread that panics ends with it.
struct Renewed(Arc<Share>);

impl Drop for Renewed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let why = "a fault of the host, report it: a committer panicked".to_owned();
            self.0.leave(Leave::Renew(why));
        }
    }
}

pub(super) fn unavailable(message: &str) -> CommitResult {
    CommitResult::Unavailable {
        message: message.to_owned(),
    }
}

#[cfg(test)]
mod tests;
