use super::*;

#[test]
fn times_are_a_number_and_a_unit() {
    for (text, seconds) in [
        ("90s", Some(90)),
        ("30m", Some(1_800)),
        ("2h", Some(7_200)),
        ("7d", Some(604_800)),
        ("0s", Some(0)),
        ("", None),
        ("5", None),
        ("m", None),
        ("-1m", None),
        ("1.5h", None),
        ("2 h", None),
        ("5µ", None),
        ("999999999999999999d", None),
    ] {
        assert_eq!(list::seconds(text).ok(), seconds, "{text:?}");
    }
}

#[test]
fn bytes_that_are_no_text_are_shown_in_lines_of_hexadecimal() {
    let bytes: Vec<u8> = (0..18).map(|n| n + 60).collect();
    let hex = letter::hex(&bytes);
    let lines: Vec<_> = hex.lines().collect();
    assert_eq!(lines.len(), 2);
    assert!(lines[0].starts_with("00000000  3c 3d 3e "), "{hex}");
    assert!(lines[0].ends_with("|<=>?@ABCDEFGHIJK|"), "{hex}");
    assert!(lines[1].starts_with("00000010  4c 4d "), "{hex}");
    assert!(lines[1].ends_with(" |LM|"), "{hex}");
}
