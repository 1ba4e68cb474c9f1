//! One partition of one subscription at work: feeds its state machine from the bus, runs the attempts it asks for,
//! commits the units it hands out. All decisions are the machine's (`weir_core::partition`).

mod components;
mod decode;
pub mod dry_run;
mod gate;
mod views;

use std::collections::VecDeque;
use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::{BoxFuture, OptionFuture};
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use weir_core::event::{Outcome, Record};
use weir_core::gate::Crowded;
use weir_core::partition::{Action, Attempt, AttemptId, Load, Loaded, Partition};
use weir_core::time::Millis;
use weir_core::unit::{CommitResult, Cursor, Position, Restore, Unit};
use weir_wasm::{StateView, TimersView};

use self::components::Components;
pub use self::gate::{GateStatus, SharedGate};
use self::views::SequenceView;
use crate::alarm::Alarm;
use crate::bus::{Bus, FetchError, Reader};
use crate::clock;
use crate::handlers::{Deployment, Handlers, chain};
use crate::ledger::{Ledger, LedgerError};
use crate::manifest::From;
use crate::status::SubscriptionStatus;
use crate::steering::Steering;

/// Bytes asked of the bus at a time: some hundred events of 1 kB, a fraction of a partition's budget.
const FETCH_BYTES: usize = 256 << 10;
/// Running attempts of a partition that moves or stops may take this long; then they are abandoned, uncounted.
const DRAIN_ATTEMPTS: Duration = Duration::from_secs(2);
/// A ledger that does not answer, or has given the partition to somebody else, is not waited for longer than this.
const DRAIN: Duration = Duration::from_secs(25);
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
    /// What attempts must pass before they start.
    pub gate: Arc<SharedGate>,
    /// What `weir status` shows.
    pub status: Arc<SubscriptionStatus>,
}

impl Subscription {
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
    /// The start of a subscription from the latest record could not be committed.
    #[error("commit the start of partition {partition}: {message}")]
    Start {
        /// Partition number.
        partition: u32,
        /// From the ledger.
        message: String,
    },
}

type Commit = BoxFuture<'static, (u64, CommitResult, Duration)>;
type Run = Pin<Box<dyn Future<Output = (AttemptId, Outcome)> + Send>>;

struct Worker {
    subscription: Arc<Subscription>,
    partition: u32,
    machine: Partition,
    /// Tells when the gate may let pass what it held back.
    turns: watch::Receiver<u64>,
    /// Fetched and not handed over.
    fetched: VecDeque<(Position, Record)>,
    /// The same of the command topic: an operator may have to make room for the others.
    commands: VecDeque<(Position, Record)>,
    running: FuturesUnordered<Run>,
    commit: Option<Commit>,
    /// The components that held attempts back when the machine was last asked.
    crowded: Components,
    /// When the bus may be read again, after it could not be.
    fetch_at: Option<tokio::time::Instant>,
}

/// Serves the partition until `stop`, then drains it.
///
/// `make` builds the machine from what the ledger restores.
pub async fn run(
    subscription: Arc<Subscription>,
    partition: u32,
    mut reader: Box<dyn Reader>,
    make: impl FnOnce(Restore) -> Partition + Send,
    stop: CancellationToken,
) -> Result<(), PipelineError> {
    let restored = tokio::select! {
        biased;
        () = stop.cancelled() => return Ok(()),
        restored = restore(&subscription, partition) => restored?,
    };
    let machine = make(restored);
    machine
        .start_positions()
        .into_iter()
        .for_each(|position| reader.seek(position));
    let mut worker = Worker {
        turns: subscription.gate.turns(),
        subscription,
        partition,
        machine,
        fetched: VecDeque::new(),
        commands: VecDeque::new(),
        running: FuturesUnordered::new(),
        commit: None,
        crowded: Components::default(),
        fetch_at: None,
    };
    worker.serve(reader.as_mut(), &stop).await?;
    if tokio::time::timeout(DRAIN, worker.drain()).await.is_err() {
        tracing::warn!(
            partition,
            "a partition was given up before its last work was committed: it runs again on the next owner"
        );
    }
    Ok(())
}

/// What the ledger holds; a new subscription from the latest record commits its start first.
async fn restore(subscription: &Subscription, partition: u32) -> Result<Restore, PipelineError> {
    let scope = &subscription.deployment.scope;
    let restore = subscription.ledger.restore(scope, partition).await?;
    if restore.unit > 0 || subscription.deployment.manifest.from == From::Earliest {
        return Ok(restore);
    }
    let end = |topic: &Arc<str>| {
        let (_, end) = subscription.bus.bounds(topic, partition).unwrap_or((0, 0));
        Cursor {
            frontier: end,
            completed: Vec::new(),
        }
    };
    let unit = Unit {
        number: 1,
        cursors: scope.topics.iter().map(end).collect(),
        staged_at: clock::now(),
        ..Unit::default()
    };
    match subscription.ledger.commit(scope, partition, unit).await {
        CommitResult::Committed => Ok(subscription.ledger.restore(scope, partition).await?),
        CommitResult::Refused { message, .. } | CommitResult::Unavailable { message } => {
            Err(PipelineError::Start { partition, message })
        }
    }
}

impl Worker {
    async fn serve(
        &mut self,
        reader: &mut dyn Reader,
        stop: &CancellationToken,
    ) -> Result<(), PipelineError> {
        loop {
            self.feed();
            let is_cut_short = self.work();
            self.report();
            if is_cut_short {
                tokio::task::yield_now().await;
            }
            let hungry = self.wants(reader);
            let timeout = self.machine.poll_timeout();
            let fetch_at = self.fetch_at;
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                Some((number, result, time)) = OptionFuture::from(self.commit.as_mut()) => {
                    self.committed(number, result, time);
                }
                Some((id, outcome)) = self.running.next() => self.ended(id, outcome),
                records = fetch(reader, fetch_at), if hungry => match records {
                    Ok(records) => {
                        self.fetch_at = None;
                        self.subscription.status.clear(Alarm::ReadFailing, Some(self.partition));
                        self.take(records);
                    }
                    Err(error @ FetchError::OutOfRange { .. }) => return Err(PipelineError::Fetch(error)),
                    Err(error @ FetchError::Store { .. }) => {
                        tracing::debug!(error = &error as &dyn std::error::Error, "read failed, trying again");
                        self.subscription.status.raise(Alarm::ReadFailing, Some(self.partition), chain(&error));
                        self.fetch_at = Some(tokio::time::Instant::now() + FETCH_BACK_OFF);
                    }
                },
                Ok(()) = self.turns.changed() => {}
                () = self.crowded.relieved() => {}
                () = sleep_until(timeout) => self.machine.handle_timeout(clock::now()),
                () = std::future::ready(()), if is_cut_short => {}
            }
        }
    }

    /// Finishes what runs, within its deadline, and commits what is staged.
    async fn drain(&mut self) {
        self.machine.handle_revoke();
        self.fetched.clear();
        let deadline = tokio::time::sleep(DRAIN_ATTEMPTS);
        tokio::pin!(deadline);
        loop {
            self.work();
            self.report();
            if self.machine.is_drained() {
                return;
            }
            tokio::select! {
                biased;
                Some((number, result, time)) = OptionFuture::from(self.commit.as_mut()) => {
                    self.committed(number, result, time);
                }
                Some((id, outcome)) = self.running.next() => self.ended(id, outcome),
                () = &mut deadline, if !self.running.is_empty() => {
                    self.running.clear();
                    let mut gate = self.subscription.gate.pass(Crowded::default());
                    self.machine.abandon_running(clock::now(), &mut gate);
                }
                () = sleep_until(self.machine.poll_timeout()) => {}
            }
        }
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

    fn feed(&mut self) {
        let now = clock::now();
        let deployment = &self.subscription.deployment;
        while self.machine.takes(deployment.command_topic())
            && let Some((position, record)) = self.commands.pop_front()
        {
            let (record, decoded) = decode::command(record);
            self.machine
                .handle_record(now, position, Arc::new(record), decoded);
        }
        while self.machine.has_capacity()
            && let Some((position, record)) = self.fetched.pop_front()
        {
            let decoded = decode::record(&record, &deployment.manifest.filter);
            self.machine
                .handle_record(now, position, Arc::new(record), decoded);
        }
    }

    /// Does what the machine asks for. An attempt that ends at its first poll, as most do, costs no queueing. One that
    /// does not may have used up its tick, and cuts the work short: true then, so that other partitions come first.
    fn work(&mut self) -> bool {
        let waker = futures_util::task::noop_waker();
        let mut context = std::task::Context::from_waker(&waker);
        let components = Components::of(&self.subscription);
        while let Some(action) = self.next_action(&components) {
            match action {
                Action::Attempt(attempt) => {
                    let mut run = self.attempt(*attempt, &components);
                    match run.as_mut().poll(&mut context) {
                        std::task::Poll::Ready((id, outcome)) => self.ended(id, outcome),
                        std::task::Poll::Pending => {
                            self.running.push(run);
                            return true;
                        }
                    }
                }
                Action::Load(load) => {
                    let loaded = self.load(&load);
                    self.machine.handle_loaded(clock::now(), load, loaded);
                }
                Action::Commit(unit) => {
                    let number = unit.number;
                    let scope = &self.subscription.deployment.scope;
                    let commit = self
                        .subscription
                        .ledger
                        .commit(scope, self.partition, *unit);
                    let since = Instant::now();
                    self.commit = Some(Box::pin(async move {
                        let result = commit.await;
                        (number, result, since.elapsed())
                    }));
                }
            }
        }
        false
    }

    fn next_action(&mut self, components: &Components) -> Option<Action> {
        self.crowded = components.crowded();
        let crowded = Crowded {
            own: self.crowded.own.is_some(),
            fallback: self.crowded.fallback.is_some(),
        };
        let mut gate = self.subscription.gate.pass(crowded);
        self.machine.poll_action(clock::now(), &mut gate)
    }

    fn ended(&mut self, id: AttemptId, outcome: Outcome) {
        let mut gate = self.subscription.gate.pass(Crowded::default());
        self.machine
            .handle_outcome(clock::now(), &mut gate, id, outcome);
    }

    fn load(&self, load: &Load) -> Loaded {
        self.read(load).unwrap_or_else(|error| {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "read failed, trying again"
            );
            Loaded::Unavailable
        })
    }

    fn read(&self, load: &Load) -> Result<Loaded, LedgerError> {
        let Subscription {
            deployment, ledger, ..
        } = &*self.subscription;
        let (scope, partition) = (&deployment.scope, self.partition);
        Ok(match load {
            Load::Parked(sequence) => {
                let head = ledger.parked_head(scope, partition, sequence)?;
                Loaded::Parked(head.map(|event| {
                    let decoded = decode::stored(&event.record);
                    (event, decoded)
                }))
            }
            Load::Timer(_, key) => {
                let timer = ledger.timer(scope, partition, key)?;
                Loaded::Timer(timer.map(|timer| {
                    let decoded = decode::stored(&timer.out.record);
                    (timer, decoded)
                }))
            }
            Load::Timers(max) => Loaded::Timers(ledger.timers(scope, partition, *max)?),
            Load::Letter(_, letter, sequence) => Loaded::Letter(
                ledger.letter(scope, partition, *letter)?,
                ledger.parked_head(scope, partition, sequence)?,
            ),
        })
    }

    fn attempt(&self, attempt: Attempt, components: &Components) -> Run {
        let manifest = &self.subscription.deployment.manifest;
        let component = if attempt.fallback {
            components.fallback.clone()
        } else {
            components.own.clone()
        };
        let view = SequenceView {
            subscription: Arc::clone(&self.subscription),
            partition: self.partition,
            sequence: attempt.sequence,
            staged: attempt.staged,
        };
        let own = !attempt.fallback;
        let timers =
            (own && manifest.grants.timers).then(|| Box::new(view.clone()) as Box<dyn TimersView>);
        let state = (own && manifest.grants.state).then(|| Box::new(view) as Box<dyn StateView>);
        let input = weir_wasm::Attempt {
            event: attempt.event,
            number: attempt.number,
            tenant: attempt.tenant,
            topic: attempt.origin.topic,
            partition: attempt.origin.partition,
            position: attempt.origin.offset,
            key: attempt.record.key.clone(),
            now: clock::now(),
            state,
            timers,
        };
        let id = attempt.id;
        Box::pin(async move {
            match component {
                Some(component) => (id, component.call(input).await),
                // Taken out of the table while its partitions stop: the attempt stays unanswered and uncounted.
                None => pending().await,
            }
        })
    }

    fn committed(&mut self, number: u64, result: CommitResult, time: Duration) {
        self.commit = None;
        let (status, partition) = (&self.subscription.status, Some(self.partition));
        status.committed(time);
        match &result {
            CommitResult::Committed => status.clear(Alarm::CommitFailing, partition),
            CommitResult::Refused {
                item,
                code,
                message,
            } => {
                status.clear(Alarm::CommitFailing, partition);
                tracing::warn!(%code, %message, ?item, "output refused, event dies");
            }
            CommitResult::Unavailable { message } => {
                status.raise(Alarm::CommitFailing, partition, message);
            }
        }
        let mut gate = self.subscription.gate.pass(Crowded::default());
        self.machine
            .handle_commit(clock::now(), &mut gate, number, result);
    }

    fn report(&self) {
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

async fn sleep_until(at: Option<Millis>) {
    match at {
        Some(at) => tokio::time::sleep(at.since(clock::now())).await,
        None => pending().await,
    }
}
