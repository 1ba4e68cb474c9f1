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
