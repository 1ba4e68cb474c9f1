//! What calls end with.

use std::time::{Duration, Instant};

use weir_core::event::{EmissionKey, FailureKind, Outcome};
use weir_wasm::Isolation;

use crate::guests::{self, component};
use crate::{Fixture, attempt, done, event, failed};

async fn outcome(body: &str) -> Outcome {
    let fixture = Fixture::new();
    fixture
        .load(component(body))
        .await
        .unwrap()
        .call(attempt())
        .await
}

#[tokio::test]
async fn a_good_handler_gets_the_event_and_its_emission_comes_back() {
    let effects = done(outcome(&guests::echo()).await);
    let [emission] = &effects.emissions[..] else {
        panic!("{effects:?}")
    };
    let event = event();
    assert_eq!(emission.ty, event.ty);
    assert_eq!(emission.subject, event.subject);
    assert_eq!(emission.extensions, event.extensions);
    assert_eq!(emission.data, event.data);
    assert_eq!(emission.key, EmissionKey::Inherit);
    assert_eq!(
        (&emission.topic, &emission.id, emission.delay_ms),
        (&None, &None, None)
    );
    assert!(effects.state.is_empty());
}

#[tokio::test]
async fn an_endless_loop_ends_at_the_cpu_limit_and_delays_nobody_else() {
    let fixture = Fixture::new();
    let looping = fixture.load(component(guests::LOOP)).await.unwrap();
    let good = fixture.load(component(guests::IGNORE)).await.unwrap();
    // One thread: the good handler runs only because the other yields at each tick.
    let mut good_calls = 0;
    let failure = {
        let looping = looping.call(attempt());
        tokio::pin!(looping);
        loop {
            tokio::select! {
                outcome = &mut looping => break failed(outcome),
                outcome = good.call(attempt()) => {
                    done(outcome);
                    good_calls += 1;
                }
            }
        }
    };
    assert_eq!(
        (failure.kind, failure.code.as_str()),
        (FailureKind::Limit, "cpu-limit")
    );
    assert!(good_calls > 1, "{good_calls}");
    assert_eq!(looping.idle_instances(), 0);
}

#[tokio::test]
async fn an_attempt_ends_at_the_wall_limit() {
    let fixture = Fixture::new();
    let slow = fixture
        .load_with(component(guests::LOOP), |options| {
            options.limits.cpu = Duration::from_secs(600);
            options.limits.wall = Duration::from_millis(300);
        })
        .await
        .unwrap();
    let started = Instant::now();
    let failure = failed(slow.call(attempt()).await);
    assert_eq!(
        (failure.kind, failure.code.as_str()),
        (FailureKind::Limit, "wall-limit")
    );
    assert!(
        started.elapsed() >= Duration::from_millis(250),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn a_trap_says_where_in_the_component_it_happened() {
    let failure = failed(outcome(guests::TRAP_DEEP).await);
    let backtrace = failure.backtrace.unwrap();
    let [inner, outer] = &backtrace.lines().collect::<Vec<_>>()[..] else {
        panic!("{backtrace}")
    };
    assert!(inner.starts_with("dig in guest at 0x"), "{backtrace}");
    assert!(outer.starts_with("handle in guest at 0x"), "{backtrace}");

    let deep = failed(outcome(guests::RECURSE).await).backtrace.unwrap();
    assert!(deep.len() <= 8_192 && deep.lines().count() > 10, "{deep}");
    let limit = failed(outcome(guests::MEMORY_BOMB).await);
    assert!(limit.backtrace.is_some(), "{limit:?}");
    let returned = failed(outcome(&guests::fail(2, "code", "message")).await);
    assert_eq!(returned.backtrace, None);
}

#[tokio::test]
async fn the_delay_of_an_emission_comes_back() {
    let effects = done(outcome(&guests::echo_later()).await);
    assert_eq!(effects.emissions[0].delay_ms, Some(90_000));
}

#[tokio::test]
async fn a_failure_of_the_handler_comes_back_within_its_bounds() {
    let failure =
        failed(outcome(&guests::fail(1, "Not There", "the billing system is down")).await);
    assert_eq!(
        (failure.kind, failure.code.as_str()),
        (FailureKind::Unavailable, "not-there")
    );
    assert_eq!(failure.message, "the billing system is down");
    assert_eq!(failure.retry_after_ms, Some(1_500));
}

#[tokio::test]
async fn an_instance_is_reused_and_isolation_by_event_never_does() {
    let fixture = Fixture::new();
    let reused = fixture
        .load(component(guests::TRAP_WHEN_REUSED))
        .await
        .unwrap();
    done(reused.call(attempt()).await);
    assert_eq!(reused.idle_instances(), 1);
    assert_eq!(
        failed(reused.call(attempt()).await).code,
        "trap-unreachable"
    );
    assert_eq!(reused.idle_instances(), 0, "a trapped instance is dropped");
    done(reused.call(attempt()).await);

    let fresh = fixture
        .load_with(component(guests::TRAP_WHEN_REUSED), |options| {
            options.isolation = Isolation::Event
        })
        .await
        .unwrap();
    for _ in 0..3 {
        done(fresh.call(attempt()).await);
    }
    assert_eq!(fresh.idle_instances(), 0);
}

#[tokio::test]
async fn an_instance_is_recycled_after_its_uses_and_above_its_high_water_mark() {
    let fixture = Fixture::new();
    let worn = fixture
        .load_with(component(guests::IGNORE), |options| {
            options.isolation = Isolation::Reuse { uses_max: 2 }
        })
        .await
        .unwrap();
    done(worn.call(attempt()).await);
    assert_eq!(worn.idle_instances(), 1);
    done(worn.call(attempt()).await);
    assert_eq!(worn.idle_instances(), 0);

    let grown = fixture.load(component(guests::GROW_HIGH)).await.unwrap();
    done(grown.call(attempt()).await);
    assert_eq!(grown.idle_instances(), 0);
}
