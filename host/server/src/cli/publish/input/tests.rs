use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;

const ONE: &str =
    r#"{"specversion":"1.0","id":"1","source":"/s","type":"T","data":{"a":[1,"]}\"{"]}}"#;
const TWO: &str = r#"{"specversion":"1.0","id":"2","source":"/s","type":"T","subject":"é"}"#;

fn read(bytes: &[u8]) -> Result<Vec<(u64, String)>, InputError> {
    let mut input = Input::new(bytes)?;
    let mut found = Vec::new();
    while let Some(item) = input.next()? {
        found.push((item.line, String::from_utf8(item.json).unwrap()));
    }
    Ok(found)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    io::Write::write_all(&mut encoder, bytes).unwrap();
    encoder.finish().unwrap()
}

/// Both plain and gzipped, the input has these events on these lines.
fn check(text: &str, wanted: &[(u64, &str)]) {
    let wanted: Vec<_> = wanted
        .iter()
        .map(|(line, json)| (*line, (*json).to_owned()))
        .collect();
    assert_eq!(read(text.as_bytes()).unwrap(), wanted, "{text}");
    assert_eq!(
        read(&gzip(text.as_bytes())).unwrap(),
        wanted,
        "gzipped {text}"
    );
}

fn check_fault(text: &str, line: u64, words: &str) {
    match read(text.as_bytes()) {
        Err(InputError::Line {
            line: found,
            reason,
        }) => {
            assert_eq!(found, line, "{text}: {reason}");
            assert!(reason.contains(words), "{text}: {reason}");
        }
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn lines_and_arrays_keep_the_bytes_of_their_events() {
    check("", &[]);
    check("\n\n", &[]);
    check(&format!("{ONE}\n{TWO}\n"), &[(1, ONE), (2, TWO)]);
    check(&format!("{ONE}\r\n\n{TWO}"), &[(1, ONE), (3, TWO)]);
    check("[]", &[]);
    check(&format!("[{ONE},{TWO}]"), &[(1, ONE), (1, TWO)]);
    check(
        &format!("\n[\n  {ONE},\n  {TWO}\n]\n"),
        &[(3, ONE), (4, TWO)],
    );
}

#[test]
fn a_byte_order_mark_is_passed_over() {
    check(&format!("\u{feff}{ONE}\n"), &[(1, ONE)]);
    check(&format!("\u{feff}[{ONE}]"), &[(1, ONE)]);
}

#[test]
fn an_event_over_several_lines_is_answered_with_how_to_write_it() {
    check_fault(
        "{\n  \"id\": \"1\"\n}\n",
        1,
        "on one line, or put all between [ and ]",
    );
}

#[test]
fn members_of_a_gzip_file_follow_each_other() {
    let both = [gzip(format!("{ONE}\n").as_bytes()), gzip(TWO.as_bytes())].concat();
    assert_eq!(read(&both).unwrap().len(), 2);
}

#[test]
fn a_bad_line_is_named_with_what_is_wrong() {
    check_fault("nonsense", 1, "not JSON (column 2)");
    check_fault(&format!("{ONE}\n{{\"id\":"), 2, "not JSON");
    check_fault(&format!("{ONE}\n3"), 2, "not an event");
    check_fault(
        &TWO.replace("1.0", "0.3"),
        1,
        "`specversion` must be \"1.0\"",
    );
    check_fault(
        &TWO.replace("\"id\":\"2\",", ""),
        1,
        "`id` is missing or empty",
    );
    check_fault(
        &TWO.replace("\"T\"", "\"\""),
        1,
        "`type` is missing or empty",
    );
    check_fault(&TWO.replace("\"2\"", "2"), 1, "not an event");
    check_fault(&format!("[{ONE}\n{TWO}]"), 2, "expected `,` or `]`");
    check_fault(&format!("[{ONE},]"), 1, "expected an event");
    check_fault(&format!("[{ONE},\n{{\"id\""), 2, "cut off");
    check_fault(&format!("[{ONE}]\n{TWO}"), 2, "something follows the array");
}

#[test]
fn what_unpacks_without_end_is_refused_at_the_limit_of_one_event() {
    let bomb = gzip(&vec![b'x'; 3 * EVENT_BYTES_MAX]);
    assert!(bomb.len() < EVENT_BYTES_MAX / 50);
    let error = read(&bomb).unwrap_err().to_string();
    assert_eq!(error, "line 1: the event is longer than 4 MiB");
}

#[test]
fn a_damaged_gzip_file_is_an_error_and_no_end() {
    let whole = gzip(format!("{ONE}\n{TWO}\n").as_bytes());
    let error = read(&whole[..whole.len() - 9]).unwrap_err();
    assert!(matches!(error, InputError::Read { .. }), "{error}");
}
