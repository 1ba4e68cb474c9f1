use proptest::prelude::*;

use super::*;

#[test]
fn the_metadata_of_an_offset_is_fixed() {
    let metadata = Metadata {
        unit: 7,
        topic: Some(Description {
            id: 0xab,
            partitions: 12,
        }),
    };
    assert_eq!(metadata.encode(), "7 000000000000000000000000000000ab 12");
}

#[test]
fn what_a_transaction_wrote_is_a_unit_and_what_others_wrote_is_the_first() {
    for (text, unit) in [("41", 41), ("", 1), ("set by hand", 1), ("-1 x", 1)] {
        let found = Metadata::decode(text);
        assert_eq!(found, Metadata { unit, topic: None }, "{text:?}");
    }
}

proptest! {
    #[test]
    fn metadata_round_trip(unit: u64, id: u128, partitions: u32) {
        let topic = Some(Description { id, partitions });
        let metadata = Metadata { unit, topic };
        prop_assert_eq!(Metadata::decode(&metadata.encode()), metadata);
    }

    #[test]
    fn any_metadata_is_read(text in ".*") {
        prop_assert!(Metadata::decode(&text).encode().len() < 80);
    }
}
