//! Replay jobs: they send dead letters back to their sequences, and go on after a restart.
//!
//! What a job is to do and how far it is are kept as all [`orders`](crate::orders) are. Which letter is next is decided by
//! `weir_core::replay`. In a fleet the host that owns the first partition of a subscription runs its jobs, and whoever
//! owns it next goes on with them: what was sent meanwhile is told by the letters' statuses, and the owner of a letter
//! runs it once however often it is sent.

mod plan;
mod run;

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use weir_core::replay::{Counts, Replay, State, Step};
use weir_core::time::Millis;

pub use self::plan::{JobError, LETTERS_MAX, Plan, Planned};
pub(crate) use self::plan::{find, find_sequences};
use crate::clock;
use crate::handlers::chain;
use crate::letters::{LettersError, Selection};
use crate::names;
use crate::orders::{KeptJob, Orders, OrdersError};
use crate::pipeline::Subscription;

/// Jobs of a handler that can be looked at: the oldest that are over make room.
const KEPT: usize = 20;
/// Who owns this partition of a subscription runs its jobs.
pub(crate) const RUNNER: u32 = 0;
/// Between two looks at whose jobs this host runs.
const LOOK_EVERY: Duration = Duration::from_millis(500);

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

/// The jobs that this host runs.
pub struct Jobs {
    orders: Arc<dyn Orders>,
    subscriptions: Vec<Arc<Subscription>>,
    tasks: TaskTracker,
    stop: CancellationToken,
    /// By subscription, those that are its own to run.
    own: Mutex<HashMap<Arc<str>, Own>>,
    /// Held while a job is made: two would else have one number.
    making: tokio::sync::Mutex<()>,
}

/// The jobs of a subscription, for as long as this host runs them.
struct Own {
    tenure: u64,
    stop: CancellationToken,
    /// The highest number that was given.
    last: u64,
    jobs: Vec<Arc<Job>>,
}

/// One job.
pub struct Job {
    /// Counts from 1 in each subscription.
    id: u64,
    subscription: Arc<Subscription>,
    /// In which this host runs it.
    tenure: u64,
    created: Millis,
    per_second: NonZeroU32,
    selection: String,
    /// In the order of the plan; none of a job that was over when this host took it over.
    letters: Vec<Planned>,
    /// Letters of each sequence.
    lengths: Vec<usize>,
    orders: Arc<dyn Orders>,
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
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, clap::ValueEnum,
)]
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
    /// The jobs of those subscriptions that this host runs from its start on; none works before [`Self::start`].
    ///
    /// # Errors
    /// They could not be read.
    pub async fn load(
        orders: Arc<dyn Orders>,
        subscriptions: &[Arc<Subscription>],
    ) -> Result<Self, OrdersError> {
        let jobs = Self {
            orders,
            subscriptions: subscriptions.to_vec(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            own: Mutex::default(),
            making: tokio::sync::Mutex::default(),
        };
        for subscription in subscriptions {
            jobs.take_over(subscription).await?;
        }
        Ok(jobs)
    }

    /// Lets what was not over go on, and from then on also what this host takes over.
    pub fn start(self: &Arc<Self>) {
        let own: Vec<_> = self.lock().keys().cloned().collect();
        own.iter().for_each(|group| self.resume(group));
        self.tasks.spawn(Arc::clone(self).follow());
    }

    /// Stops all jobs, which go on at the next start or on another host.
    pub async fn close(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.lock().clear();
    }

    /// Looks from time to time whose jobs this host runs.
    async fn follow(self: Arc<Self>) {
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            for subscription in &self.subscriptions {
                match self.take_over(subscription).await {
                    Ok(false) => {}
                    Ok(true) => self.resume(&subscription.deployment.scope.group),
                    Err(error) => {
                        let handler = &subscription.deployment.manifest.name;
                        tracing::warn!(%handler, error = chain(&error), "cannot take replay jobs over yet");
                    }
                }
            }
        }
    }

    /// Loads the jobs of a subscription that are this host's to run from now on, and gives up those that are no longer;
    /// whether there are any new ones.
    async fn take_over(&self, subscription: &Arc<Subscription>) -> Result<bool, OrdersError> {
        let scope = &subscription.deployment.scope;
        let tenure = subscription.ledger.tenure(scope, RUNNER);
        {
            let mut own = self.lock();
            if own.get(&scope.group).map(|own| own.tenure) == tenure {
                return Ok(false);
            }
            if let Some(before) = own.remove(&scope.group) {
                before.stop.cancel();
            }
        }
        let Some(tenure) = tenure else {
            return Ok(false);
        };
        let kept = self.orders.jobs(scope).await?;
        if self.stop.is_cancelled() {
            return Ok(false);
        }
        let jobs = kept.jobs.into_iter().map(|kept| {
            let job = Job::new(&self.orders, subscription, tenure, kept);
            Arc::new(job)
        });
        let own = Own {
            tenure,
            stop: self.stop.child_token(),
            last: kept.last,
            jobs: jobs.collect(),
        };
        self.lock().insert(Arc::clone(&scope.group), own);
        Ok(true)
    }

    /// Lets those of a subscription work that are not over.
    fn resume(&self, group: &str) {
        let own = self.lock();
        let Some(own) = own.get(group) else {
            return;
        };
        for job in &own.jobs {
            if !job.lock().replay.is_settled() {
                self.tasks
                    .spawn(run::resume(Arc::clone(job), own.stop.clone()));
            }
        }
    }

    /// Makes a job of the dead letters that fit, and starts it.
    ///
    /// # Errors
    /// Nothing fits, too much does, or the job could not be kept.
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
            commands: command_ends(subscription).await?,
        };
        let _one_at_a_time = self.making.lock().await;
        let scope = &subscription.deployment.scope;
        let (tenure, id, forget) = {
            let own = self.lock();
            let own = current(&own, subscription).ok_or(OrdersError::Moved)?;
            let over = own.jobs.iter().filter(|job| job.lock().replay.is_settled());
            let oldest = over.map(|job| job.id).min();
            let forget = oldest.filter(|_| own.jobs.len() >= KEPT);
            (own.tenure, own.last.saturating_add(1), forget)
        };
        let kept = KeptJob { id, plan, progress };
        self.orders.keep_job(scope, kept.clone(), forget).await?;
        let job = Arc::new(Job::new(&self.orders, subscription, tenure, kept));
        let mut own = self.lock();
        // Another host that runs it by now has read it, or will, unless it had read all that there was before: it is not for
        // this one to make it again.
        let is_own = current(&own, subscription).is_some_and(|own| own.tenure == tenure);
        let own = own.get_mut(&scope.group).filter(|_| is_own);
        let own = own.ok_or(JobError::Moved(id))?;
        own.last = id;
        own.jobs.retain(|job| Some(job.id) != forget);
        own.jobs.push(Arc::clone(&job));
        tracing::info!(handler = %subscription.deployment.manifest.name, job = id, "replay begins");
        self.tasks
            .spawn(run::run(Arc::clone(&job), own.stop.clone()));
        Ok(job)
    }

    /// The jobs of a subscription that are kept, the first one first; none where another host runs them.
    #[must_use]
    pub fn of(&self, subscription: &Subscription) -> Option<Vec<Arc<Job>>> {
        let own = self.lock();
        current(&own, subscription).map(|own| own.jobs.clone())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Own>> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The jobs of a subscription, while they are this host's to run: who has lost the partition, or has it anew, does not know
/// yet what others have made of them.
fn current<'a>(own: &'a HashMap<Arc<str>, Own>, subscription: &Subscription) -> Option<&'a Own> {
    let scope = &subscription.deployment.scope;
    let tenure = subscription.ledger.tenure(scope, RUNNER);
    own.get(&scope.group)
        .filter(|own| Some(own.tenure) == tenure)
}

/// Where each partition of the command topic ends.
async fn command_ends(subscription: &Subscription) -> Result<Vec<u64>, LettersError> {
    let mut ends = Vec::new();
    for partition in 0..subscription.deployment.partitions(&*subscription.bus) {
        ends.push(command_end(subscription, partition).await?);
    }
    Ok(ends)
}

/// Where one of them ends.
async fn command_end(subscription: &Subscription, partition: u32) -> Result<u64, LettersError> {
    let topic = names::commands_topic(&subscription.deployment.scope.group);
    let bounds = subscription.bus.bounds(&topic, partition).await?;
    Ok(bounds.map_or(0, |(_, end)| end))
}

impl Job {
    fn new(
        orders: &Arc<dyn Orders>,
        subscription: &Arc<Subscription>,
        tenure: u64,
        KeptJob { id, plan, progress }: KeptJob,
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
            tenure,
            created: plan.created,
            per_second: plan.per_second,
            selection: plan.selection,
            letters,
            lengths,
            orders: Arc::clone(orders),
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

    /// Whether this host still runs it.
    fn is_own(&self) -> bool {
        let scope = &self.subscription.deployment.scope;
        self.subscription.ledger.tenure(scope, RUNNER) == Some(self.tenure)
    }

    /// Obeys an operator, durably; false when the job is over.
    pub async fn command(&self, command: JobCommand) -> Result<bool, OrdersError> {
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

    /// Writes how far it is, unless another host runs it by now.
    async fn keep(&self) -> Result<(), OrdersError> {
        let _writing = self.writing.lock().await;
        let progress = {
            let now = self.lock();
            Progress {
                state: now.replay.state(),
                steps: now.replay.steps().to_vec(),
                commands: now.commands.clone(),
            }
        };
        if !self.is_own() {
            return Err(OrdersError::Moved);
        }
        let scope = &self.subscription.deployment.scope;
        self.orders.keep_progress(scope, self.id, progress).await
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
