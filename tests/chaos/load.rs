//! Producers that never stop, and what the host has accepted of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use crate::http::Client;
use crate::publisher::stubbornly;
use crate::purchases::INVOICES;
use crate::random::Random;
use crate::wait;

/// Each with one request at a time and customers of its own, so that the order of a key is known.
const PRODUCERS: u64 = 4;
const CUSTOMERS: u64 = 25;
const BATCH_MAX: u64 = 24;
/// One in so many requests is sent once more after it was answered.
const AGAIN: u64 = 8;
/// One in so many requests is followed by one that the host refuses as a whole.
const REFUSED: u64 = 6;
/// One in so many purchases has an amount that `billing` refuses for ever.
const DEAD: u64 = 25;

/// Producers at work.
pub(super) struct Load {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<anyhow::Result<Sent>>>,
}

/// What was sent and how it was answered.
#[derive(Debug, Default)]
pub(super) struct Sent {
    accepted: Vec<Purchase>,
    /// Events that were sent a second time after they were accepted.
    pub(super) again: u64,
    /// Events that were sent again because no answer came.
    pub(super) unanswered: u64,
    /// Events in requests that the host refused.
    pub(super) refused: u64,
}

/// An accepted event.
#[derive(Clone, Debug)]
pub(super) struct Purchase {
    pub(super) id: String,
    pub(super) customer: String,
    pub(super) cents: u64,
    is_dead: bool,
}

impl Sent {
    /// Those with an effect, in the order in which each customer made them.
    pub(super) fn purchases(&self) -> impl Iterator<Item = &Purchase> {
        self.accepted.iter().filter(|purchase| !purchase.is_dead)
    }

    /// Those that die.
    pub(super) fn dead(&self) -> impl Iterator<Item = &Purchase> {
        self.accepted.iter().filter(|purchase| purchase.is_dead)
    }

    /// All.
    pub(super) fn accepted(&self) -> u64 {
        self.accepted.len() as u64
    }

    fn join(&mut self, other: Self) {
        self.accepted.extend(other.accepted);
        self.again += other.again;
        self.unanswered += other.unanswered;
        self.refused += other.refused;
    }
}

impl Load {
    pub(super) fn spawn(client: &Client, random: &mut Random) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let spawn = |number| {
            let producer = Producer {
                client: client.clone(),
                random: Random::new(random.below(u64::MAX)),
                number,
                made: 0,
                sent: Sent::default(),
            };
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || producer.run(&stop))
        };
        let threads = (0..PRODUCERS).map(spawn).collect();
        Self { stop, threads }
    }

    /// Lets each producer finish the request that it is at.
    pub(super) fn finish(self) -> anyhow::Result<Sent> {
        self.stop.store(true, Ordering::Release);
        let mut all = Sent::default();
        for thread in self.threads {
            let sent = thread.join();
            all.join(sent.map_err(|_panic| anyhow::anyhow!("a producer panicked"))??);
        }
        Ok(all)
    }
}

struct Producer {
    client: Client,
    random: Random,
    number: u64,
    made: u64,
    sent: Sent,
}

impl Producer {
    fn run(mut self, stop: &AtomicBool) -> anyhow::Result<Sent> {
        while !stop.load(Ordering::Acquire) {
            let count = 1 + self.random.below(BATCH_MAX);
            let purchases: Vec<_> = (0..count).map(|_| self.purchase()).collect();
            let lines: Vec<_> = purchases.iter().map(Purchase::line).collect();
            self.sent.unanswered += count * stubbornly(&self.client, INVOICES, &lines)?;
            self.sent.accepted.extend(purchases);
            if self.random.below(AGAIN) == 0 {
                self.sent.again += count;
                self.sent.unanswered += count * stubbornly(&self.client, INVOICES, &lines)?;
            }
            if self.random.below(REFUSED) == 0 {
                self.be_refused()?;
            }
            // A producer has a life of its own; without it four of them fill the disk for nothing.
            wait::pause(std::time::Duration::from_millis(self.random.below(100)));
        }
        Ok(self.sent)
    }

    fn purchase(&mut self) -> Purchase {
        self.made += 1;
        let (number, made) = (self.number, self.made);
        Purchase {
            id: format!("p{number}-{made}"),
            customer: format!("c{number}-{}", self.random.below(CUSTOMERS)),
            cents: 1 + self.random.below(100_000),
            is_dead: self.random.below(DEAD) == 0,
        }
    }

    /// A request of purchases of which the last is no event, or to a topic that is none: nothing of it is taken. Its
    /// events look like any others, so that one that was taken all the same would spoil the totals.
    fn be_refused(&mut self) -> anyhow::Result<()> {
        let purchase = Purchase {
            is_dead: false,
            ..self.purchase()
        };
        let mut lines = vec![purchase.line(), purchase.line()];
        let topic = if self.random.below(2) == 0 {
            lines[1] = r#"{"specversion":"1.0","type":"InvoiceCreated"}"#.to_owned();
            INVOICES
        } else {
            "dev.local.public.nowhere.v1"
        };
        // No answer is as good as a refusal: this request is not made a second time.
        if let Ok(answer) = self.client.publish(topic, &lines) {
            anyhow::ensure!(
                matches!(answer.status, 400..500 | 503),
                "a wrong request was answered with {}: {}",
                answer.status,
                answer.body
            );
            self.sent.refused += 2;
        }
        Ok(())
    }
}

impl Purchase {
    fn line(&self) -> String {
        let Self {
            id,
            customer,
            cents,
            is_dead,
        } = self;
        let amount = if *is_dead {
            "nothing".to_owned()
        } else {
            format!("{}.{:02}", cents / 100, cents % 100)
        };
        format!(
            r#"{{"specversion":"1.0","id":"{id}","source":"/chaos","type":"InvoiceCreated","datacontenttype":"application/json","partitionkey":"{customer}","data":{{"invoiceId":"{id}","customerId":"{customer}","quantity":1,"amount":"{amount}","currency":"USD"}}}}"#
        )
    }
}
