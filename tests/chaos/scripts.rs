//! Events that take longer than a moment: they set timers, delay what they emit, are parked, or die and are replayed.
//!
//! One producer sends them to the handler `scripted` while the host is killed. Whatever that interrupts, in the end each
//! has happened once; the model is the list of what was sent.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use serde_json::{Value, json};

use super::SETTLE;
use crate::host::Place;
use crate::http::Client;
use crate::publisher::stubbornly;
use crate::random::Random;
use crate::scripted::{Deed, ORDERS, deeds, order};
use crate::wait;

const HANDLER: &str = "scripted";
const BATCH_MAX: u64 = 8;
/// Keys of what succeeds at once.
const KEYS: u64 = 10;
/// Keys of what is parked: two, because failures of three open the breaker.
const PARKED_KEYS: u64 = 2;
/// Keys of what dies and of what follows it.
const DEAD_KEYS: u64 = 8;
/// For how long at most a timer or a delay waits, and an event fails: less than what makes a letter of a parked one.
const AFTER_MS_MAX: u64 = 800;
/// The attempts of `scripted` before it is parked.
const UNPARKED: u64 = 4;

/// What an event does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    /// Is handled.
    Plain,
    /// Sets a timer of its own.
    Timer,
    /// Emits something later.
    Delay,
    /// Fails until a moment and is parked meanwhile.
    Park,
    /// Fails for good before a moment, and not when it is replayed later.
    Die,
}

/// An event that was accepted.
#[derive(Clone, Debug)]
struct Script {
    id: String,
    key: String,
    act: Act,
    /// It may run again after those that follow it.
    replayed: bool,
}

/// What became of them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Fulfilled {
    pub(super) timers: u64,
    pub(super) delays: u64,
    pub(super) parked: u64,
    pub(super) replayed: u64,
    /// Of what was replayed, what the host was killed over.
    pub(super) suspects: u64,
}

/// The producer at work.
pub(super) struct Scripts {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<anyhow::Result<Vec<Script>>>,
}

impl Scripts {
    pub(super) fn spawn(client: &Client, random: &mut Random) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (client, random) = (client.clone(), Random::new(random.below(u64::MAX)));
        let thread = std::thread::spawn({
            let stop = Arc::clone(&stop);
            move || produce(&client, random, &stop)
        });
        Self { stop, thread }
    }

    /// Ends the producer, lets everything come to its end on a host that nobody kills, and compares it with the model.
    pub(super) fn finish(self, place: &Place) -> anyhow::Result<Fulfilled> {
        self.stop.store(true, Ordering::Release);
        let sent = self.thread.join();
        let mut sent =
            sent.map_err(|_panic| anyhow::anyhow!("the producer of scripts panicked"))??;
        let client = place.client();
        client.settle(SETTLE)?;
        // What the host was killed over too often is replayed like what died.
        let suspects = super::find_suspects(&client, HANDLER, ORDERS, |event| &event["id"])?;
        for script in &mut sent {
            script.replayed = script.act == Act::Die || suspects.contains(&script.id);
        }
        let replayed = replay_the_rest(place)?;
        let right = sent.iter().map(|script| deeds_of(script.act)).sum();
        wait::until("every timer, delay and replay to be done", SETTLE, || {
            let found = deeds(&client)?.values().map(Vec::len).sum::<usize>();
            anyhow::ensure!(found >= right, "{found} deeds of {right}");
            Ok(Some(()))
        })?;
        let found = deeds(&client)?;
        let parked = check(&sent, &found)?;
        let count = |act| sent.iter().filter(|script| script.act == act).count() as u64;
        Ok(Fulfilled {
            timers: count(Act::Timer),
            delays: count(Act::Delay),
            parked,
            replayed,
            suspects: suspects.len() as u64,
        })
    }
}

fn produce(client: &Client, mut random: Random, stop: &AtomicBool) -> anyhow::Result<Vec<Script>> {
    let mut sent = Vec::new();
    while !stop.load(Ordering::Acquire) {
        let first = sent.len();
        for n in 0..=random.below(BATCH_MAX) {
            sent.push(script(format!("s{}", first as u64 + n), &mut random));
        }
        let lines: Vec<_> = sent[first..]
            .iter()
            .map(|script| script.line(&mut random))
            .collect();
        stubbornly(client, ORDERS, &lines)?;
        wait::pause(Duration::from_millis(random.below(100)));
    }
    Ok(sent)
}

fn script(id: String, random: &mut Random) -> Script {
    let (act, keys, count) = match random.below(10) {
        0 | 1 => (Act::Timer, "soon", KEYS),
        2 | 3 => (Act::Delay, "soon", KEYS),
        4 => (Act::Park, "parked", PARKED_KEYS),
        5 => (Act::Plain, "parked", PARKED_KEYS),
        6 if random.below(2) == 0 => (Act::Die, "dead", DEAD_KEYS),
        6 => (Act::Plain, "dead", DEAD_KEYS),
        _ => (Act::Plain, "soon", KEYS),
    };
    let key = format!("{keys}-{}", random.below(count));
    let replayed = act == Act::Die;
    Script {
        id,
        key,
        act,
        replayed,
    }
}

impl Script {
    fn line(&self, random: &mut Random) -> String {
        let after = random.below(AFTER_MS_MAX);
        let until = || {
            let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
            u64::try_from(now.as_millis()).unwrap_or(u64::MAX) + after
        };
        let what = match self.act {
            Act::Plain => json!({}),
            Act::Timer => json!({ "timer": self.id, "afterMs": after }),
            Act::Delay => json!({ "delayMs": after }),
            Act::Park => json!({ "fail": "transient", "untilMs": until() }),
            Act::Die => json!({ "fail": "permanent", "untilMs": until() }),
        };
        order(&self.id, &self.key, &what)
    }
}

/// How many things are told of an event.
fn deeds_of(act: Act) -> usize {
    match act {
        Act::Timer | Act::Delay => 2,
        Act::Plain | Act::Park | Act::Die => 1,
    }
}

/// Commands a replay of all dead letters, and does not wait for it: the host is about to be killed.
pub(super) fn replay(place: &Place) -> anyhow::Result<Child> {
    let url = place.client().url();
    let arguments = [
        "dlq", "replay", HANDLER, "--all", "--rate", "1000", "--url", &url,
    ];
    let mut command = place.weir(&arguments);
    let command = command.stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().context("command a replay")
}

/// Replays until no letter is left; answers how many there were.
fn replay_the_rest(place: &Place) -> anyhow::Result<u64> {
    wait::until("all letters to be replayed", SETTLE, || {
        let letters = letters(place)?;
        let count = |status: &str| letters.iter().filter(|one| one["status"] == status).count();
        let (dead, replaying) = (count("dead"), count("replaying"));
        if dead > 0 && replaying == 0 {
            replay(place)?.wait()?;
        }
        anyhow::ensure!(
            dead + replaying == 0,
            "{dead} are dead, {replaying} are replayed"
        );
        Ok(Some(letters.len() as u64))
    })
}

fn letters(place: &Place) -> anyhow::Result<Vec<Value>> {
    let url = place.client().url();
    let arguments = [
        "dlq", "list", HANDLER, "--limit", "10000", "--json", "--url", &url,
    ];
    let output = place.weir(&arguments).output()?;
    anyhow::ensure!(output.status.success(), "{output:?}");
    let mut listing: Value = serde_json::from_slice(&output.stdout)?;
    let letters = listing["letters"].take();
    Ok(serde_json::from_value(letters)?)
}

/// Compares what was told with what was sent; answers how many events had been parked.
fn check(sent: &[Script], found: &BTreeMap<String, Vec<Deed>>) -> anyhow::Result<u64> {
    let mut by_key: BTreeMap<&str, Vec<&Script>> = BTreeMap::new();
    for script in sent {
        by_key.entry(&script.key).or_default().push(script);
    }
    let mut parked = 0;
    for (key, scripts) in by_key {
        let deeds = found.get(key).map(Vec::as_slice).unwrap_or_default();
        check_key(&scripts, deeds).with_context(|| format!("key {key}"))?;
        let retried = |deed: &&Deed| deed.ty == "Done" && deed.attempt > UNPARKED;
        parked += deeds.iter().filter(retried).count() as u64;
    }
    Ok(parked)
}

fn check_key(scripts: &[&Script], deeds: &[Deed]) -> anyhow::Result<()> {
    let told = |ty: &str| -> Vec<&str> {
        let told = deeds.iter().filter(|deed| deed.ty == ty);
        told.map(|deed| deed.id.as_str()).collect()
    };
    let sent = |is: fn(&Script) -> bool| -> Vec<&str> {
        let sent = scripts.iter().filter(|script| is(script));
        sent.map(|script| script.id.as_str()).collect()
    };
    // What died ran again after those that followed it; everything else is in its order, also what was parked.
    let is_dead = |script: &&&Script| script.replayed;
    let dead: BTreeSet<_> = scripts
        .iter()
        .filter(is_dead)
        .map(|script| script.id.as_str())
        .collect();
    let mut done = told("Done");
    let mut replayed: Vec<_> = done
        .iter()
        .copied()
        .filter(|id| dead.contains(id))
        .collect();
    replayed.sort_unstable();
    anyhow::ensure!(
        replayed.iter().eq(dead.iter()),
        "died and ran again: {dead:?}, {replayed:?}"
    );
    done.retain(|id| !dead.contains(id));
    let right = sent(|script| !script.replayed);
    anyhow::ensure!(
        done == right,
        "sent in this order: {right:?}, done: {done:?}"
    );

    for (ty, act) in [
        ("Fired", sent(|script| script.act == Act::Timer)),
        ("Later", sent(|script| script.act == Act::Delay)),
    ] {
        let (mut told, mut right) = (told(ty), act);
        told.sort_unstable();
        right.sort_unstable();
        anyhow::ensure!(told == right, "{ty}: {told:?} in the place of {right:?}");
    }
    // Each counted on the state of the one before, once.
    let counts = deeds.iter().filter(|deed| deed.ty != "Later");
    anyhow::ensure!(
        counts
            .map(|deed| deed.count)
            .eq(1..=(done.len() + dead.len() + told("Fired").len()) as u64),
        "the counts of the state leave a gap: {deeds:?}"
    );
    Ok(())
}
