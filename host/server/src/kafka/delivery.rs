//! Produces what units write, waits for what the brokers say of it, and finds out whose fault it is when they refuse.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message as _};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};
use weir_core::unit::{CommitResult, Completion, ItemId, OutRecord, TimerSlot};

use super::clients;
use super::cluster::Cluster;
use super::records::{number, to_message};
use super::waiting::{ANSWER, pause};
use crate::embedded::Log;

/// Between two looks at delivery reports; librdkafka's own waits do so every 100 ms, and a poll with a timeout, in this
/// crate's clothes, spins through the last millisecond of it.
const SERVE: Duration = Duration::from_millis(1);

pub(super) type Client = BaseProducer<Reports>;

/// The offset of a unit's last entry in each topic of its changelog, where it has one and the broker told it.
pub(super) type LastEntries = [Option<u64>; 2];

/// Reports of what became of produced records.
#[derive(Default)]
pub(super) struct Reports {
    /// Each record goes in a batch of its own.
    pub(super) apart: bool,
    reported: Mutex<Reported>,
}

/// By the number that each send was given.
#[derive(Default)]
struct Reported {
    failed: Vec<(usize, RDKafkaErrorCode)>,
    /// With their offsets.
    acknowledged: Vec<(usize, i64)>,
}

impl Reported {
    fn clear(&mut self) {
        self.failed.clear();
        self.acknowledged.clear();
    }
}

impl Reports {
    /// `apart`: the producer sends each record in a batch of its own.
    pub(super) fn of(apart: bool) -> Self {
        Self {
            apart,
            ..Self::default()
        }
    }

    fn lock(&self) -> MutexGuard<'_, Reported> {
        self.reported.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        clients::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "librdkafka");
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, sent: usize) {
        match result {
            Ok(message) => self.lock().acknowledged.push((sent, message.offset())),
            Err((error, _)) => {
                let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
                self.lock().failed.push((sent, code));
            }
        }
    }
}

/// Why what requests write is not there.
pub(super) enum Failure {
    /// Because of one request, which is answered so: surely absent.
    Refused(usize, CommitResult),
    /// Surely absent, all of it: a broker refuses the size of a batch, for one of its records or for all together.
    Crowded(String),
    /// Surely absent, all of it.
    Absent(String),
}

/// What some requests write, on its way to the brokers.
pub(super) struct Delivery<'a> {
    producer: &'a Client,
    cluster: &'a Cluster,
    /// The producer has asked for a topic anew.
    asked: bool,
    /// Whose each record is, by the number of its send.
    sent: Vec<Sent>,
}

/// Whose a record is: which request's, and what of it.
#[derive(Clone, Copy)]
struct Sent {
    request: usize,
    of: Of,
}

#[derive(Clone, Copy)]
enum Of {
    Event(ItemId),
    /// Of one event, or of all.
    Entry(Log, Option<ItemId>),
}

impl<'a> Delivery<'a> {
    pub(super) fn new(producer: &'a Client, cluster: &'a Cluster) -> Self {
        producer.context().lock().clear();
        Self {
            producer,
            cluster,
            asked: false,
            sent: Vec::new(),
        }
    }

    /// Produces what an event of a request emits; what it will emit later has a place to go to.
    pub(super) fn emit(&mut self, request: usize, completion: &Completion) -> Result<(), Failure> {
        let item = completion.item;
        for out in &completion.output.records {
            let partition = self.destination((request, item), out)?;
            let of = Of::Event(item);
            let send = self.note(Sent { request, of });
            let message = to_message(&out.topic, number(partition), &out.record, send);
            self.send(message)
                .map_err(|code| blame(Some(Sent { request, of }), code, true))?;
        }
        for change in &completion.output.timers {
            if let (TimerSlot::Emission(_), Some(timer)) = (&change.key.slot, &change.timer) {
                self.destination((request, item), &timer.out)?;
            }
        }
        Ok(())
    }

    /// Produces an entry of a request's changelog, of one of its events or of all.
    pub(super) fn enter(
        &mut self,
        (request, log, item): (usize, Log, Option<ItemId>),
        (topic, partition): (&str, u32),
        key: &[u8],
        value: Option<&[u8]>,
    ) -> Result<(), Failure> {
        let of = Of::Entry(log, item);
        let send = self.note(Sent { request, of });
        let mut message = BaseRecord::<[u8], [u8], usize>::with_opaque_to(topic, send)
            .partition(number(partition))
            .key(key);
        if let Some(value) = value {
            message = message.payload(value);
        }
        self.send(message)
            .map_err(|code| blame(Some(Sent { request, of }), code, true))
    }

    /// The partition that a record goes to, or what is wrong with the record. That a topic is not known is nobody's fault
    /// while the cluster does not answer.
    fn destination(&self, event: (usize, ItemId), out: &OutRecord) -> Result<u32, Failure> {
        let topic = &out.topic;
        let refused = |code, message| Err(refused(event, code, message));
        let count = self
            .cluster
            .partitions(topic)
            .map_err(|error| Failure::Absent(format!("look for topic {topic:?}: {error}")))?;
        let Some(count) = count else {
            return refused("unknown-topic", format!("there is no topic {topic:?}"));
        };
        let partition = out.partition.unwrap_or(out.partition_hash % count.max(1));
        if partition < count {
            return Ok(partition);
        }
        let message = format!("topic {topic:?} has {count} partitions, {partition} is beyond them");
        refused("unknown-partition", message)
    }

    /// The number of the next send.
    fn note(&mut self, sent: Sent) -> usize {
        self.sent.push(sent);
        self.sent.len() - 1
    }

    /// Queues a record, and makes room while there is none.
    fn send(
        &mut self,
        mut message: BaseRecord<'_, [u8], [u8], usize>,
    ) -> Result<(), RDKafkaErrorCode> {
        loop {
            let Err((error, again)) = self.producer.send(message) else {
                return Ok(());
            };
            message = again;
            let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
            // Of an empty queue it says that the record will never fit.
            if code == RDKafkaErrorCode::QueueFull && self.producer.in_flight_count() > 0 {
                take_reports(self.producer);
            } else if is_stale(code) && !self.asked {
                self.asked = true;
                let client = self.producer.client();
                if let Err(error) = client.fetch_metadata(Some(message.topic), ANSWER) {
                    tracing::debug!(%error, topic = message.topic, "cannot ask for a topic");
                }
            } else {
                return Err(code);
            }
        }
    }

    /// What the brokers did not take, and whose it is; all is answered.
    pub(super) fn failures(&self) -> Vec<(Option<usize>, Failure)> {
        let reports = self.producer.context();
        let reported = reports.lock();
        let failures = reported.failed.iter().map(|&(send, code)| {
            let sent = self.sent.get(send).copied();
            let failure = blame(sent, code, reports.apart);
            (sent.map(|sent| sent.request), failure)
        });
        failures.collect()
    }

    /// Where the entries of each of so many requests end; all is answered.
    pub(super) fn last_entries(&self, requests: usize) -> Vec<LastEntries> {
        let mut last = vec![LastEntries::default(); requests];
        for &(send, offset) in &self.producer.context().lock().acknowledged {
            // A broker that knows a record already may not say where.
            let offset = u64::try_from(offset).ok();
            if let Some(&Sent { request, of }) = self.sent.get(send)
                && let Of::Entry(log, _) = of
            {
                let known = &mut last[request][log as usize];
                *known = offset.max(*known);
            }
        }
        last
    }
}

/// Whether a producer refuses a record by what it knows of its topic, which is up to five minutes old: one that has grown
/// since, or is there again, it hears of when it asks.
pub(super) fn is_stale(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::UnknownPartition | RDKafkaErrorCode::UnknownTopic
    )
}

/// Takes reports until nothing is on its way; false where something still is after so long. librdkafka gives up what takes
/// longer than a transaction may.
pub(super) fn serve(producer: &Client, patience: Duration) -> bool {
    let deadline = Instant::now() + patience;
    while producer.in_flight_count() > 0 {
        if Instant::now() > deadline {
            return false;
        }
        take_reports(producer);
    }
    true
}

/// Takes the reports that are there, or waits a little where there are none.
fn take_reports(producer: &Client) {
    let before = producer.in_flight_count();
    producer.poll(Duration::ZERO);
    if producer.in_flight_count() == before {
        pause(SERVE);
    }
}

fn refused((request, item): (usize, ItemId), code: &str, message: String) -> Failure {
    let result = CommitResult::Refused {
        item,
        code: code.to_owned(),
        message,
    };
    Failure::Refused(request, result)
}

/// Whose fault a failed record is. A broker answers for a batch: which of its records is too large shows where each is
/// alone in one. That there is no such topic or partition is the record's fault where the cluster says so to who asks
/// ([`Delivery::destination`]), not where one broker or client has not heard of it.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "of some 150 codes these few are said of one record; all others are the cluster's own"
)]
fn blame(sent: Option<Sent>, code: RDKafkaErrorCode, is_alone: bool) -> Failure {
    // The one is the topic's `max.message.bytes`, the other its `segment.bytes`.
    let is_size = matches!(
        code,
        RDKafkaErrorCode::MessageSizeTooLarge | RDKafkaErrorCode::MessageBatchTooLarge
    );
    if is_size && !is_alone {
        return Failure::Crowded(format!("the broker refuses a batch: {code}"));
    }
    let said = match code {
        _ if is_size => Some("record-too-large"),
        RDKafkaErrorCode::TopicAuthorizationFailed => Some("not-authorised"),
        RDKafkaErrorCode::InvalidRecord | RDKafkaErrorCode::InvalidMessage => {
            Some("invalid-record")
        }
        _ => None,
    };
    let event = sent.and_then(|Sent { request, of }| match of {
        Of::Event(item) => Some((request, item)),
        // The topic is the host's own: of what is said of it only the size is an event's fault.
        Of::Entry(_, item) if is_size => Some((request, item?)),
        Of::Entry(..) => None,
    });
    match (event, said) {
        (Some(event), Some(said)) => {
            refused(event, said, format!("the broker refuses a record: {code}"))
        }
        _ => Failure::Absent(format!("produce a record: {code}")),
    }
}
