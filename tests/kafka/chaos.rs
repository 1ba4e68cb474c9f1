//! Hosts on one cluster that are killed, frozen and rolled, and a broker that goes away, under load: each event has its
//! effect once and in the order of its key.
//!
//! The model is what the producer sent; what the handler told is read by Kafka's own console, `read_committed`, which
//! knows nothing of the host.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::{Value, json};

use super::Cluster;
use crate::host::{Host, Place};
use crate::http::Client;
use crate::publisher::stubbornly;
use crate::random::Random;
use crate::scripted::order;
use crate::wait;

/// Some for each partition, and few enough that a failing one has others behind it.
const KEYS: u64 = 500;
const BATCH: u64 = 100;
/// Between two batches: the load lasts as long as what disturbs it.
const BREATH: Duration = Duration::from_millis(25);
/// One event in so many fails at its first attempt.
const FAILS: u64 = 100;
/// One in so many is sent again, in a later batch.
const AGAIN: u64 = 50;
/// For others to take over, a frozen host to be a member again, and all to have a fate at the end.
const PATIENCE: Duration = Duration::from_secs(300);
/// A fleet with nothing open for so long has seen all that it has published.
const IDLE: Duration = Duration::from_secs(3);

/// What is done to a fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disturbance {
    /// SIGKILL of one host, which comes back.
    Kill,
    /// SIGSTOP of one host until others have its partitions.
    Freeze,
    /// Each host in turn is drained and started again.
    Roll,
    /// The broker stops and starts.
    Bounce,
}

/// What a run came to.
#[derive(Debug)]
pub struct Report {
    /// Different events that were published.
    pub events: usize,
    /// How often an event was sent again.
    pub repeats: usize,
    /// Events whose first attempt failed.
    pub failing: usize,
    /// How long it took.
    pub time: Duration,
}

/// A fleet with the handler `scripted`, and the topics that it reads and writes.
#[derive(Debug)]
pub struct Fleet<'a> {
    /// One broker, which the fleet has for itself.
    pub cluster: &'a mut Cluster,
    /// One for each host.
    pub places: &'a [Place],
    /// Where orders are published.
    pub orders: &'static str,
    /// Where the handler tells what it did.
    pub deeds: &'static str,
    /// Of each topic.
    pub partitions: u64,
}

/// Disturbs the fleet so under a load that `seed` draws, and checks all that it did.
///
/// # Errors
/// Something was lost, doubled or out of order, or the fleet did not come to rest.
pub fn run(fleet: Fleet<'_>, plan: &[Disturbance], seed: u64) -> anyhow::Result<Report> {
    let started = Instant::now();
    let mut random = Random::new(seed);
    let start = |place: &Place| place.start();
    let mut hosts: Vec<Host> = fleet.places.iter().map(start).collect::<Result<_, _>>()?;
    settle(&hosts, fleet.partitions)?;
    // The first host takes the events in, and is only ever drained.
    let load = Load::spawn(hosts[0].client().clone(), fleet.orders, seed);
    for (number, what) in plan.iter().enumerate() {
        let doing = || format!("{what:?}, number {} of seed {seed}", number + 1);
        disturb(fleet.cluster, fleet.places, &mut hosts, *what, &mut random).with_context(doing)?;
    }
    let sent = load.finish()?;
    settle(&hosts, fleet.partitions)?;
    check(&sent, &told(fleet.cluster, fleet.deeds)?).with_context(|| format!("seed {seed}"))?;
    Ok(Report {
        events: sent.by_key.values().map(Vec::len).sum(),
        repeats: sent.repeats,
        failing: sent.failing,
        time: started.elapsed(),
    })
}

fn disturb(
    cluster: &mut Cluster,
    places: &[Place],
    hosts: &mut Vec<Host>,
    what: Disturbance,
    random: &mut Random,
) -> anyhow::Result<()> {
    let others = hosts.len() as u64 - 1;
    let which = 1 + usize::try_from(random.below(others))?;
    match what {
        Disturbance::Kill => {
            hosts.remove(which).kill()?;
            hosts.insert(which, places[which].start()?);
        }
        Disturbance::Freeze => {
            let served = |host: &Host| -> anyhow::Result<u64> {
                let status = host.client().status()?;
                Ok(status["handlers"][0]["partitions"].as_u64().unwrap_or(0))
            };
            let all: u64 = hosts.iter().map(served).sum::<Result<_, _>>()?;
            hosts[which].freeze()?;
            let awake = hosts.iter().enumerate().filter(|(at, _)| *at != which);
            let awake: Vec<&Host> = awake.map(|(_, host)| host).collect();
            wait::until("others to take over from a frozen host", PATIENCE, || {
                let theirs: u64 = awake
                    .iter()
                    .map(|host| served(host))
                    .sum::<Result<_, _>>()?;
                anyhow::ensure!(theirs == all, "{theirs} of {all} partitions");
                Ok(Some(()))
            })?;
            hosts[which].resume()?;
        }
        Disturbance::Roll => {
            for (at, place) in places.iter().enumerate() {
                let ended = hosts.remove(at).drain()?;
                anyhow::ensure!(ended.success(), "a drained host ended with {ended}");
                hosts.insert(at, place.start()?);
            }
        }
        Disturbance::Bounce => {
            cluster.stop()?;
            cluster.start(1)?;
        }
    }
    wait::until("all hosts to be ready", PATIENCE, || {
        for host in &*hosts {
            let answer = host.client().get("/readyz")?;
            anyhow::ensure!(answer.status == 200, "{}", answer.body);
        }
        Ok(Some(()))
    })
}

/// Waits until these hosts serve all partitions of their handler and have given a fate to every event.
fn settle(hosts: &[Host], partitions: u64) -> anyhow::Result<()> {
    let mut idle_since = None;
    wait::until("the fleet to come to rest", PATIENCE, || {
        let since = idle_since.take();
        let mut served = 0;
        for host in hosts {
            let status = host.client().status()?;
            let handler = &status["handlers"][0];
            let idle = ["lag", "open", "retrying"]
                .iter()
                .all(|what| handler[what] == 0);
            anyhow::ensure!(idle && handler["state"] == "ready", "{handler}");
            served += handler["partitions"].as_u64().unwrap_or(0);
        }
        anyhow::ensure!(served == partitions, "{served} partitions are served");
        // How far a topic reaches is known to each host as of a second ago.
        let since = *idle_since.insert(since.unwrap_or_else(Instant::now));
        Ok((since.elapsed() > IDLE).then_some(()))
    })
}

/// A producer at work.
struct Load {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<anyhow::Result<Sent>>,
}

/// What it sent.
#[derive(Default)]
struct Sent {
    /// Ids in order, each once.
    by_key: BTreeMap<String, Vec<String>>,
    repeats: usize,
    failing: usize,
}

impl Load {
    fn spawn(client: Client, topic: &'static str, seed: u64) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut random = Random::new(seed);
            let mut sent = Sent::default();
            let mut again = Vec::new();
            let mut number = 0;
            while !stopped.load(Ordering::Acquire) {
                let mut batch: Vec<String> = std::mem::take(&mut again);
                for _ in 0..BATCH {
                    let event = sent.draw(number, &mut random);
                    if random.below(AGAIN) == 0 {
                        again.push(event.clone());
                    }
                    batch.push(event);
                    number += 1;
                }
                sent.repeats += again.len();
                stubbornly(&client, topic, &batch)?;
                wait::pause(BREATH);
            }
            if !again.is_empty() {
                stubbornly(&client, topic, &again)?;
            }
            Ok(sent)
        });
        Self { stop, thread }
    }

    fn finish(self) -> anyhow::Result<Sent> {
        self.stop.store(true, Ordering::Release);
        let sent = self.thread.join();
        sent.map_err(|_panic| anyhow::anyhow!("the producer panicked"))?
    }
}

impl Sent {
    fn draw(&mut self, number: u64, random: &mut Random) -> String {
        let (id, key) = (format!("e-{number}"), format!("k-{}", random.below(KEYS)));
        let what = match random.below(FAILS) {
            0 => {
                self.failing += 1;
                json!({ "fail": "transient", "attempts": 1 })
            }
            _ => json!({}),
        };
        let event = order(&id, &key, &what);
        self.by_key.entry(key).or_default().push(id);
        event
    }
}

/// One thing that the handler told: of which event, and how many there were of its key.
type Deed = (String, u64);

/// All that was told, by key in the order of the topic, as Kafka's own console reads it.
fn told(cluster: &Cluster, topic: &str) -> anyhow::Result<BTreeMap<String, Vec<Deed>>> {
    let bootstrap = cluster.bootstrap();
    let mut command = cluster.tool("org.apache.kafka.tools.consumer.ConsoleConsumer");
    command.args(["--bootstrap-server", &bootstrap, "--topic", topic]);
    command.args(["--from-beginning", "--timeout-ms", "10000"]);
    command.args(["--isolation-level", "read_committed"]);
    command.args(["--formatter-property", "print.key=true"]);
    let output = command.output().context("start java")?;
    let text = String::from_utf8(output.stdout).context("read the console")?;
    let mut all: BTreeMap<String, Vec<Deed>> = BTreeMap::new();
    for line in text.lines() {
        let (key, data) = line.split_once('\t').with_context(|| line.to_owned())?;
        let data: Value = serde_json::from_str(data).with_context(|| line.to_owned())?;
        let id = data["id"].as_str().unwrap_or_default().to_owned();
        let count = data["count"].as_u64().unwrap_or_default();
        all.entry(key.to_owned()).or_default().push((id, count));
    }
    Ok(all)
}

fn check(sent: &Sent, told: &BTreeMap<String, Vec<Deed>>) -> anyhow::Result<()> {
    let none = Vec::new();
    for (key, ids) in &sent.by_key {
        let deeds = told.get(key).unwrap_or(&none);
        let found: HashSet<&String> = deeds.iter().map(|(id, _)| id).collect();
        let lost: Vec<_> = ids.iter().filter(|id| !found.contains(id)).collect();
        anyhow::ensure!(lost.is_empty(), "{key}: lost {lost:?}");
        let (extra, times) = (deeds.len(), ids.len());
        anyhow::ensure!(
            extra == times,
            "{key}: {extra} effects of {times} events: {deeds:?}"
        );
        for (at, ((found, count), id)) in deeds.iter().zip(ids).enumerate() {
            let is_next = found == id && *count == at as u64 + 1;
            anyhow::ensure!(
                is_next,
                "{key}: {found} counted {count} in the place of {id}"
            );
        }
    }
    let strange: Vec<_> = told
        .keys()
        .filter(|key| !sent.by_key.contains_key(*key))
        .collect();
    anyhow::ensure!(strange.is_empty(), "of no event: {strange:?}");
    Ok(())
}
