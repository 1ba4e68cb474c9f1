use proptest::prelude::*;

use super::*;

#[test]
fn the_metadata_of_an_offset_is_fixed() {
    let metadata = OffsetMetadata {
        unit: 7,
        topic: Some(Description {
            id: 0xab,
            partitions: 12,
        }),
    };
    assert_eq!(metadata.encode(), "7 000000000000000000000000000000ab 12");
}

#[test]
fn what_a_transaction_wrote_is_a_unit_and_what_others_wrote_is_none() {
    let cases = [
        ("41", Some(41)),
        ("", None),
        ("set by hand", None),
        ("-1 x", None),
    ];
    for (text, unit) in cases {
        let wanted = unit.map(|unit| OffsetMetadata { unit, topic: None });
        assert_eq!(OffsetMetadata::decode(text), wanted, "{text:?}");
    }
}

#[test]
fn the_last_unit_of_a_partition_is_the_highest_of_its_topics_and_none_where_others_set_all() {
    let mut list = TopicPartitionList::new();
    for (topic, partition, metadata) in [
        ("a", 0, "7"),
        ("b", 0, "9 00 12"),
        ("a", 1, "set by hand"),
        ("b", 1, "3"),
        ("a", 2, ""),
    ] {
        list.add_partition(topic, partition).set_metadata(metadata);
    }
    let units = units(&list).unwrap();
    assert_eq!(units, HashMap::from([(0, 9), (1, 3)]));
}

proptest! {
    #[test]
    fn metadata_round_trip(unit: u64, id: u128, partitions: u32) {
        let topic = Some(Description { id, partitions });
        let metadata = OffsetMetadata { unit, topic };
        prop_assert_eq!(OffsetMetadata::decode(&metadata.encode()), Some(metadata));
    }

    #[test]
    fn any_metadata_is_read(text in prop_oneof![
        ".*",
        "[0-9]{0,21}( [0-9a-f]{0,34}( [0-9]{0,12})?)?",
    ]) {
        if let Some(metadata) = OffsetMetadata::decode(&text) {
            prop_assert_eq!(OffsetMetadata::decode(&metadata.encode()), Some(metadata));
        }
    }
}
