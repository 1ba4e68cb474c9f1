//! One partition of one subscription at work: feeds its state machine from the bus, runs the attempts it asks for,
//! commits the units it hands out. All decisions are the machine's (`weir_core::partition`).

mod components;
mod decode;
pub mod dry_run;
mod gate;
mod memory;
pub(crate) mod position;
mod solitude;
mod views;
mod work;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, OptionFuture};
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use weir_core::event::{Outcome, Record};
use weir_core::gate::Crowded;
use weir_core::inbox;
use weir_core::partition::{self, AttemptId, Partition};
use weir_core::time::Millis;
use weir_core::unit::{CommitResult, Origin, Position, Restore};
use weir_wasm::Component;

use self::components::Components;
pub(crate) use self::decode::sequence_of;
use self::gate::Successes;
pub use self::gate::{GateStatus, SharedGate};
pub use self::memory::Memory;
pub use self::solitude::SharedSolitude;
use crate::alarm::Alarm;
use crate::bus::{Bus, FetchError, Reader};
use crate::clock;
use crate::fleet::Fleet;
use crate::handlers::{Deployment, Handlers, chain};
use crate::ledger::{Ledger, LedgerError};
use crate::status::SubscriptionStatus;
use crate::steering::Steering;

/// Bytes asked of the bus at a time: some hundred events of 1 kB, a fraction of a partition's budget.
const FETCH_BYTES: usize = 256 << 10;
/// Running attempts of a partition that moves or stops may take this long; then they are abandoned, uncounted.
const DRAIN_ATTEMPTS: Duration = Duration::from_secs(2);
/// All of a drain may take this long, the commit included; then what is not committed is left to the next owner.
const DRAIN: Duration = Duration::from_secs(5);
/// The runtime's clock stands still while the machine is suspended: what was due meanwhile is late by no more.
const SLEEP_MAX: Duration = Duration::from_secs(60);
/// Between two looks at what keeps a partition from being restored.
const OBSTACLE: Duration = Duration::from_secs(1);
/// Between two looks at where topics end, by which marks leave the inbox.
const ENDS: Duration = Duration::from_secs(10);
/// After a failed read of the bus.
const FETCH_BACK_OFF: Duration = Duration::from_secs(1);

/// What all partitions of a subscription share.
pub struct Subscription {
    /// The handler.
    pub deployment: Deployment,
    /// Live components.
    pub handlers: Arc<Handlers>,
    /// Where events come from.
    pub bus: Arc<dyn Bus>,
    /// Where units go.
    pub ledger: Arc<dyn Ledger>,
    /// Who has the partitions that this host does not have.
    pub fleet: Arc<Fleet>,
    /// What attempts must pass before they start.
    pub gate: Arc<SharedGate>,
    /// What its events may take, with those of all others.
    pub memory: Arc<Memory>,
    /// Which suspect of a crash runs alone, of those of all others.
    pub solitude: Arc<SharedSolitude>,
    /// What `weir status` shows.
    pub status: Arc<SubscriptionStatus>,
    /// Counts how often an operator has let go on what had stopped.
    pub resumed: watch::Sender<u64>,
    /// Held while lost positions are looked for and replaced: what was found would be old once another has let the partition
    /// go on.
    pub replacing: tokio::sync::Mutex<()>,
}

impl Subscription {
    /// Lets everything go on that has stopped by itself.
    pub fn resume(&self) {
        self.resumed.send_modify(|count| *count += 1);
    }

    /// Obeys an operator.
    pub fn steer(&self, steering: Steering) {
        steering.apply(clock::now(), &self.gate);
        self.status.steer(steering);
    }
}

/// Why a partition stopped before it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// The ledger could not be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The committed position is gone.
    #[error(transparent)]
    Fetch(FetchError),
    /// The committed position leads nowhere; says what is lost.
    #[error("the position of partition {partition} is lost: {message}")]
    PositionLost {
        /// Partition number.
        partition: u32,
        /// Of each topic.
        message: String,
    },
    /// The start of a new subscription could not be committed.
    #[error("commit the start of partition {partition}: {message}")]
    Start {
        /// Partition number.
        partition: u32,
        /// From the ledger.
        message: String,
    },
}

/// Why a partition is no longer served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It was asked to.
    Stopped,
    /// It had halted, and an operator lets it begin anew with what the ledger holds.
    Resumed,
}

type Commit = BoxFuture<'static, (u64, CommitResult, Duration)>;
/// An attempt with its outcome, and the handler's component that made it: another one may serve by then.
type Run = Pin<Box<dyn Future<Output = Ended> + Send>>;

struct Ended {
    id: AttemptId,
    outcome: Outcome,
    /// None of a fallback.
    component: Option<Arc<Component>>,
}

struct Worker {
    subscription: Arc<Subscription>,
    partition: u32,
    machine: Partition,
    /// Tells when the gate may let pass what it held back.
    turns: watch::Receiver<u64>,
    /// Tells when an operator lets go on what has stopped.
    resumed: watch::Receiver<u64>,
    /// Tells when there is memory again.
    memory: watch::Receiver<u64>,
    /// Tells when a suspect may ask again whether it may run alone.
    solitude: watch::Receiver<()>,
    /// Fetched and not handed over.
    fetched: VecDeque<(Position, Record)>,
    /// The same of the command topic: an operator may have to make room for the others.
    commands: VecDeque<(Position, Record)>,
    running: FuturesUnordered<Run>,
    commit: Option<Commit>,
    /// The components that held attempts back when the machine was last asked.
    crowded: Components,
    /// What the gate has not heard of.
    successes: Successes,
    /// When the bus may be read again, after it could not be.
    fetch_at: Option<tokio::time::Instant>,
    /// When the machine was last told where its topics end.
    ends_at: Millis,
    /// When the machine was last told how long the host has slept.
    slept_at: Millis,
}

/// Serves the partition until `stop`, or until an operator lets go on what had stopped by itself, then drains it.
///
/// `machine` and `epoch` are those of the assignment.
pub async fn run(
    subscription: Arc<Subscription>,
    partition: u32,
    reader: &mut dyn Reader,
    (machine, epoch): (partition::Config, u64),
    stop: CancellationToken,
) -> Result<End, PipelineError> {
    let window = machine.inbox.unwrap_or_default();
    let restored = tokio::select! {
        biased;
        () = stop.cancelled() => return Ok(End::Stopped),
        restored = restore(&subscription, partition, window) => restored?,
    };
    let machine = Partition::new(machine, epoch, restored);
    machine
        .start_positions()
        .into_iter()
        .for_each(|position| reader.seek(position));
    let mut worker = Worker {
        turns: subscription.gate.turns(),
        resumed: subscription.resumed.subscribe(),
        memory: subscription.memory.turns(),
        solitude: subscription.solitude.turns(),
        subscription,
        partition,
        machine,
        fetched: VecDeque::new(),
        commands: VecDeque::new(),
        running: FuturesUnordered::new(),
        commit: None,
        crowded: Components::default(),
        successes: Successes::default(),
        fetch_at: None,
        ends_at: Millis(0),
        slept_at: Millis(0),
    };
    let watched = Arc::clone(&worker.subscription);
    let end = tokio::select! {
        end = worker.serve(reader, &stop) => end?,
        never = watch_commits(&watched, partition) => match never {},
    };
    worker.pass(reader);
    worker.drain().await;
    let memory = Arc::clone(&worker.subscription.memory);
    drop(worker);
    memory.tell();
    Ok(end)
}

/// What the ledger holds; says meanwhile what keeps that from being read.
async fn restore(
    subscription: &Subscription,
    partition: u32,
    window: inbox::Config,
) -> Result<Restore, PipelineError> {
    let Subscription { ledger, status, .. } = subscription;
    let scope = &subscription.deployment.scope;
    let told = Some(partition);
    let restoring = position::restore(subscription, partition, window);
    tokio::pin!(restoring);
    loop {
        tokio::select! {
            biased;
            restored = &mut restoring => {
                status.clear(Alarm::ReadFailing, told);
                return restored;
            }
            () = tokio::time::sleep(OBSTACLE) => match ledger.obstacle(scope, partition) {
                Some(why) => status.raise(Alarm::ReadFailing, told, why),
                None => status.clear(Alarm::ReadFailing, told),
            },
        }
    }
}

/// Says while a unit is committed what keeps that from being decided. It is over with the answer, which the worker hears.
async fn watch_commits(subscription: &Subscription, partition: u32) -> Infallible {
    let Subscription { ledger, status, .. } = subscription;
    let scope = &subscription.deployment.scope;
    loop {
        tokio::time::sleep(OBSTACLE).await;
        if let Some(why) = ledger.obstacle(scope, partition) {
            status.raise(Alarm::CommitFailing, Some(partition), why);
        }
    }
}

impl Worker {
    async fn serve(
        &mut self,
        reader: &mut dyn Reader,
        stop: &CancellationToken,
    ) -> Result<End, PipelineError> {
        loop {
            self.feed();
            self.tell_ends();
            let is_cut_short = self.work();
            self.report();
            if is_cut_short {
                tokio::task::yield_now().await;
            }
            if self.machine.is_moved() {
                // The bus is about to say so.
                self.abandon();
                stop.cancelled().await;
                return Ok(End::Stopped);
            }
            let hungry = self.wants(reader);
            let timeout = self.machine.poll_timeout();
            let fetch_at = self.fetch_at;
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(End::Stopped),
                Ok(()) = self.resumed.changed() => {
                    if self.machine.is_halted() {
                        return Ok(End::Resumed);
                    }
                }
                Some((number, result, time)) = OptionFuture::from(self.commit.as_mut()) => {
                    self.committed(number, result, time);
                }
                Some(ended) = self.running.next() => {
                    self.ended(ended);
                }
                records = fetch(reader, fetch_at), if hungry => match records {
                    Ok(records) => {
                        self.fetch_at = None;
                        if !reader.is_failing() {
                            self.subscription.status.clear(Alarm::ReadFailing, Some(self.partition));
                        }
                        if records.is_empty() {
                            self.pass(reader);
                        } else {
                            self.take(records);
                        }
                    }
                    Err(error @ FetchError::OutOfRange { .. }) => return Err(PipelineError::Fetch(error)),
                    Err(error @ FetchError::Store { .. }) => {
                        tracing::debug!(error = &error as &dyn std::error::Error, "read failed, trying again");
                        self.subscription.status.raise(Alarm::ReadFailing, Some(self.partition), chain(&error));
                        self.fetch_at = Some(tokio::time::Instant::now() + FETCH_BACK_OFF);
                    }
                },
                Ok(()) = self.turns.changed() => {}
                Ok(()) = self.memory.changed() => {}
                Ok(()) = self.solitude.changed() => {}
                () = self.crowded.relieved() => {}
                () = sleep_until(timeout) => self.machine.handle_timeout(clock::now()),
                () = std::future::ready(()), if is_cut_short => {}
            }
        }
    }

    /// Finishes what runs and commits what is staged, each within its deadline.
    async fn drain(&mut self) {
        if tokio::time::timeout(DRAIN, self.finish()).await.is_err() {
            let handler = &self.subscription.deployment.manifest.name;
            let partition = self.partition;
            tracing::warn!(%handler, partition, "not all was committed in time: the rest runs again");
        }
    }

    async fn finish(&mut self) {
        self.machine.handle_revoke();
        self.fetched.clear();
        let deadline = tokio::time::sleep(DRAIN_ATTEMPTS);
        tokio::pin!(deadline);
        loop {
            self.work();
            self.report();
            if self.machine.is_moved() {
                self.abandon();
            }
            if self.machine.is_drained() {
                return;
            }
            tokio::select! {
                biased;
                Some((number, result, time)) = OptionFuture::from(self.commit.as_mut()) => {
                    self.committed(number, result, time);
                }
                Some(ended) = self.running.next() => {
                    self.ended(ended);
                }
                () = &mut deadline, if !self.running.is_empty() => self.abandon(),
                () = sleep_until(self.machine.poll_timeout()) => {}
            }
        }
    }

    /// Gives up what runs.
    fn abandon(&mut self) {
        self.running.clear();
        let mut gate = self
            .subscription
            .gate
            .pass(Crowded::default(), &mut self.successes);
        self.machine.abandon_running(clock::now(), &mut gate);
    }

    /// Whether to fetch, and tells the reader of what.
    fn wants(&self, reader: &mut dyn Reader) -> bool {
        let all = self.fetched.is_empty() && self.machine.has_capacity();
        let commands = self.subscription.deployment.command_topic();
        reader.only((!all).then_some(commands));
        all || (self.commands.is_empty() && self.machine.takes(commands))
    }

    fn take(&mut self, records: Vec<(Position, Record)>) {
        let commands = self.subscription.deployment.command_topic();
        for (position, record) in records {
            if position.topic == commands {
                self.commands.push_back((position, record));
            } else {
                self.fetched.push_back((position, record));
            }
        }
    }

    /// Tells the machine how far its topics were read, unless that has something of them still to see.
    fn pass(&mut self, reader: &mut dyn Reader) {
        if !self.fetched.is_empty() || !self.commands.is_empty() {
            return;
        }
        let now = clock::now();
        let topics = self.subscription.deployment.scope.topics.len();
        for topic in (0..).take(topics) {
            let offset = reader.passed(topic);
            self.machine.handle_passed(now, Position { topic, offset });
        }
    }

    /// Tells the machine where its topics end, now and then.
    fn tell_ends(&mut self) {
        let now = clock::now();
        if now.since(self.ends_at) < ENDS {
            return;
        }
        self.ends_at = now;
        let bus = &self.subscription.bus;
        // Commands are no stream, and a cluster is asked each second for whatever somebody wants to know.
        let topics = self.subscription.deployment.source_topics();
        for (topic, name) in (0..).zip(topics) {
            let end = match bus.topic(name) {
                // Others of the handler's topics have more: nothing ever comes of it here.
                Some(known) if known.partitions <= self.partition => Some((0, now)),
                Some(_) | None => bus.end(name, self.partition),
            };
            if let Some((offset, at)) = end {
                self.machine.handle_end(at, Position { topic, offset });
            }
        }
    }

    fn feed(&mut self) {
        let now = clock::now();
        let deployment = &self.subscription.deployment;
        while self.machine.takes(deployment.command_topic())
            && let Some((position, record)) = self.commands.pop_front()
        {
            let (record, decoded) = decode::command(record, deployment);
            self.machine
                .handle_record(now, position, Arc::new(record), decoded);
        }
        // All partitions share the names of their topics: to count one more user of it for each event has the threads wait for
        // one another.
        let mut origin = Origin {
            topic: Arc::clone(&deployment.scope.topics[0]),
            partition: self.partition,
            offset: 0,
        };
        while self.machine.has_capacity()
            && let Some((position, record)) = self.fetched.pop_front()
        {
            let topic = &deployment.scope.topics[usize::from(position.topic)];
            if !Arc::ptr_eq(&origin.topic, topic) {
                origin.topic = Arc::clone(topic);
            }
            origin.offset = position.offset;
            let decoded = decode::record(&record, &origin, deployment);
            self.machine
                .handle_record(now, position, Arc::new(record), decoded);
        }
    }

    fn report(&self) {
        self.subscription.memory.tell();
        self.subscription
            .status
            .update(self.partition, &self.machine);
    }
}

async fn fetch(
    reader: &mut dyn Reader,
    at: Option<tokio::time::Instant>,
) -> Result<Vec<(Position, Record)>, FetchError> {
    if let Some(at) = at {
        tokio::time::sleep_until(at).await;
    }
    reader.fetch(FETCH_BYTES).await
}

/// Until then, or a little: whoever asks looks at the clock again.
async fn sleep_until(at: Option<Millis>) {
    match at {
        Some(at) => tokio::time::sleep(at.since(clock::now()).min(SLEEP_MAX)).await,
        None => pending().await,
    }
}
