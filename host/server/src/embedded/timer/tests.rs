use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use weir_core::event::Record;
use weir_core::unit::{SequenceKey, TimerSlot};

use super::*;
use crate::embedded::batch::tests::any_record;
use crate::embedded::key::{Sequence, Slot};

fn any_timer() -> impl Strategy<Value = Timer> {
    let place = (".{0,10}", option::of(any::<u32>()), any::<u32>());
    (any::<[u8; 16]>(), any::<u64>(), place, any_record()).prop_map(
        |(id, due, (topic, partition, partition_hash), record)| Timer {
            id: Hash128(id),
            due: Millis(due),
            out: OutRecord {
                topic: topic.into(),
                partition,
                partition_hash,
                record,
            },
        },
    )
}

fn encode(timer: &Timer) -> Vec<u8> {
    let mut out = Vec::new();
    encode_into(&mut out, timer);
    out
}

proptest! {
    #[test]
    fn timers_round_trip(timer in any_timer()) {
        let bytes = encode(&timer);
        prop_assert_eq!(decode_setting(&bytes), Ok(Setting { due: timer.due, id: timer.id }));
        prop_assert_eq!(decode(&bytes), Ok(timer));
    }

    #[test]
    fn a_cut_timer_is_refused(timer in any_timer(), cut: prop::sample::Index) {
        let bytes = encode(&timer);
        let cut = &bytes[..cut.index(bytes.len())];
        prop_assert!(decode(cut).is_err());
        prop_assert_eq!(decode_setting(cut).is_err(), cut.len() < 25);
    }

    #[test]
    fn any_bytes_are_a_timer_or_refused(mut bytes in vec(any::<u8>(), 1..200)) {
        bytes[0] = VERSION;
        drop((decode(&bytes), decode_due(&bytes)));
    }
}

#[test]
fn version_1_is_what_is_on_disks_already() {
    let timer = Timer {
        id: Hash128([7; 16]),
        due: Millis(9),
        out: OutRecord {
            topic: "t".into(),
            partition: Some(1),
            partition_hash: 2,
            record: Record {
                key: Some(Bytes::from_static(b"k")),
                timestamp_ms: 8,
                ..Record::default()
            },
        },
    };
    let mut expected = vec![1, 9, 0, 0, 0, 0, 0, 0, 0];
    expected.extend_from_slice(&[7; 16]);
    expected.extend_from_slice(&[1, b't', 1, 1, 2, 0, 0, 0]);
    expected.extend_from_slice(&[12, 0, 0, 0, 1, 8, 0, 0, 0, 0, 0, 0, 0, 1, b'k', 0]);
    assert_eq!(encode(&timer), expected);
}

#[test]
fn a_due_time_leads_to_its_timer_and_to_nothing_else() {
    let key = Key::Timer {
        group: 1,
        partition: 2,
        sequence: Sequence::Keyed {
            tenant: "t",
            key: b"k",
        },
        slot: Slot::Named("n"),
    };
    let expected = TimerKey {
        sequence: SequenceKey::Keyed {
            tenant: "t".into(),
            key: Bytes::from_static(b"k"),
        },
        slot: TimerSlot::Named("n".into()),
    };
    assert_eq!(decode_due(&key.encode()), Ok(expected));
    let other = Key::Progress {
        group: 1,
        partition: 2,
    };
    let malformed = DecodeError::Malformed("due time of a timer");
    assert_eq!(decode_due(&other.encode()), Err(malformed));
}
