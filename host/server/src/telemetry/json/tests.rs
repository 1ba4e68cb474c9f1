use super::*;
use crate::telemetry::tests::Written;

/// The line that `log` writes.
fn line(log: impl FnOnce()) -> Value {
    let written = Written::default();
    let writer = written.clone();
    let lines = tracing_subscriber::fmt()
        .with_writer(move || writer.clone())
        .event_format(Lines);
    tracing::subscriber::with_default(lines.finish(), log);
    let text = written.text();
    assert_eq!(text.matches('\n').count(), 1, "{text}");
    serde_json::from_str(&text).unwrap()
}

#[test]
fn what_a_handler_says_of_a_line_is_an_object_of_its_own() {
    let fields = r#"{"page":"/","handler":"forged","say":"a \"b\"\u000a"}"#;
    let line = line(|| tracing::info!(handler = "visits", fields, "visit {}", 1));
    assert_eq!(line["message"], "visit 1");
    assert_eq!(line["level"], "INFO");
    assert_eq!(line["handler"], "visits");
    assert_eq!(
        line["fields"],
        serde_json::json!({ "page": "/", "handler": "forged", "say": "a \"b\"\n" })
    );
    assert!(line["timestamp"].as_str().unwrap().ends_with('Z'), "{line}");
}

#[test]
fn a_line_without_fields_of_a_handler_has_none() {
    let line = line(|| tracing::info!(handler = "visits", fields = "", "visit"));
    assert_eq!(line.get("fields"), None);
}

#[test]
fn numbers_stay_numbers_and_errors_tell_their_causes() {
    #[derive(Debug, thiserror::Error)]
    #[error("commit")]
    struct Failed(#[source] fmt::Error);
    let error: &(dyn Error + 'static) = &Failed(fmt::Error);
    let cause = fmt::Error.to_string();
    let line = line(|| tracing::warn!(error, partition = 3, ready = true, at = ?Some(1), "again"));
    assert_eq!(line["error"], format!("commit: {cause}"));
    assert_eq!(line["partition"], 3);
    assert_eq!(line["ready"], true);
    assert_eq!(line["at"], "Some(1)");
}
