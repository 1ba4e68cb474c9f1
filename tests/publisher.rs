//! A producer as producers are: it sends again what was not acknowledged, so a killed host costs duplicates, never events.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::http::Client;
use crate::wait;

/// How long one batch is tried: longer than a killed host, or a broker, needs to be ready again.
const PATIENCE: Duration = Duration::from_secs(120);
/// Between two tries.
const BACK_OFF: Duration = Duration::from_millis(20);

/// A thread that publishes.
#[derive(Debug)]
pub struct Publisher {
    acknowledged: Receiver<usize>,
    thread: JoinHandle<anyhow::Result<()>>,
}

impl Publisher {
    /// Publishes `events` to `topic` in order, `batch` in one request, with one request at a time.
    #[must_use]
    pub fn spawn(
        client: Client,
        topic: &'static str,
        events: Arc<Vec<String>>,
        batch: usize,
    ) -> Self {
        let (report, acknowledged) = mpsc::channel();
        let thread = std::thread::spawn(move || publish(&client, topic, &events, batch, &report));
        Self {
            acknowledged,
            thread,
        }
    }

    /// Returns as soon as at least this many events are acknowledged.
    ///
    /// # Errors
    /// The publisher gave up, or has fewer events.
    pub fn wait_for(&self, events: usize) -> anyhow::Result<()> {
        loop {
            let acknowledged = self
                .acknowledged
                .recv()
                .with_context(|| format!("the publisher ended before event {events}"))?;
            if acknowledged >= events {
                return Ok(());
            }
        }
    }

    /// Waits until all events are acknowledged.
    ///
    /// # Errors
    /// The host refused some, or was away for too long.
    pub fn finish(self) -> anyhow::Result<()> {
        self.thread
            .join()
            .map_err(|_panic| anyhow::anyhow!("the publisher panicked"))?
    }
}

fn publish(
    client: &Client,
    topic: &str,
    events: &[String],
    batch: usize,
    report: &Sender<usize>,
) -> anyhow::Result<()> {
    let mut acknowledged = 0;
    for batch in events.chunks(batch) {
        stubbornly(client, topic, batch)
            .with_context(|| format!("publish after event {acknowledged}"))?;
        acknowledged += batch.len();
        // Nobody listens any more when only the end matters.
        let _ = report.send(acknowledged);
    }
    Ok(())
}

/// Sends one batch until it is taken, and answers how often it was sent in vain. What the host refuses for its content is
/// refused for ever.
pub(crate) fn stubbornly(client: &Client, topic: &str, batch: &[String]) -> anyhow::Result<u64> {
    to_any(std::slice::from_ref(client), &mut 0, topic, batch)
}

/// The same to whichever of these hosts takes it, beginning with the one that took the last.
pub(crate) fn to_any(
    hosts: &[Client],
    at: &mut usize,
    topic: &str,
    batch: &[String],
) -> anyhow::Result<u64> {
    let started = Instant::now();
    let mut in_vain = 0;
    loop {
        let failure = match hosts[*at].publish(topic, batch) {
            Ok(answer) if answer.status == 202 => return Ok(in_vain),
            Ok(answer) if answer.status == 429 || answer.status == 503 => {
                anyhow::anyhow!("{}: {}", answer.status, answer.body)
            }
            Ok(answer) => anyhow::bail!("{}: {}", answer.status, answer.body),
            Err(error) => error,
        };
        if started.elapsed() > PATIENCE {
            return Err(failure.context(format!("tried for {PATIENCE:?}")));
        }
        wait::pause(BACK_OFF);
        in_vain += 1;
        *at = (*at + 1) % hosts.len();
    }
}
