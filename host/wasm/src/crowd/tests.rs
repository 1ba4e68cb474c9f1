use std::pin::pin;
use std::task::{Context, Poll, Waker};

use super::*;

fn is_pending<F: Future + Unpin>(future: &mut F) -> bool {
    let mut context = Context::from_waker(Waker::noop());
    matches!(pin!(future).poll(&mut context), Poll::Pending)
}

/// On a host with one slot.
fn crowd(instances: usize) -> Crowd {
    Crowd::new(Arc::new(Semaphore::new(1)), Load::max(1, instances, 1))
}

#[tokio::test]
async fn a_component_at_its_share_of_instances_is_full_until_an_attempt_ends() {
    let crowd = crowd(3 * SHARE_OF_INSTANCES);
    let first = crowd.enter();
    let others = [crowd.enter(), crowd.enter()];
    assert!(crowd.is_full());
    assert!(is_pending(&mut Box::pin(crowd.relieved())));
    drop(first);
    assert!(!crowd.is_full());
    crowd.relieved().await;
    drop(others);
}

#[tokio::test]
async fn slots_are_given_in_the_order_of_asking() {
    let crowd = crowd(100);
    let held = crowd.free_slot().unwrap();
    let (mut first, mut second) = (Box::pin(crowd.slot()), Box::pin(crowd.slot()));
    assert!(is_pending(&mut first));
    assert!(is_pending(&mut second));
    drop(held);
    assert!(crowd.free_slot().is_none(), "it belongs to who waits");
    assert!(is_pending(&mut second));
    assert!(!is_pending(&mut first));
}

#[tokio::test]
async fn a_component_with_more_than_a_few_that_wait_for_a_slot_is_full_until_one_gets_it() {
    let crowd = crowd(100);
    let held = crowd.free_slot().unwrap();
    let mut waiting: Vec<_> = (0..3).map(|_| Box::pin(crowd.slot())).collect();
    for one in &mut waiting[..2] {
        assert!(is_pending(one));
    }
    assert!(!crowd.is_full());
    assert!(is_pending(&mut waiting[2]));
    assert!(crowd.is_full());

    let mut relieved = Box::pin(crowd.relieved());
    assert!(is_pending(&mut relieved));
    drop(held);
    assert!(!is_pending(&mut waiting[0]));
    assert!(!crowd.is_full());
    assert!(!is_pending(&mut relieved));
    drop(waiting);
}

#[test]
fn components_share_half_of_the_instances_evenly_while_they_wait() {
    let waiting = Waiting::new(2_000);
    let mut components = 0;
    for (count, share) in [(1, 16), (62, 16), (100, 10), (1_000, 1), (1_001, 0)] {
        while components < count {
            waiting.join();
            components += 1;
        }
        assert_eq!(waiting.share(1), share, "of {count}");
        assert!(count * share <= 1_000, "{count} hold more than half");
    }
    for _ in 0..1_000 {
        waiting.leave();
    }
    assert_eq!(waiting.share(1), 16);
    assert_eq!(waiting.share(10), 1, "one with ten memories counts for ten");
}

#[test]
fn a_component_with_many_memories_may_hold_fewer_instances() {
    assert_eq!(Load::max(2, 2_000, 1).pending, 500);
    assert_eq!(Load::max(2, 2_000, 10).pending, 50);
    assert_eq!(Load::max(2, 64, 50).pending, 1);
}
