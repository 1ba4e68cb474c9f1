//! Replay jobs: they send dead letters back to their sequences, and go on after a restart.
//!
//! What a job is to do and how far it is lie in the store, with the subscription: a copy of the store holds both as they
//! were, and what deletes the subscription deletes its jobs. Which letter is next is decided by `weir_core::replay`.

mod plan;
mod run;

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use weir_core::replay::{Counts, Replay, State, Step};
use weir_core::time::Millis;

pub use self::plan::{JobError, LETTERS_MAX, Plan, Planned};
pub(crate) use self::plan::{find, find_sequences};
use crate::clock;
use crate::embedded::Embedded;
use crate::ledger::LedgerError;
use crate::letters::Selection;
use crate::names;
use crate::pipeline::Subscription;

/// Jobs of a handler that can be looked at: the oldest that are over make room.
const KEPT: usize = 20;

/// How far a job is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// How it stands.
    pub state: State,
    /// Of each letter.
    pub steps: Vec<Step>,
    /// By partition, an offset of the command topic: what the job published before it shows in `steps`.
    pub commands: Vec<u64>,
}

/// The jobs of a host.
pub struct Jobs {
    store: Embedded,
    tasks: TaskTracker,
    stop: CancellationToken,
    jobs: Mutex<Vec<Arc<Job>>>,
}

/// One job.
pub struct Job {
    /// Counts from 1 in each subscription.
    id: u64,
    subscription: Arc<Subscription>,
    created: Millis,
    per_second: NonZeroU32,
    selection: String,
    /// In the order of the plan; none of a job that was over when the host started.
    letters: Vec<Planned>,
    /// Letters of each sequence.
    lengths: Vec<usize>,
    store: Embedded,
    now: Mutex<Now>,
    /// An operator said something.
    changed: Notify,
    /// Held while progress is written, so that an older one never replaces a newer one.
    writing: tokio::sync::Mutex<()>,
}

/// How far it is; both change together.
struct Now {
    replay: Replay,
    commands: Vec<u64>,
}

/// What an operator does to a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum JobCommand {
    /// Stop sending for now.
    Pause,
    /// Go on.
    Resume,
    /// Stop sending for good.
    Cancel,
}

impl JobCommand {
    /// The word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Cancel => "cancel",
        }
    }
}

impl Jobs {
    /// The jobs that are kept of these subscriptions; none runs before [`Self::start`].
    pub fn load(
        store: &Embedded,
        subscriptions: &[Arc<Subscription>],
    ) -> Result<Self, LedgerError> {
        let mut jobs = Vec::new();
        for subscription in subscriptions {
            for (id, plan, progress) in store.jobs(&subscription.deployment.scope)? {
                let job = Job::new(store, subscription, id, plan, progress);
                jobs.push(Arc::new(job));
            }
        }
        Ok(Self {
            store: store.clone(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            jobs: Mutex::new(jobs),
        })
    }

    /// Lets what was not over go on.
    pub fn start(&self) {
        let jobs: Vec<_> = self.lock().clone();
        for job in jobs {
            if !job.lock().replay.is_settled() {
                self.tasks.spawn(run::resume(job, self.stop.clone()));
            }
        }
    }

    /// Stops all jobs, which go on at the next start.
    pub async fn close(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Makes a job of the dead letters that fit, and starts it.
    pub async fn make(
        &self,
        subscription: &Arc<Subscription>,
        selection: Selection,
        per_second: NonZeroU32,
    ) -> Result<Arc<Job>, JobError> {
        let now = clock::now();
        let described = selection.describe();
        let plan = find_sequences(subscription, selection, now).await?;
        let plan = Plan::new(plan, now, per_second, described);
        let progress = Progress {
            state: State::Running,
            steps: vec![Step::Left; plan.lengths().iter().sum()],
            commands: command_ends(subscription),
        };
        let mut jobs = self.lock();
        let own = |job: &&Arc<Job>| job.is_of(subscription);
        let last = jobs.iter().filter(own).map(|job| job.id).max();
        let id = last.unwrap_or(0) + 1;
        let over = |job: &&Arc<Job>| own(job) && job.lock().replay.is_settled();
        let kept = jobs.iter().filter(own).count();
        let oldest = jobs.iter().filter(over).map(|job| job.id).min();
        let scope = &subscription.deployment.scope;
        let forget = oldest.filter(|_| kept >= KEPT);
        self.store.keep_job(scope, id, &plan, &progress, forget)?;
        jobs.retain(|job| !job.is_of(subscription) || Some(job.id) != forget);
        let job = Arc::new(Job::new(&self.store, subscription, id, plan, progress));
        jobs.push(Arc::clone(&job));
        drop(jobs);
        tracing::info!(handler = %subscription.deployment.manifest.name, job = id, "replay begins");
        self.tasks
            .spawn(run::run(Arc::clone(&job), self.stop.clone()));
        Ok(job)
    }

    /// The jobs of a subscription that are kept, the first one first.
    #[must_use]
    pub fn of(&self, subscription: &Subscription) -> Vec<Arc<Job>> {
        let jobs = self.lock();
        let own = jobs.iter().filter(|job| job.is_of(subscription));
        own.map(Arc::clone).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Job>>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where each partition of the command topic ends.
fn command_ends(subscription: &Subscription) -> Vec<u64> {
    let deployment = &subscription.deployment;
    let topic = names::commands_topic(&deployment.scope.group);
    let end = |partition| {
        let bounds = subscription.bus.bounds(&topic, partition);
        bounds.map_or(0, |(_, end)| end)
    };
    (0..deployment.partitions(&*subscription.bus))
        .map(end)
        .collect()
}

impl Job {
    fn new(
        store: &Embedded,
        subscription: &Arc<Subscription>,
        id: u64,
        plan: Plan,
        progress: Progress,
    ) -> Self {
        let Progress {
            state,
            steps,
            commands,
        } = progress;
        let lengths = plan.lengths();
        let replay = Replay::new(&lengths, plan.per_second, state, steps);
        let letters = if replay.is_settled() {
            Vec::new()
        } else {
            plan.sequences.concat()
        };
        Self {
            id,
            subscription: Arc::clone(subscription),
            created: plan.created,
            per_second: plan.per_second,
            selection: plan.selection,
            letters,
            lengths,
            store: store.clone(),
            now: Mutex::new(Now { replay, commands }),
            changed: Notify::new(),
            writing: tokio::sync::Mutex::new(()),
        }
    }

    /// Counts from 1 in each subscription.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    fn is_of(&self, subscription: &Subscription) -> bool {
        self.subscription.deployment.scope.group == subscription.deployment.scope.group
    }

    /// Obeys an operator, durably; false when the job is over.
    pub async fn command(&self, command: JobCommand) -> Result<bool, LedgerError> {
        let obeyed = {
            let replay = &mut self.lock().replay;
            match command {
                JobCommand::Pause => replay.pause(),
                JobCommand::Resume => replay.resume(),
                JobCommand::Cancel => replay.cancel(),
            }
        };
        if obeyed {
            self.keep().await?;
            self.changed.notify_one();
        }
        Ok(obeyed)
    }

    /// Writes how far it is.
    async fn keep(&self) -> Result<(), LedgerError> {
        let _writing = self.writing.lock().await;
        let progress = {
            let now = self.lock();
            Progress {
                state: now.replay.state(),
                steps: now.replay.steps().to_vec(),
                commands: now.commands.clone(),
            }
        };
        let (store, id) = (self.store.clone(), self.id);
        let scope = self.subscription.deployment.scope.clone();
        let write = move || store.keep_progress(&scope, id, &progress);
        let written = tokio::task::spawn_blocking(write).await;
        // A write that panicked has ended the process.
        written.unwrap_or(Ok(()))
    }

    /// For the command line and other programs.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let now = self.lock();
        let replay = &now.replay;
        let Counts {
            sent,
            done,
            dropped,
            dead,
            missing,
            waiting,
            left,
        } = replay.counts();
        let (sequences, finished, failed) = replay.sequences();
        json!({
            "id": self.id,
            "handler": self.subscription.deployment.manifest.name,
            "state": replay.state().name(),
            "selection": self.selection,
            "created": self.created.to_rfc3339(),
            "rate": self.per_second,
            "letters": replay.steps().len(),
            "sent": sent,
            "done": done,
            "dead": dead,
            "dropped": dropped,
            "missing": missing,
            "waiting": waiting,
            "left": left,
            "sequences": { "all": sequences, "finished": finished, "failed": failed },
        })
    }

    fn lock(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
