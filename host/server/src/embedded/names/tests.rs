use proptest::prelude::*;

use super::*;

proptest! {
    #[test]
    fn topics_round_trip(name in ".{0,20}", partitions: u32) {
        prop_assert_eq!(decode_topic(&encode_topic(&name, partitions)), Ok((Arc::from(name), partitions)));
    }

    #[test]
    fn subscriptions_round_trip(name in ".{0,20}", topics in proptest::collection::vec((".{0,10}", any::<u32>()), 0..4), fixed in any_fixed()) {
        let group = StoredGroup {
            name: name.into(),
            topics: topics.iter().map(|(topic, _)| Arc::from(topic.as_str())).collect(),
            partitions: topics.iter().map(|(_, partitions)| NonZeroU32::new(*partitions)).collect(),
            fixed,
        };
        prop_assert_eq!(decode_group(&encode_group(&group)), Ok(group));
    }
}

fn any_fixed() -> impl Strategy<Value = Option<Fixed>> {
    let orderings = [Ordering::Key, Ordering::Partition, Ordering::None];
    let ordering = proptest::sample::select(orderings.to_vec());
    let key = proptest::option::of("[a-z]{0,9}");
    let mapping = proptest::option::of("[a-z ]{0,9}");
    let fixed = (ordering, any::<bool>(), any::<bool>(), key, mapping);
    let fixed = fixed.prop_map(|(ordering, across_topics, inbox, key, mapping)| Fixed {
        ordering,
        across_topics,
        inbox,
        inbox_key: key.map(Arc::from),
        mapping: mapping.map(Arc::from),
    });
    proptest::option::of(fixed)
}

fn group(partitions: u32) -> StoredGroup {
    StoredGroup {
        name: "g".into(),
        topics: Arc::new(["t".into()]),
        partitions: vec![NonZeroU32::new(partitions)],
        fixed: None,
    }
}

#[test]
fn values_are_what_is_on_disks_already() {
    assert_eq!(encode_topic("t", 12), [1, 1, b't', 12, 0, 0, 0]);
    let fixed = Some(Fixed {
        ordering: Ordering::None,
        across_topics: true,
        inbox: true,
        inbox_key: Some("k".into()),
        mapping: Some("m".into()),
    });
    let group = StoredGroup { fixed, ..group(12) };
    let bytes = [
        5, 1, b'g', 1, 1, b't', 12, 0, 0, 0, 1, 2, 1, 1, 1, 1, b'k', 1, 1, b'm',
    ];
    assert_eq!(encode_group(&group), bytes);
}

#[test]
fn a_subscription_of_version_4_has_no_mapping() {
    let bytes = [4, 1, b'g', 1, 1, b't', 12, 0, 0, 0, 1, 2, 1, 1, 1, 1, b'k'];
    let fixed = Some(Fixed {
        ordering: Ordering::None,
        across_topics: true,
        inbox: true,
        inbox_key: Some("k".into()),
        mapping: None,
    });
    let group = StoredGroup { fixed, ..group(12) };
    assert_eq!(decode_group(&bytes), Ok(group));
}

#[test]
fn a_subscription_of_version_3_has_no_order_across_topics_and_no_inbox_key() {
    let bytes = [3, 1, b'g', 1, 1, b't', 12, 0, 0, 0, 1, 2, 1];
    let fixed = Some(Fixed {
        ordering: Ordering::None,
        across_topics: false,
        inbox: true,
        inbox_key: None,
        mapping: None,
    });
    let group = StoredGroup { fixed, ..group(12) };
    assert_eq!(decode_group(&bytes), Ok(group));
}

#[test]
fn a_subscription_of_version_2_is_read_without_what_is_fixed() {
    let bytes = [2, 1, b'g', 1, 1, b't', 12, 0, 0, 0];
    assert_eq!(decode_group(&bytes), Ok(group(12)));
}

#[test]
fn a_subscription_of_version_1_is_read_without_numbers_of_partitions() {
    assert_eq!(decode_group(&[1, 1, b'g', 1, 1, b't']), Ok(group(0)));
}
