use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use weir_core::event::Record;
use weir_core::unit::Attempts;

use super::*;
use crate::embedded::attempts::tests::any_attempts;
use crate::embedded::batch::tests::any_record;

fn any_hash() -> impl Strategy<Value = Option<Hash128>> {
    option::of(any::<[u8; 16]>().prop_map(Hash128))
}

fn any_sequence() -> impl Strategy<Value = StoredSequence> {
    let letter = (any_hash(), any::<bool>());
    (any::<[u64; 4]>(), any_attempts(), letter).prop_map(
        |([first, count, bytes, due], attempts, (letter, held))| StoredSequence {
            first,
            sequence: ParkedSequence {
                count,
                bytes,
                head: Head {
                    due: Millis(due),
                    attempts,
                    letter,
                    held,
                },
            },
        },
    )
}

fn any_event() -> impl Strategy<Value = ParkedEvent> {
    let origin = (".{0,10}", any::<u32>(), any::<u64>());
    (
        any::<[u64; 3]>(),
        any::<u32>(),
        any_hash(),
        origin,
        any_record(),
    )
        .prop_map(
            |([number, at, active], replays, letter, (topic, partition, offset), record)| {
                ParkedEvent {
                    number,
                    record,
                    origin: Origin {
                        topic: topic.into(),
                        partition,
                        offset,
                    },
                    parked_at: Millis(at),
                    parked_active: Active(active),
                    letter,
                    replays,
                }
            },
        )
}

fn sequence_bytes(stored: &StoredSequence) -> Vec<u8> {
    let mut out = Vec::new();
    stored.encode_into(&mut out);
    out
}

fn event_bytes(event: &ParkedEvent) -> Vec<u8> {
    let mut out = Vec::new();
    encode_event_into(&mut out, event);
    out
}

proptest! {
    #[test]
    fn sequences_round_trip(stored in any_sequence()) {
        prop_assert_eq!(StoredSequence::decode(&sequence_bytes(&stored)), Ok(stored));
    }

    #[test]
    fn events_round_trip(event in any_event()) {
        prop_assert_eq!(decode_event(event.number, &event_bytes(&event)), Ok(event));
    }

    #[test]
    fn a_cut_event_is_refused(event in any_event(), cut: prop::sample::Index) {
        let bytes = event_bytes(&event);
        prop_assert!(decode_event(event.number, &bytes[..cut.index(bytes.len())]).is_err());
    }

    #[test]
    fn any_bytes_are_a_park_or_refused(mut bytes in vec(any::<u8>(), 1..200)) {
        bytes[0] = VERSION;
        drop((StoredSequence::decode(&bytes), decode_event(1, &bytes)));
    }
}

#[test]
fn version_1_is_what_is_on_disks_already() {
    let stored = StoredSequence {
        first: 3,
        sequence: ParkedSequence {
            count: 2,
            bytes: 300,
            head: Head {
                due: Millis(9),
                attempts: Attempts {
                    counted: 4,
                    failures: 5,
                    first_failed: Some(Millis(6)),
                    ..Attempts::default()
                },
                letter: Some(Hash128([7; 16])),
                held: true,
            },
        },
    };
    let mut expected = vec![1, 3, 2, 0xac, 2, 9, 4, 0, 5, 0, 1, 6, 0, 1];
    expected.extend_from_slice(&[7; 16]);
    expected.push(1);
    assert_eq!(sequence_bytes(&stored), expected);

    let event = ParkedEvent {
        number: 3,
        record: Record {
            value: Some(Bytes::from_static(b"v")),
            timestamp_ms: 8,
            ..Record::default()
        },
        origin: Origin {
            topic: "t".into(),
            partition: 1,
            offset: 2,
        },
        parked_at: Millis(4),
        parked_active: Active(5),
        letter: None,
        replays: 6,
    };
    let expected = [
        1, 4, 5, 6, 0, 1, b't', 1, 2, // up to the record
        12, 0, 0, 0, 2, 8, 0, 0, 0, 0, 0, 0, 0, 1, b'v', 0,
    ];
    assert_eq!(event_bytes(&event), expected);
}
