use proptest::prelude::*;

use super::*;

#[test]
fn instants_are_written_as_rfc_3339() {
    assert_eq!(Millis(0).to_rfc3339(), "1970-01-01T00:00:00.000Z");
    assert_eq!(
        Millis(951_782_399_999).to_rfc3339(),
        "2000-02-28T23:59:59.999Z"
    );
    assert_eq!(
        Millis(951_782_400_000).to_rfc3339(),
        "2000-02-29T00:00:00.000Z"
    );
    assert_eq!(
        Millis(1_795_267_191_042).to_rfc3339(),
        "2026-11-21T13:19:51.042Z"
    );
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(millis in 0..253_402_300_800_000_u64) {
        let text = Millis(millis).to_rfc3339();
        prop_assert_eq!(Millis::from_rfc3339(&text), Some(Millis(millis)));
    }
}

#[test]
fn what_is_written_in_another_way_is_no_instant() {
    for text in [
        "",
        "1970-01-01",
        "1970-01-01T00:00:00Z",
        "1970-01-01T00:00:00.000+00:00",
        "1969-12-31T23:59:59.999Z",
        "2026-02-30T00:00:00.000Z",
        "2026-00-10T00:00:00.000Z",
        "2026-01-00T00:00:00.000Z",
        "0000-01-01T00:00:00.000Z",
        "2026-01-01T24:00:00.000Z",
        "+026-01-01T00:00:00.000Z",
        "2026-01-01T00:00:00.000Zx",
        "2026-01-01T00:00:00.00\u{fc}Z",
    ] {
        assert_eq!(Millis::from_rfc3339(text), None, "{text}");
    }
}
