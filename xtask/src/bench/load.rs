//! Load on a host: invoices of a size, from producers that wait for their answers.

use std::io::{BufRead, BufReader, Write as _};
use std::net::{Shutdown, TcpStream};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use weir_tests::host::Place;
use weir_tests::http::{Answer, Client};
use weir_tests::publisher::Publisher;
use weir_tests::purchases::{INVOICES, PAYMENTS};
use weir_tests::random::Random;
use weir_tests::wait;

/// Events in a request, if they are no larger than this together.
const BATCH: usize = 256;
const BATCH_BYTES: usize = 4 << 20;
/// One request at a time each, so that batches wait while others are synced.
const PRODUCERS: usize = 8;

/// Of the number in an event's ids.
const DIGITS: usize = 9;
/// Longer than any backlog of a measurement takes.
pub(super) const SETTLE: Duration = Duration::from_secs(300);

/// What the events look like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    /// Bytes of one as JSON.
    pub(super) bytes: usize,
    /// Customers that take turns.
    pub(super) keys: usize,
}

impl Shape {
    /// More keys than attempts can run at once, few enough that they repeat.
    pub(super) const USUAL: Self = Self {
        bytes: 1000,
        keys: 10_000,
    };

    fn batch(self) -> usize {
        (BATCH_BYTES / self.bytes).clamp(1, BATCH)
    }

    pub(super) fn event(self, number: usize) -> String {
        let customer = number % self.keys;
        let text = |note: &str| {
            format!(
                r#"{{"specversion":"1.0","id":"b-{number:09}","source":"/bench","type":"InvoiceCreated","subject":"customer/{customer:07}","datacontenttype":"application/json","partitionkey":"{customer:07}","data":{{"invoiceId":"i-{number:09}","customerId":"{customer:07}","quantity":1,"amount":"11.77","currency":"USD","note":"{note}"}}}}"#
            )
        };
        let bare = text("").len();
        text(&noise(number, self.bytes.saturating_sub(bare)))
    }
}

/// Text that does not compress, since a store that compresses would else be measured with next to nothing.
fn noise(seed: usize, bytes: usize) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut random = Random::new(seed as u64);
    let mut text = String::with_capacity(bytes);
    while text.len() < bytes {
        let bits = random.bits();
        let characters = bits
            .to_le_bytes()
            .map(|byte| ALPHABET[usize::from(byte & 63)]);
        let wanted = characters.into_iter().take(bytes - text.len());
        text.extend(wanted.map(char::from));
    }
    text
}

/// Events made before the clock starts, one share a producer.
#[derive(Debug)]
pub(super) struct Load {
    shares: Vec<Vec<String>>,
    batch: usize,
}

impl Load {
    pub(super) fn new(shape: Shape, numbers: Range<usize>) -> Self {
        let mut shares = vec![Vec::new(); PRODUCERS];
        for number in numbers {
            shares[number % PRODUCERS].push(shape.event(number));
        }
        Self {
            shares,
            batch: shape.batch(),
        }
    }

    /// Sends them as fast as they are taken, and returns when all are.
    pub(super) fn send(self, place: &Place) -> anyhow::Result<()> {
        let start = |share| {
            let (client, share) = (place.client(), Arc::new(share));
            Publisher::spawn(client, INVOICES, share, self.batch)
        };
        let publishers: Vec<_> = self.shares.into_iter().map(start).collect();
        publishers.into_iter().try_for_each(Publisher::finish)
    }
}

/// Sends batches at a steady rate and measures how long after an event was due its emission is read.
///
/// One partition in twelve is read, since to read all would be half of the work. Milliseconds, sorted.
pub(super) fn latencies(
    place: &Place,
    shape: Shape,
    numbers: Range<usize>,
    events_per_s: f64,
) -> anyhow::Result<Vec<f64>> {
    let epoch = Instant::now();
    let first = numbers.start;
    let due: Arc<Vec<AtomicU64>> = Arc::new(numbers.clone().map(|_| AtomicU64::new(0)).collect());
    let emissions = follow(&place.client())?;
    let stop = emissions.try_clone()?;
    let due_read = Arc::clone(&due);
    let reader = std::thread::spawn(move || {
        let mut latencies = Vec::new();
        for line in BufReader::new(emissions).lines() {
            let line = line?;
            let due = invoice(&line).and_then(|number| due_read.get(number.checked_sub(first)?));
            if let Some(due) = due {
                let waited = micros(epoch.elapsed()).saturating_sub(due.load(Ordering::Acquire));
                latencies.push(waited as f64 / 1e3);
            }
        }
        anyhow::Ok(latencies)
    });
    let batch = shape.batch();
    let pause = Duration::from_secs_f64((batch * PRODUCERS) as f64 / events_per_s);
    let producer = |producer: usize| {
        let (client, due) = (place.client(), Arc::clone(&due));
        let mine: Vec<usize> = numbers.clone().skip(producer).step_by(PRODUCERS).collect();
        move || {
            let mut next = epoch + pause.mul_f64(producer as f64 / PRODUCERS as f64);
            for batch in mine.chunks(batch) {
                let events: Vec<_> = batch.iter().map(|number| shape.event(*number)).collect();
                wait::pause(next.saturating_duration_since(Instant::now()));
                // From when it was due: a host that stands still would else be asked less.
                let begun = micros(next - epoch);
                batch
                    .iter()
                    .for_each(|number| due[number - first].store(begun, Ordering::Release));
                taken(&client.publish(INVOICES, &events)?)?;
                next += pause;
            }
            Ok(())
        }
    };
    together((0..PRODUCERS).map(producer))?;
    place.client().settle(SETTLE)?;
    stop.shutdown(Shutdown::Both).context("stop the reader")?;
    let mut latencies = reader.join().expect("the reader does not panic")?;
    latencies.sort_by(f64::total_cmp);
    Ok(latencies)
}

/// Sends one event a request on each of `connections`, as fast as they are answered.
///
/// Speaks HTTP by itself: a client library costs more than what is measured, on the same cores.
pub(super) fn singles(
    place: &Place,
    shape: Shape,
    numbers: Range<usize>,
    connections: usize,
) -> anyhow::Result<()> {
    let address = address(&place.client());
    let connection = |connection: usize| {
        let (address, numbers) = (address.clone(), numbers.clone());
        move || {
            let requests: Vec<_> = numbers
                .skip(connection)
                .step_by(connections)
                .map(|number| request(&address, &shape.event(number)))
                .collect();
            let stream = TcpStream::connect(&address).context("connect")?;
            stream.set_nodelay(true)?;
            let mut answers = BufReader::new(stream.try_clone()?);
            let mut stream = stream;
            for request in requests {
                stream.write_all(request.as_bytes())?;
                answer(&mut answers)?;
            }
            Ok(())
        }
    };
    together((0..connections).map(connection))
}

/// Runs each on a thread of its own; the first error of any.
fn together<F>(work: impl Iterator<Item = F>) -> anyhow::Result<()>
where
    F: FnOnce() -> anyhow::Result<()> + Send + 'static,
{
    let threads: Vec<_> = work.map(std::thread::spawn).collect();
    let join = |thread: JoinHandle<_>| thread.join().expect("a producer does not panic");
    threads.into_iter().try_for_each(join)
}

fn request(address: &str, event: &str) -> String {
    let length = event.len();
    format!(
        "POST /v1/topics/{INVOICES}/events HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/cloudevents+json\r\ncontent-length: {length}\r\n\r\n{event}"
    )
}

/// Reads one answer to its end, which must be a 202.
fn answer(answers: &mut impl BufRead) -> anyhow::Result<()> {
    let mut line = String::new();
    answers.read_line(&mut line)?;
    anyhow::ensure!(line.starts_with("HTTP/1.1 202"), "{line}");
    let mut length = 0;
    loop {
        line.clear();
        answers.read_line(&mut line)?;
        if let Some(value) = line.strip_prefix("content-length: ") {
            length = value.trim().parse()?;
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    answers.read_exact(&mut body).context("read an answer")
}

fn taken(answer: &Answer) -> anyhow::Result<()> {
    anyhow::ensure!(answer.status == 202, "{}: {}", answer.status, answer.body);
    Ok(())
}

/// Emissions of one partition from now on, one a line.
fn follow(client: &Client) -> anyhow::Result<TcpStream> {
    let address = address(client);
    let mut stream = TcpStream::connect(&address).context("connect")?;
    write!(
        stream,
        "GET /v1/topics/{PAYMENTS}/events?partition=0&from=end&follow=true HTTP/1.1\r\nhost: {address}\r\n\r\n"
    )?;
    Ok(stream)
}

/// The number of the invoice that an emission is about.
fn invoice(line: &str) -> Option<usize> {
    let (_, text) = line.split_once("i-")?;
    text.get(..DIGITS)?.parse().ok()
}

fn address(client: &Client) -> String {
    client.url().trim_start_matches("http://").to_owned()
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
