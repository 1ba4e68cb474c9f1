//! Commits units of work: one thread for each transactional producer takes all units that wait and commits them together.
//!
//! The partitions of a subscription are divided among its producers by their number, so that no partition has two open
//! transactions, and one producer's partitions work while another commits. Under load units gather while the
//! transaction before them commits; when little is to do a unit goes alone and at once.
//!
//! **An unknown outcome is not an abort.** Each unit has a number, which is the metadata of its partition's committed
//! offsets. After an error that may leave a transaction committed, the producer is replaced by another of the same
//! name, which fences what is still on its way, and then the committed offsets say whether the unit is there.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use futures_util::future::{self, BoxFuture};
use rdkafka::client::ClientContext;
use rdkafka::config::{FromClientConfigAndContext as _, RDKafkaLogLevel};
use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext, PurgeConfig};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio::sync::oneshot;
use weir_core::unit::{CommitResult, ItemId, OutRecord, TimerSlot, Unit};

use super::clients::{self, Clients, TRANSACTION_TIMEOUT};
use super::cluster::{ANSWER, Cluster};
use super::membership::{Leave, Share};
use super::records::{number, offset, to_message};
use crate::embedded::{Changes, Embedded};
use crate::names;

/// Producers of a subscription: while one commits, the partitions of the other work.
const PRODUCERS: u32 = 2;
/// A transaction takes no more than this: what waits behind it should not wait long.
const EVENTS_MAX: usize = 20_000;
/// Between two looks at delivery reports; librdkafka's own waits do so every 100 ms, and a poll with a timeout, in this
/// crate's clothes, spins through the last millisecond of it.
const SERVE: Duration = Duration::from_millis(1);
/// What was sent before a transaction is aborted is answered within this time, or the producer is replaced.
const ABORT_PATIENCE: Duration = Duration::from_secs(1);
/// After a producer could not be made.
const RETRY: Duration = Duration::from_millis(500);

/// The producers of one subscription.
pub(super) struct Committers {
    share: Arc<Share>,
    queues: Vec<Arc<Queue>>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    wake: Condvar,
}

#[derive(Default)]
struct Waiting {
    requests: VecDeque<Request>,
    closed: bool,
}

/// A unit of a partition that waits for its transaction.
pub(super) struct Request {
    pub(super) partition: u32,
    /// Of the assignment in which the unit was staged.
    pub(super) epoch: u64,
    pub(super) unit: Unit,
    reply: oneshot::Sender<CommitResult>,
}

impl Committers {
    pub(super) fn spawn(
        clients: &Arc<Clients>,
        cluster: &Arc<Cluster>,
        copy: &Embedded,
        share: &Arc<Share>,
    ) -> std::io::Result<Self> {
        Self::spawn_each(share, |number| {
            let mut committer = Committer {
                clients: Arc::clone(clients),
                cluster: Arc::clone(cluster),
                copy: copy.clone(),
                share: Arc::clone(share),
                number,
                producer: None,
            };
            move |queue: &Queue| committer.run(queue)
        })
    }

    /// One thread for each producer, which `make` makes by its number.
    pub(super) fn spawn_each<C: FnOnce(&Queue) + Send + 'static>(
        share: &Arc<Share>,
        make: impl Fn(u32) -> C,
    ) -> std::io::Result<Self> {
        let mut committers = Self {
            share: Arc::clone(share),
            queues: Vec::new(),
            threads: Vec::new(),
        };
        for number in 0..PRODUCERS {
            let queue = Arc::<Queue>::default();
            let committer = make(number);
            let membership = Arc::clone(share);
            let shared = Arc::clone(&queue);
            let thread = std::thread::Builder::new()
                .name("weir-committer".to_owned())
                .spawn(move || {
                    let _membership = Renewed(membership);
                    committer(&shared);
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
            0 => self.share.epoch(partition),
            epoch => Some(epoch),
        };
        let Some(epoch) = epoch else {
            return Box::pin(future::ready(CommitResult::Moved));
        };
        let (reply, answer) = oneshot::channel();
        let queue = &self.queues[(partition % PRODUCERS) as usize];
        queue.lock().requests.push_back(Request {
            partition,
            epoch,
            unit,
            reply,
        });
        queue.wake.notify_one();
        // Unanswered, the membership is over.
        Box::pin(answer.map(|answer| answer.unwrap_or(CommitResult::Moved)))
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
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All that waits, within the bound and at least one; none when closed and empty.
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
        let mut events = 0;
        let fits = |request: &&Request| {
            let first = events == 0;
            events += request.unit.completions.len().max(1);
            first || events <= EVENTS_MAX
        };
        let count = waiting.requests.iter().take_while(fits).count();
        Some(waiting.requests.drain(..count).collect())
    }
}

/// Reports of what became of produced records.
#[derive(Default)]
pub(super) struct Reports {
    /// By the number that each send was given.
    failed: Mutex<Vec<(usize, RDKafkaErrorCode)>>,
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        clients::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "librdkafka");
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, sent: usize) {
        if let Err((error, _)) = result
            && let Some(code) = error.rdkafka_error_code()
        {
            let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
            failed.push((sent, code));
        }
    }
}

pub(super) type TransactionalProducer = BaseProducer<Reports>;

/// A request with what it writes.
struct Staged {
    request: Request,
    changes: Changes,
}

/// Why a transaction is not committed.
pub(super) enum Failure {
    /// Because of one request: surely absent.
    Refused(usize, ItemId, &'static str, String),
    /// Surely absent, all of it.
    Absent(String),
    /// It may be committed.
    Unknown(String),
}

/// The thread's own.
struct Committer {
    clients: Arc<Clients>,
    cluster: Arc<Cluster>,
    copy: Embedded,
    share: Arc<Share>,
    number: u32,
    producer: Option<TransactionalProducer>,
}

impl Committer {
    fn run(&mut self, queue: &Queue) {
        while let Some(requests) = queue.take() {
            let mut staged = self.stage(requests);
            while !staged.is_empty() {
                match self.transaction(&staged) {
                    Ok(()) => {
                        for one in staged.drain(..) {
                            self.committed(one);
                        }
                    }
                    Err(Failure::Refused(index, item, code, message)) => {
                        let code = code.to_owned();
                        staged.remove(index).request.answer(CommitResult::Refused {
                            item,
                            code,
                            message,
                        });
                    }
                    Err(Failure::Absent(message)) => {
                        for one in staged.drain(..) {
                            one.request.answer(unavailable(&message));
                        }
                    }
                    Err(Failure::Unknown(message)) => {
                        self.resolve(std::mem::take(&mut staged), &message);
                    }
                }
            }
        }
    }

    /// What the requests write; those that no longer count, or cannot be read, are answered.
    fn stage(&self, requests: Vec<Request>) -> Vec<Staged> {
        let mut staged = Vec::with_capacity(requests.len());
        for request in requests {
            if !self.is_owned(&request) {
                request.answer(CommitResult::Moved);
                continue;
            }
            // A start stands on the topics as they are.
            let origin = (request.unit.epoch == 0).then(|| self.share.origin.encode());
            let (scope, partition) = (&self.share.scope, request.partition);
            match self
                .copy
                .copy_stage(scope, partition, &request.unit, origin.as_deref())
            {
                Ok(changes) => staged.push(Staged { request, changes }),
                Err(error) => request.answer(unavailable(&crate::handlers::chain(&error))),
            }
        }
        staged
    }

    fn is_owned(&self, request: &Request) -> bool {
        self.share.owns(request.partition, request.epoch)
    }

    fn committed(&self, staged: Staged) {
        let Request {
            partition, epoch, ..
        } = staged.request;
        self.share.change_copy(partition, epoch, || {
            self.copy.copy_write(&staged.changes);
        });
        staged.request.answer(CommitResult::Committed);
    }

    fn transaction(&mut self, staged: &[Staged]) -> Result<(), Failure> {
        let producer = match self.producer.take() {
            Some(producer) => producer,
            None => self.make().map_err(|error| {
                Failure::Absent(format!("start a transactional producer: {error}"))
            })?,
        };
        let outcome = self.attempt(&producer, staged);
        match outcome {
            Ok(()) => self.producer = Some(producer),
            Err(Failure::Refused(..) | Failure::Absent(_)) => {
                // Aborted, it can be used again. Not aborted, its successor fences it.
                if abort(&producer) {
                    self.producer = Some(producer);
                }
            }
            Err(Failure::Unknown(_)) => {}
        }
        outcome
    }

    fn attempt(&self, producer: &TransactionalProducer, staged: &[Staged]) -> Result<(), Failure> {
        let absent = |what: &'static str| {
            move |error: KafkaError| Failure::Absent(format!("{what}: {error}"))
        };
        producer.context().failed().clear();
        producer
            .begin_transaction()
            .map_err(absent("begin a transaction"))?;
        let mut sent = Vec::new();
        for (index, one) in staged.iter().enumerate() {
            self.produce(producer, index, one, &mut sent)?;
        }
        serve(producer, 2 * TRANSACTION_TIMEOUT)?;
        if let Some((send, code)) = producer.context().failed().first().copied() {
            return Err(blame(sent.get(send).copied(), code));
        }
        // Asked before the epochs are: see its invariant.
        let identity = self.share.identity();
        if let Some(moved) = staged.iter().find(|one| !self.is_owned(&one.request)) {
            let message = format!(
                "partition {} has moved to another host",
                moved.request.partition
            );
            return Err(Failure::Absent(message));
        }
        let Some(identity) = identity else {
            return Err(Failure::Absent(
                "this host is not a member of the group".to_owned(),
            ));
        };
        producer
            .send_offsets_to_transaction(&self.offsets(staged), &identity, ANSWER)
            .map_err(absent("add the positions"))?;
        producer
            .commit_transaction(TRANSACTION_TIMEOUT)
            .map_err(|error| Failure::Unknown(format!("commit a transaction: {error}")))
    }

    /// Every transaction commits the offsets of all partitions that it touches: they alone are fenced by the group.
    fn offsets(&self, staged: &[Staged]) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for Staged { request, .. } in staged {
            let metadata = request.unit.number.to_string();
            for (index, topic) in self.share.topics_of(request.partition) {
                let Some(cursor) = request.unit.cursors.get(usize::from(index)) else {
                    continue;
                };
                let mut element = list.add_partition(topic, number(request.partition));
                element.set_metadata(&metadata);
                element
                    .set_offset(Offset::Offset(offset(cursor.frontier)))
                    .expect("an absolute offset is always taken");
            }
        }
        list
    }

    /// Produces all that one unit writes. `sent` is told whose each record is.
    fn produce(
        &self,
        producer: &TransactionalProducer,
        index: usize,
        staged: &Staged,
        sent: &mut Vec<(usize, Option<ItemId>)>,
    ) -> Result<(), Failure> {
        let Staged { request, changes } = staged;
        for completion in &request.unit.completions {
            let refuse = |(code, message)| Failure::Refused(index, completion.item, code, message);
            for out in &completion.output.records {
                let partition = destination(&self.cluster, out).map_err(refuse)?;
                sent.push((index, Some(completion.item)));
                let message =
                    to_message(&out.topic, number(partition), &out.record, sent.len() - 1);
                send(producer, message).map_err(|code| blame(sent.last().copied(), code))?;
            }
            for change in &completion.output.timers {
                if let (TimerSlot::Emission(_), Some(timer)) = (&change.key.slot, &change.timer) {
                    destination(&self.cluster, &timer.out).map_err(refuse)?;
                }
            }
        }
        let group = &self.share.scope.group;
        let (ledger, park) = (names::ledger_topic(group), names::park_topic(group));
        let mut failure = None;
        changes.each(|key, value, parked| {
            sent.push((index, None));
            let topic = if parked { &park } else { &ledger };
            let mut message =
                BaseRecord::<[u8], [u8], usize>::with_opaque_to(topic, sent.len() - 1)
                    .partition(number(request.partition))
                    .key(key);
            if let Some(value) = value {
                message = message.payload(value);
            }
            if failure.is_none() {
                failure = send(producer, message).err();
            }
        });
        match failure {
            None => Ok(()),
            Some(code) => Err(blame(None, code)),
        }
    }

    /// A producer that has fenced all before it of its name: what they left open is aborted or was committed.
    fn make(&self) -> Result<TransactionalProducer, KafkaError> {
        let config = self
            .clients
            .committing(&self.share.scope.group, self.number);
        let reports = Reports {
            failed: Mutex::default(),
        };
        let producer = TransactionalProducer::from_config_and_context(&config, reports)?;
        producer.init_transactions(ANSWER)?;
        Ok(producer)
    }

    /// Finds out what became of a transaction, however long that takes: nothing else of these partitions may be
    /// committed before.
    fn resolve(&mut self, staged: Vec<Staged>, message: &str) {
        tracing::warn!(
            message,
            group = &*self.share.scope.group,
            "the outcome of a transaction is unknown, asking"
        );
        let started = Instant::now();
        loop {
            if !staged.iter().any(|one| self.is_owned(&one.request)) {
                // Their next owners read it.
                return staged
                    .into_iter()
                    .for_each(|one| one.request.answer(CommitResult::Moved));
            }
            if self.producer.is_none() {
                match self.make() {
                    Ok(producer) => self.producer = Some(producer),
                    Err(error) => {
                        tracing::warn!(%error, seconds = started.elapsed().as_secs(), "cannot ask yet");
                        pause(RETRY);
                        continue;
                    }
                }
            }
            match self.committed_numbers(&staged) {
                Ok(numbers) => {
                    for one in staged {
                        let found = numbers.get(&one.request.partition).copied();
                        let number = Some(one.request.unit.number);
                        if found > number && self.is_owned(&one.request) {
                            let why = "another has committed units of what is this host's";
                            self.share.leave(Leave::Renew(why.to_owned()));
                        }
                        if !self.is_owned(&one.request) || found > number {
                            one.request.answer(CommitResult::Moved);
                        } else if found == number {
                            self.committed(one);
                        } else {
                            one.request.answer(unavailable(message));
                        }
                    }
                    return;
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot read committed positions yet");
                    pause(RETRY);
                }
            }
        }
    }

    /// The numbers of the last committed units by partition, with no transaction open over them.
    fn committed_numbers(&self, staged: &[Staged]) -> Result<HashMap<u32, u64>, KafkaError> {
        let Some(consumer) = self.share.consumer() else {
            return Err(KafkaError::Canceled);
        };
        let list = consumer.committed_offsets(self.offsets(staged), ANSWER)?;
        let mut numbers = HashMap::new();
        for element in list.elements() {
            element.error()?;
            let found = element.metadata().parse::<u64>().unwrap_or_default();
            if let Ok(partition) = u32::try_from(element.partition()) {
                let known = numbers.entry(partition).or_insert(found);
                *known = found.max(*known);
            }
        }
        Ok(numbers)
    }
}

impl Reports {
    pub(super) fn failed(&self) -> MutexGuard<'_, Vec<(usize, RDKafkaErrorCode)>> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Request {
    /// The receiver may be gone: what it asked for is as it is all the same.
    pub(super) fn answer(self, result: CommitResult) {
        drop(self.reply.send(result));
    }
}

/// The partition that a record goes to.
pub(super) fn destination(
    cluster: &Cluster,
    out: &OutRecord,
) -> Result<u32, (&'static str, String)> {
    let Some(count) = cluster.partitions(&out.topic) else {
        return Err((
            "unknown-topic",
            format!("there is no topic {:?}", out.topic),
        ));
    };
    let partition = out.partition.unwrap_or(out.partition_hash % count.max(1));
    if partition < count {
        return Ok(partition);
    }
    let message = format!(
        "topic {:?} has {count} partitions, {partition} is beyond them",
        out.topic
    );
    Err(("unknown-partition", message))
}

/// Queues a record, and makes room while there is none.
pub(super) fn send(
    producer: &TransactionalProducer,
    mut message: BaseRecord<'_, [u8], [u8], usize>,
) -> Result<(), RDKafkaErrorCode> {
    loop {
        match producer.send(message) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), again)) => {
                message = again;
                take_reports(producer);
            }
            Err((error, _)) => {
                return Err(error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail));
            }
        }
    }
}

/// Takes reports until nothing is on its way. librdkafka gives up what takes longer than a transaction may.
pub(super) fn serve(producer: &TransactionalProducer, patience: Duration) -> Result<(), Failure> {
    let deadline = Instant::now() + patience;
    while producer.in_flight_count() > 0 {
        if Instant::now() > deadline {
            return Err(Failure::Absent(
                "records were not acknowledged in time".to_owned(),
            ));
        }
        take_reports(producer);
    }
    Ok(())
}

/// Takes the reports that are there, or waits a little where there are none.
fn take_reports(producer: &TransactionalProducer) {
    let before = producer.in_flight_count();
    producer.poll(Duration::ZERO);
    if producer.in_flight_count() == before {
        pause(SERVE);
    }
}

/// What was not sent is given up first, and all reports are taken: librdkafka waits for them while it aborts.
///
/// Invariant: nothing is on its way to a broker when a transaction ends that another of the same producer follows. What
/// came late would be taken for a part of that one; of a producer that is replaced, brokers take nothing any more.
fn abort(producer: &TransactionalProducer) -> bool {
    producer.purge(PurgeConfig::default().queue());
    let is_quiet = serve(producer, ABORT_PATIENCE).is_ok();
    is_quiet && producer.abort_transaction(TRANSACTION_TIMEOUT).is_ok()
}

/// Whose fault a failed record is.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "of some 150 codes these few are said of one record; all others are the cluster's own"
)]
pub(super) fn blame(sent: Option<(usize, Option<ItemId>)>, code: RDKafkaErrorCode) -> Failure {
    let refused = match code {
        RDKafkaErrorCode::MessageSizeTooLarge => Some("record-too-large"),
        RDKafkaErrorCode::TopicAuthorizationFailed => Some("not-authorised"),
        RDKafkaErrorCode::UnknownTopicOrPartition
        | RDKafkaErrorCode::UnknownTopic
        | RDKafkaErrorCode::UnknownPartition => Some("unknown-topic"),
        RDKafkaErrorCode::InvalidRecord | RDKafkaErrorCode::InvalidMessage => {
            Some("invalid-record")
        }
        _ => None,
    };
    match (sent, refused) {
        (Some((index, Some(item))), Some(refused)) => Failure::Refused(
            index,
            item,
            refused,
            format!("the broker refuses a record: {code}"),
        ),
        _ => Failure::Absent(format!("produce a record: {code}")),
    }
}

pub(super) fn unavailable(message: &str) -> CommitResult {
    CommitResult::Unavailable {
        message: message.to_owned(),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "this thread has nothing else to do while the cluster does not answer"
)]
pub(super) fn pause(time: Duration) {
    std::thread::sleep(time);
}
