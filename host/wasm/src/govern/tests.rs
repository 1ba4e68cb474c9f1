use std::future::pending;
use std::sync::Arc;
use std::task::{Context, Waker};

use tokio::sync::{Semaphore, oneshot};

use crate::crowd::{Crowd, Load};
use crate::host::Volume;
use crate::limits::{Grants, Limits};
use crate::ticker::Clock;

use super::*;

/// A component on a host with one slot.
fn shared(wall: Duration) -> Shared {
    let limits = Limits {
        wall,
        ..Limits::default()
    };
    let clock = Arc::new(Clock::default());
    let log = Volume::new("tester".into(), Arc::clone(&clock), &limits);
    Shared {
        handler: "tester".into(),
        grants: Grants::default(),
        limits,
        clock,
        crowd: Crowd::new(Arc::new(Semaphore::new(1)), Load::max(1, 100, 1)),
        log: Arc::new(log),
    }
}

/// What a guest does when the epoch ends.
async fn tick(turn: &Turn) {
    if let UpdateDeadline::YieldCustom(_, suspended) = turn.tick() {
        suspended.await;
    }
}

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

fn pass(time: Duration, clock: &Clock) {
    const STEP: Duration = Duration::from_millis(100);
    for _ in 0..time.as_millis() / STEP.as_millis() {
        clock.advance(STEP);
    }
}

#[tokio::test]
async fn waiting_for_a_turn_is_no_wall_time() {
    let (turn, shared) = (Turn::default(), shared(Duration::from_secs(10)));
    let held = shared.crowd.free_slot();
    let mut governed = pin!(govern(tick(&turn), &turn, &shared));
    assert!(poll(governed.as_mut()).is_pending());
    pass(Duration::from_secs(3_600), &shared.clock);
    assert!(poll(governed.as_mut()).is_pending());
    drop(held);
    assert_eq!(poll(governed.as_mut()), Poll::Ready(Ok(())));
}

#[tokio::test]
async fn waiting_for_a_host_call_is_wall_time() {
    let limit = Duration::from_millis(200);
    let (turn, shared) = (Turn::default(), shared(limit));
    let mut governed = pin!(govern(pending::<()>(), &turn, &shared));
    assert!(poll(governed.as_mut()).is_pending());
    pass(limit, &shared.clock);
    assert_eq!(governed.await, Err(Stop::Wall(limit)));
}

#[tokio::test]
async fn a_host_call_leaves_the_slot_to_others_and_what_follows_it_has_a_tick_without_one() {
    let (turn, shared) = (Turn::default(), shared(Duration::from_secs(10)));
    let (answer, call) = oneshot::channel::<()>();
    let guest = async {
        tick(&turn).await;
        drop(call.await);
        tick(&turn).await;
        tick(&turn).await;
    };
    let mut governed = pin!(govern(guest, &turn, &shared));
    assert!(poll(governed.as_mut()).is_pending());
    assert!(shared.crowd.free_slot().is_none(), "it used up its tick");
    assert!(poll(governed.as_mut()).is_pending());
    let held = shared.crowd.free_slot();
    assert!(held.is_some(), "it waits for its host call");

    answer.send(()).unwrap();
    assert!(poll(governed.as_mut()).is_pending());
    drop(held);
    assert_eq!(poll(governed.as_mut()), Poll::Ready(Ok(())));
}

#[tokio::test]
async fn a_dropped_attempt_gives_back_what_it_holds() {
    let (turn, shared) = (Turn::default(), shared(Duration::from_secs(10)));
    let mut governed = Box::pin(govern(tick(&turn), &turn, &shared));
    assert!(poll(governed.as_mut()).is_pending());
    assert!(shared.crowd.free_slot().is_none());
    drop(governed);
    assert!(shared.crowd.free_slot().is_some());
}

#[tokio::test]
async fn the_first_poll_is_cpu_time() {
    let mut shared = shared(Duration::from_secs(10));
    shared.limits.cpu = Duration::from_millis(5);
    let turn = Turn::default();
    let work = async {
        let started = thread_cpu_time();
        while thread_cpu_time() - started <= shared.limits.cpu {}
        tick(&turn).await;
        unreachable!("it is over its limit before its second poll");
    };
    assert!(matches!(
        govern(work, &turn, &shared).await,
        Err(Stop::Cpu(_))
    ));
}
