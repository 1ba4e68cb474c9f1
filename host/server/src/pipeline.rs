//! One partition of one subscription at work: feeds its state machine from the bus, runs the attempts it asks for,
//! commits the units it hands out. All decisions are the machine's (`weir_core::partition`).

use std::collections::VecDeque;
use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::{BoxFuture, OptionFuture};
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio_util::sync::CancellationToken;
use weir_core::binding::{self, BindingError};
use weir_core::event::{Event, Outcome, Record};
use weir_core::partition::{Action, Attempt, AttemptId, Decoded, Partition, StagedState};
use weir_core::time::Millis;
use weir_core::unit::{CommitResult, Cursor, Position, SequenceKey, Unit};
use weir_wasm::{StateUnavailable, StateView};

use crate::alarm::Alarm;
use crate::bus::{Bus, FetchError, Reader};
use crate::clock;
use crate::cloudevents;
use crate::handlers::{Deployment, Handlers, chain};
use crate::ledger::{Ledger, LedgerError};
use crate::manifest::From;
use crate::status::SubscriptionStatus;

/// Bytes asked of the bus at a time: some hundred events of 1 kB, a fraction of a partition's budget.
const FETCH_BYTES: usize = 256 << 10;
/// Running attempts of a partition that moves or stops may take this long; then they are abandoned, uncounted.
const DRAIN_ATTEMPTS: Duration = Duration::from_secs(2);
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
    /// What `weir status` shows.
    pub status: Arc<SubscriptionStatus>,
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
    /// Fetched and not handed over.
    fetched: VecDeque<(Position, Record)>,
    running: FuturesUnordered<Run>,
    commit: Option<Commit>,
}

/// Serves the partition until `stop`, then drains it.
///
/// `make` builds the machine from what the ledger restores.
pub async fn run(
    subscription: Arc<Subscription>,
    partition: u32,
    mut reader: Box<dyn Reader>,
    make: impl FnOnce(weir_core::unit::Restore) -> Partition + Send,
    stop: CancellationToken,
) -> Result<(), PipelineError> {
    let machine = make(restore(&subscription, partition).await?);
    machine
        .start_positions()
        .into_iter()
        .for_each(|position| reader.seek(position));
    let mut worker = Worker {
        subscription,
        partition,
        machine,
        fetched: VecDeque::new(),
        running: FuturesUnordered::new(),
        commit: None,
    };
    worker.serve(reader.as_mut(), &stop).await?;
    worker.drain().await;
    Ok(())
}

/// What the ledger holds; a new subscription from the latest record commits its start first.
async fn restore(
    subscription: &Subscription,
    partition: u32,
) -> Result<weir_core::unit::Restore, PipelineError> {
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
        epoch: 0,
        completions: Vec::new(),
        cursors: scope.topics.iter().map(end).collect(),
        open: Vec::new(),
        stream_time: Millis(0),
        staged_at: clock::now(),
        expired_blocks: Vec::new(),
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
            self.work();
            self.report();
            let hungry = self.fetched.is_empty() && self.machine.has_capacity();
            let timeout = self.machine.poll_timeout();
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                Some((number, result, time)) = OptionFuture::from(self.commit.as_mut()) => {
                    self.committed(number, result, time);
                }
                Some((id, outcome)) = self.running.next() => {
                    self.machine.handle_outcome(clock::now(), id, outcome);
                }
                records = reader.fetch(FETCH_BYTES), if hungry => match records {
                    Ok(records) => {
                        self.subscription.status.clear(Alarm::ReadFailing, Some(self.partition));
                        self.fetched.extend(records);
                    }
                    Err(error @ FetchError::OutOfRange { .. }) => return Err(PipelineError::Fetch(error)),
                    Err(error @ FetchError::Store { .. }) => {
                        tracing::debug!(error = &error as &dyn std::error::Error, "read failed, trying again");
                        self.subscription.status.raise(Alarm::ReadFailing, Some(self.partition), chain(&error));
                        tokio::time::sleep(FETCH_BACK_OFF).await;
                    }
                },
                () = sleep_until(timeout) => self.machine.handle_timeout(clock::now()),
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
                Some((id, outcome)) = self.running.next() => {
                    self.machine.handle_outcome(clock::now(), id, outcome);
                }
                () = &mut deadline, if !self.running.is_empty() => {
                    self.running.clear();
                    self.machine.abandon_running();
                }
                () = sleep_until(self.machine.poll_timeout()) => {}
            }
        }
    }

    fn feed(&mut self) {
        let now = clock::now();
        while self.machine.has_capacity() {
            let Some((position, record)) = self.fetched.pop_front() else {
                return;
            };
            let decoded = self.decode(&record);
            self.machine
                .handle_record(now, position, Arc::new(record), decoded);
        }
    }

    fn decode(&self, record: &Record) -> Decoded {
        match decode(record) {
            Ok(None) => Decoded::Skipped,
            Ok(Some(event)) if self.subscription.deployment.manifest.filter.admits(&event) => {
                Decoded::Event(Arc::new(event))
            }
            Ok(Some(_)) => Decoded::Filtered,
            Err((code, message)) => Decoded::Poison { code, message },
        }
    }

    /// Does all that the machine asks for. An attempt that ends at its first poll, as most do, costs no queueing.
    fn work(&mut self) {
        let waker = futures_util::task::noop_waker();
        let mut context = std::task::Context::from_waker(&waker);
        while let Some(action) = self.machine.poll_action(clock::now()) {
            match action {
                Action::Attempt(attempt) => {
                    let mut run = self.attempt(attempt);
                    match run.as_mut().poll(&mut context) {
                        std::task::Poll::Ready((id, outcome)) => {
                            self.machine.handle_outcome(clock::now(), id, outcome);
                        }
                        std::task::Poll::Pending => self.running.push(run),
                    }
                }
                Action::Commit(unit) => {
                    let number = unit.number;
                    let scope = &self.subscription.deployment.scope;
                    let commit = self.subscription.ledger.commit(scope, self.partition, unit);
                    let since = Instant::now();
                    self.commit = Some(Box::pin(async move {
                        let result = commit.await;
                        (number, result, since.elapsed())
                    }));
                }
            }
        }
    }

    fn attempt(&self, attempt: Attempt) -> Run {
        let Subscription {
            deployment,
            handlers,
            ledger,
            ..
        } = &*self.subscription;
        let component = handlers.component(&deployment.scope.group);
        let state = deployment.manifest.grants.state.then(|| {
            Box::new(SequenceState {
                subscription: Arc::clone(&self.subscription),
                ledger: Arc::clone(ledger),
                partition: self.partition,
                sequence: attempt.sequence,
                staged: attempt.staged,
            }) as Box<dyn StateView>
        });
        let position = attempt.id.position;
        let input = weir_wasm::Attempt {
            event: attempt.event,
            number: attempt.number,
            tenant: attempt.tenant,
            topic: Arc::clone(&deployment.scope.topics[usize::from(position.topic)]),
            partition: self.partition,
            position: position.offset,
            key: attempt.record.key.clone(),
            now: clock::now(),
            state,
            timers: None,
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
                position,
                code,
                message,
            } => {
                status.clear(Alarm::CommitFailing, partition);
                tracing::warn!(%code, %message, offset = position.offset, "output refused, event dies");
            }
            CommitResult::Unavailable { message } => {
                status.raise(Alarm::CommitFailing, partition, message);
            }
        }
        self.machine.handle_commit(clock::now(), number, result);
    }

    fn report(&self) {
        self.subscription
            .status
            .update(self.partition, &self.machine);
    }
}

async fn sleep_until(at: Option<Millis>) {
    match at {
        Some(at) => tokio::time::sleep(at.since(clock::now())).await,
        None => pending().await,
    }
}

/// The event that a record carries; none for a tombstone that is no event.
fn decode(record: &Record) -> Result<Option<Event>, (String, String)> {
    match binding::from_record(record) {
        Ok(event) => Ok(Some(event)),
        Err(BindingError::NotAnEvent) if record.value.is_none() => Ok(None),
        Err(BindingError::Structured) => {
            let value = record.value.clone().unwrap_or_default();
            let event = cloudevents::from_structured(&value);
            event
                .map(Some)
                .map_err(|error| ("structured".to_owned(), error.to_string()))
        }
        Err(error) => Err((error.code().to_owned(), error.to_string())),
    }
}

/// The state of one sequence: staged writes over what is committed.
struct SequenceState {
    subscription: Arc<Subscription>,
    ledger: Arc<dyn Ledger>,
    partition: u32,
    sequence: SequenceKey,
    staged: StagedState,
}

impl StateView for SequenceState {
    fn get(&self, name: &str) -> Result<Option<Bytes>, StateUnavailable> {
        if let Some(staged) = self.staged.get(name) {
            return Ok(staged);
        }
        let scope = &self.subscription.deployment.scope;
        let committed = self
            .ledger
            .state(scope, self.partition, &self.sequence, name);
        committed.map_err(|error| StateUnavailable(error.to_string()))
    }

    fn names(&self) -> Result<Vec<String>, StateUnavailable> {
        let scope = &self.subscription.deployment.scope;
        let committed = self
            .ledger
            .state_names(scope, self.partition, &self.sequence);
        let mut names: std::collections::BTreeSet<String> = committed
            .map_err(|error| StateUnavailable(error.to_string()))?
            .into_iter()
            .collect();
        for (name, present) in self.staged.names() {
            if present {
                names.insert(name.to_owned());
            } else {
                names.remove(name);
            }
        }
        Ok(names.into_iter().collect())
    }
}
