use proptest::prelude::*;

use super::*;

/// A key with owned parts.
fn any_state() -> impl Strategy<Value = (u32, u32, String, Vec<u8>, String)> {
    (
        any::<u32>(),
        any::<u32>(),
        ".{0,8}",
        proptest::collection::vec(any::<u8>(), 0..12),
        ".{0,8}",
    )
}

fn numbered(kind: u8, id: u32, partition: u32, number: u64) -> Key<'static> {
    match kind {
        0 => Key::Topic { topic: id },
        1 => Key::Group { group: id },
        2 => Key::LogStart {
            topic: id,
            partition,
        },
        3 => Key::BatchHeader {
            topic: id,
            partition,
            base: number,
        },
        4 => Key::Batch {
            topic: id,
            partition,
            base: number,
        },
        5 => Key::Progress {
            group: id,
            partition,
        },
        _ => Key::InboxBlock {
            group: id,
            partition,
            unit: number,
        },
    }
}

proptest! {
    #[test]
    fn numbered_keys_round_trip(kind in 0..7_u8, id: u32, partition: u32, number: u64) {
        let key = numbered(kind, id, partition, number);
        let bytes = key.encode();
        prop_assert_eq!(Key::decode(&bytes), Ok(key));
    }

    #[test]
    fn state_keys_round_trip((group, partition, tenant, key, name) in any_state()) {
        let key = Key::State { group, partition, tenant: &tenant, key: &key, name: &name };
        let bytes = key.encode();
        prop_assert_eq!(Key::decode(&bytes), Ok(key));
    }

    #[test]
    fn keys_of_a_kind_are_ordered_by_their_numbers(kind in 3..5_u8, a: (u32, u32, u64), b: (u32, u32, u64)) {
        let (x, y) = (numbered(kind, a.0, a.1, a.2).encode(), numbered(kind, b.0, b.1, b.2).encode());
        prop_assert_eq!(x.cmp(&y), a.cmp(&b));
    }

    #[test]
    fn the_prefix_of_a_sequence_is_that_of_no_other((group, partition, tenant, key, name) in any_state(), tenant_2 in ".{0,8}", key_2: Vec<u8>) {
        prop_assume!((&tenant, &key) != (&tenant_2, &key_2));
        let prefix = Key::State { group, partition, tenant: &tenant_2, key: &key_2, name: "" }.encode();
        let other = Key::State { group, partition, tenant: &tenant, key: &key, name: &name }.encode();
        prop_assert!(!other.starts_with(&prefix));
    }

    #[test]
    fn any_bytes_are_a_key_or_refused(bytes: Vec<u8>) {
        if let Ok(key) = Key::decode(&bytes) {
            prop_assert_eq!(key.encode(), bytes);
        }
    }
}

#[test]
fn the_schema_is_what_is_on_disks_already() {
    let batch = Key::Batch {
        topic: 1,
        partition: 2,
        base: 3,
    }
    .encode();
    assert_eq!(batch, [5, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3]);
    let state = Key::State {
        group: 1,
        partition: 2,
        tenant: "t",
        key: b"k",
        name: "n",
    }
    .encode();
    assert_eq!(
        state,
        [
            8, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 1, b't', 0, 0, 0, 1, b'k', b'n'
        ]
    );
}

/// A kind that is missing there would survive `weir undeploy --purge`.
#[test]
fn every_kind_of_key_of_a_subscription_is_deleted_with_it() {
    let mut kinds = 0;
    for kind in 0..=u8::MAX {
        // Zeros are numbers and empty texts; some length of them is a key of each kind.
        let bytes: Vec<_> = (4..64)
            .map(|length| [&[kind][..], &vec![0; length]].concat())
            .collect();
        let key = bytes.iter().find_map(|bytes| Key::decode(bytes).ok());
        let Some(key) = key else { continue };
        kinds += 1;
        let listed = OF_GROUP.iter().find(|listed| listed.kind == kind);
        let belongs = key.group().is_some() && !matches!(key, Key::Group { .. });
        assert_eq!(listed.is_some(), belongs, "{key:?}");
        if let Some(listed) = listed {
            assert_eq!(listed.family, key.family(), "{key:?}");
            assert!(key.encode().starts_with(&listed.prefix(0)), "{key:?}");
        }
    }
    assert!(kinds >= 8, "only {kinds} kinds were tried");
}
