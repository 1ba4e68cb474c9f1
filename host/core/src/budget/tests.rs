use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn shares(budget: &Arc<Budget>, count: usize) -> Vec<Share> {
    let share = |_| Share::new(Arc::clone(budget));
    (0..count).map(share).collect()
}

#[test]
fn a_busy_partition_borrows_what_the_others_do_not_need() {
    let budget = Arc::new(Budget::new(1_000, 5));
    let mut shares = shares(&budget, 5);
    shares[0].take(599);
    assert!(shares[0].has_room(), "half of all and its own tenth");
    shares[0].take(1);
    assert!(!shares[0].has_room());
}

#[test]
fn a_partition_has_its_own_part_whatever_the_others_hold() {
    let budget = Arc::new(Budget::new(1_000, 5));
    let mut shares = shares(&budget, 5);
    shares[0].take(10_000);
    assert!(shares[1].has_room());
    shares[1].take(99);
    assert!(shares[1].has_room());
    shares[1].take(1);
    assert!(!shares[1].has_room());
}

#[test]
fn a_partition_that_holds_nothing_may_take_an_event_of_any_size() {
    let budget = Arc::new(Budget::new(1, 1_000));
    let mut share = Share::new(Arc::clone(&budget));
    assert!(share.has_room());
    share.take(1 << 20);
    assert!(!share.has_room());
    assert!(Share::new(budget).has_room());
}

#[test]
fn whoever_waits_is_told_when_there_is_something_to_borrow_again() {
    let budget = Arc::new(Budget::new(1_000, 1));
    let mut share = Share::new(Arc::clone(&budget));
    share.take(1_500);
    share.give_back(400);
    assert_eq!(budget.turns(), 0, "it is spent still");
    share.give_back(200);
    assert_eq!(budget.turns(), 1);
    share.take(1_000);
    drop(share);
    assert_eq!(budget.turns(), 2);
    assert!(!budget.is_spent());
}

proptest! {
    /// Each step is a partition, what it takes if it may, and what it gives back.
    #[test]
    fn all_together_hold_no_more_than_the_budget_and_one_event_each(
        steps in vec((0usize..8, 1usize..50, 0usize..100), 1..200),
    ) {
        let budget = Arc::new(Budget::new(1_000, 8));
        let mut shares = shares(&budget, 8);
        for (at, more, less) in steps {
            if shares[at].has_room() {
                shares[at].take(more);
            }
            let held: usize = shares.iter().map(Share::bytes).sum();
            prop_assert!(held <= 1_000 + 8 * 50);
            let less = less.min(shares[at].bytes());
            shares[at].give_back(less);
        }
        drop(shares);
        prop_assert_eq!(budget.borrowed.load(Ordering::Relaxed), 0);
    }
}
