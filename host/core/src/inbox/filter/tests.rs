use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::identity::hash_128;

fn id(number: u64) -> Hash128 {
    hash_128("filtered", &[&number.to_le_bytes()])
}

fn filter(ids: &[Hash128]) -> Filter {
    let stretch = |place: usize| place * STRETCHES_MAX / ids.len();
    Filter::of(
        ids.iter()
            .enumerate()
            .map(|(place, id)| (stretch(place), id)),
    )
}

proptest! {
    #[test]
    fn what_was_put_in_is_found_in_its_stretch(ids: Vec<[u8; 16]>) {
        let ids: Vec<_> = ids.into_iter().map(Hash128).collect();
        let filter = filter(&ids);
        for (place, id) in ids.iter().enumerate() {
            let stretch = place * STRETCHES_MAX / ids.len();
            prop_assert!(filter.stretches(id).any(|found| found == stretch));
        }
    }

    #[test]
    fn of_256_others_one_is_found(count in 1_000u64..5_000, salt: u32) {
        let ids: Vec<_> = (0..count).map(id).collect();
        let filter = filter(&ids);
        let others = (0..10_000).map(|number| id(u64::from(salt) + (number << 40) + (1 << 39)));
        let mistaken: usize = others.map(|other| filter.stretches(&other).count()).sum();
        prop_assert!(mistaken < 80, "{mistaken} of 10,000 are mistaken");
        let bits = 16 * filter.cells.len() + 32 * filter.starts.len();
        prop_assert!(bits <= 24 * ids.len() + 64, "{bits} bits");
    }

    #[test]
    fn an_empty_filter_holds_nothing(ids in vec(any::<[u8; 16]>(), 1..10)) {
        let filter = Filter::of(std::iter::empty());
        prop_assert!(ids.into_iter().all(|id| filter.stretches(&Hash128(id)).next().is_none()));
    }
}
