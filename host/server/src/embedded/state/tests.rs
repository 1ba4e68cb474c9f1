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

/// A name that is set again and again leaves that many entries, and each value is looked for a part of its life after it.
#[test]
fn values_that_expire_about_the_same_time_are_looked_for_together_and_after_they_have() {
    for life_ms in [0, 1, 900, 60_000, 7 * 24 * 3_600_000] {
        let life = Duration::from_millis(life_ms);
        let mut at = Vec::new();
        for step in 0..100 {
            let expires = Millis(1_000_000_000 + life_ms * step / 100);
            let look = look_at(expires, life);
            assert!(look > expires, "{life:?}");
            assert!(look.0 - expires.0 <= (life_ms / 8).max(1_000), "{life:?}");
            at.push(look);
        }
        at.dedup();
        assert!(at.len() <= 17, "{life:?}: {}", at.len());
    }
    assert!(look_at(Millis(u64::MAX), Duration::MAX) > Millis(u64::MAX - 1));
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
