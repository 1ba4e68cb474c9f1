//! The one writer of the store: takes everything that waits, writes it as one batch, syncs once, then answers.
//!
//! Under load the groups grow by themselves, because requests gather while the sync before them runs. Callers encode
//! records and values before they queue; offsets are assigned here.

mod writer;

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError, oneshot};
use weir_core::unit::CommitResult;

use self::writer::Writer;
use super::EmbeddedConfig;
use super::staging::{Append, StagedUnit};
use super::store::Store;

/// The queue in front of the writing thread, and the thread.
pub(super) struct Committer {
    queue: Arc<Queue>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// Why a request did not get into the queue.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Rejected {
    /// No room.
    Full,
    /// The store is being closed.
    Closed,
}

struct Queue {
    waiting: Mutex<Waiting>,
    wake: Condvar,
    /// When the write began that is not over.
    writing_since: Mutex<Option<Instant>>,
    /// Bytes that may still wait or be written.
    room: Arc<Semaphore>,
    bytes_max: u32,
    requests_max: usize,
}

#[derive(Default)]
struct Waiting {
    requests: VecDeque<Request>,
    closed: bool,
}

struct Request {
    work: Work,
    bytes: u32,
    /// None of what takes none.
    room: Option<OwnedSemaphorePermit>,
}

enum Work {
    Publish {
        appends: Vec<Append>,
        reply: oneshot::Sender<()>,
    },
    Unit {
        unit: Box<StagedUnit>,
        reply: oneshot::Sender<CommitResult>,
    },
    /// Nothing of its own: it stands behind what was queued before it.
    Settle {
        place: Place,
        reply: oneshot::Sender<()>,
    },
}

/// Numbers of a subscription and of a partition.
type Place = (u32, u32);

impl Committer {
    pub(super) fn spawn(store: Arc<Store>, config: &EmbeddedConfig) -> std::io::Result<Self> {
        let bytes_max = u32::try_from(config.queue_bytes_max).unwrap_or(u32::MAX);
        let queue = Arc::new(Queue {
            waiting: Mutex::default(),
            wake: Condvar::new(),
            writing_since: Mutex::default(),
            room: Arc::new(Semaphore::new(
                usize::try_from(bytes_max).unwrap_or(Semaphore::MAX_PERMITS),
            )),
            bytes_max,
            requests_max: config.queue_requests_max,
        });
        let (group_bytes_max, shared) = (config.group_bytes_max, Arc::clone(&queue));
        let run = move || {
            let _abort = AbortOnPanic;
            Writer::new(&store).run(&shared, group_bytes_max);
        };
        let thread = std::thread::Builder::new()
            .name("weir-committer".to_owned())
            .spawn(run)?;
        Ok(Self {
            queue,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Queues records unless there is no room; answers when they are durable.
    pub(super) async fn publish(&self, appends: Vec<Append>) -> Result<(), Rejected> {
        let bytes = self
            .queue
            .clamp(appends.iter().map(Append::len_bytes).sum());
        let room = match Arc::clone(&self.queue.room).try_acquire_many_owned(bytes) {
            Ok(room) => room,
            Err(TryAcquireError::NoPermits) => return Err(Rejected::Full),
            Err(TryAcquireError::Closed) => return Err(Rejected::Closed),
        };
        let (reply, answer) = oneshot::channel();
        self.queue.push(Request {
            work: Work::Publish { appends, reply },
            bytes,
            room: Some(room),
        })?;
        // The thread answers what it took, and ends only when nothing waits.
        answer.await.map_err(|_dropped| Rejected::Closed)
    }

    /// Queues a unit of work when there is room. Once queued it is committed whether or not the answer is awaited.
    pub(super) async fn commit(&self, unit: Box<StagedUnit>) -> Result<CommitResult, Rejected> {
        let bytes = self.queue.clamp(unit.len_bytes());
        let room = Arc::clone(&self.queue.room)
            .acquire_many_owned(bytes)
            .await
            .map_err(|_closed| Rejected::Closed)?;
        let (reply, answer) = oneshot::channel();
        self.queue.push(Request {
            work: Work::Unit { unit, reply },
            bytes,
            room: Some(room),
        })?;
        answer.await.map_err(|_dropped| Rejected::Closed)
    }

    /// Waits until every unit of this partition that is queued is durable. Whoever takes a partition over reads it only
    /// then: a unit that its last owner did not live to hear of would else land behind what was read.
    pub(super) async fn settle(&self, group: u32, partition: u32) -> Result<(), Rejected> {
        let (reply, answer) = oneshot::channel();
        let place = (group, partition);
        self.queue.push(Request {
            work: Work::Settle { place, reply },
            bytes: 0,
            room: None,
        })?;
        answer.await.map_err(|_dropped| Rejected::Closed)
    }

    /// How long the write has taken that is not over.
    pub(super) fn writing_for(&self) -> Option<Duration> {
        self.queue.lock_writing().map(|since| since.elapsed())
    }

    /// Takes all room of the queue, for tests of what happens then.
    #[cfg(test)]
    pub(super) async fn hold_all_room(&self) -> OwnedSemaphorePermit {
        let room = Arc::clone(&self.queue.room)
            .acquire_many_owned(self.queue.bytes_max)
            .await;
        room.expect("open in that test")
    }

    /// Refuses new work, waits until what waits is durable and ends the thread.
    pub(super) fn close(&self) {
        self.queue.lock().closed = true;
        self.queue.room.close();
        self.queue.wake.notify_one();
        let thread = self
            .thread
            .lock()
            .expect("nothing panics under this lock")
            .take();
        if let Some(thread) = thread {
            thread
                .join()
                .expect("a panic of this thread aborts the process");
        }
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().expect("nothing panics under this lock")
    }

    fn lock_writing(&self) -> MutexGuard<'_, Option<Instant>> {
        self.writing_since
            .lock()
            .expect("nothing panics under this lock")
    }

    /// What a request of this size takes of the room: one larger than all of it waits for all of it.
    fn clamp(&self, bytes: usize) -> u32 {
        u32::try_from(bytes).unwrap_or(u32::MAX).min(self.bytes_max)
    }

    fn push(&self, request: Request) -> Result<(), Rejected> {
        let mut waiting = self.lock();
        if waiting.closed {
            return Err(Rejected::Closed);
        }
        // Units are bounded by the partitions that are owned, one in flight each, and are never turned away.
        if matches!(request.work, Work::Publish { .. })
            && waiting.requests.len() >= self.requests_max
        {
            return Err(Rejected::Full);
        }
        waiting.requests.push_back(request);
        drop(waiting);
        self.wake.notify_one();
        Ok(())
    }

    /// All that waits, up to about `bytes_max` and at least one; waits for the first. None when closed and empty.
    fn take(&self, bytes_max: usize) -> Option<Vec<Request>> {
        let mut waiting = self.lock();
        while waiting.requests.is_empty() {
            if waiting.closed {
                return None;
            }
            waiting = self
                .wake
                .wait(waiting)
                .expect("nothing panics under this lock");
        }
        let mut bytes = 0_usize;
        let fits = |request: &&Request| {
            let first = bytes == 0;
            bytes =
                bytes.saturating_add(usize::try_from(request.bytes.max(1)).unwrap_or(usize::MAX));
            first || bytes <= bytes_max
        };
        let count = waiting.requests.iter().take_while(fits).count();
        Some(waiting.requests.drain(..count).collect())
    }
}

/// A committer that is gone would leave every caller waiting.
struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::process::abort();
        }
    }
}
