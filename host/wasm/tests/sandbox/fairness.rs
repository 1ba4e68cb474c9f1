//! Many attempts at once: each gets its turns, and none pays for the others.

use std::time::Duration;

use tokio::task::JoinSet;
use weir_wasm::Component;

use crate::guests::{self, component};
use crate::{Fixture, THREADS, attempt, done};

/// Runs so many attempts at once.
pub(crate) fn spawn(component: &Component, count: usize) -> JoinSet<weir_core::event::Outcome> {
    let mut attempts = JoinSet::new();
    for _ in 0..count {
        let component = component.clone();
        attempts.spawn(async move { component.call(attempt()).await });
    }
    attempts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backlog_of_slow_events_exceeds_no_limit() {
    let fixture = Fixture::new();
    let slow = fixture
        .load_with(component(&guests::count_to(30)), |options| {
            options.limits.wall = Duration::from_secs(1);
        })
        .await
        .unwrap();
    // Several times the wall time of CPU, for as many threads as there are.
    for outcome in spawn(&slow, 300).join_all().await {
        done(outcome);
    }
    assert!(!slow.is_crowded());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endless_loops_do_not_slow_others() {
    const LOOPS: usize = 200;
    let fixture = Fixture::new();
    let looping = fixture.load(component(guests::LOOP)).await.unwrap();
    let short = fixture.load(component(guests::IGNORE)).await.unwrap();
    let mut loops = spawn(&looping, LOOPS);
    while !looping.is_crowded() {
        tokio::task::yield_now().await;
    }
    for _ in 0..64 {
        for outcome in spawn(&short, 1).join_all().await {
            done(outcome);
        }
    }
    // With a tick of each loop between any two of them, they would have outlived all loops.
    let ended = std::iter::from_fn(|| loops.try_join_next()).count();
    assert!(ended < LOOPS / 2, "{ended}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attempts_that_need_longer_than_a_tick_take_turns_with_endless_loops() {
    let fixture = Fixture::new();
    let looping = fixture
        .load_with(component(guests::LOOP), |options| {
            options.limits.cpu = Duration::from_secs(600);
            options.limits.wall = Duration::from_secs(600);
        })
        .await
        .unwrap();
    let slow = fixture
        .load(component(&guests::count_to(30)))
        .await
        .unwrap();
    let mut loops = spawn(&looping, 4 * THREADS);
    while !looping.is_crowded() {
        tokio::task::yield_now().await;
    }
    // The loops hold all slots and never end.
    for outcome in spawn(&slow, 8).join_all().await {
        done(outcome);
    }
    assert!(loops.try_join_next().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowded_component_is_relieved_when_its_attempts_end() {
    let fixture = Fixture::new();
    let looping = fixture.load(component(guests::LOOP)).await.unwrap();
    assert!(!looping.is_crowded());
    let loops = spawn(&looping, 4 * THREADS);
    while !looping.is_crowded() {
        tokio::task::yield_now().await;
    }
    drop(loops);
    looping.relieved().await;
}
