//! Hosts on one cluster that are killed, frozen and rolled, and brokers that go away, under load: each event has its effect
//! once and in the order of its key, timers fire once, and what is to die dies once.
//!
//! The model is what the producer sent; what the handler told is read by Kafka's own console, `read_committed`, which
//! knows nothing of the host.

mod check;
mod load;
mod report;
mod script;

use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::Value;

use self::load::Load;
pub use self::report::Report;
use self::script::Script;
use super::Cluster;
use crate::host::{Host, Place};
use crate::random::Random;
use crate::{suspects, wait};

/// For others to take over, a frozen host to be a member again, and all to have a fate at the end.
const PATIENCE: Duration = Duration::from_secs(300);
/// A fleet with nothing open for so long has seen all that it has published.
const IDLE: Duration = Duration::from_secs(3);
/// The producer asks another host when one does not answer: it may be frozen.
const ANSWER: Duration = Duration::from_secs(8);
/// Between two disturbances, at most: the next may come before the fleet has done what the last left over.
const BREATH_MS_MAX: u64 = 5_000;

/// What is done to a fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Disturbance {
    /// SIGKILL of one host, which comes back at once.
    Kill,
    /// SIGKILL of one host, which comes back when others have its partitions.
    Lose,
    /// SIGSTOP of one host until others have its partitions.
    Freeze,
    /// Each host in turn is drained and started again.
    Roll,
    /// SIGKILL of one broker, or an orderly stop where others have its partitions then, and its start.
    Bounce,
}

/// All of them, the more likely ones more than once: what a long run draws from.
const MIXED: [Disturbance; 10] = [
    Disturbance::Kill,
    Disturbance::Kill,
    Disturbance::Kill,
    Disturbance::Kill,
    Disturbance::Lose,
    Disturbance::Freeze,
    Disturbance::Freeze,
    Disturbance::Roll,
    Disturbance::Bounce,
    Disturbance::Bounce,
];

/// What happens, and until when.
#[derive(Clone, Copy, Debug)]
pub enum Plan {
    /// These, in this order.
    These(&'static [Disturbance]),
    /// Each of them once, and then any of them until so much time has passed.
    For(Duration),
}

/// How much is published meanwhile.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Different keys.
    pub keys: u64,
    /// Different events, at least.
    pub events: u64,
    /// How many of them a second, as long as the fleet takes them.
    pub events_per_s: u64,
}

/// A fleet with the handler `scripted`, and the topics that it reads and writes.
#[derive(Debug)]
pub struct Fleet<'a> {
    /// Brokers that the fleet has for itself.
    pub cluster: &'a mut Cluster,
    /// One for each host.
    pub places: &'a [Place],
    /// Where orders are published.
    pub orders: &'static str,
    /// Where the handler tells what it did.
    pub deeds: &'static str,
    /// Where dead orders are.
    pub letters: &'static str,
    /// Of each topic.
    pub partitions: u64,
}

/// What a run tells while it goes on.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// What the fleet has got over.
    pub what: Disturbance,
    /// How long that took until all hosts were ready again.
    pub took: Duration,
    /// Events that were taken so far.
    pub events: u64,
    /// How many of them were taken from its beginning on.
    pub meanwhile: u64,
}

/// A fleet that runs.
struct Running<'a> {
    fleet: Fleet<'a>,
    hosts: Vec<Host>,
    random: Random,
}

/// Disturbs the fleet under a load that `seed` draws, and checks all that it did. `told` hears of each disturbance.
///
/// # Errors
/// Something was lost, doubled or out of order, or the fleet did not come to rest.
pub fn run(
    fleet: Fleet<'_>,
    plan: Plan,
    size: Size,
    seed: u64,
    mut told: impl FnMut(&Progress),
) -> anyhow::Result<Report> {
    let started = Instant::now();
    let hosts = fleet.places.iter().map(Place::start);
    let mut running = Running {
        hosts: hosts.collect::<Result<_, _>>()?,
        fleet,
        random: Random::new(seed),
    };
    running.settle()?;
    let mut report = Report::new(seed, running.fleet.cluster.brokers());
    let script = Script::new(seed);
    let places = running.fleet.places.iter();
    let clients = places.map(|place| place.client_within(ANSWER)).collect();
    let random = Random::new(running.random.bits());
    let load = Load::spawn(clients, running.fleet.orders, size, script, random);
    running.wait_at_work(&load)?;
    for number in 0.. {
        let Some(what) = running.next(plan, number, started) else {
            break;
        };
        let progress = running.disturb_under(&load, what);
        let doing = || format!("{what:?}, number {} of seed {seed}", number + 1);
        let progress = progress.with_context(doing)?;
        report.disturbed(&progress);
        told(&progress);
        if load.has_ended() {
            break;
        }
    }
    let mut producer = load.finish()?;
    let rest = Instant::now();
    running.settle().context("after the load")?;
    report.settled(rest.elapsed());

    // Once more, and nothing is disturbed: what each key has in its state is told with it, and fates can be counted.
    let before = running.counted()?;
    producer.round()?;
    running.settle().context("after the last round")?;
    let after = running.counted()?;
    let [records, fates] = [0, 1].map(|at| after[at] - before[at]);
    anyhow::ensure!(
        records == fates,
        "seed {seed}: {fates} fates of {records} records"
    );
    let Fleet { deeds, letters, .. } = running.fleet;
    let checked = check::check(
        running.fleet.cluster,
        (deeds, letters),
        script,
        &producer.sent,
    );
    let seeded = || format!("seed {seed}");
    let checked = checked.with_context(seeded)?;
    suspects::check(checked.suspects, report.ends()).with_context(seeded)?;
    report.finish(&producer.sent, after[0], checked, started.elapsed());
    Ok(report)
}

impl Running<'_> {
    fn next(&mut self, plan: Plan, number: usize, started: Instant) -> Option<Disturbance> {
        match plan {
            Plan::These(these) => these.get(number).copied(),
            Plan::For(time) if started.elapsed() >= time => None,
            Plan::For(_) => {
                let mut each = MIXED.to_vec();
                each.dedup();
                let any = self.random.below(MIXED.len() as u64);
                let any = usize::try_from(any).map_or(MIXED[0], |any| MIXED[any]);
                Some(each.get(number).copied().unwrap_or(any))
            }
        }
    }

    /// Waits until every host has given fates to what is published: one that has nothing to do has nothing to lose.
    fn wait_at_work(&self, load: &Load) -> anyhow::Result<()> {
        wait::until("all hosts to be at work", PATIENCE, || {
            if load.has_ended() {
                return Ok(Some(()));
            }
            for host in &self.hosts {
                let status = host.client().status()?;
                anyhow::ensure!(fates(&status)? > 0, "{}", status["handlers"]);
            }
            Ok((load.events() > 0).then_some(()))
        })
    }

    /// Disturbs the fleet after a breath, with events that are taken before it and events that are taken after it began.
    fn disturb_under(&mut self, load: &Load, what: Disturbance) -> anyhow::Result<Progress> {
        let breath = self.random.below(BREATH_MS_MAX);
        wait::pause(Duration::from_millis(breath));
        let (before, began) = (load.events(), Instant::now());
        anyhow::ensure!(before > 0 || load.has_ended(), "nothing was taken before");
        self.disturb(what)?;
        let took = began.elapsed();
        let events = load.wait_beyond(before, PATIENCE)?;
        Ok(Progress {
            what,
            took,
            events,
            meanwhile: events - before,
        })
    }

    fn disturb(&mut self, what: Disturbance) -> anyhow::Result<()> {
        let which = self.any(self.hosts.len())?;
        match what {
            Disturbance::Kill | Disturbance::Lose | Disturbance::Freeze => {
                self.wait_serves(which)?;
            }
            Disturbance::Roll | Disturbance::Bounce => {}
        }
        match what {
            Disturbance::Kill => {
                self.hosts.remove(which).kill()?;
                let again = self.fleet.places[which].spawn()?;
                self.hosts.insert(which, again);
            }
            Disturbance::Lose => {
                self.hosts.remove(which).kill()?;
                let others: Vec<&Host> = self.hosts.iter().collect();
                self.wait_served(&others)?;
                let again = self.fleet.places[which].spawn()?;
                self.hosts.insert(which, again);
            }
            Disturbance::Freeze => {
                self.hosts[which].freeze()?;
                let hosts = self.hosts.iter().enumerate();
                let others = hosts.filter(|(at, _)| *at != which).map(|(_, host)| host);
                self.wait_served(&others.collect::<Vec<_>>())?;
                self.hosts[which].resume()?;
            }
            Disturbance::Roll => {
                for (at, place) in self.fleet.places.iter().enumerate() {
                    let ended = self.hosts.remove(at).drain()?;
                    anyhow::ensure!(ended.success(), "a drained host ended with {ended}");
                    self.hosts.insert(at, place.start()?);
                }
            }
            Disturbance::Bounce => {
                let brokers = self.fleet.cluster.brokers();
                let node = 1 + self.any(brokers)?;
                // A broker that stops in order while no other has its partitions forgets to mark them as committed, and
                // says that it has: half of a transaction is there [KAFKA-20734].
                let in_order = brokers > 1 && self.random.below(2) == 0;
                self.fleet.cluster.stop(node, in_order)?;
                self.fleet.cluster.start(node)?;
                self.fleet.cluster.wait_in_sync()?;
            }
        }
        wait::until("all hosts to be ready", PATIENCE, || {
            for host in &self.hosts {
                let answer = host.client().get("/readyz")?;
                anyhow::ensure!(answer.status == 200, "{}", answer.body);
            }
            Ok(Some(()))
        })
    }

    fn any(&mut self, count: usize) -> anyhow::Result<usize> {
        Ok(usize::try_from(self.random.below(count as u64))?)
    }

    /// Waits until a host has partitions: of one without any nobody takes over, and that is seen at once.
    fn wait_serves(&self, which: usize) -> anyhow::Result<()> {
        wait::until("the host to have partitions", PATIENCE, || {
            let status = self.hosts[which].client().status()?;
            let handler = &status["handlers"][0];
            anyhow::ensure!(number(&handler["partitions"]) > 0, "{handler}");
            Ok(Some(()))
        })
    }

    /// Waits until these hosts have all partitions.
    fn wait_served(&self, hosts: &[&Host]) -> anyhow::Result<()> {
        wait::until("others to take over", PATIENCE, || {
            let mut served = 0;
            for host in hosts {
                let status = host.client().status()?;
                served += number(&status["handlers"][0]["partitions"]);
            }
            let all = served == self.fleet.partitions;
            anyhow::ensure!(all, "{served} partitions are served");
            Ok(Some(()))
        })
    }

    /// Waits until all partitions are served and every event has a fate, with nothing set aside and no timer set.
    fn settle(&self) -> anyhow::Result<()> {
        let mut idle_since = None;
        wait::until("the fleet to come to rest", PATIENCE, || {
            let since = idle_since.take();
            let mut served = 0;
            for host in &self.hosts {
                let status = host.client().status()?;
                let handler = &status["handlers"][0];
                let idle = ["lag", "open", "retrying", "parked_events", "timers"]
                    .iter()
                    .all(|what| handler[what] == 0);
                let rests = idle && handler["state"] == "ready";
                anyhow::ensure!(rests, "{handler}, alarms {}", status["alarms"]);
                served += number(&handler["partitions"]);
            }
            let all = served == self.fleet.partitions;
            anyhow::ensure!(all, "{served} partitions are served");
            // How far a topic reaches is known to each host as of a second ago.
            let since = *idle_since.insert(since.unwrap_or_else(Instant::now));
            Ok((since.elapsed() > IDLE).then_some(()))
        })
    }

    /// Records of the orders, and first fates that the processes which run now have given to such.
    fn counted(&self) -> anyhow::Result<[u64; 2]> {
        let mut given = 0;
        for host in &self.hosts {
            given += fates(&host.client().status()?)?;
        }
        // A host says nothing of topics that its brokers have told it nothing of for a moment.
        let records = wait::until("the host to know its topics", ANSWER, || {
            let client = self.hosts[0].client();
            client.records(self.fleet.orders).map(Some)
        })?;
        Ok([records, given])
    }
}

/// First fates that a host has given to events since it started, by its status.
fn fates(status: &Value) -> anyhow::Result<u64> {
    let given = status["handlers"][0]["fates"].as_object();
    Ok(given.context("no fates")?.values().map(number).sum())
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}
