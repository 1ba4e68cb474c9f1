use clap::Parser;

use super::*;

#[derive(Parser)]
struct Only {
    #[command(flatten)]
    args: TailArgs,
}

fn check(arguments: &[&str], path: &str) {
    let args = Only::try_parse_from([&["tail"], arguments].concat())
        .unwrap()
        .args;
    assert_eq!(args.path(), path);
}

#[test]
fn arguments_become_the_query() {
    check(
        &["a.b.v1"],
        "/v1/topics/a.b.v1/events?from=beginning&follow=true",
    );
    check(
        &[
            "=o/k",
            "--partition",
            "3",
            "--from",
            "17",
            "--count",
            "2",
            "--no-follow",
        ],
        "/v1/topics/%3Do%2Fk/events?from=17&follow=false&partition=3&limit=2",
    );
    check(
        &["t", "--from", "end"],
        "/v1/topics/t/events?from=end&follow=true",
    );
    assert!(Only::try_parse_from(["tail", "t", "--from", "yesterday"]).is_err());
}

#[test]
fn a_line_shows_place_time_type_subject_and_the_head_of_the_data() {
    let line = |event: &str| {
        let text = format!("{{\"partition\":3,\"offset\":17,\"event\":{event}}}");
        describe(&serde_json::from_str(&text).unwrap())
    };
    assert_eq!(
        line(r#"{"type":"T","subject":"c\u001b7","time":"2026-01-02T03:04:05Z","data":{"a":1}}"#),
        "3:17       2026-01-02T03:04:05Z  T  c\\u{1b}7  {\"a\":1}"
    );
    assert_eq!(
        line(r#"{"type":"T","data_base64":"AQ=="}"#),
        "3:17       -  T  -  base64 AQ=="
    );
    let long = line(&format!(
        "{{\"type\":\"T\",\"data\":\"{}\"}}",
        "é".repeat(200)
    ));
    assert!(
        long.ends_with(&format!("\"{}…", "é".repeat(DATA_CHARS - 1))),
        "{long}"
    );
}
