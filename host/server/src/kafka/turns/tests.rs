use std::sync::atomic::{AtomicU32, Ordering};

use tokio_util::task::TaskTracker;

use super::*;

/// So short that what is stuck asks for its turn again at once.
const PAUSE: Duration = Duration::from_millis(1);
/// No try here waits for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// Work that gets nowhere, and how often it was tried.
fn stuck(turns: &Arc<Turns>, wanted: u32) -> (task::JoinHandle<()>, Arc<AtomicU32>) {
    let tries = Arc::<AtomicU32>::default();
    let (turns, counted) = (Arc::clone(turns), Arc::clone(&tries));
    let work = async move {
        let attempt = move || match counted.fetch_add(1, Ordering::AcqRel) {
            tried if tried < wanted => Tried::Again,
            _ => Tried::Done(()),
        };
        turns.until_done(PAUSE, attempt).await.unwrap();
    };
    (TaskTracker::new().spawn(work), tries)
}

#[tokio::test]
async fn work_that_gets_nowhere_keeps_nobody_from_his_turn() {
    let turns = Arc::new(Turns::new(2));
    let (never, tries): (Vec<_>, Vec<_>) = (0..2).map(|_| stuck(&turns, u32::MAX)).unzip();
    let rest = async {
        for number in 0..50 {
            let done = turns.until_done(PAUSE, move || Tried::Done(number)).await;
            assert_eq!(done.unwrap(), number);
        }
    };
    tokio::time::timeout(PATIENCE, rest).await.unwrap();
    for (never, tries) in never.iter().zip(tries) {
        assert!(!never.is_finished());
        assert!(tries.load(Ordering::Acquire) > 0);
        never.abort();
    }
}

#[tokio::test]
async fn work_is_tried_until_it_is_done() {
    let turns = Arc::new(Turns::new(1));
    let (work, tries) = stuck(&turns, 3);
    tokio::time::timeout(PATIENCE, work).await.unwrap().unwrap();
    assert_eq!(tries.load(Ordering::Acquire), 4);
}

#[tokio::test]
async fn no_more_is_tried_at_a_time_than_there_are_turns() {
    let turns = Arc::new(Turns::new(2));
    let (now, most) = (Arc::<AtomicU32>::default(), Arc::<AtomicU32>::default());
    let works = (0..8).map(|_| {
        let (now, most) = (Arc::clone(&now), Arc::clone(&most));
        turns.until_done(PAUSE, move || {
            let running = now.fetch_add(1, Ordering::AcqRel) + 1;
            most.fetch_max(running, Ordering::AcqRel);
            std::thread::yield_now();
            now.fetch_sub(1, Ordering::AcqRel);
            Tried::Done(())
        })
    });
    for done in futures_util::future::join_all(works).await {
        done.unwrap();
    }
    let most = most.load(Ordering::Acquire);
    assert!((1..=2).contains(&most), "{most} at a time");
}
