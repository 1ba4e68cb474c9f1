//! What a run came to.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

use super::check::Checked;
use super::load::Sent;
use super::script::What;
use super::{Disturbance, Progress};
use crate::purchases::grouped;

/// What a run came to; that there is one says that every effect was right.
#[derive(Debug)]
pub struct Report {
    seed: u64,
    brokers: usize,
    disturbances: BTreeMap<Disturbance, Times>,
    keys: usize,
    events: u64,
    repeats: u64,
    in_vain: u64,
    records: u64,
    checked: Checked,
    settle: Duration,
    time: Duration,
}

/// How often something was done to the fleet.
#[derive(Debug, Default)]
struct Times {
    count: u64,
    /// The longest time until all hosts were ready again.
    longest: Duration,
    /// The fewest events that were taken from the beginning of one until it was over.
    meanwhile: u64,
}

impl Report {
    pub(super) fn new(seed: u64, brokers: usize) -> Self {
        Self {
            seed,
            brokers,
            disturbances: BTreeMap::new(),
            keys: 0,
            events: 0,
            repeats: 0,
            in_vain: 0,
            records: 0,
            checked: Checked::default(),
            settle: Duration::ZERO,
            time: Duration::ZERO,
        }
    }

    pub(super) fn disturbed(&mut self, progress: &Progress) {
        let times = self.disturbances.entry(progress.what).or_default();
        let fewest = match times.count {
            0 => progress.meanwhile,
            1.. => progress.meanwhile.min(times.meanwhile),
        };
        times.meanwhile = fewest;
        times.count += 1;
        times.longest = progress.took.max(times.longest);
    }

    /// How often a host ended, or others took it for one that had.
    pub(super) fn ends(&self) -> u64 {
        let ending = [Disturbance::Kill, Disturbance::Lose, Disturbance::Freeze];
        let times = ending.iter().filter_map(|what| self.disturbances.get(what));
        times.map(|times| times.count).sum()
    }

    pub(super) fn settled(&mut self, took: Duration) {
        self.settle = took;
    }

    pub(super) fn finish(&mut self, sent: &Sent, records: u64, checked: Checked, time: Duration) {
        self.keys = sent.by_key.len();
        (self.events, self.repeats, self.in_vain) = (sent.events, sent.repeats, sent.in_vain);
        (self.records, self.checked, self.time) = (records, checked, time);
    }

    /// Different events.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Events by what they were told to do, each done once; of what no event did there are none.
    #[must_use]
    pub fn done(&self) -> BTreeMap<&'static str, u64> {
        let done = &self.checked.done;
        let count = |what: What| done.get(&what).copied().unwrap_or_default();
        What::ALL
            .map(|what| (what.name(), count(what)))
            .into_iter()
            .collect()
    }

    /// Events that died because hosts ended with them alone: where fewer than four ended there are none.
    #[must_use]
    pub fn suspects(&self) -> u64 {
        self.checked.suspects
    }

    /// Events that were sent again on purpose, after they were taken.
    #[must_use]
    pub fn repeats(&self) -> u64 {
        self.repeats
    }

    /// Records that an inbox dropped: what producers sent again, on purpose or because no answer came.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.records.saturating_sub(self.events)
    }

    /// The same for programs.
    #[must_use]
    pub fn json(&self) -> Value {
        let disturbances = self.disturbances.iter().map(|(what, times)| {
            let entry = json!({
                "count": times.count,
                "ready_s_max": times.longest.as_secs_f64(),
                "events_meanwhile_min": times.meanwhile,
            });
            (format!("{what:?}").to_lowercase(), entry)
        });
        json!({
            "seed": self.seed,
            "brokers": self.brokers,
            "disturbances": disturbances.collect::<BTreeMap<_, _>>(),
            "keys": self.keys,
            "events": self.events,
            "records": self.records,
            "dropped_repeats": self.dropped(),
            "repeats_on_purpose": self.repeats,
            "requests_in_vain": self.in_vain,
            "done": self.done(),
            "killed_thrice": self.checked.suspects,
            "settle_s": self.settle.as_secs_f64(),
            "seconds": self.time.as_secs(),
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (ready, meanwhile) = ("ready again", "events meanwhile");
        writeln!(
            out,
            "{:<28} {:>9} {ready:>14} {meanwhile:>18}",
            "what", "times"
        )?;
        for (what, times) in &self.disturbances {
            let what = format!("{what:?}").to_lowercase();
            let (count, longest) = (times.count, times.longest.as_secs_f64());
            let meanwhile = grouped(times.meanwhile);
            writeln!(
                out,
                "{what:<28} {count:>9} {longest:>12.1} s {meanwhile:>18}"
            )?;
        }
        writeln!(out)?;
        let counts = [
            ("events", self.events),
            ("keys", self.keys as u64),
            ("sent again on purpose", self.repeats),
            ("requests not answered", self.in_vain),
            ("records", self.records),
            ("of them dropped as repeats", self.dropped()),
        ];
        let hit = ("hit by three kills", self.checked.suspects);
        for (what, count) in counts.into_iter().chain(self.done()).chain([hit]) {
            writeln!(out, "{what:<28} {:>9}", grouped(count))?;
        }
        let settle = self.settle.as_secs_f64();
        writeln!(out, "{:<28} {settle:>7.1} s", "at rest after the load")?;
        write!(
            out,
            "\nseed {}, {} brokers, {:.1} min: each event had exactly one effect in the order of its key, and fates add up",
            self.seed,
            self.brokers,
            self.time.as_secs_f64() / 60.0
        )
    }
}
