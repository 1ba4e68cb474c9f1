//! What a handler would do with events, without any of it being done.
//!
//! State is what was committed when the first event of a sequence began, with what the events before it would have
//! written; timers are told and forgotten; emissions are completed as they would be published, and shown. Neither the
//! breaker nor the rate limit nor the metrics hear of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use weir_core::emission::{self, Emitted};
use weir_core::event::{Event, Failure, FailureKind, Outcome, Record};
use weir_core::partition::{DEFAULT_TENANT, Decoded};
use weir_core::unit::{Origin, SequenceKey};
use weir_wasm::{Component, StateUnavailable, StateView, TimersView};

use super::{Subscription, decode};
use crate::clock;
use crate::handlers::Deployment;
use crate::lookup::{Answer, Asked, LookupError, Question, Sequence};

/// An event that is tried.
#[derive(Clone, Debug)]
pub struct Trial {
    /// As it died.
    pub record: Record,
    /// Where it stood.
    pub origin: Origin,
}

/// What would come of it.
#[derive(Debug)]
pub enum Rehearsed {
    /// It would be handled.
    Handled {
        /// What would be published.
        emitted: Vec<Emitted>,
        /// Names of the state that would be written or removed.
        state: Vec<String>,
        /// Names of the timers that would be set or cancelled.
        timers: Vec<String>,
    },
    /// It would fail.
    Failed(Failure),
}

/// Who tries them: the version that serves, or another one.
pub struct Candidate {
    /// Its manifest counts, and the subscription's topics and state.
    pub deployment: Deployment,
    /// What runs.
    pub component: Component,
}

/// Tries events of one sequence, one after the other, up to the first that fails.
pub async fn sequence(
    subscription: &Subscription,
    candidate: &Candidate,
    trials: Vec<Trial>,
) -> Result<Vec<Rehearsed>, LookupError> {
    let mut stage: Option<Stage> = None;
    let mut rehearsed = Vec::new();
    for Trial { record, origin } in trials {
        let event = match decode::stored(&record, &origin, &candidate.deployment) {
            Decoded::Event(event) => event,
            Decoded::Poison { code, message } => {
                rehearsed.push(refused("poison", code, message));
                break;
            }
            Decoded::Filtered | Decoded::Skipped | Decoded::Command { .. } => {
                rehearsed.push(Rehearsed::Handled {
                    emitted: Vec::new(),
                    state: Vec::new(),
                    timers: Vec::new(),
                });
                continue;
            }
        };
        let staged = match stage.take() {
            Some(stage) => stage,
            None => Stage::begin(subscription, &origin, &record, &event).await?,
        };
        let outcome = attempt(candidate, &staged, origin, &record, &event).await;
        let one = conclude(candidate, &staged, &record, &event, outcome);
        let failed = matches!(one, Rehearsed::Failed(_));
        rehearsed.push(one);
        stage = Some(staged);
        if failed {
            break;
        }
    }
    Ok(rehearsed)
}

async fn attempt(
    Candidate {
        deployment,
        component,
    }: &Candidate,
    stage: &Stage,
    origin: Origin,
    record: &Record,
    event: &Arc<Event>,
) -> Outcome {
    let grants = &deployment.manifest.grants;
    if (grants.state || grants.timers) && event.key(record).is_none() {
        let message = "an event without a key has neither state nor timers";
        return Outcome::Failed(failure(FailureKind::Permanent, "unkeyed", message));
    }
    let state = grants
        .state
        .then(|| Box::new(stage.clone()) as Box<dyn StateView>);
    let timers = grants
        .timers
        .then(|| Box::new(stage.clone()) as Box<dyn TimersView>);
    component
        .call(weir_wasm::Attempt {
            event: Arc::clone(event),
            number: 1,
            tenant: tenant(event).into(),
            topic: origin.topic,
            partition: origin.partition,
            position: origin.offset,
            key: event.key(record).cloned(),
            now: clock::now(),
            state,
            timers,
        })
        .await
}

/// Checks and completes what would be emitted, and lays what would be written under the next event.
fn conclude(
    candidate: &Candidate,
    stage: &Stage,
    record: &Record,
    event: &Event,
    outcome: Outcome,
) -> Rehearsed {
    let effects = match outcome {
        Outcome::Done(effects) => effects,
        Outcome::Failed(failure) => return Rehearsed::Failed(failure),
    };
    let rules = candidate.deployment.emit();
    let cause = emission::Cause {
        event,
        record,
        tenant: tenant(event),
    };
    let emitted = match emission::to_records(&rules, cause, clock::now(), effects.emissions) {
        Ok(emitted) => emitted,
        Err(invalid) => {
            return refused(
                "invalid-emission",
                invalid.code.to_owned(),
                invalid.to_string(),
            );
        }
    };
    let mut held = stage.lock();
    let state = effects.state.into_iter().map(|write| {
        match write.value {
            Some(value) => held.state.insert(write.name.clone(), value),
            None => held.state.remove(&write.name),
        };
        write.name
    });
    let state = state.collect();
    let timers = effects.timers.into_iter().map(|write| {
        if write.set.is_some() {
            held.timers.insert(write.name.clone());
        } else {
            held.timers.remove(&write.name);
        }
        write.name
    });
    Rehearsed::Handled {
        emitted,
        state,
        timers: timers.collect(),
    }
}

fn tenant(event: &Event) -> &str {
    event.extension("tenantid").unwrap_or(DEFAULT_TENANT)
}

fn refused(class: &str, code: String, message: String) -> Rehearsed {
    let message = format!("{class}: {message}");
    Rehearsed::Failed(failure(FailureKind::Permanent, &code, &message))
}

fn failure(kind: FailureKind, code: &str, message: &str) -> Failure {
    Failure {
        kind,
        code: code.to_owned(),
        message: message.to_owned(),
        retry_after_ms: None,
        backtrace: None,
    }
}

/// State and names of timers of one sequence, thrown away at the end.
#[derive(Clone, Default)]
struct Stage(Arc<Mutex<Held>>);

#[derive(Default)]
struct Held {
    state: BTreeMap<String, Bytes>,
    timers: BTreeSet<String>,
}

impl Stage {
    /// What the sequence holds at this moment. One key's state and timers are bounded.
    async fn begin(
        subscription: &Subscription,
        origin: &Origin,
        record: &Record,
        event: &Event,
    ) -> Result<Self, LookupError> {
        let Some(key) = event.key(record).cloned() else {
            return Ok(Self::default());
        };
        let sequence = SequenceKey::Keyed {
            tenant: tenant(event).into(),
            key,
        };
        let asked = Asked {
            partition: origin.partition,
            question: Question::Sequence(Sequence(sequence)),
        };
        let mut held = Held::default();
        for answer in subscription.look_up(vec![asked]).await? {
            if let Answer::Sequence(found) = answer {
                held.state = found.values()?.into_iter().collect();
                held.timers = found.timers.into_iter().collect();
            }
        }
        Ok(Self(Arc::new(Mutex::new(held))))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StateView for Stage {
    fn get(&self, name: &str) -> Result<Option<Bytes>, StateUnavailable> {
        Ok(self.lock().state.get(name).cloned())
    }

    fn names(&self) -> Result<Vec<String>, StateUnavailable> {
        Ok(self.lock().state.keys().cloned().collect())
    }
}

impl TimersView for Stage {
    fn names(&self) -> Result<Vec<String>, StateUnavailable> {
        Ok(self.lock().timers.iter().cloned().collect())
    }
}
