//! One hostile guest per way to misbehave. Each is tried beside an honest handler, which must answer all the while and
//! afterwards; the table in `docs/hostile.md` has a row for each.

mod calls;
mod components;
mod memory;
mod returns;
mod time;

use std::pin::pin;
use std::time::{Duration, Instant};

use tokio::time::timeout;
use weir_core::event::{Failure, FailureKind, Outcome};
use weir_wasm::{Component, LoadOptions};

use crate::guests::{Guest, IGNORE, component};
use crate::{Attempt, Fixture, Values, attempt, done, failed, options};

/// How often a guest is tried: each attempt must end the same, on whatever instance.
const TRIES: usize = 2;
/// For one attempt to end. Limits are much shorter; this is for a machine that does ten other things.
const ENDS_WITHIN: Duration = Duration::from_secs(120);
/// For the honest handler to answer. It shares one thread with the hostile one, which yields every 10 ms.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);

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
        let honest = fixture.load(component(IGNORE)).await.unwrap();
        let hostile = fixture
            .sandbox
            .load(self.wasm, &self.options)
            .await
            .unwrap();
        let mut outcome = beside(&honest, hostile.call((self.attempt)())).await;
        for _ in 1..TRIES {
            if let Outcome::Failed(failure) = &outcome
                && matches!(failure.kind, FailureKind::Trap | FailureKind::Limit)
            {
                assert_eq!(hostile.idle_instances(), 0, "it is never used again");
            }
            let again = beside(&honest, hostile.call((self.attempt)())).await;
            assert_eq!(code(&again), code(&outcome), "{again:?}");
            outcome = again;
        }
        done(honest.call(attempt()).await);
        outcome
    }
}

/// Lets the honest handler answer on the same thread until `work` ends.
async fn beside(honest: &Component, work: impl Future<Output = Outcome>) -> Outcome {
    let mut work = pin!(work);
    let both = async {
        loop {
            let asked = Instant::now();
            tokio::select! {
                biased;
                outcome = work.as_mut() => return outcome,
                answer = honest.call(attempt()) => done(answer),
            };
            let waited = asked.elapsed();
            assert!(
                waited < ANSWERS_WITHIN,
                "the honest handler took {waited:?}"
            );
            // Whoever sleeps is woken only when this task lets go.
            tokio::task::yield_now().await;
        }
    };
    timeout(ENDS_WITHIN, both)
        .await
        .expect("the attempt was not ended")
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
