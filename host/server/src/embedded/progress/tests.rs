use proptest::collection::vec;
use proptest::prelude::*;
use weir_core::unit::{Attempts, Position};

use super::*;
use crate::embedded::attempts::tests::{any_attempts, any_item};

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
    (any_item(), any_attempts()).prop_map(|(item, attempts)| OpenAttempts { item, attempts })
}

fn any_progress() -> impl Strategy<Value = Progress> {
    let leases = (vec(any::<u64>(), 0..4), vec(any_item(), 0..4), any::<u64>());
    let lists = (vec(any_cursor(), 0..4), vec(any_open(), 0..4));
    (any::<[u64; 3]>(), lists, leases).prop_map(
        |([unit, time, next_parked], (cursors, open), (lease, marked, active))| Progress {
            unit,
            stream_time: Millis(time),
            cursors,
            open,
            lease,
            marked,
            active: Active(active),
            next_parked,
        },
    )
}

/// As a unit with this progress has it.
fn encode(progress: &Progress) -> Vec<u8> {
    let progress = progress.clone();
    encode_unit(&Unit {
        number: progress.unit,
        epoch: 1,
        completions: Vec::new(),
        bytes: 0,
        cursors: progress.cursors,
        open: progress.open,
        heads: Vec::new(),
        lease: progress.lease,
        marked: progress.marked,
        active: progress.active,
        next_parked: progress.next_parked,
        stream_time: progress.stream_time,
        staged_at: Millis(1),
        expired_blocks: Vec::new(),
    })
}

proptest! {
    #[test]
    fn progress_round_trips(progress in any_progress()) {
        prop_assert_eq!(decode(&encode(&progress)), Ok(progress));
    }

    #[test]
    fn cut_progress_is_refused(progress in any_progress(), cut: prop::sample::Index) {
        let bytes = encode(&progress);
        prop_assert!(decode(&bytes[..cut.index(bytes.len())]).is_err());
    }

    #[test]
    fn any_bytes_are_progress_or_refused(mut bytes in vec(any::<u8>(), 1..200)) {
        bytes[0] = VERSION;
        drop(decode(&bytes));
    }
}

#[test]
fn version_1_is_what_is_on_disks_already() {
    let progress = Progress {
        unit: 7,
        stream_time: Millis(9),
        cursors: vec![Cursor {
            frontier: 300,
            completed: vec![(302, 305)],
        }],
        open: vec![OpenAttempts {
            item: ItemId::Record(Position {
                topic: 1,
                offset: 301,
            }),
            attempts: Attempts {
                counted: 2,
                traps: 1,
                failures: 3,
                crashes: 0,
                first_failed: Some(Millis(5)),
                aging_since: None,
            },
        }],
        lease: vec![310],
        marked: vec![ItemId::Parked(4)],
        active: Active(6),
        next_parked: 8,
    };
    let expected = [
        1, 7, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, // version, unit, stream time
        1, 0xac, 2, 1, 2, 3, // one cursor at 300: one range, 2 on, 3 long
        1, 0, 1, 0xad, 2, 2, 1, 3, 0, 1, 5, 0, // one open record and its attempts
        1, 0xb6, 2, 1, 1, 4, 6, 8, // lease, marked, active, next parked
    ];
    assert_eq!(encode(&progress), expected);
}
