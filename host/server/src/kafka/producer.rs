//! A producer with a thread of its own, for what librdkafka may take without an end.
//!
//! To add positions to a transaction it waits for the group's coordinator and never looks at its timeout
//! [librdkafka 5456, 5511], and a client that ends waits for its threads, as one does that gives up what it has queued. Who
//! commits must wait for none of these: a producer that does not answer is left to its thread. In a transaction its
//! successor, who has its name, fences it; at least once, what it still sends is there once more, under the same ids.

use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError, Weak, mpsc};
use std::time::Duration;

use rdkafka::config::{ClientConfig, FromClientConfigAndContext as _};
use rdkafka::error::KafkaError;
use rdkafka::producer::Producer as _;

use super::delivery::{Client, Reports};
use super::waiting::ANSWER;

/// A call at a time: who did not wait for its end drops the producer.
const CALLS: usize = 1;
/// Clients of one name that have not ended: the one in use, one that is just being replaced, and some that do not answer,
/// each of which holds its threads and what it has queued.
const CLIENTS_MAX: usize = 4;

/// For a producer to end before its host does.
pub(super) const END: Duration = Duration::from_secs(2);
/// The committer's, by the first part of its name.
const THREAD: &str = "weir-committing";

type Call = Box<dyn FnOnce(&Client) + Send>;

/// Why there is no producer.
#[derive(Debug, thiserror::Error)]
pub(super) enum StartError {
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    #[error("start its thread: {0}")]
    Thread(#[from] std::io::Error),
    #[error(
        "{CLIENTS_MAX} before it do not end; if they still do not when the cluster answers, restart the host"
    )]
    Crowded,
}

/// The clients of one committer, and of those that had its place in earlier memberships, that have not ended.
#[derive(Clone, Default)]
pub(super) struct Clientele(Arc<Mutex<Vec<Weak<()>>>>);

impl Clientele {
    /// `one` lives as long as its client.
    fn enter(&self, one: &Arc<()>) -> Result<(), StartError> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|other| other.strong_count() > 0);
        if all.len() >= CLIENTS_MAX {
            return Err(StartError::Crowded);
        }
        all.push(Arc::downgrade(one));
        Ok(())
    }
}

/// Invariant: the thread has the client longest. Fields are dropped in their order: what is used here is gone before the
/// calls end, which the thread waits for.
pub(super) struct Producer {
    client: Arc<Client>,
    calls: mpsc::SyncSender<Call>,
    /// Hung up when the client has ended.
    ended: mpsc::Receiver<()>,
}

impl Producer {
    /// One that commits transactions has fenced all before it of its name: what they left open is aborted or was committed.
    fn start(
        config: &ClientConfig,
        clientele: &Clientele,
        apart: bool,
    ) -> Result<Self, StartError> {
        let mut config = config.clone();
        if apart {
            config.set("batch.num.messages", "1");
        }
        let one = Arc::new(());
        clientele.enter(&one)?;
        let client = Client::from_config_and_context(&config, Reports::of(apart))?;
        let client = Arc::new(client);
        let (calls, asked) = mpsc::sync_channel::<Call>(CALLS);
        let (end, ended) = mpsc::sync_channel(0);
        let own = Arc::clone(&client);
        let thread = std::thread::Builder::new().name(THREAD.to_owned());
        thread.spawn(move || {
            for call in asked {
                call(&own);
            }
            drop(own);
            drop(one);
            drop::<mpsc::SyncSender<()>>(end);
        })?;
        let producer = Self {
            client,
            calls,
            ended,
        };
        if config.get("transactional.id").is_some() {
            producer.init_transactions(ANSWER)?;
        }
        Ok(producer)
    }

    /// Ends it, and waits for that; false when it has not ended within this time.
    pub(super) fn end(self, patience: Duration) -> bool {
        let Self {
            client,
            calls,
            ended,
        } = self;
        drop(client);
        drop(calls);
        ended.recv_timeout(patience) == Err(mpsc::RecvTimeoutError::Disconnected)
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

/// The producer of a committer, which is made when it is needed.
pub(super) struct Supply {
    config: ClientConfig,
    clientele: Clientele,
    producer: Option<Producer>,
    /// A broker has refused a batch: each record goes in one of its own, until what was in it is decided.
    apart: bool,
}

impl Supply {
    /// None is made yet.
    pub(super) fn new(config: ClientConfig, clientele: Clientele) -> Self {
        Self {
            config,
            clientele,
            producer: None,
            apart: false,
        }
    }

    pub(super) fn is_apart(&self) -> bool {
        self.apart
    }

    /// The next one sends each record in a batch of its own, or does so no longer.
    pub(super) fn set_apart(&mut self, apart: bool) {
        self.apart = apart;
        self.producer = None;
    }

    /// The one that is there, or another. Where it can be used again it is given back.
    pub(super) fn take(&mut self) -> Result<Producer, StartError> {
        match self.producer.take() {
            Some(producer) => Ok(producer),
            None => Producer::start(&self.config, &self.clientele, self.apart),
        }
    }

    pub(super) fn give_back(&mut self, producer: Producer) {
        self.producer = Some(producer);
    }

    /// What is there when no more is needed.
    pub(super) fn into_producer(self) -> Option<Producer> {
        self.producer
    }
}

#[cfg(test)]
mod tests;
