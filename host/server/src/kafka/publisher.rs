//! Publishes what is no unit of work: requests of the ingress, operators' commands.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use rdkafka::client::ClientContext;
use rdkafka::config::{FromClientConfigAndContext as _, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{ProducerContext, ThreadedProducer};
use tokio::sync::oneshot;

use super::clients::{self, Clients};
use super::cluster::ConnectError;
use super::records::{number, to_message};
use crate::bus::{Publish, PublishError};

/// An idempotent producer with a thread for its reports.
pub(super) struct Publisher {
    producer: ThreadedProducer<Answers>,
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
        let failure = result
            .as_ref()
            .err()
            .and_then(|(error, _)| error.rdkafka_error_code());
        call.report(1, failure);
    }
}

impl Call {
    fn report(&self, records: usize, failure: Option<RDKafkaErrorCode>) {
        let lock = |error: std::sync::PoisonError<_>| error.into_inner();
        if let Some(code) = failure {
            *self.failed.lock().unwrap_or_else(lock) = Some(code);
        }
        if self.left.fetch_sub(records, Ordering::AcqRel) != records {
            return;
        }
        let failed = *self
            .failed
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let reply = self
            .reply
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .take();
        if let Some(reply) = reply {
            // Nobody may be waiting any more.
            reply.send(failed.map_or(Ok(()), Err)).ok();
        }
    }
}

impl Publisher {
    pub(super) fn new(clients: &Clients) -> Result<Self, ConnectError> {
        let producer = ThreadedProducer::from_config_and_context(&clients.publishing(), Answers);
        Ok(Self {
            producer: producer.map_err(ConnectError::Settings)?,
        })
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
        let (reply, answer) = oneshot::channel();
        let call = Arc::new(Call {
            left: AtomicUsize::new(records.len()),
            failed: Mutex::default(),
            reply: Mutex::new(Some(reply)),
        });
        for (index, publish) in records.iter().enumerate() {
            let partition = number(publish.partition_hash % partitions);
            let message = to_message(topic, partition, &publish.record, Arc::clone(&call));
            if let Err((error, _)) = self.producer.send(message) {
                let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
                call.report(records.len() - index, Some(code));
                break;
            }
        }
        drop(records);
        match answer.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(RDKafkaErrorCode::QueueFull)) => Err(PublishError::Busy),
            Ok(Err(code)) => Err(PublishError::Stopped(format!(
                "the cluster did not take the events: {code}; publish them again when it is well"
            ))),
            Err(_) => Err(PublishError::Stopped(
                "the host is shutting down".to_owned(),
            )),
        }
    }
}
