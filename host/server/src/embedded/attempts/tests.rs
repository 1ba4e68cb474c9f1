use bytes::Bytes;
use proptest::option;
use proptest::prelude::*;

use super::*;

pub(in crate::embedded) fn any_item() -> impl Strategy<Value = ItemId> {
    prop_oneof![
        any::<(u16, u64)>().prop_map(|(topic, offset)| ItemId::Record(Position { topic, offset })),
        any::<u64>().prop_map(ItemId::Parked),
        any::<[u8; 16]>().prop_map(|id| ItemId::Timer(Hash128(id))),
    ]
}

pub(in crate::embedded) fn any_attempts() -> impl Strategy<Value = Attempts> {
    let times = (option::of(any::<u64>()), option::of(any::<u64>()));
    (any::<[u32; 4]>(), times).prop_map(|([counted, traps, failures, crashes], (first, aging))| {
        Attempts {
            counted,
            traps,
            failures,
            crashes,
            first_failed: first.map(Millis),
            aging_since: aging.map(Active),
        }
    })
}

proptest! {
    #[test]
    fn items_and_attempts_round_trip(expected in (any_item(), any_attempts())) {
        let mut out = Vec::new();
        put_item(&mut out, expected.0);
        put_attempts(&mut out, &expected.1);
        let mut input = Input::new("test", Bytes::from(out));
        let found = (item(&mut input), attempts(&mut input));
        prop_assert_eq!(found, (Ok(expected.0), Ok(expected.1)));
        prop_assert!(input.is_empty());
    }
}

#[test]
fn a_kind_of_item_that_is_not_known_is_refused() {
    let mut input = Input::new("test", Bytes::from_static(&[3, 0]));
    assert_eq!(item(&mut input), Err(DecodeError::Malformed("test")));
}
