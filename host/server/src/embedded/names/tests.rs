use proptest::prelude::*;

use super::*;

proptest! {
    #[test]
    fn topics_round_trip(name in ".{0,20}", partitions: u32) {
        prop_assert_eq!(decode_topic(&encode_topic(&name, partitions)), Ok((Arc::from(name), partitions)));
    }

    #[test]
    fn subscriptions_round_trip(name in ".{0,20}", topics in proptest::collection::vec((".{0,10}", any::<u32>()), 0..4)) {
        let group = StoredGroup {
            name: name.into(),
            topics: topics.iter().map(|(topic, _)| Arc::from(topic.as_str())).collect(),
            partitions: topics.iter().map(|(_, partitions)| NonZeroU32::new(*partitions)).collect(),
        };
        prop_assert_eq!(decode_group(&encode_group(&group)), Ok(group));
    }
}

fn group(partitions: u32) -> StoredGroup {
    StoredGroup {
        name: "g".into(),
        topics: Arc::new(["t".into()]),
        partitions: vec![NonZeroU32::new(partitions)],
    }
}

#[test]
fn values_are_what_is_on_disks_already() {
    assert_eq!(encode_topic("t", 12), [1, 1, b't', 12, 0, 0, 0]);
    let bytes = [2, 1, b'g', 1, 1, b't', 12, 0, 0, 0];
    assert_eq!(encode_group(&group(12)), bytes);
}

#[test]
fn a_subscription_of_version_1_is_read_without_numbers_of_partitions() {
    assert_eq!(decode_group(&[1, 1, b'g', 1, 1, b't']), Ok(group(0)));
}
