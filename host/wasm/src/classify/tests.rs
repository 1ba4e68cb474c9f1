use super::*;

#[test]
fn a_code_is_lower_case_and_short() {
    assert_eq!(sanitise_code("Unknown Customer"), "unknown-customer");
    assert_eq!(sanitise_code(""), "unspecified");
    assert_eq!(sanitise_code(&"é".repeat(100)), "-".repeat(64));
}

#[test]
fn a_message_is_cut_between_characters() {
    let message = "é".repeat(600);
    let failure = failure(FailureKind::Permanent, "x", &message);
    assert_eq!(failure.message.len(), 1_024);
    assert_eq!(cut("aé", 2), "a");
}
