//! Compares what the handler told, and what died, with what was sent. Both are read by Kafka's own console, which knows
//! nothing of the host, `read_committed`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use anyhow::Context as _;
use serde_json::Value;

use super::super::Cluster;
use super::load::Sent;
use super::script::{Script, What, id, parse};

const CONSOLE: &str = "org.apache.kafka.tools.consumer.ConsoleConsumer";
/// Of what is wrong so much is told.
const TOLD_MAX: usize = 20;

/// What events did in the end, by what they were told to do.
pub(super) type Done = BTreeMap<What, u64>;

/// What was found to be right.
#[derive(Debug, Default)]
pub(super) struct Checked {
    pub(super) done: Done,
    /// Events that three kills hit while they ran alone: they died of it.
    pub(super) suspects: u64,
}

/// An event by key and number.
type Place = (u64, u32);

/// The effects of one key so far.
#[derive(Clone, Debug, Default)]
struct Key {
    /// Number of the last event that was handled.
    last: u32,
    /// What its state counts.
    count: u64,
    /// Set, and not fired.
    timers: Vec<u32>,
    /// Promised, and not emitted.
    later: Vec<u32>,
}

struct Check<'a> {
    script: Script,
    sent: &'a Sent,
    keys: Vec<Key>,
    /// Passed over where the next of the key was told.
    missing: BTreeSet<Place>,
    done: Done,
    wrong: Vec<String>,
}

/// Reads everything; what is lost, doubled or out of order is the error.
pub(super) fn check(
    cluster: &Cluster,
    (deeds, letters): (&str, &str),
    script: Script,
    sent: &Sent,
) -> anyhow::Result<Checked> {
    let mut check = Check {
        script,
        sent,
        keys: vec![Key::default(); sent.by_key.len()],
        missing: BTreeSet::new(),
        done: Done::new(),
        wrong: Vec::new(),
    };
    console(cluster, deeds, &["print.key=true"], |line| {
        let (key, data) = line.split_once('\t').context("no key")?;
        check.deed(key, &serde_json::from_str(data)?)
    })?;
    let mut dead = BTreeMap::new();
    console(cluster, letters, &["print.headers=true"], |line| {
        let (headers, _) = line.split_once('\t').context("no headers")?;
        let header = |name: &str| headers.split(',').find_map(|one| one.strip_prefix(name));
        let place = header("ce_id:").and_then(parse).context("no id")?;
        let is_suspect = header("weir.dlq.code:") == Some("crash-suspect");
        if dead.insert(place, is_suspect).is_some() {
            check.wrong.push(format!("two letters of {place:?}"));
        }
        Ok(())
    })?;
    check.finish(&dead)
}

impl Check<'_> {
    /// Takes what was told next.
    fn deed(&mut self, key: &str, data: &Value) -> anyhow::Result<()> {
        let at: u64 = key.strip_prefix("k-").context("no key")?.parse()?;
        let of = self.keys.get_mut(usize::try_from(at)?);
        let of = of.context("a key that has no event")?;
        if let Some(promised) = data.as_str() {
            let (_, number) = parse(promised).context("no name of an event")?;
            if !take(&mut of.later, number) {
                self.wrong.push(format!("{promised} was emitted again"));
            }
            return Ok(());
        }
        let name = data["id"].as_str().context("no id")?;
        of.count += 1;
        if data["count"] != of.count {
            let found = format!("{key}: {name} counted {} as {}", of.count, data["count"]);
            self.wrong.push(found);
            of.count = data["count"].as_u64().unwrap_or_default();
        }
        if let Some(timer) = name.strip_prefix("t-") {
            if !take(&mut of.timers, timer.parse()?) {
                self.wrong.push(format!("{key}: {name} fired again"));
            }
            return Ok(());
        }
        let (_, number) = parse(name).context("no name of an event")?;
        if number <= of.last {
            let last = of.last;
            self.wrong.push(format!("{key}: {name} after {last}"));
            return Ok(());
        }
        self.missing
            .extend((of.last + 1..number).map(|number| (at, number)));
        of.last = number;
        let what = self.script.what(at, number);
        *self.done.entry(what).or_default() += 1;
        match what {
            What::Timer => of.timers.push(number),
            What::Later => of.later.push(number),
            What::Plain | What::Fail | What::Trap | What::Park => {}
            What::Die => self.wrong.push(format!("{name} was handled")),
        }
        Ok(())
    }

    /// Whether all that was sent was told or died.
    fn finish(mut self, dead: &BTreeMap<Place, bool>) -> anyhow::Result<Checked> {
        for ((at, key), sent) in (0..).zip(&self.keys).zip(&self.sent.by_key) {
            self.missing
                .extend((key.last + 1..=*sent).map(|number| (at, number)));
            if key.last > *sent {
                self.wrong.push(format!("{at} has no event {}", key.last));
            }
            for (what, left) in [("timers", &key.timers), ("emissions", &key.later)] {
                if !left.is_empty() {
                    self.wrong.push(format!("{at}: {what} {left:?} never came"));
                }
            }
        }
        for &(key, number) in &self.missing {
            if !dead.contains_key(&(key, number)) {
                self.wrong.push(format!("{} is lost", id(key, number)));
            }
        }
        let mut suspects = 0;
        for (&(key, number), &is_suspect) in dead {
            let name = id(key, number);
            let is_to_die = self.script.what(key, number) == What::Die;
            if !self.missing.contains(&(key, number)) {
                self.wrong.push(format!("{name} died and was handled"));
            } else if is_suspect {
                suspects += 1;
            } else if is_to_die {
                *self.done.entry(What::Die).or_default() += 1;
            } else {
                self.wrong.push(format!("{name} died"));
            }
        }
        let wrong = self.wrong.len();
        self.wrong.truncate(TOLD_MAX);
        let told = self.wrong.join("\n");
        anyhow::ensure!(wrong == 0, "{wrong} effects are wrong:\n{told}");
        Ok(Checked {
            done: self.done,
            suspects,
        })
    }
}

/// Takes a number out of a list; false when it is not there.
fn take(numbers: &mut Vec<u32>, number: u32) -> bool {
    let found = numbers.iter().position(|one| *one == number);
    found.map(|at| numbers.swap_remove(at)).is_some()
}

/// Hands over all lines that the console prints of a topic, in the order of each partition.
fn console(
    cluster: &Cluster,
    topic: &str,
    format: &[&str],
    mut each: impl FnMut(&str) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut command = cluster.tool(CONSOLE);
    command.args(["--bootstrap-server", &cluster.bootstrap(), "--topic", topic]);
    command.args(["--from-beginning", "--timeout-ms", "10000"]);
    command.args(["--isolation-level", "read_committed"]);
    for property in format {
        command.args(["--formatter-property", property]);
    }
    let mut console = command
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("start java")?;
    let lines = console.stdout.take().context("it has no output")?;
    for line in BufReader::new(lines).lines() {
        let line = line.context("read the console")?;
        each(&line).with_context(|| format!("{topic}: {line}"))?;
    }
    // It says that nothing came for ten seconds by an exit code of its own.
    console.wait().context("wait for the console")?;
    Ok(())
}
