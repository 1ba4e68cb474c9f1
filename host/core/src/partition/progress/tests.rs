use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

proptest! {
    #[test]
    fn ranges_agree_with_a_set_of_offsets(mut order in Just((0_u64..40).collect::<Vec<_>>()).prop_shuffle(), count in 0_usize..40) {
        order.truncate(count);
        let mut progress = Progress { next: 40, ..Progress::default() };
        let mut done = BTreeSet::new();
        for offset in order {
            progress.complete(offset);
            done.insert(offset);
            for probe in 0..41 {
                prop_assert_eq!(progress.is_completed(probe), done.contains(&probe));
            }
            let first_open = (0..).find(|offset| !done.contains(offset)).unwrap_or(0);
            prop_assert_eq!(progress.frontier(), first_open);
            let again = Progress::restore(progress.cursor());
            prop_assert_eq!(again.cursor(), progress.cursor());
            prop_assert!(progress.cursor().completed.windows(2).all(|pair| pair[0].1 < pair[1].0));
        }
    }
}

#[test]
fn offsets_that_the_bus_passes_over_are_completed() {
    let mut progress = Progress::restore(Cursor {
        frontier: 3,
        completed: vec![(6, 8)],
    });
    assert!(progress.admit(9));
    assert_eq!(progress.frontier(), 9);
    assert!(!progress.is_completed(9));
}

#[test]
fn a_topic_that_ends_with_offsets_that_are_not_there_is_completed_to_its_end() {
    let mut progress = Progress::restore(Cursor {
        frontier: 3,
        completed: vec![],
    });
    assert!(!progress.admit(3));
    assert!(progress.pass(6));
    // The record before them is open.
    assert_eq!(progress.cursor().completed, [(4, 6)]);
    assert_eq!((progress.frontier(), progress.next()), (3, 6));
    progress.complete(3);
    assert_eq!(progress.frontier(), 6);
    assert!(!progress.pass(6) && !progress.pass(2));
    assert_eq!(progress.next(), 6);
}
