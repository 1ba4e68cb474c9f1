use std::sync::Arc;

use weir_core::unit::{Completion, Fate, ItemId, Output, Position, SequenceKey};

use super::*;

/// A unit of so many events and bytes.
fn unit(events: u64, bytes: usize) -> Unit {
    let completion = |offset| {
        let item = ItemId::Record(Position { topic: 0, offset });
        Arc::new(Completion {
            item,
            sequence: SequenceKey::Alone(item),
            fate: Fate::Handled,
            mark: None,
            output: Output::default(),
        })
    };
    Unit {
        completions: (0..events).map(completion).collect(),
        bytes,
        ..Unit::default()
    }
}

/// What is taken at a time of these units, by partition, where a transaction has so many events and bytes.
fn taken(bounds: (usize, usize), units: &[(u64, usize)]) -> Vec<Vec<u32>> {
    let (events, bytes) = bounds;
    let queue = Queue::new(config::Transaction { events, bytes });
    for (partition, &(events, bytes)) in (0..).zip(units) {
        let (request, _answer) = Request::new(partition, 1, unit(events, bytes));
        queue.lock().requests.push_back(request);
    }
    queue.lock().closed = true;
    std::iter::from_fn(|| queue.take())
        .map(|taken| taken.iter().map(|one| one.partition).collect())
        .collect()
}

#[test]
fn units_that_wait_go_together_within_the_events_and_the_bytes_of_a_transaction() {
    let small = [(10, 100), (10, 100), (10, 100)];
    assert_eq!(taken((100, 1_000), &small), [vec![0, 1, 2]]);
    assert_eq!(taken((20, 1_000), &small), [vec![0, 1], vec![2]]);
    assert_eq!(taken((100, 200), &small), [vec![0, 1], vec![2]]);
    // One that is larger than a transaction goes alone.
    assert_eq!(taken((5, 1_000), &small), [[0], [1], [2]]);
    assert_eq!(
        taken((100, 250), &[(1, 100), (1, 9_000), (1, 100), (1, 100)]),
        [vec![0], vec![1], vec![2, 3]]
    );
    // What has no events, and only moves a position, counts for one.
    assert_eq!(taken((2, 1_000), &[(0, 0); 3]), [vec![0, 1], vec![2]]);
}

/// All come back together, as after a quota that takes no more than two units in the time of a transaction.
#[test]
fn units_that_are_too_many_for_a_slow_cluster_go_in_fewer_at_a_time() {
    let (mut size, mut waiting, mut rounds) = (Size::default(), 5, 0);
    while waiting > 0 {
        rounds += 1;
        assert!(rounds <= 4, "{waiting} wait");
        while waiting > 0 {
            let count = size.of(waiting);
            if count > 2 {
                size.shrink(count);
                break;
            }
            size.grow();
            waiting -= count;
        }
    }
    // And in more again when it is well.
    (0..10).for_each(|_| size.grow());
    assert_eq!(size.of(12), 12);
}
