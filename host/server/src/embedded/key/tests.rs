use proptest::prelude::*;
use weir_core::unit::{ItemId, Position};

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

/// Tenant and key of a sequence, or what stands alone.
type OwnedSequence = Result<(String, Vec<u8>), ItemId>;

fn any_sequence() -> impl Strategy<Value = OwnedSequence> {
    let key = proptest::collection::vec(any::<u8>(), 0..12);
    prop_oneof![
        (".{0,8}", key).prop_map(Ok),
        crate::embedded::attempts::tests::any_item().prop_map(Err),
    ]
}

fn borrow(sequence: &OwnedSequence) -> Sequence<'_> {
    match sequence {
        Ok((tenant, key)) => Sequence::Keyed { tenant, key },
        Err(item) => Sequence::Alone(*item),
    }
}

fn numbered(kind: Kind, id: u32, partition: u32, number: u64) -> Option<Key<'static>> {
    Some(match kind {
        Kind::Topic => Key::Topic { topic: id },
        Kind::Group => Key::Group { group: id },
        Kind::LogStart => Key::LogStart {
            topic: id,
            partition,
        },
        Kind::BatchHeader => Key::BatchHeader {
            topic: id,
            partition,
            base: number,
        },
        Kind::Batch => Key::Batch {
            topic: id,
            partition,
            base: number,
        },
        Kind::Progress => Key::Progress {
            group: id,
            partition,
        },
        Kind::Begun => Key::Begun {
            group: id,
            partition,
        },
        Kind::Checkpoint => Key::Checkpoint {
            group: id,
            partition,
        },
        Kind::InboxBlock => Key::InboxBlock {
            group: id,
            partition,
            unit: number,
        },
        Kind::Due => Key::Due {
            group: id,
            partition,
            due: Millis(number),
            id: Hash128([7; 16]),
        },
        Kind::Letter => Key::Letter {
            group: id,
            partition,
            id: Hash128([7; 16]),
        },
        Kind::Steering => Key::Steering { group: id },
        Kind::Job => Key::Job {
            group: id,
            job: number,
        },
        Kind::JobProgress => Key::JobProgress {
            group: id,
            job: number,
        },
        Kind::State | Kind::ParkedEvent | Kind::ParkedHead | Kind::Timer | Kind::Expiry => {
            return None;
        }
    })
}

proptest! {
    #[test]
    fn numbered_keys_round_trip(id: u32, partition: u32, number: u64) {
        for key in Kind::ALL.into_iter().filter_map(|kind| numbered(kind, id, partition, number)) {
            let bytes = key.encode();
            prop_assert_eq!(Key::decode(&bytes), Ok(key));
        }
    }

    #[test]
    fn keys_of_sequences_round_trip(group: u32, partition: u32, sequence in any_sequence(), name in ".{0,8}", number: u64) {
        let sequence = borrow(&sequence);
        let timer = |slot| Key::Timer { group, partition, sequence, slot };
        for key in [
            Key::ParkedEvent { group, partition, sequence, number },
            Key::ParkedHead { group, partition, sequence },
            timer(Slot::Named(&name)),
            timer(Slot::Emission(&name)),
        ] {
            let bytes = key.encode();
            prop_assert_eq!(Key::decode(&bytes), Ok(key));
            prop_assert!(bytes.starts_with(&key.kind().of_partition(group, partition)));
        }
    }

    #[test]
    fn parked_events_of_a_sequence_are_one_range_by_number(a in any_sequence(), b in any_sequence(), x: u64, y: u64) {
        let key = |sequence, number| Key::ParkedEvent { group: 1, partition: 2, sequence: borrow(sequence), number }.encode();
        let (first, last) = (key(&a, x.min(y)), key(&a, x.max(y)));
        prop_assert_eq!(first.cmp(&last), x.min(y).cmp(&x.max(y)));
        if a != b {
            let prefix = first.len() - 8;
            prop_assert!(!key(&b, x).starts_with(&first[..prefix]));
        }
    }

    #[test]
    fn timers_of_a_sequence_are_not_those_of_another(a in any_sequence(), b in any_sequence(), name in ".{0,8}") {
        let key = |sequence, slot| Key::Timer { group: 1, partition: 2, sequence: borrow(sequence), slot }.encode();
        let names = key(&a, Slot::Named(""));
        prop_assert!(key(&a, Slot::Named(&name)).starts_with(&names));
        prop_assert!(!key(&a, Slot::Emission(&name)).starts_with(&names));
        if a != b {
            prop_assert!(!key(&b, Slot::Named(&name)).starts_with(&names));
        }
    }

    #[test]
    fn state_keys_round_trip((group, partition, tenant, key, name) in any_state()) {
        let key = Key::State { group, partition, tenant: &tenant, key: &key, name: &name };
        let bytes = key.encode();
        prop_assert_eq!(Key::decode(&bytes), Ok(key));
    }

    #[test]
    fn keys_of_a_kind_are_ordered_by_their_numbers(a: (u32, u32, u64), b: (u32, u32, u64)) {
        for kind in [Kind::BatchHeader, Kind::Batch, Kind::InboxBlock, Kind::Due] {
            let key = |(id, partition, number)| numbered(kind, id, partition, number).unwrap().encode();
            prop_assert_eq!(key(a).cmp(&key(b)), a.cmp(&b));
        }
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
fn keys_of_batches_are_what_is_on_disks_already() {
    let batch = Key::Batch {
        topic: 1,
        partition: 2,
        base: 3,
    }
    .encode();
    assert_eq!(batch, [5, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3]);
}

/// Of group 1 and partition 2.
fn check(key: Key, kind: u8, parts: &[&[u8]]) {
    let place = [kind, 0, 0, 0, 1, 0, 0, 0, 2];
    assert_eq!(key.encode(), [&place[..], &parts.concat()].concat());
}

#[test]
fn keys_of_keyed_sequences_are_what_is_on_disks_already() {
    let (group, partition) = (1, 2);
    let sequence = Sequence::Keyed {
        tenant: "t",
        key: b"k",
    };
    let bytes = [0, 0, 0, 1, b't', 0, 0, 0, 1, b'k'];
    let state = Key::State {
        group,
        partition,
        tenant: "t",
        key: b"k",
        name: "n",
    };
    check(state, 8, &[&bytes, b"n"]);
    let expiry = Key::Expiry {
        group,
        partition,
        at: Millis(3),
        tenant: "t",
        key: b"k",
        name: "n",
    };
    check(expiry, 19, &[&[0, 0, 0, 0, 0, 0, 0, 3], &bytes, b"n"]);
    let event = Key::ParkedEvent {
        group,
        partition,
        sequence,
        number: 3,
    };
    check(event, 9, &[&[0], &bytes, &[0, 0, 0, 0, 0, 0, 0, 3]]);
    let timer = |slot| Key::Timer {
        group,
        partition,
        sequence,
        slot,
    };
    check(timer(Slot::Named("n")), 11, &[&[0], &bytes, &[0, b'n']]);
    check(timer(Slot::Emission("e")), 11, &[&[0], &bytes, &[1, b'e']]);
}

#[test]
fn keys_by_item_and_identity_are_what_is_on_disks_already() {
    let (group, partition, id) = (1, 2, Hash128([7; 16]));
    let record = ItemId::Record(Position {
        topic: 4,
        offset: 5,
    });
    let heads: [(ItemId, &[u8]); 3] = [
        (record, &[1, 0, 4, 0, 0, 0, 0, 0, 0, 0, 5]),
        (ItemId::Parked(6), &[2, 0, 0, 0, 0, 0, 0, 0, 6]),
        (ItemId::Timer(id), &[&[3][..], &[7; 16]].concat()),
    ];
    for (item, bytes) in heads {
        let head = Key::ParkedHead {
            group,
            partition,
            sequence: Sequence::Alone(item),
        };
        check(head, 10, &[bytes]);
    }
    let due = Key::Due {
        group,
        partition,
        due: Millis(9),
        id,
    };
    check(due, 12, &[&[0, 0, 0, 0, 0, 0, 0, 9], &[7; 16]]);
    let letter = Key::Letter {
        group,
        partition,
        id,
    };
    check(letter, 13, &[&[7; 16]]);
}

/// Whether deleting the subscription deletes it.
fn belongs_to_a_group(kind: Kind) -> bool {
    match kind {
        Kind::Topic | Kind::Group | Kind::LogStart | Kind::BatchHeader | Kind::Batch => false,
        Kind::Progress
        | Kind::InboxBlock
        | Kind::State
        | Kind::ParkedEvent
        | Kind::ParkedHead
        | Kind::Timer
        | Kind::Due
        | Kind::Letter
        | Kind::Steering
        | Kind::Job
        | Kind::JobProgress
        | Kind::Begun
        | Kind::Checkpoint
        | Kind::Expiry => true,
    }
}

/// A kind that is missing there would survive `weir undeploy --purge`.
#[test]
fn every_kind_of_key_of_a_subscription_is_deleted_with_it() {
    for kind in Kind::ALL {
        let listed = OF_GROUP.iter().find(|listed| listed.kind == kind);
        assert_eq!(listed.is_some(), belongs_to_a_group(kind), "{kind:?}");
        if let Some(listed) = listed {
            assert_eq!(listed.family, kind.family(), "{kind:?}");
            assert!(!listed.name.is_empty(), "{kind:?}");
            assert!(
                kind.of_partition(1, 2).starts_with(&listed.prefix(1)),
                "{kind:?}"
            );
        }
    }
}
