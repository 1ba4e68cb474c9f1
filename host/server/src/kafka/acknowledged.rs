//! Commits units at least once: what they emit is acknowledged first, and then their positions are committed.
//!
//! Who ends between the two has emitted what is emitted again when the events run again, under the same ids. Units that
//! wait go together, as in a transaction, and the partitions of a subscription are divided among as many threads.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::{CommitMode, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::producer::Producer as _;
use weir_core::unit::CommitResult;

use super::clients::{Clients, TRANSACTION_TIMEOUT};
use super::cluster::Cluster;
use super::committers::{Committers, Queue, Request, unavailable};
use super::delivery::{Delivery, Failure, serve};
use super::denied::told;
use super::offsets;
use super::producer::{Producer, Supply};
use super::share::Share;
use super::waiting::pause;
use crate::config;

/// A group that rebalances takes no positions for a moment. What is longer is told.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two tries.
const RETRY: Duration = Duration::from_millis(50);

/// The thread's own.
struct Committer {
    cluster: Arc<Cluster>,
    share: Arc<Share>,
    supply: Supply,
}

pub(super) fn spawn(
    clients: &Arc<Clients>,
    cluster: &Arc<Cluster>,
    share: &Arc<Share>,
    bounds: config::Transaction,
) -> std::io::Result<Committers> {
    Committers::spawn(share, bounds, |number| {
        let clientele = clients.clientele(&share.scope.group, number);
        let committer = Committer {
            cluster: Arc::clone(cluster),
            share: Arc::clone(share),
            supply: Supply::new(clients.delivering(), clientele),
        };
        move |queue: &Queue| committer.run(queue)
    })
}

impl Committer {
    fn run(mut self, queue: &Queue) -> Option<Producer> {
        while let Some(requests) = queue.take() {
            let results = match self.deliver(&requests) {
                Ok(results) => results,
                Err(message) => {
                    for request in requests {
                        request.answer(unavailable(&message));
                    }
                    continue;
                }
            };
            let mut delivered = Vec::with_capacity(requests.len());
            for (index, request) in requests.into_iter().enumerate() {
                match results.get(&index) {
                    Some(result) => request.answer(result.clone()),
                    None => delivered.push(request),
                }
            }
            self.commit(delivered);
        }
        self.supply.into_producer()
    }

    /// Produces what all units emit and waits for the acknowledgements; answers what hindered which of them. Units in whose
    /// batches a record is too large are produced once more, to find it.
    fn deliver(&mut self, requests: &[Request]) -> Result<HashMap<usize, CommitResult>, String> {
        let mut results = HashMap::new();
        let crowded = self.produce(requests, |_index| true, &mut results)?;
        if !crowded.is_empty() {
            tracing::debug!("looking for the record that is too large");
            self.supply.set_apart(true);
            let produced = self.produce(requests, |index| crowded.contains(&index), &mut results);
            self.supply.set_apart(false);
            produced?;
        }
        Ok(results)
    }

    /// Produces what these units emit, and adds what hindered which; answers those in whose batches a record is too large.
    fn produce(
        &mut self,
        requests: &[Request],
        is_meant: impl Fn(usize) -> bool,
        results: &mut HashMap<usize, CommitResult>,
    ) -> Result<HashSet<usize>, String> {
        let producer = self.supply.take();
        let producer = producer.map_err(|error| format!("start a producer: {error}"))?;
        let mut delivery = Delivery::new(&producer, &self.cluster);
        for (index, request) in requests.iter().enumerate() {
            if !is_meant(index) {
                continue;
            }
            if !request.is_owned(&self.share) {
                results.insert(index, CommitResult::Moved);
                continue;
            }
            let mut completions = request.unit.completions.iter();
            if let Err(failure) = completions.try_for_each(|one| delivery.emit(index, one)) {
                results.insert(index, result(failure));
            }
        }
        if !serve(&producer, 2 * TRANSACTION_TIMEOUT) {
            return Err("records were not acknowledged in time".to_owned());
        }
        let mut crowded = HashSet::new();
        for (request, failure) in delivery.failures() {
            match (request, failure) {
                (Some(index), Failure::Crowded(_)) => {
                    crowded.insert(index);
                }
                (Some(index), failure) => {
                    results.entry(index).or_insert_with(|| result(failure));
                }
                (None, _) => {}
            }
        }
        if producer.client().fatal_error().is_none() {
            self.supply.give_back(producer);
        }
        Ok(crowded)
    }

    /// Commits the positions of units whose emissions are there, however long that takes: to give them up means to emit again.
    /// The group refuses those of a host that it has put out.
    fn commit(&self, mut requests: Vec<Request>) {
        let since = Instant::now();
        loop {
            let (owned, moved): (Vec<_>, Vec<_>) = requests
                .into_iter()
                .partition(|one| one.is_owned(&self.share));
            requests = owned;
            for request in moved {
                request.answer(CommitResult::Moved);
            }
            if requests.is_empty() {
                return;
            }
            // Positions of a host that was put out and does not know it are those of what it has emitted: nothing is lost by
            // them, and others may begin again where it began.
            let member = self
                .share
                .consumer()
                .filter(|_| self.share.identity().is_some());
            let committed = match member {
                Some(consumer) => {
                    let topics = &self.share.origin.topics;
                    let topic = |index: usize| Some(topics[index].description);
                    let positions = offsets::positions(&self.share, &requests, topic);
                    consumer.commit(&positions, CommitMode::Sync)
                }
                None => Err(KafkaError::Canceled),
            };
            let Err(error) = committed else {
                for request in requests {
                    self.share.hinder((request.partition, request.epoch), None);
                    request.answer(CommitResult::Committed);
                }
                return;
            };
            tracing::debug!(%error, group = &*self.share.scope.group, "cannot commit positions yet");
            if since.elapsed() > PATIENCE {
                for request in &requests {
                    let why = format!("positions are not committed: {}", told(&error));
                    let place = (request.partition, request.epoch);
                    self.share.hinder(place, Some(why));
                }
            }
            pause(RETRY);
        }
    }
}

fn result(failure: Failure) -> CommitResult {
    match failure {
        Failure::Refused(_, result) => result,
        Failure::Crowded(message) | Failure::Absent(message) => unavailable(&message),
    }
}
