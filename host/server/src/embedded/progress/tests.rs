use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn any_cursor() -> impl Strategy<Value = Cursor> {
    (0..1_u64 << 48, vec((1..1_u64 << 20, 1..1_u64 << 20), 0..5)).prop_map(|(frontier, steps)| {
        let mut at = frontier;
        let range = |(gap, len): (u64, u64)| {
            let from = at + gap;
            at = from + len;
            (from, at)
        };
        Cursor {
            frontier,
            completed: steps.into_iter().map(range).collect(),
        }
    })
}

fn any_open() -> impl Strategy<Value = OpenAttempts> {
    (
        any::<u16>(),
        any::<u64>(),
        any::<u32>(),
        any::<u32>(),
        any::<u64>(),
    )
        .prop_map(|(topic, offset, attempts, traps, first)| OpenAttempts {
            position: Position { topic, offset },
            attempts,
            traps,
            first_failed: Millis(first),
        })
}

proptest! {
    #[test]
    fn progress_round_trips(unit: u64, time: u64, cursors in vec(any_cursor(), 0..4), open in vec(any_open(), 0..4)) {
        let value = encode(unit, Millis(time), &cursors, &open);
        prop_assert_eq!(decode(&value), Ok(Progress { unit, stream_time: Millis(time), cursors, open }));
    }

    #[test]
    fn any_bytes_are_progress_or_refused(mut bytes in vec(any::<u8>(), 1..200)) {
        bytes[0] = VERSION;
        drop(decode(&bytes));
    }
}

#[test]
fn version_1_is_what_is_on_disks_already() {
    let cursor = Cursor {
        frontier: 300,
        completed: vec![(302, 305)],
    };
    let open = OpenAttempts {
        position: Position {
            topic: 1,
            offset: 301,
        },
        attempts: 2,
        traps: 1,
        first_failed: Millis(5),
    };
    let expected = [
        1, 7, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, // version, unit, stream time
        1, 0xac, 2, 1, 2, 3, // one cursor at 300: one range, 2 on, 3 long
        1, 1, 0xad, 2, 2, 1, 5,
    ];
    assert_eq!(encode(7, Millis(9), &[cursor], &[open]), expected);
}
