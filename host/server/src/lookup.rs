//! What may be asked of a partition's ledger without owning the partition: what became of letters, what is parked, what a
//! sequence holds.
//!
//! The owner alone answers. The embedded store owns every partition; in a fleet, questions about those of others go to
//! their owners, all that one of them is asked in one request. A partition that is on its way from one host to another
//! is waited for; then there is an error, and never an answer of somebody who may not know.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use weir_core::identity::Hash128;
use weir_core::time::Millis;
use weir_core::unit::{LetterStatus, SequenceKey};

use crate::embedded::{sequence_from_bytes, sequence_to_bytes};
use crate::fleet::{Member, Request};
use crate::handlers::chain;
use crate::ledger::{Committed, Ledger, LedgerError, Scope};
use crate::letters::{self, Status};
use crate::pipeline::Subscription;

/// A partition that moves has an owner again after a restore, which is mostly shorter.
const PATIENCE: Duration = Duration::from_secs(10);
/// For an owner to answer: all that is asked is a read of his store.
const ANSWER: Duration = Duration::from_secs(5);
/// Between two looks at who the owner is.
const AGAIN: Duration = Duration::from_millis(200);

/// A question about one partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// Which partition.
    pub partition: u32,
    /// What.
    pub question: Question,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Question {
    /// What became of these letters.
    Letters(Vec<OfLetter>),
    /// Parked sequences, at most so many.
    Parked(usize),
    /// State and timers of a sequence.
    Sequence(Sequence),
}

/// Which letter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfLetter {
    /// Its identity as a UUID.
    pub id: String,
    /// The sequence that was held when it died.
    pub held: Option<Sequence>,
}

/// A sequence, as text: the bytes under which all stores and changelogs keep it, in base64.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sequence(pub SequenceKey);

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// To [`Question::Letters`].
    Letters {
        /// The first position of the command topic that was not obeyed, before it was looked at the letters.
        obeyed: u64,
        /// Of each letter that was asked for.
        letters: Vec<Known>,
    },
    /// To [`Question::Parked`]: as they are shown.
    Parked(Vec<serde_json::Value>),
    /// To [`Question::Sequence`].
    Sequence(Held),
}

/// What became of a letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// What it is.
    pub status: Status,
    /// The time of its latest record, in milliseconds; none where that is not known.
    pub died: Option<u64>,
}

/// What a sequence holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Names and values, in base64.
    pub state: Vec<(String, String)>,
    /// Names of the timers that the handler has set.
    pub timers: Vec<String>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    /// The ledger failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// Who owns a partition does not answer, or nobody does; says who and what to do.
    #[error("{0}")]
    Owner(String),
}

impl TryFrom<String> for Sequence {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let bytes = BASE64.decode(text).ok();
        let sequence = bytes.and_then(|bytes| sequence_from_bytes(&bytes));
        sequence.map(Self).ok_or("this is no sequence")
    }
}

impl From<Sequence> for String {
    fn from(Sequence(sequence): Sequence) -> Self {
        BASE64.encode(sequence_to_bytes(&sequence))
    }
}

impl Held {
    /// Names and values.
    ///
    /// # Errors
    /// The host that was asked has sent what is no base64.
    pub fn values(&self) -> Result<Vec<(String, Bytes)>, LookupError> {
        let value = |(name, value): &(String, String)| {
            let decoded = BASE64.decode(value).map_err(|error| {
                LookupError::Owner(format!("the state that another host tells: {error}"))
            });
            Ok((name.clone(), decoded?.into()))
        };
        self.state.iter().map(value).collect()
    }
}

/// What this host knows, where it owns the partition.
///
/// # Errors
/// The store failed.
pub fn here(
    ledger: &dyn Ledger,
    scope: &Scope,
    asked: &Asked,
) -> Result<Option<Answer>, LedgerError> {
    let Some(tenure) = ledger.tenure(scope, asked.partition) else {
        return Ok(None);
    };
    let answer = read(ledger.committed(), scope, asked)?;
    // What was read while the partition moved on may be from before.
    let still = ledger.tenure(scope, asked.partition) == Some(tenure);
    Ok(still.then_some(answer))
}

fn read(ledger: &dyn Committed, scope: &Scope, asked: &Asked) -> Result<Answer, LedgerError> {
    let partition = asked.partition;
    match &asked.question {
        Question::Letters(letters) => {
            let commands = u16::try_from(scope.topics.len().saturating_sub(1));
            // Asked before the letters: one that is dead after its command was obeyed has died again.
            let obeyed = ledger.frontier(scope, partition, commands.unwrap_or(u16::MAX))?;
            let letters = letters
                .iter()
                .map(|letter| known(ledger, scope, partition, letter))
                .collect::<Result<_, _>>()?;
            Ok(Answer::Letters { obeyed, letters })
        }
        Question::Parked(max) => {
            let parked = ledger.parked(scope, partition, *max)?;
            let shown = parked
                .iter()
                .map(|(key, sequence)| letters::parked_to_json(partition, key, sequence));
            Ok(Answer::Parked(shown.collect()))
        }
        Question::Sequence(Sequence(sequence)) => {
            let mut held = Held::default();
            for name in ledger.state_names(scope, partition, sequence)? {
                if let Some(value) = ledger.state(scope, partition, sequence, &name)? {
                    held.state.push((name, BASE64.encode(value)));
                }
            }
            held.timers = ledger.timer_names(scope, partition, sequence)?;
            Ok(Answer::Sequence(held))
        }
    }
}

fn known(
    ledger: &dyn Committed,
    scope: &Scope,
    partition: u32,
    letter: &OfLetter,
) -> Result<Known, LedgerError> {
    let Some(id) = Hash128::from_uuid(&letter.id) else {
        // Nobody has such a letter.
        return Ok(Known {
            status: Status::Dead,
            died: None,
        });
    };
    let committed = ledger.letter(scope, partition, id)?;
    // It may have been released since.
    let parked = match &letter.held {
        Some(Sequence(sequence)) => ledger.parked_sequence(scope, partition, sequence)?,
        None => None,
    };
    let holds = parked.is_some_and(|it| it.head.held && it.head.letter == Some(id));
    let status = match committed.unwrap_or(LetterStatus::Dead) {
        LetterStatus::Dead if holds => Status::Held,
        LetterStatus::Dead => Status::Dead,
        LetterStatus::Replaying => Status::Replaying,
        LetterStatus::Done => Status::Done,
        LetterStatus::Dropped => Status::Dropped,
    };
    let died = ledger.last_death(scope, partition, id)?;
    Ok(Known {
        status,
        died: died.map(|Millis(ms)| ms),
    })
}

impl Subscription {
    /// Asks whoever owns the partitions; answers stand in the order of the questions.
    ///
    /// # Errors
    /// The store failed, or an owner does not answer.
    pub async fn look_up(&self, asked: Vec<Asked>) -> Result<Vec<Answer>, LookupError> {
        let mut answers: Vec<Option<Answer>> = vec![None; asked.len()];
        let started = Instant::now();
        loop {
            let Some(missing) = self.fill(&asked, &mut answers).await? else {
                return Ok(answers.into_iter().flatten().collect());
            };
            if started.elapsed() > PATIENCE {
                return Err(LookupError::Owner(missing));
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Asks what has no answer yet, each owner once; says what is missing.
    async fn fill(
        &self,
        asked: &[Asked],
        answers: &mut [Option<Answer>],
    ) -> Result<Option<String>, LookupError> {
        let scope = &self.deployment.scope;
        let mut missing = None;
        let mut owners = BTreeMap::<String, (Member, Vec<usize>)>::new();
        for (index, (one, answer)) in asked.iter().zip(&mut *answers).enumerate() {
            if answer.is_some() {
                continue;
            }
            *answer = here(&*self.ledger, scope, one)?;
            if answer.is_some() {
                continue;
            }
            match self.fleet.owner(&scope.group, one.partition) {
                Ok(member) => {
                    let id = member.id.clone();
                    let (_, indexes) = owners.entry(id).or_insert_with(|| (member, Vec::new()));
                    indexes.push(index);
                }
                Err(why) => missing = Some(self.unanswered(one.partition, &why)),
            }
        }
        let requests = owners.into_values().map(|(member, indexes)| async move {
            let request = Request::Lookups {
                group: scope.group.to_string(),
                asked: indexes.iter().map(|index| asked[*index].clone()).collect(),
            };
            let reply = self.fleet.ask(&member, &request, ANSWER).await;
            let reply: Result<Vec<Option<Answer>>, _> = reply;
            (reply, member, indexes)
        });
        for (reply, member, indexes) in join_all(requests).await {
            let why = match reply {
                Ok(reply) => {
                    for (index, answer) in indexes.iter().zip(reply) {
                        answers[*index] = answer.filter(|answer| answer.is_to(&asked[*index]));
                    }
                    format!("host {} does not serve it at present", member.id)
                }
                Err(error) => format!("its host {} does not answer: {}", member.id, chain(&error)),
            };
            if let Some(index) = indexes.iter().find(|index| answers[**index].is_none()) {
                missing = Some(self.unanswered(asked[*index].partition, &why));
            }
        }
        Ok(missing)
    }

    fn unanswered(&self, partition: u32, why: &str) -> String {
        let handler = &self.deployment.manifest.name;
        format!(
            "partition {partition} of {handler} cannot be asked: {why}; `weir status` shows which hosts there are, try \
             again when it has one"
        )
    }
}

impl Answer {
    /// Whether it is of the kind and size that was asked for: other hosts may be of other versions.
    fn is_to(&self, asked: &Asked) -> bool {
        match (self, &asked.question) {
            (Self::Letters { letters, .. }, Question::Letters(asked)) => {
                letters.len() == asked.len()
            }
            (Self::Parked(_), Question::Parked(_)) | (Self::Sequence(_), Question::Sequence(_)) => {
                true
            }
            (Self::Letters { .. } | Self::Parked(_) | Self::Sequence(_), _) => false,
        }
    }
}

#[cfg(test)]
mod tests;
