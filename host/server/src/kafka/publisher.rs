//! Publishes what is no unit of work: requests of the ingress, operators' commands.
//!
//! An idempotent producer that meets what it cannot explain (a broker that has lost the end of a log, a right that is
//! missing for a moment) takes nothing any more. Another one takes its place, and its records are whose who published them
//! to send again.

use std::fmt::Display;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::{FromClientConfigAndContext as _, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{Producer as _, ProducerContext, ThreadedProducer};
use tokio::sync::oneshot;

use super::calls::Calls;
use super::clients::{self, Clients};
use super::cluster::ConnectError;
use super::delivery::is_stale;
use super::records::{number, to_message};
use super::waiting::ANSWER;
use crate::bus::{Publish, PublishError};

/// Between two producers: each has threads and connections of its own, and what ended one may last.
const RENEW: Duration = Duration::from_secs(5);

/// An idempotent producer with a thread for its reports.
type PublishingProducer = ThreadedProducer<Answers>;

/// The producer of the host.
pub(super) struct Publisher {
    clients: Arc<Clients>,
    current: Mutex<Current>,
    calls: Calls,
}

struct Current {
    producer: Arc<PublishingProducer>,
    /// When it was made, or another one could not be.
    tried: Instant,
}

/// One call: answered with the last of its reports.
pub(super) struct Call {
    left: AtomicUsize,
    failed: Mutex<Option<RDKafkaErrorCode>>,
    reply: Mutex<Option<oneshot::Sender<Result<(), RDKafkaErrorCode>>>>,
}

struct Answers;

impl ClientContext for Answers {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        clients::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "librdkafka");
    }
}

impl ProducerContext for Answers {
    type DeliveryOpaque = Arc<Call>;

    fn delivery(&self, result: &DeliveryResult<'_>, call: Arc<Call>) {
        let failure = result.as_ref().err();
        let code =
            failure.map(|(error, _)| error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail));
        call.report(1, code);
    }
}

impl Call {
    fn report(&self, records: usize, failure: Option<RDKafkaErrorCode>) {
        if let Some(code) = failure {
            *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(code);
        }
        if self.left.fetch_sub(records, Ordering::AcqRel) != records {
            return;
        }
        let failed = *self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        let reply = self
            .reply
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(reply) = reply {
            // Nobody may be waiting any more.
            reply.send(failed.map_or(Ok(()), Err)).ok();
        }
    }
}

impl Publisher {
    pub(super) fn new(clients: &Arc<Clients>, calls: &Calls) -> Result<Self, ConnectError> {
        let producer = make(clients).map_err(ConnectError::untaken)?;
        Ok(Self {
            clients: Arc::clone(clients),
            current: Mutex::new(Current {
                producer,
                tried: Instant::now(),
            }),
            calls: calls.clone(),
        })
    }

    /// A producer that takes records; where there is none, why.
    fn producer(&self, now: Instant) -> Result<Arc<PublishingProducer>, String> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((code, reason)) = current.producer.client().fatal_error() else {
            return Ok(Arc::clone(&current.producer));
        };
        if now.saturating_duration_since(current.tried) < RENEW {
            return Err(format!("{code}: {reason}"));
        }
        current.tried = now;
        tracing::warn!(%code, reason, "the producer of requests and commands takes nothing any more and is replaced");
        let made = make(&self.clients).map_err(|error| error.to_string());
        let made = made.inspect_err(|error| tracing::warn!(error, "cannot start a producer"))?;
        let before = std::mem::replace(&mut current.producer, Arc::clone(&made));
        drop(current);
        end(before);
        Ok(made)
    }

    /// Answers when all records are durable on their brokers. After an error some may be: who publishes them again has
    /// them twice in the topic, and the inbox of each subscription once.
    pub(super) async fn publish(
        &self,
        topic: &str,
        partitions: u32,
        records: Vec<Publish>,
    ) -> Result<(), PublishError> {
        if records.is_empty() {
            return Ok(());
        }
        let stopped = |why: &dyn Display| {
            PublishError::Stopped(format!(
                "the cluster did not take the events: {why}; publish them again when it is well"
            ))
        };
        let producer = self.producer(Instant::now()).map_err(|why| stopped(&why))?;
        let (reply, answer) = oneshot::channel();
        let call = Arc::new(Call {
            left: AtomicUsize::new(records.len()),
            failed: Mutex::default(),
            reply: Mutex::new(Some(reply)),
        });
        let (mut sent, mut asked) = (0, false);
        while let Some(publish) = records.get(sent) {
            let partition = number(publish.partition_hash % partitions);
            let message = to_message(topic, partition, &publish.record, Arc::clone(&call));
            let code = match producer.send(message) {
                Ok(()) => {
                    sent += 1;
                    continue;
                }
                Err((error, _)) => error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail),
            };
            if is_stale(code) && !asked {
                asked = true;
                self.ask(&producer, topic).await;
                continue;
            }
            call.report(records.len() - sent, Some(code));
            break;
        }
        drop((records, producer));
        match answer.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(RDKafkaErrorCode::QueueFull)) => Err(PublishError::Busy),
            Ok(Err(code)) => Err(stopped(&code)),
            Err(_) => Err(PublishError::Stopped(
                "the host is shutting down".to_owned(),
            )),
        }
    }

    /// Has the producer ask for a topic anew; what comes of it shows when it sends.
    async fn ask(&self, producer: &Arc<PublishingProducer>, topic: &str) {
        let what = || format!("ask for topic {topic:?}");
        let (producer, name) = (Arc::clone(producer), topic.to_owned());
        let ask = move || {
            producer
                .client()
                .fetch_metadata(Some(&name), ANSWER)
                .map(drop)
        };
        if let Err(error) = self.calls.make(what, ask).await {
            tracing::debug!(%error, "cannot ask for a topic");
        }
    }
}

fn make(clients: &Clients) -> Result<Arc<PublishingProducer>, KafkaError> {
    ThreadedProducer::from_config_and_context(&clients.publishing(), Answers).map(Arc::new)
}

/// Ends a producer with what it still has, which is reported to those who wait for it.
fn end(producer: Arc<PublishingProducer>) {
    let thread = std::thread::Builder::new().name("weir-publisher".to_owned());
    // Without a thread it ends here, and whoever publishes waits for that.
    if let Err(error) = thread.spawn(move || drop(producer)) {
        tracing::error!(%error, "cannot end a producer on a thread of its own");
    }
}

#[cfg(test)]
mod tests;
