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
use super::committers::{Committers, Queue, Request, unavailable};
use super::copies::Copies;
use super::delivery::{Client, Delivery, Failure, LastEntries, serve};
use super::offsets;
use super::producer::{Clientele, Producer, StartError};
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
    clients: Arc<Clients>,
    cluster: Arc<Cluster>,
    copies: Arc<Copies>,
    share: Arc<Share>,
    number: u32,
    clientele: Clientele,
    producer: Option<Producer>,
    /// A broker has refused a batch: each record goes in one of its own, until what was in it is decided.
    apart: bool,
}

pub(super) fn spawn(
    clients: &Arc<Clients>,
    cluster: &Arc<Cluster>,
    copies: &Arc<Copies>,
    share: &Arc<Share>,
    bounds: config::Transaction,
) -> std::io::Result<Committers> {
    Committers::spawn(share, bounds, |number| {
        let committer = Committer {
            clients: Arc::clone(clients),
            cluster: Arc::clone(cluster),
            copies: Arc::clone(copies),
            share: Arc::clone(share),
            number,
            clientele: clients.clientele(&share.scope.group, number),
            producer: None,
            apart: false,
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
                let count = if self.apart { 1 } else { staged.len() };
                match self.transaction(&staged[..count]) {
                    Ok(last) => {
                        for (one, last) in staged.drain(..count).zip(last) {
                            self.committed(one, Some(last));
                        }
                    }
                    Err(Failure::Refused(index, result)) => {
                        staged.remove(index).request.answer(result);
                    }
                    Err(Failure::Crowded(message)) => {
                        tracing::debug!(message, "looking for the record that is too large");
                        self.set_apart(true);
                    }
                    Err(Failure::Absent(message)) => {
                        for one in staged.drain(..count) {
                            one.request.answer(unavailable(&message));
                        }
                    }
                    Err(Failure::Unknown(message)) => {
                        self.resolve(staged.drain(..count).collect(), &message);
                    }
                }
            }
            if self.apart {
                self.set_apart(false);
            }
        }
        self.producer
    }

    fn set_apart(&mut self, apart: bool) {
        self.apart = apart;
        self.producer = None;
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

    fn is_owned(&self, request: &Request) -> bool {
        self.share.owns(request.partition, request.epoch)
    }

    /// `last`: where the broker says that the unit's entries end; none when nobody answered.
    fn committed(&self, Staged { request, changes }: Staged, last: Option<LastEntries>) {
        let scope = &self.share.scope;
        self.copies.commit(scope, &request, &changes, last);
        request.answer(CommitResult::Committed);
    }

    /// Commits them all; answers where the entries of each end.
    fn transaction(&mut self, staged: &[Staged]) -> Result<Vec<LastEntries>, Failure> {
        let producer = match self.producer.take() {
            Some(producer) => producer,
            None => self.make().map_err(|error| {
                Failure::Absent(format!("start a transactional producer: {error}"))
            })?,
        };
        let outcome = self.attempt(&producer, staged);
        let goes_on = match outcome {
            Ok(_) => true,
            // Aborted, it can be used again. Not aborted, its successor fences it.
            Err(Failure::Refused(..) | Failure::Crowded(_) | Failure::Absent(_)) => {
                let patience = ABORT_PATIENCE + TRANSACTION_TIMEOUT + SLACK;
                producer.within(patience, abort).unwrap_or(false)
            }
            Err(Failure::Unknown(_)) => false,
        };
        if goes_on {
            self.producer = Some(producer);
            return outcome;
        }
        if is_fenced(&producer) {
            let why = "its producer was fenced: it stood still for longer than a transaction may take, or another host has its \
                       name";
            self.share.leave(Leave::Renew(why.to_owned()));
        }
        outcome
    }

    fn attempt(&self, producer: &Producer, staged: &[Staged]) -> Result<Vec<LastEntries>, Failure> {
        let mut delivery = Delivery::new(producer, &self.cluster, self.apart);
        producer
            .begin_transaction()
            .map_err(|error| Failure::Absent(format!("begin a transaction: {error}")))?;
        for (index, one) in staged.iter().enumerate() {
            self.produce(&mut delivery, index, one)?;
        }
        if !serve(producer, 2 * TRANSACTION_TIMEOUT) {
            return Err(Failure::Absent(
                "records were not acknowledged in time".to_owned(),
            ));
        }
        let failures = delivery.failures().into_iter();
        let (others, told): (Vec<_>, Vec<_>) = failures
            .map(|(_request, failure)| failure)
            .partition(|failure| matches!(failure, Failure::Absent(_)));
        // What follows a refused record fails for no reason of its own.
        if let Some(failure) = told.into_iter().chain(others).next() {
            return Err(failure);
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
        let requests = staged.iter().map(|one| &one.request);
        let positions = offsets::positions(&self.share, requests, |_topic| None);
        // Not absent: positions that are still on their way would join the next transaction of this producer.
        let unadded = |why: &dyn Display| Failure::Unknown(format!("add the positions: {why}"));
        producer
            .within(ANSWER + SLACK, move |client| {
                client.send_offsets_to_transaction(&positions, &identity, ANSWER)
            })
            .ok_or_else(|| unadded(&"librdkafka does not answer"))?
            .map_err(|error| unadded(&error))?;
        producer
            .commit_transaction(TRANSACTION_TIMEOUT)
            .map_err(|error| Failure::Unknown(format!("commit a transaction: {error}")))?;
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

    /// A producer that has fenced all before it of its name: what they left open is aborted or was committed.
    fn make(&self) -> Result<Producer, StartError> {
        let mut config = self
            .clients
            .committing(&self.share.scope.group, self.number);
        if self.apart {
            config.set("batch.num.messages", "1");
        }
        let producer = Producer::start(&config, &self.clientele)?;
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
                        self.wait_undecided(&staged, started, &error);
                        continue;
                    }
                }
            }
            match self.committed_numbers(&staged) {
                Ok(numbers) => {
                    for one in staged {
                        let place = (one.request.partition, one.request.epoch);
                        self.share.hinder(place, None);
                        let found = numbers.get(&one.request.partition).copied();
                        let number = Some(one.request.unit.number);
                        if found > number && self.is_owned(&one.request) {
                            let why = "another has committed units of what is this host's";
                            self.share.leave(Leave::Renew(why.to_owned()));
                        }
                        if !self.is_owned(&one.request) || found > number {
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
