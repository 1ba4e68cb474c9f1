//! Replay jobs on the control topic: written by the host that runs them, read by the one that takes them over.
//!
//! What a job is to do may be larger than a record, so it stands in parts, each of which says how many there are. How far it
//! is is written last, and alone from then on: a job is there when all of it is.

use std::collections::BTreeMap;
use std::sync::Arc;

use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;

use super::entry::Key;
use super::{Control, ControlError};
use crate::embedded::{decode_plan, decode_progress, encode_plan, encode_progress};
use crate::jobs::{Plan, Progress};
use crate::orders::{KeptJob, KeptJobs};

const VERSION: u8 = 1;
/// Well below what the topic takes of a record.
const PART_BYTES: usize = 1 << 20;
/// The largest plan has four, its selection apart.
const PARTS_MAX: u32 = 8;
/// What all jobs of a group may have, before somebody else is taken to have written them.
const BYTES_MAX: usize = 256 << 20;

/// The records of one job.
#[derive(Default)]
struct Records {
    progress: Option<Vec<u8>>,
    plan: BTreeMap<u32, Vec<u8>>,
}

/// What stands there of the jobs of a group.
#[derive(Default)]
struct Found {
    jobs: BTreeMap<u64, Records>,
    /// Of all that is kept of them here.
    bytes: usize,
}

impl Found {
    fn take(&mut self, group: &str, key: Key, value: Option<&[u8]>) {
        let before = match key {
            Key::Progress { group: of, job } if of == group => {
                let records = self.jobs.entry(job).or_default();
                std::mem::replace(&mut records.progress, value.map(<[u8]>::to_vec))
            }
            Key::Plan {
                group: of,
                job,
                part,
            } if of == group && part < PARTS_MAX && self.bytes < BYTES_MAX => {
                let plan = &mut self.jobs.entry(job).or_default().plan;
                match value {
                    Some(value) => plan.insert(part, value.to_vec()),
                    None => plan.remove(&part),
                }
            }
            Key::Host(_) | Key::Command { .. } | Key::Progress { .. } | Key::Plan { .. } => return,
        };
        self.bytes += value.map_or(0, <[u8]>::len);
        self.bytes -= before.map_or(0, |before| before.len());
    }

    fn kept(self, group: &str) -> KeptJobs {
        let last = self.jobs.keys().next_back().copied().unwrap_or(0);
        let mut jobs = Vec::new();
        for (id, records) in self.jobs {
            let Some(progress) = &records.progress else {
                continue;
            };
            match decode(progress, &records.plan) {
                Some((plan, progress)) => jobs.push(KeptJob { id, plan, progress }),
                None => {
                    tracing::warn!(
                        group,
                        job = id,
                        "a replay job that this version cannot read is left alone"
                    );
                }
            }
        }
        KeptJobs { jobs, last }
    }
}

impl Control {
    /// The jobs of a group.
    pub(crate) async fn jobs(self: &Arc<Self>, group: &str) -> Result<KeptJobs, ControlError> {
        if !self.table().has_jobs(group) {
            return Ok(KeptJobs::default());
        }
        let what = || format!("which replay jobs topic {:?} has of {group:?}", self.topic);
        let (control, name) = (Arc::clone(self), group.to_owned());
        let read = self.calls.make(what, move || control.read_jobs(&name));
        Ok(read.await?)
    }

    fn read_jobs(&self, group: &str) -> Result<KeptJobs, KafkaError> {
        let mut found = Found::default();
        self.read_all(&self.reader()?, |message| {
            let value = message.payload().filter(|value| !value.is_empty());
            if let Some(key) = message.key().and_then(Key::decode) {
                found.take(group, key, value);
            }
        })?;
        Ok(found.kept(group))
    }

    /// Keeps a new job, and forgets an old one.
    pub(crate) async fn keep_job(
        &self,
        group: &str,
        job: &KeptJob,
        forget: Option<u64>,
    ) -> Result<(), ControlError> {
        let plan = encode_plan(&job.plan);
        let parts = u32::try_from(plan.len().div_ceil(PART_BYTES)).unwrap_or(u32::MAX);
        if parts > PARTS_MAX {
            return Err(ControlError::TooLarge {
                topic: self.topic.clone(),
                what: "what is selected",
            });
        }
        let key = |part| Key::Plan {
            group: group.to_owned(),
            job: job.id,
            part,
        };
        let chunks = (0..).zip(plan.chunks(PART_BYTES));
        let records = chunks.map(|(part, bytes)| (key(part), Some(part_to_bytes(parts, bytes))));
        self.write(records.collect()).await?;
        let mut records = vec![progress_record(group, job.id, &job.progress)];
        if let Some(job) = forget {
            let group = group.to_owned();
            records.push((
                Key::Progress {
                    group: group.clone(),
                    job,
                },
                None,
            ));
            // How many it had is known to nobody any more, and a record that takes back nothing costs nothing.
            let parts = (0..PARTS_MAX).map(|part| Key::Plan {
                group: group.clone(),
                job,
                part,
            });
            records.extend(parts.map(|key| (key, None)));
        }
        self.write(records).await
    }

    /// Keeps how far a job is.
    pub(crate) async fn keep_progress(
        &self,
        group: &str,
        job: u64,
        progress: &Progress,
    ) -> Result<(), ControlError> {
        self.write(vec![progress_record(group, job, progress)])
            .await
    }
}

fn progress_record(group: &str, job: u64, progress: &Progress) -> (Key, Option<Vec<u8>>) {
    let group = group.to_owned();
    let key = Key::Progress { group, job };
    (key, Some(encode_progress(progress)))
}

fn part_to_bytes(parts: u32, bytes: &[u8]) -> Vec<u8> {
    [&[VERSION], &parts.to_le_bytes()[..], bytes].concat()
}

/// How many parts there are, and what this one holds.
fn part_from_bytes(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (version, rest) = bytes.split_first()?;
    let (parts, bytes) = rest.split_first_chunk()?;
    (*version == VERSION).then_some((u32::from_le_bytes(*parts), bytes))
}

/// None of what was not written as a whole, or by a version that this one does not know.
fn decode(progress: &[u8], plan: &BTreeMap<u32, Vec<u8>>) -> Option<(Plan, Progress)> {
    let (parts, _first) = part_from_bytes(plan.get(&0)?)?;
    let mut whole = Vec::new();
    for part in 0..parts.min(PARTS_MAX) {
        let (_, bytes) = part_from_bytes(plan.get(&part)?)?;
        whole.extend_from_slice(bytes);
    }
    let (plan, progress) = (decode_plan(&whole).ok()?, decode_progress(progress).ok()?);
    let letters = plan.sequences.iter().map(Vec::len).sum::<usize>();
    (letters == progress.steps.len()).then_some((plan, progress))
}

#[cfg(test)]
mod tests;
