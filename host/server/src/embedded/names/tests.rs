use proptest::prelude::*;

use super::*;

proptest! {
    #[test]
    fn topics_round_trip(name in ".{0,20}", partitions: u32) {
        prop_assert_eq!(decode_topic(&encode_topic(&name, partitions)), Ok((Arc::from(name), partitions)));
    }

    #[test]
    fn subscriptions_round_trip(name in ".{0,20}", topics in proptest::collection::vec(".{0,10}", 0..4)) {
        let topics: Vec<Arc<str>> = topics.into_iter().map(Arc::from).collect();
        let decoded = decode_group(&encode_group(&name, &topics));
        prop_assert_eq!(decoded, Ok((Arc::from(name), Arc::from(topics))));
    }
}

#[test]
fn version_1_is_what_is_on_disks_already() {
    assert_eq!(encode_topic("t", 12), [1, 1, b't', 12, 0, 0, 0]);
    assert_eq!(encode_group("g", &["t".into()]), [1, 1, b'g', 1, 1, b't']);
}
