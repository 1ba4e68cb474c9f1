//! What a run of kills came to.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

use super::load::Sent;
use super::scripts::Fulfilled;
use crate::purchases::grouped;

/// What a run of kills came to; that there is one says that every effect was right.
#[derive(Debug)]
pub struct Report {
    seed: u64,
    kills: BTreeMap<&'static str, usize>,
    recoveries: Vec<Duration>,
    accepted: u64,
    dead: u64,
    refused: u64,
    again: u64,
    unanswered: u64,
    fulfilled: Fulfilled,
    suspects: u64,
    time: Duration,
}

impl Report {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            seed,
            kills: BTreeMap::new(),
            recoveries: Vec::new(),
            accepted: 0,
            dead: 0,
            refused: 0,
            again: 0,
            unanswered: 0,
            fulfilled: Fulfilled::default(),
            suspects: 0,
            time: Duration::ZERO,
        }
    }

    pub(super) fn kill(&mut self, place: &'static str, recovery: Option<Duration>) {
        *self.kills.entry(place).or_default() += 1;
        self.recoveries.extend(recovery);
    }

    pub(super) fn finish(
        &mut self,
        sent: &Sent,
        fulfilled: Fulfilled,
        suspects: u64,
        time: Duration,
    ) {
        self.recoveries.sort_unstable();
        (self.accepted, self.dead) = (sent.accepted(), sent.dead().count() as u64);
        (self.refused, self.again, self.unanswered) = (sent.refused, sent.again, sent.unanswered);
        (self.fulfilled, self.suspects, self.time) = (fulfilled, suspects, time);
    }

    /// Kills by place.
    #[must_use]
    pub fn kills(&self) -> &BTreeMap<&'static str, usize> {
        &self.kills
    }

    /// Events that the host accepted.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.accepted
    }

    /// What took longer than a moment, by name: how often it happened, each time once.
    #[must_use]
    pub fn fulfilled(&self) -> [(&'static str, u64); 4] {
        let Fulfilled {
            timers,
            delays,
            parked,
            replayed,
            suspects: _,
        } = self.fulfilled;
        [
            ("timers fired", timers),
            ("emissions delayed", delays),
            ("events parked and released", parked),
            ("letters replayed", replayed),
        ]
    }

    /// The same for programs.
    #[must_use]
    pub fn json(&self) -> Value {
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        json!({
            "seed": self.seed,
            "kills": self.kills,
            "accepted": self.accepted,
            "dead_letters": self.dead,
            "refused": self.refused,
            "fulfilled": self.fulfilled().into_iter().collect::<BTreeMap<_, _>>(),
            "killed_thrice": self.suspects,
            "sent_again": { "on_purpose": self.again, "unanswered": self.unanswered },
            "recovery_ms": { "p50": ms(self.recovery(2)), "max": ms(self.recovery(1)) },
            "seconds": self.time.as_secs(),
        })
    }

    /// The time that one in `share` starts took longer than, or the longest for 1.
    fn recovery(&self, share: usize) -> Duration {
        let last = self.recoveries.len().saturating_sub(1);
        let at = if share == 1 { last } else { last / share };
        self.recoveries.get(at).copied().unwrap_or_default()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{:<28} {:>9}", "killed at", "kills")?;
        for (place, kills) in &self.kills {
            writeln!(out, "{place:<28} {kills:>9}")?;
        }
        let kills: usize = self.kills.values().sum();
        writeln!(out, "{:<28} {kills:>9}\n", "in all")?;
        let sent = self.again + self.unanswered;
        for (what, count) in [
            ("events accepted", self.accepted),
            ("of them dead letters", self.dead),
            ("events refused", self.refused),
            ("events sent more than once", sent),
        ]
        .into_iter()
        .chain(self.fulfilled())
        .chain([("hit by three kills", self.suspects)])
        {
            writeln!(out, "{what:<28} {:>9}", grouped(count))?;
        }
        for (what, share) in [("recovery, half of them", 2), ("recovery, longest", 1)] {
            writeln!(out, "{what:<28} {:>6} ms", self.recovery(share).as_millis())?;
        }
        write!(
            out,
            "\nseed {}, {} s: each accepted event had exactly one effect in the order of its key, each refused one none",
            self.seed,
            self.time.as_secs()
        )
    }
}
