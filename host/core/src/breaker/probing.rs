//! Half-open: one attempt at a time, each of another sequence.

use crate::time::Millis;

use super::Trial;
use super::config::Config;
use super::evidence::Sample;

#[derive(Debug)]
pub(super) struct Probing {
    successes: usize,
    running: Option<Probe>,
    /// The sequences of the latest probes, at most [`Config::probes`].
    tried: Vec<u64>,
    /// When the last probe ended, or probing began.
    idle_since: Millis,
}

#[derive(Clone, Copy, Debug)]
struct Probe {
    sequence: u64,
    started: Millis,
}

impl Probing {
    pub(super) fn new(since: Millis) -> Self {
        Self {
            successes: 0,
            running: None,
            tried: Vec::new(),
            idle_since: since,
        }
    }

    pub(super) fn successes(&self) -> usize {
        self.successes
    }

    /// Starts a probe, or says when to ask again. `is_known`: this sequence has failed as a probe before. What has failed
    /// already says least of whether an outage is over, so as long as its failure would decide, others go before it.
    pub(super) fn start(
        &mut self,
        config: &Config,
        now: Millis,
        trial: Trial,
        is_known: bool,
    ) -> Result<(), Millis> {
        if let Some(probe) = self.running {
            let lost = probe.started + config.probe_max;
            if now < lost {
                return Err(lost);
            }
        }
        let any = self.idle_since + config.probe_patience;
        let yields = trial.again && self.successes == 0;
        if (yields || is_known || self.tried.contains(&trial.sequence)) && now < any {
            return Err(any);
        }
        self.running = Some(Probe {
            sequence: trial.sequence,
            started: now,
        });
        Ok(())
    }

    /// Ends the probe that runs; `sample` is none when it was never one. False: none runs.
    pub(super) fn end(&mut self, config: &Config, now: Millis, sample: Option<Sample>) -> bool {
        let Some(probe) = self.running.take() else {
            return false;
        };
        let Some(sample) = sample else {
            return true;
        };
        self.successes += usize::from(sample == Sample::Success);
        self.idle_since = now;
        if !self.tried.is_empty() && self.tried.len() >= config.probes {
            self.tried.remove(0);
        }
        self.tried.push(probe.sequence);
        true
    }

    /// When a lost probe is given up, or any sequence may be the next one.
    pub(super) fn next_change(&self, config: &Config) -> Millis {
        match self.running {
            Some(probe) => probe.started + config.probe_max,
            None => self.idle_since + config.probe_patience,
        }
    }
}
