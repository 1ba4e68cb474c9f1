use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::identity::hash_128;

fn id(number: u64) -> Hash128 {
    hash_128("filtered", &[&number.to_le_bytes()])
}

proptest! {
    #[test]
    fn what_was_put_in_is_found(ids: Vec<[u8; 16]>) {
        let ids: Vec<_> = ids.into_iter().map(Hash128).collect();
        let filter = Filter::of(ids.iter());
        for id in &ids {
            prop_assert!(filter.may_hold(id));
        }
    }

    #[test]
    fn of_a_hundred_others_one_is_found(count in 1_000u64..5_000, salt: u32) {
        let ids: Vec<_> = (0..count).map(id).collect();
        let filter = Filter::of(ids.iter());
        let others = (0..10_000).map(|number| id(u64::from(salt) + (number << 40) + (1 << 39)));
        let mistaken = others.filter(|other| filter.may_hold(other)).count();
        prop_assert!(mistaken < 150, "{mistaken} of 10,000 are mistaken");
        prop_assert_eq!(filter.bits.len(), (10 * ids.len()).div_ceil(64));
    }

    #[test]
    fn an_empty_filter_holds_nothing(ids in vec(any::<[u8; 16]>(), 1..10)) {
        let filter = Filter::of([].iter());
        prop_assert!(ids.into_iter().all(|id| !filter.may_hold(&Hash128(id))));
    }
}
