//! One hostile guest per way to misbehave. Each is tried beside an honest handler, which must answer all the while and
//! afterwards; the table in `docs/hostile.md` has a row for each.

mod calls;
mod components;
mod memory;
mod returns;
mod time;

use std::pin::pin;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use tokio::time::timeout;
use weir_core::event::{Failure, FailureKind, Outcome};
use weir_wasm::{Component, LoadOptions};

use crate::guests::{Guest, IGNORE, component};
use crate::{Attempt, Fixture, Values, attempt, done, failed, options};

/// How often a guest is tried: each attempt must end the same, on whatever instance.
const TRIES: usize = 2;
/// For one attempt to end. Limits are much shorter; this is for a machine that does ten other things.
const ENDS_WITHIN: Duration = Duration::from_secs(120);
/// For the honest handler to answer, whatever else the machine does.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);
/// How much longer half of its answers take than alone, in CPU of the thread that it shares with the hostile one: ten
/// times, and ten ticks of 10 ms. The hostile one yields at each tick; before its end it would be the limit of 250 ms.
const SLOWER: u32 = 10;
const TICKS: Duration = Duration::from_millis(100);

/// A guest that is about to misbehave.
struct Trial {
    wasm: Vec<u8>,
    options: LoadOptions,
    attempt: fn() -> Attempt,
}

impl Trial {
    fn of(wasm: Vec<u8>) -> Self {
        let mut options = options();
        (options.grants.state, options.grants.timers) = (true, true);
        // On a machine that does ten other things an attempt runs for a part of the time only.
        options.limits.wall = ENDS_WITHIN;
        Self {
            wasm,
            options,
            attempt: keyed,
        }
    }

    fn with(mut self, change: impl FnOnce(&mut LoadOptions)) -> Self {
        change(&mut self.options);
        self
    }

    /// What its attempts end with, while and after which the honest handler answers.
    async fn run(self) -> Outcome {
        let fixture = Fixture::new();
        let honest = Honest::new(&fixture).await;
        let hostile = fixture
            .sandbox
            .load(self.wasm, &self.options)
            .await
            .unwrap();
        let mut outcome = honest.beside(hostile.call((self.attempt)())).await;
        for _ in 1..TRIES {
            if let Outcome::Failed(failure) = &outcome
                && matches!(failure.kind, FailureKind::Trap | FailureKind::Limit)
            {
                assert_eq!(hostile.idle_instances(), 0, "it is never used again");
            }
            let again = honest.beside(hostile.call((self.attempt)())).await;
            assert_eq!(code(&again), code(&outcome), "{again:?}");
            outcome = again;
        }
        honest.answer().await;
        outcome
    }
}

/// A handler that must answer whatever happens beside it.
struct Honest {
    component: Component,
    /// What half of its answers take with the thread to itself.
    alone: Duration,
}

impl Honest {
    async fn new(fixture: &Fixture) -> Self {
        let component = fixture.load(component(IGNORE)).await.unwrap();
        let mut honest = Self {
            component,
            alone: Duration::ZERO,
        };
        let mut answers = Vec::new();
        for _ in 0..9 {
            let used = cpu();
            honest.answer().await;
            answers.push(cpu() - used);
        }
        honest.alone = median(answers);
        honest
    }

    async fn answer(&self) {
        done(self.component.call(attempt()).await);
    }

    /// Answers on the same thread until `work` ends.
    async fn beside(&self, work: impl Future<Output = Outcome>) -> Outcome {
        let mut work = pin!(work);
        let mut answers = Vec::new();
        let both = async {
            loop {
                let (asked, used) = (Instant::now(), cpu());
                tokio::select! {
                    biased;
                    outcome = work.as_mut() => return outcome,
                    () = self.answer() => {}
                };
                // Unlike the time, CPU is the same on a machine that does ten other things.
                answers.push(cpu() - used);
                let waited = asked.elapsed();
                assert!(
                    waited < ANSWERS_WITHIN,
                    "the honest handler took {waited:?}"
                );
                // Whoever sleeps is woken only when this task lets go.
                tokio::task::yield_now().await;
            }
        };
        let outcome = timeout(ENDS_WITHIN, both)
            .await
            .expect("the attempt was not ended");
        let (count, half) = (answers.len(), median(answers));
        assert!(
            half < self.alone * SLOWER + TICKS,
            "half of {count} answers took {half:?}, and {:?} alone",
            self.alone
        );
        outcome
    }
}

/// What half of them take; nothing where there are none.
fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// CPU that this thread has used.
fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap()
}

/// An attempt with state and timers, both empty.
fn keyed() -> Attempt {
    Attempt {
        timers: Some(Box::new(crate::Names(Vec::new()))),
        ..crate::with_state(Values([].into()))
    }
}

fn code(outcome: &Outcome) -> Option<&str> {
    match outcome {
        Outcome::Done(_) => None,
        Outcome::Failed(failure) => Some(&failure.code),
    }
}

/// A guest that is honest but for the body of `handle`.
async fn body(body: &str) -> Outcome {
    guest(Guest {
        body,
        ..Guest::default()
    })
    .await
}

async fn guest(guest: Guest<'_>) -> Outcome {
    Trial::of(guest.component()).run().await
}

#[track_caller]
fn ends_in(outcome: Outcome, kind: FailureKind, code: &str) -> Failure {
    let failure = failed(outcome);
    assert_eq!(
        (failure.kind, failure.code.as_str()),
        (kind, code),
        "{failure:?}"
    );
    failure
}

/// It passed a limit.
#[track_caller]
fn limited(outcome: Outcome, code: &str) -> Failure {
    ends_in(outcome, FailureKind::Limit, code)
}

/// It broke.
#[track_caller]
fn trapped(outcome: Outcome, code: &str) -> Failure {
    ends_in(outcome, FailureKind::Trap, code)
}

/// No attempt can succeed.
#[track_caller]
fn refused(outcome: Outcome, code: &str) -> Failure {
    ends_in(outcome, FailureKind::Permanent, code)
}
