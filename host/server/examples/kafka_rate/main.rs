//! Kafka beside the host, for `cargo xtask bench kafka`: fills topics, watches how fast a consumer group gets through one, and
//! is the bare consume-transform-produce loop that the host is compared with.
//!
//! Everybody is watched the same way, by the offsets that his group has committed, so that nobody's own clock counts.

use std::collections::{BTreeMap, HashMap};
use std::io::Write as _;
use std::ops::Range;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, Headers as _, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList, TopicPartitionListElem};

use self::transform::Transform;

mod transform;

/// The host's: whoever is compared with it has no dearer one.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Before an event's number, in its id.
const ID: &str = "b-";
/// Of each topic.
const PARTITIONS: i32 = 12;
/// Customers that take turns.
const KEYS: u64 = 10_000;
/// Bytes of the data of one event.
const IN_BYTES: usize = 1000;
/// For the broker's answer.
const ANSWER: Duration = Duration::from_secs(30);
/// Between two looks at what is committed.
const LOOK: Duration = Duration::from_millis(20);
/// Nobody takes longer for a measurement.
const PATIENCE: Duration = Duration::from_secs(300);
/// The part of all that a group does before it is counted.
const WARM_UP: u64 = 10;
/// Where Kafka keeps the positions of groups.
const POSITIONS: &str = "__consumer_offsets";
/// Events that are due so soon after the first are no part of the delays: this program's own connections are made then, and what
/// has piled up before them takes its time.
const CONNECTING: Duration = Duration::from_secs(2);
/// A commit without a transaction covers as many.
const COMMIT_EVERY: usize = 5_000;

#[derive(Parser)]
struct Cli {
    bootstrap: String,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make all topics and write events into the first; all into one partition, and small, where one is given.
    Fill {
        events: u64,
        topics: Vec<String>,
        #[arg(long)]
        partition: Option<i32>,
    },
    /// Write events into a topic that is there.
    Append { events: u64, topic: String },
    /// Wait until the group has committed all of a topic; print how fast, and in how many transactions.
    Watch {
        group: String,
        input: String,
        output: String,
        /// What it does before it has done so many is not counted: it starts. By default a tenth of all.
        #[arg(long)]
        after: Option<u64>,
    },
    /// Write events at a steady rate and print how many a second went through, and how long after each was due what came of it
    /// was read, in all and at most in each partition.
    Delay {
        input: String,
        output: String,
        /// The number of the first event.
        first: u64,
        events_per_s: u64,
        seconds: u64,
    },
    /// Make an event of each event, as the handler `stateless` does, until killed; in transactions of so many events, or
    /// without transactions.
    Loop {
        group: String,
        input: String,
        output: String,
        #[arg(long)]
        transaction: Option<usize>,
        /// Call this component for it, with nothing around the call.
        #[arg(long)]
        component: Option<PathBuf>,
    },
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let Cli { bootstrap, command } = Cli::parse();
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        // Kafka's own and the host's: a key has the same partition in all topics.
        .set("partitioner", "murmur2_random")
        .set("socket.nagle.disable", "true");
    match command {
        Command::Fill {
            events,
            topics,
            partition,
        } => {
            make(&config, &topics).await?;
            let topic = topics.first().context("name a topic")?;
            fill(config, events, topic, partition)
        }
        Command::Append { events, topic } => fill(config, events, &topic, None),
        Command::Watch {
            group,
            input,
            output,
            after,
        } => watch(config, &group, (&input, &output), after),
        Command::Delay {
            input,
            output,
            first,
            events_per_s,
            seconds,
        } => {
            let numbers = first..first + events_per_s * seconds;
            delay(&config, (&input, &output), numbers, events_per_s)
        }
        Command::Loop {
            group,
            input,
            output,
            transaction,
            component,
        } => {
            let transform = match component {
                Some(component) => Transform::component(&component).await?,
                None => Transform::Native,
            };
            transform_all(config, &group, (&input, &output), transaction, transform)
        }
    }
}

async fn make(config: &ClientConfig, topics: &[String]) -> anyhow::Result<()> {
    let admin: AdminClient<DefaultClientContext> = config.create()?;
    let topics: Vec<_> = topics
        .iter()
        .map(|name| NewTopic::new(name, PARTITIONS, TopicReplication::Fixed(1)))
        .collect();
    let made = admin.create_topics(&topics, &AdminOptions::new()).await?;
    for result in made {
        result.map_err(|(topic, code)| anyhow::anyhow!("make {topic}: {code}"))?;
    }
    Ok(())
}

fn fill(
    config: ClientConfig,
    events: u64,
    topic: &str,
    partition: Option<i32>,
) -> anyhow::Result<()> {
    let producer = producer(config, "5")?;
    for number in 0..events {
        put(&producer, (topic, partition), number)?;
    }
    producer.flush(PATIENCE)?;
    Ok(())
}

fn producer(mut config: ClientConfig, linger_ms: &str) -> anyhow::Result<BaseProducer> {
    config
        .set("enable.idempotence", "true")
        .set("linger.ms", linger_ms);
    Ok(config.create()?)
}

/// Writes a CloudEvent in binary mode, which `billing` bills; a small one where a partition is given.
fn put(
    producer: &BaseProducer,
    (topic, partition): (&str, Option<i32>),
    number: u64,
) -> anyhow::Result<()> {
    let bytes = if partition.is_some() { 0 } else { IN_BYTES };
    let ce = |name: &'static str, value: &str| (name, value.to_owned());
    let key = format!("{:07}", number % KEYS);
    let mut data = format!(
        r#"{{"invoiceId":"i-{number:09}","customerId":"{key}","quantity":1,"amount":"11.77","currency":"USD","note":""#
    );
    data.extend(std::iter::repeat_n(
        'n',
        bytes.saturating_sub(data.len() + 2),
    ));
    data.push_str("\"}");
    let headers = [
        ce("ce_specversion", "1.0"),
        ce("ce_id", &format!("{ID}{number:09}")),
        ce("ce_source", "/bench"),
        ce("ce_type", "InvoiceCreated"),
        ce("content-type", "application/json"),
    ];
    let headers = headers
        .iter()
        .fold(OwnedHeaders::new(), |headers, (key, value)| {
            headers.insert(Header {
                key,
                value: Some(value),
            })
        });
    let mut record = BaseRecord::to(topic)
        .key(&key)
        .payload(&data)
        .headers(headers);
    if let Some(partition) = partition {
        record = record.partition(partition);
    }
    send(producer, record)
}

/// From when an event was due, so that one which stands still is not asked less.
fn delay(
    config: &ClientConfig,
    (input, output): (&str, &str),
    numbers: Range<u64>,
    events_per_s: u64,
) -> anyhow::Result<()> {
    let mut reading = config.clone();
    reading
        .set("group.id", "delay")
        .set("isolation.level", "read_committed")
        .set("enable.auto.commit", "false")
        .set("fetch.wait.max.ms", "5");
    let consumer: BaseConsumer = reading.create()?;
    let mut list = TopicPartitionList::new();
    for (partition, end) in ends(&consumer, output)? {
        list.add_partition_offset(output, partition, Offset::Offset(i64::try_from(end)?))?;
    }
    consumer.assign(&list)?;
    let producer = producer(config.clone(), "1")?;
    let epoch = Instant::now();
    let first = numbers.start;
    let due = move |number: u64| (number - first) as f64 / events_per_s as f64;
    let all = usize::try_from(numbers.end - first)?;
    let reader = std::thread::spawn(move || read_delays(&consumer, all, epoch, due));
    let mut next = first;
    while next < numbers.end {
        while next < numbers.end && due(next) <= epoch.elapsed().as_secs_f64() {
            put(&producer, (input, None), next)?;
            next += 1;
        }
        producer.poll(Duration::from_millis(1));
    }
    producer.flush(PATIENCE)?;
    let delays = reader.join().expect("the reader does not panic")?;
    let reached = all as f64 / epoch.elapsed().as_secs_f64();
    let mut sorted: Vec<f64> = delays.iter().map(|(_, delay)| *delay).collect();
    sorted.sort_by(f64::total_cmp);
    anyhow::ensure!(
        !sorted.is_empty(),
        "send for longer than {} s",
        CONNECTING.as_secs()
    );
    let percentile = |percent| sorted[(sorted.len() - 1) * percent / 100] * 1e3;
    let mut most = BTreeMap::<i32, f64>::new();
    for (partition, delay) in delays {
        let most = most.entry(partition).or_default();
        *most = most.max(delay * 1e3);
    }
    let most = most
        .iter()
        .map(|(partition, delay)| format!(",\"max_ms_{partition}\":{delay:.3}"));
    writeln!(
        std::io::stdout(),
        "{{\"reached_per_s\":{reached:.0},\"p50_ms\":{:.3},\"p99_ms\":{:.3}{}}}",
        percentile(50),
        percentile(99),
        most.collect::<String>()
    )?;
    Ok(())
}

/// The partition and the delay in seconds of what came of each event that was due after [`CONNECTING`].
fn read_delays(
    consumer: &BaseConsumer,
    all: usize,
    epoch: Instant,
    due: impl Fn(u64) -> f64,
) -> anyhow::Result<Vec<(i32, f64)>> {
    let mut delays = Vec::with_capacity(all);
    let mut found = 0;
    while found < all {
        anyhow::ensure!(epoch.elapsed() < PATIENCE, "{found} of {all} emissions");
        let Some(message) = consumer.poll(Duration::from_millis(100)) else {
            continue;
        };
        let message = message?;
        let headers = message.headers().context("emissions have headers")?;
        let cause = headers.iter().find(|header| header.key == "ce_causationid");
        let cause = cause.and_then(|header| std::str::from_utf8(header.value?).ok());
        let number = cause.and_then(|cause| cause.strip_prefix(ID)?.parse().ok());
        let due = due(number.context("an event's number")?);
        if due >= CONNECTING.as_secs_f64() {
            delays.push((message.partition(), epoch.elapsed().as_secs_f64() - due));
        }
        found += 1;
    }
    Ok(delays)
}

fn watch(
    mut config: ClientConfig,
    group: &str,
    (input, output): (&str, &str),
    after: Option<u64>,
) -> anyhow::Result<()> {
    config
        .set("group.id", group)
        .set("isolation.level", "read_committed")
        .set("enable.auto.commit", "false");
    let consumer: BaseConsumer = config.create()?;
    let all: u64 = ends(&consumer, input)?.values().sum();
    let after = after.unwrap_or(all / WARM_UP);
    let mut list = TopicPartitionList::new();
    list.add_partition_range(input, 0, PARTITIONS - 1);
    let deadline = Instant::now() + PATIENCE;
    let mut begun = None;
    let (seconds, counted, positions) = loop {
        let committed = match consumer.committed_offsets(list.clone(), ANSWER) {
            Ok(committed) => committed,
            // The group's coordinator is being made.
            Err(_) if Instant::now() < deadline => {
                pause(LOOK);
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let elements = committed.elements();
        let offset = |one: &TopicPartitionListElem<'_>| one.offset().to_raw();
        let done = elements.iter().filter_map(offset);
        let done = done.filter_map(|offset| u64::try_from(offset).ok());
        let (now, done) = (Instant::now(), done.sum::<u64>());
        if begun.is_none() && done >= after {
            begun = Some((now, done, Positions::of(&consumer, group)?));
        }
        if let Some((since, first, positions)) = &begun
            && done >= all
        {
            break ((now - *since).as_secs_f64(), all - first, positions.clone());
        }
        anyhow::ensure!(
            now < deadline,
            "{group} has committed {done} of {all} events in {PATIENCE:?}"
        );
        pause(LOOK);
    };
    emitted(&consumer, output, all).with_context(|| group.to_owned())?;
    let transactions = positions.transactions_since(config)?;
    writeln!(
        std::io::stdout(),
        "{{\"events_per_s\":{:.0},\"transactions\":{transactions},\"events\":{counted}}}",
        counted as f64 / seconds
    )?;
    Ok(())
}

/// The partition of Kafka's own topic in which a group's positions are kept, and where it ended.
#[derive(Clone)]
struct Positions {
    partition: i32,
    end: i64,
}

impl Positions {
    fn of(consumer: &BaseConsumer, group: &str) -> anyhow::Result<Self> {
        let metadata = consumer.fetch_metadata(Some(POSITIONS), ANSWER)?;
        let topic = metadata.topics().first().context("Kafka's own topic")?;
        let partition = partition_of(group, topic.partitions().len())?;
        let (_, end) = consumer.fetch_watermarks(POSITIONS, partition, ANSWER)?;
        Ok(Self { partition, end })
    }

    /// How many were committed since: each leaves one marker here, an offset at which nothing is read. Its other markers tell
    /// less, for it leaves one in each partition that it happened to write to.
    fn transactions_since(&self, mut config: ClientConfig) -> anyhow::Result<u64> {
        config
            .set("isolation.level", "read_uncommitted")
            .set("enable.partition.eof", "true");
        let consumer: BaseConsumer = config.create()?;
        let (_, end) = consumer.fetch_watermarks(POSITIONS, self.partition, ANSWER)?;
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(POSITIONS, self.partition, Offset::Offset(self.end))?;
        consumer.assign(&list)?;
        let (mut read, deadline) = (0, Instant::now() + ANSWER);
        loop {
            anyhow::ensure!(Instant::now() < deadline, "{POSITIONS} cannot be read");
            match consumer.poll(LOOK) {
                Some(Ok(message)) if message.offset() < end => read += 1,
                Some(Err(KafkaError::PartitionEOF(_)) | Ok(_)) => break,
                Some(Err(error)) => return Err(error.into()),
                None => {}
            }
        }
        Ok(u64::try_from(end - self.end)?.saturating_sub(read))
    }
}

/// The place of a group among so many partitions, by the hash of its name as Java has it.
fn partition_of(group: &str, partitions: usize) -> anyhow::Result<i32> {
    let hash = |hash: i32, byte| hash.wrapping_mul(31).wrapping_add(i32::from(byte));
    let hash = group.bytes().fold(0, hash).checked_abs().unwrap_or(0);
    Ok(hash % i32::try_from(partitions.max(1))?)
}

/// Waits until a topic has at least so many offsets. Who commits positions and emits nothing is not fast.
fn emitted(consumer: &BaseConsumer, topic: &str, wanted: u64) -> anyhow::Result<()> {
    let deadline = Instant::now() + ANSWER;
    loop {
        // Markers have offsets too: that there are fewer than events is certain to be wrong, and nothing else is.
        let found: u64 = ends(consumer, topic)?.values().sum();
        if found >= wanted {
            return Ok(());
        }
        anyhow::ensure!(
            Instant::now() < deadline,
            "all of {wanted} events are committed, and {topic} has {found} records at most: what became of the others? See its \
             dead letters"
        );
        pause(LOOK);
    }
}

fn ends(consumer: &BaseConsumer, topic: &str) -> anyhow::Result<HashMap<i32, u64>> {
    (0..PARTITIONS)
        .map(|partition| {
            let (_, end) = consumer.fetch_watermarks(topic, partition, ANSWER)?;
            Ok((partition, u64::try_from(end)?))
        })
        .collect()
}

/// What a careful program without a host would be: one thread, delivery reports served by itself.
fn transform_all(
    config: ClientConfig,
    group: &str,
    (input, output): (&str, &str),
    transaction: Option<usize>,
    mut transform: Transform,
) -> anyhow::Result<()> {
    let consumer: BaseConsumer = fetching(&config, group).create()?;
    consumer.subscribe(&[input])?;
    let mut writing = config;
    writing.set("linger.ms", "5");
    match transaction {
        Some(_) => writing.set("transactional.id", group),
        None => writing.set("enable.idempotence", "true"),
    };
    let producer: BaseProducer = writing.create()?;
    if transaction.is_some() {
        producer.init_transactions(ANSWER)?;
    }
    let unit = transaction.unwrap_or(COMMIT_EVERY);
    loop {
        let mut positions = HashMap::new();
        let mut count = 0;
        if transaction.is_some() {
            producer.begin_transaction()?;
        }
        while count < unit {
            let Some(message) = consumer.poll(Duration::from_millis(20)) else {
                if count == 0 {
                    continue;
                }
                break;
            };
            let message = message?;
            let (data, headers) = transform.of(&message)?;
            let mut record = BaseRecord::to(output).payload(&data).headers(headers);
            if let Some(key) = message.key() {
                record = record.key(key);
            }
            send(&producer, record)?;
            positions.insert(message.partition(), message.offset() + 1);
            count += 1;
        }
        while producer.in_flight_count() > 0 {
            take_reports(&producer);
        }
        let mut list = TopicPartitionList::new();
        for (partition, position) in positions {
            list.add_partition_offset(input, partition, Offset::Offset(position))?;
        }
        if transaction.is_some() {
            let member = consumer.group_metadata().context("a member of the group")?;
            producer.send_offsets_to_transaction(&list, &member, ANSWER)?;
            producer.commit_transaction(ANSWER)?;
        } else {
            consumer.commit(&list, rdkafka::consumer::CommitMode::Sync)?;
        }
    }
}

/// As the host fetches (`host/server/src/kafka/clients.rs`): by its defaults librdkafka stops a partition for a second when
/// its queue was full for a moment, and whoever is compared with that looks fast.
fn fetching(config: &ClientConfig, group: &str) -> ClientConfig {
    let mut config = config.clone();
    config
        .set("group.id", group)
        .set("auto.offset.reset", "earliest")
        .set("isolation.level", "read_committed")
        .set("enable.auto.commit", "false")
        .set("queued.max.messages.kbytes", "1024")
        .set("fetch.message.max.bytes", "2097152")
        .set("queued.min.messages", "10000")
        .set("fetch.wait.max.ms", "100")
        .set("fetch.queue.backoff.ms", "5");
    config
}

fn send<K, P>(producer: &BaseProducer, mut record: BaseRecord<'_, K, P>) -> anyhow::Result<()>
where
    K: rdkafka::message::ToBytes + ?Sized,
    P: rdkafka::message::ToBytes + ?Sized,
{
    loop {
        match producer.send(record) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), again)) => {
                record = again;
                take_reports(producer);
            }
            Err((error, _)) => return Err(error.into()),
        }
    }
}

/// As the host does: librdkafka's own waits look at the reports every 100 ms, and a poll with a timeout spins.
fn take_reports(producer: &BaseProducer) {
    let before = producer.in_flight_count();
    producer.poll(Duration::ZERO);
    if producer.in_flight_count() == before {
        pause(Duration::from_millis(1));
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "it measures time, and has nothing else to do"
)]
fn pause(time: Duration) {
    std::thread::sleep(time);
}
