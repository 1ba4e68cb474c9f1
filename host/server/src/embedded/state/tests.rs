use proptest::prelude::*;

use super::*;

fn encode(expires: Option<Millis>, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    encode_into(&mut out, expires, value);
    out
}

proptest! {
    #[test]
    fn values_round_trip(expires in proptest::option::of(1..u64::MAX), value: Vec<u8>) {
        let expires = expires.map(Millis);
        let bytes = encode(expires, &value);
        prop_assert_eq!(value_bytes(&bytes), Ok(value.len()));
        let stored = decode(&bytes);
        prop_assert_eq!(stored, Ok(StateValue { expires, value: value.into() }));
    }

    #[test]
    fn reading_and_compaction_agree_on_expiry(expires in proptest::option::of(0..100_u64), now in 0..100_u64) {
        let bytes = encode(expires.map(Millis), b"v");
        prop_assert_eq!(is_expired(&bytes, Millis(now)), decode(&bytes).unwrap().is_expired(Millis(now)));
    }
}

#[test]
fn version_1_is_what_is_on_disks_already() {
    assert_eq!(
        encode(Some(Millis(2)), b"v"),
        [1, 2, 0, 0, 0, 0, 0, 0, 0, b'v']
    );
    assert_eq!(encode(None, b""), [1, 0, 0, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn compaction_keeps_what_it_cannot_read() {
    assert!(!is_expired(&[2, 1, 0, 0, 0, 0, 0, 0, 0], Millis(u64::MAX)));
    assert!(!is_expired(&[1, 1], Millis(u64::MAX)));
}
