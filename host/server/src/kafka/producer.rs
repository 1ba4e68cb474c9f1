//! A producer with a thread of its own, for what librdkafka may take without an end.
//!
//! To add positions to a transaction it waits for the group's coordinator and never looks at its timeout
//! [librdkafka 5456, 5511], and a client that ends waits for its threads. Who commits must wait for neither: a producer
//! that does not answer is left to its thread, and its successor, who has its name, fences it.

use std::ops::Deref;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use rdkafka::config::{ClientConfig, FromClientConfigAndContext as _};
use rdkafka::error::KafkaError;

use super::delivery::{Client, Reports};

/// A call at a time: who did not wait for its end makes no other.
const CALLS: usize = 1;

type Call = Box<dyn FnOnce(&Client) + Send>;

/// Why there is no producer.
#[derive(Debug, thiserror::Error)]
pub(super) enum StartError {
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    #[error("start its thread: {0}")]
    Thread(#[from] std::io::Error),
}

/// Invariant: the thread has the client longest. What is used here is gone before the calls end, which the thread waits for.
pub(super) struct Producer {
    client: Arc<Client>,
    calls: mpsc::SyncSender<Call>,
}

impl Producer {
    pub(super) fn start(config: &ClientConfig) -> Result<Self, StartError> {
        let client = Client::from_config_and_context(config, Reports::default())?;
        let client = Arc::new(client);
        let (calls, asked) = mpsc::sync_channel::<Call>(CALLS);
        let own = Arc::clone(&client);
        let thread = std::thread::Builder::new().name("weir-producer".to_owned());
        thread.spawn(move || {
            for call in asked {
                call(&own);
            }
        })?;
        Ok(Self { client, calls })
    }

    /// Makes a call that may never return; none where it has not within this time, and then the producer is to be dropped.
    pub(super) fn within<T: Send + 'static>(
        &self,
        patience: Duration,
        call: impl FnOnce(&Client) -> T + Send + 'static,
    ) -> Option<T> {
        let (answer, answered) = mpsc::sync_channel(1);
        let call: Call = Box::new(move |client| {
            // Nobody may be waiting any more.
            answer.send(call(client)).ok();
        });
        self.calls.try_send(call).ok()?;
        answered.recv_timeout(patience).ok()
    }
}

impl Deref for Producer {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}
