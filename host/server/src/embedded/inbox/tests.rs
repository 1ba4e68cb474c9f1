use proptest::collection::vec;
use proptest::prelude::*;
use weir_core::unit::{Active, Completion, Fate, ItemId, Output, SequenceKey};

use super::*;

fn unit(stream_time: u64, staged_at: u64, marks: &[Option<[u8; 16]>]) -> Unit {
    let item = ItemId::Parked(0);
    let completion = |mark: &Option<[u8; 16]>| {
        std::sync::Arc::new(Completion {
            item,
            sequence: SequenceKey::Alone(item),
            fate: Fate::Handled,
            mark: mark.map(Hash128),
            output: Output::default(),
        })
    };
    Unit {
        number: 1,
        epoch: 1,
        completions: marks.iter().map(completion).collect(),
        bytes: 0,
        cursors: Vec::new(),
        open: Vec::new(),
        heads: Vec::new(),
        lease: Vec::new(),
        marked: Vec::new(),
        active: Active(0),
        next_parked: 0,
        stream_time: Millis(stream_time),
        staged_at: Millis(staged_at),
        expired_blocks: Vec::new(),
    }
}

proptest! {
    #[test]
    fn blocks_round_trip(number: u64, time: u64, staged: u64, marks: Vec<Option<[u8; 16]>>) {
        let ids: Vec<_> = marks.iter().flatten().copied().map(Hash128).collect();
        match encode_unit(&unit(time, staged, &marks)) {
            None => prop_assert!(ids.is_empty()),
            Some(value) => {
                let block = InboxBlock { unit: number, stream_time: Millis(time), staged_at: Millis(staged), ids: ids.into() };
                prop_assert_eq!(decode(number, &value), Ok(block));
            }
        }
    }

    #[test]
    fn any_bytes_are_a_block_or_refused(mut bytes in vec(any::<u8>(), 1..100)) {
        bytes[0] = VERSION;
        let whole = bytes.len() >= 17 && (bytes.len() - 17) % 16 == 0;
        prop_assert_eq!(decode(1, &bytes).is_ok(), whole);
    }
}

proptest! {
    #[test]
    fn an_id_is_found_in_the_blocks_that_have_it(time: u64, staged: u64, ids: Vec<[u8; 16]>, other: [u8; 16]) {
        let marks: Vec<_> = ids.iter().copied().map(Some).collect();
        if let Some(value) = encode_unit(&unit(time, staged, &marks)) {
            let marked = Marked { stream_time: Millis(time), staged_at: Millis(staged) };
            for id in &ids {
                prop_assert_eq!(find(&value, Hash128(*id)), Ok(Some(marked)));
            }
            prop_assert_eq!(find(&value, Hash128(other)), Ok(ids.contains(&other).then_some(marked)));
        }
    }
}

#[test]
fn version_1_is_what_is_on_disks_already() {
    let value = encode_unit(&unit(3, 4, &[Some([7; 16])])).unwrap();
    let mut expected = vec![1, 3, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0];
    expected.extend_from_slice(&[7; 16]);
    assert_eq!(value, expected);
}
