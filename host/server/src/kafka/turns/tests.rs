use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::mpsc::unbounded_channel;
use tokio_util::task::TaskTracker;

use super::*;

/// So short that what is stuck asks for its turn again at once.
const PAUSE: Duration = Duration::from_millis(1);
/// No try here waits for anything but its test.
const PATIENCE: Duration = Duration::from_secs(60);
/// For a try to begin whose turn it is.
const SOON: Duration = Duration::from_millis(50);
/// More than there are turns.
const WORKS: usize = 8;

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
    let (started, mut starts) = unbounded_channel();
    // Nothing is ever sent: who tries goes on when the sender is gone.
    let (release, released) = std::sync::mpsc::channel::<()>();
    let released = Arc::new(Mutex::new(released));
    let works = TaskTracker::new();
    for _ in 0..WORKS {
        let (turns, started, released) =
            (Arc::clone(&turns), started.clone(), Arc::clone(&released));
        let attempt = move || {
            started.send(()).unwrap();
            released.lock().unwrap().recv().unwrap_err();
            Tried::Done(())
        };
        works.spawn(async move { turns.until_done(PAUSE, attempt).await.unwrap() });
    }
    drop(started);
    let tried = async {
        starts.recv().await.unwrap();
        starts.recv().await.unwrap();
        assert_eq!(turns.0.available_permits(), 0);
        // A third would be there soon.
        let third = tokio::time::timeout(SOON, starts.recv()).await;
        assert!(third.is_err(), "three at a time");
        drop(release);
        works.close();
        works.wait().await;
        let mut others = 0;
        while starts.recv().await.is_some() {
            others += 1;
        }
        assert_eq!(others, WORKS - 2);
    };
    tokio::time::timeout(PATIENCE, tried).await.unwrap();
}
