//! Commits units of work: each producer takes all units that wait and commits them in one transaction.
//!
//! **An unknown outcome is not an abort.** Each unit has a number, which is the metadata of its partition's committed
//! offsets. After an error that may leave a transaction committed, the producer is replaced by another of the same
//! name, which fences what is still on its way, and then the committed offsets say whether the unit is there.

use std::collections::HashMap;
use std::fmt::Display;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{Producer as _, PurgeConfig};
use weir_core::unit::CommitResult;

use super::clients::{Clients, TRANSACTION_TIMEOUT};
use super::cluster::Cluster;
use super::committers::{Committers, Queue, Request, Size, unavailable};
use super::copies::Copies;
use super::delivery::{Client, Delivery, Failure, LastEntries, serve};
use super::offsets;
use super::producer::{Producer, Supply};
use super::share::{Leave, Share};
use super::waiting::{ANSWER, pause};
use crate::config;
use crate::embedded::{Changes, Log};
use crate::names;

/// What was sent before a transaction is aborted is answered within this time, or the producer is replaced.
const ABORT_PATIENCE: Duration = Duration::from_secs(1);
/// Beside the time that a call is given: librdkafka says itself what went wrong, where it looks at the clock.
const SLACK: Duration = Duration::from_secs(2);
/// What became of a transaction is mostly known within a second; whoever waits for longer is told of it.
const UNDECIDED: Duration = Duration::from_secs(10);
/// After a producer could not be made.
const RETRY: Duration = Duration::from_millis(500);

/// A request with what it writes.
struct Staged {
    request: Request,
    changes: Changes,
}

/// The thread's own.
struct Committer {
    cluster: Arc<Cluster>,
    copies: Arc<Copies>,
    share: Arc<Share>,
    supply: Supply,
    size: Size,
}

/// Why a transaction is not known to be committed.
enum Undone {
    /// It is not.
    Failed(Failure),
    /// It may be.
    Unknown(String),
}

impl From<Failure> for Undone {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

pub(super) fn spawn(
    clients: &Arc<Clients>,
    cluster: &Arc<Cluster>,
    copies: &Arc<Copies>,
    share: &Arc<Share>,
    bounds: config::Transaction,
) -> std::io::Result<Committers> {
    Committers::spawn(share, bounds, |number| {
        let group = &share.scope.group;
        let config = clients.committing(group, number);
        let committer = Committer {
            cluster: Arc::clone(cluster),
            copies: Arc::clone(copies),
            share: Arc::clone(share),
            supply: Supply::new(config, clients.clientele(group, number)),
            size: Size::default(),
        };
        move |queue: &Queue| committer.run(queue)
    })
}

impl Committer {
    fn run(mut self, queue: &Queue) -> Option<Producer> {
        while let Some(requests) = queue.take() {
            let mut staged = self.stage(requests);
            while !staged.is_empty() {
                // A batch for each record takes its time: no more in one transaction than must be.
                let count = if self.supply.is_apart() {
                    1
                } else {
                    self.size.of(staged.len())
                };
                match self.transaction(&staged[..count]) {
                    Ok(last) => {
                        self.size.grow();
                        for (one, last) in staged.drain(..count).zip(last) {
                            self.committed(one, Some(last));
                        }
                    }
                    Err(Undone::Failed(Failure::Refused(index, result))) => {
                        staged.remove(index).request.answer(result);
                    }
                    Err(Undone::Failed(Failure::Crowded(message))) => {
                        tracing::debug!(message, "looking for the record that is too large");
                        self.supply.set_apart(true);
                    }
                    Err(Undone::Failed(Failure::Absent(message))) => {
                        self.size.shrink(count);
                        // Those behind it would wait for as long as it did, and for as little.
                        for one in staged.drain(..) {
                            one.request.answer(unavailable(&message));
                        }
                    }
                    Err(Undone::Unknown(message)) => {
                        self.resolve(staged.drain(..count).collect(), &message);
                    }
                }
            }
            if self.supply.is_apart() {
                self.supply.set_apart(false);
            }
        }
        self.supply.into_producer()
    }

    /// What the requests write; those that no longer count, or cannot be read, are answered.
    fn stage(&self, requests: Vec<Request>) -> Vec<Staged> {
        let mut staged = Vec::with_capacity(requests.len());
        for request in requests {
            if !request.is_owned(&self.share) {
                request.answer(CommitResult::Moved);
                continue;
            }
            // A start stands on the topics as they are.
            let origin = (request.unit.epoch == 0).then(|| self.share.origin.encode());
            let (scope, partition) = (&self.share.scope, request.partition);
            let copy = &self.copies.store;
            // A write that fails ends the host, and one follows the commit.
            if let Err(message) = copy.copy_room() {
                request.answer(unavailable(&message));
                continue;
            }
            match copy.copy_stage(scope, partition, &request.unit, origin.as_deref()) {
                Ok(changes) => staged.push(Staged { request, changes }),
                Err(error) => {
                    self.copies.distrust(scope, partition);
                    request.answer(unavailable(&crate::handlers::chain(&error)));
                }
            }
        }
        staged
    }

    /// `last`: where the broker says that the unit's entries end; none when nobody answered.
    fn committed(&self, Staged { request, changes }: Staged, last: Option<LastEntries>) {
        let scope = &self.share.scope;
        if !self.copies.commit(scope, &request, &changes, last) {
            // Whoever reads it finds out what it lacks.
            let topic = names::ledger_topic(&scope.group);
            self.share
                .leave(Leave::Renew(format!("topic {topic} was made anew")));
        }
        request.answer(CommitResult::Committed);
    }

    /// Commits them all; answers where the entries of each end.
    fn transaction(&mut self, staged: &[Staged]) -> Result<Vec<LastEntries>, Undone> {
        let producer = self.supply.take();
        let producer =
            producer.map_err(|error| absent(format!("start a transactional producer: {error}")))?;
        let outcome = self.attempt(&producer, staged);
        let goes_on = match outcome {
            Ok(_) => true,
            // Aborted, it can be used again. Not aborted, its successor fences it.
            Err(Undone::Failed(_)) => {
                let patience = ABORT_PATIENCE + TRANSACTION_TIMEOUT + SLACK;
                producer.within(patience, abort).unwrap_or(false)
            }
            Err(Undone::Unknown(_)) => false,
        };
        if goes_on {
            self.supply.give_back(producer);
            return outcome;
        }
        if is_fenced(&producer) {
            let why = "its producer was fenced: it stood still for longer than a transaction may take, or another host has its \
                       name";
            self.share.leave(Leave::Renew(why.to_owned()));
        }
        outcome
    }

    fn attempt(&self, producer: &Producer, staged: &[Staged]) -> Result<Vec<LastEntries>, Undone> {
        let mut delivery = Delivery::new(producer, &self.cluster);
        producer
            .begin_transaction()
            .map_err(|error| absent(format!("begin a transaction: {error}")))?;
        for (index, one) in staged.iter().enumerate() {
            self.produce(&mut delivery, index, one)?;
        }
        if !serve(producer, 2 * TRANSACTION_TIMEOUT) {
            return Err(absent("records were not acknowledged in time".to_owned()));
        }
        let failures = delivery.failures().into_iter();
        let (others, told): (Vec<_>, Vec<_>) = failures
            .map(|(_request, failure)| failure)
            .partition(|failure| matches!(failure, Failure::Absent(_)));
        // What follows a refused record fails for no reason of its own.
        if let Some(failure) = told.into_iter().chain(others).next() {
            return Err(failure.into());
        }
        // Asked before the epochs are: see its invariant.
        let identity = self.share.identity();
        if let Some(moved) = staged.iter().find(|one| !one.request.is_owned(&self.share)) {
            let message = format!(
                "partition {} has moved to another host",
                moved.request.partition
            );
            return Err(absent(message));
        }
        let Some(identity) = identity else {
            return Err(absent("this host is not a member of the group".to_owned()));
        };
        let requests = staged.iter().map(|one| &one.request);
        let positions = offsets::positions(&self.share, requests, |_topic| None);
        // Not absent: positions that are still on their way would join the next transaction of this producer.
        let unadded = |why: &dyn Display| Undone::Unknown(format!("add the positions: {why}"));
        producer
            .within(ANSWER + SLACK, move |client| {
                client.send_offsets_to_transaction(&positions, &identity, ANSWER)
            })
            .ok_or_else(|| unadded(&"librdkafka does not answer"))?
            .map_err(|error| unadded(&error))?;
        producer
            .commit_transaction(TRANSACTION_TIMEOUT)
            .map_err(|error| Undone::Unknown(format!("commit a transaction: {error}")))?;
        Ok(delivery.last_entries(staged.len()))
    }

    /// Produces all that one unit writes.
    fn produce(
        &self,
        delivery: &mut Delivery<'_>,
        index: usize,
        Staged { request, changes }: &Staged,
    ) -> Result<(), Failure> {
        for completion in &request.unit.completions {
            delivery.emit(index, completion)?;
        }
        let group = &self.share.scope.group;
        let (ledger, park) = (names::ledger_topic(group), names::park_topic(group));
        changes.each(|(log, completion), key, value| {
            let topic = match log {
                Log::Ledger => &ledger,
                Log::Park => &park,
            };
            let item = completion.map(|index| request.unit.completions[index].item);
            let place = (&**topic, request.partition);
            delivery.enter((index, log, item), place, key, value)
        })
    }

    /// Finds out what became of a transaction, however long that takes: nothing else of these partitions may be
    /// committed before.
    fn resolve(&mut self, mut staged: Vec<Staged>, message: &str) {
        tracing::warn!(
            message,
            group = &*self.share.scope.group,
            "the outcome of a transaction is unknown, asking"
        );
        let started = Instant::now();
        loop {
            // Their next owners read it, which may be this host again.
            for moved in staged.extract_if(.., |one| !one.request.is_owned(&self.share)) {
                moved.request.answer(CommitResult::Moved);
            }
            if staged.is_empty() {
                return;
            }
            match self.supply.take() {
                Ok(producer) => self.supply.give_back(producer),
                Err(error) => {
                    self.wait_undecided(&staged, started, &error);
                    continue;
                }
            }
            match self.committed_numbers(&staged) {
                Ok(numbers) => {
                    for one in staged {
                        let place = (one.request.partition, one.request.epoch);
                        self.share.hinder(place, None);
                        let found = numbers.get(&one.request.partition).copied();
                        let number = Some(one.request.unit.number);
                        if found > number && one.request.is_owned(&self.share) {
                            let why = "another has committed units of what is this host's";
                            self.share.leave(Leave::Renew(why.to_owned()));
                        }
                        if !one.request.is_owned(&self.share) || found > number {
                            one.request.answer(CommitResult::Moved);
                        } else if found == number {
                            self.committed(one, None);
                        } else {
                            one.request.answer(unavailable(message));
                        }
                    }
                    return;
                }
                Err(error) => self.wait_undecided(&staged, started, &error),
            }
        }
    }

    fn wait_undecided(&self, staged: &[Staged], since: Instant, error: &dyn Display) {
        let seconds = since.elapsed().as_secs();
        tracing::warn!(%error, seconds, "cannot ask yet what became of a transaction");
        if since.elapsed() > UNDECIDED {
            for Staged { request, .. } in staged {
                let why = format!("what became of a transaction cannot be found out: {error}");
                self.share
                    .hinder((request.partition, request.epoch), Some(why));
            }
        }
        pause(RETRY);
    }

    /// The numbers of the last committed units by partition, with no transaction open over them.
    fn committed_numbers(&self, staged: &[Staged]) -> Result<HashMap<u32, u64>, KafkaError> {
        let Some(consumer) = self.share.consumer() else {
            return Err(KafkaError::Canceled);
        };
        let partitions = staged.iter().map(|one| one.request.partition);
        let list = consumer.committed_offsets(self.share.partitions_of(partitions), ANSWER)?;
        offsets::units(&list)
    }
}

/// Nothing of it is there.
fn absent(message: String) -> Undone {
    Undone::Failed(Failure::Absent(message))
}

/// Whether the cluster takes nothing of it any more because there is another of its name, or because its transaction took
/// too long.
fn is_fenced(producer: &Client) -> bool {
    let fatal = producer.client().fatal_error();
    fatal.is_some_and(|(code, _)| code == RDKafkaErrorCode::Fenced)
}

/// What was not sent is given up first, and all reports are taken: librdkafka waits for them while it aborts.
///
/// Invariant: nothing is on its way to a broker when a transaction ends that another of the same producer follows. What
/// came late would be taken for a part of that one; of a producer that is replaced, brokers take nothing any more.
fn abort(producer: &Client) -> bool {
    producer.purge(PurgeConfig::default().queue());
    serve(producer, ABORT_PATIENCE) && producer.abort_transaction(TRANSACTION_TIMEOUT).is_ok()
}
