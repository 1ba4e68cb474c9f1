use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use super::*;

/// Where lines are written.
#[derive(Clone, Default)]
pub(super) struct Written(Arc<Mutex<Vec<u8>>>);

impl Written {
    pub(super) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The line that `log` writes, from its message on.
fn line(log: impl FnOnce()) -> String {
    let written = Written::default();
    let writer = written.clone();
    let lines = tracing_subscriber::fmt()
        .with_writer(move || writer.clone())
        .with_ansi(false)
        .with_target(false)
        .fmt_fields(Fields);
    tracing::subscriber::with_default(lines.finish(), log);
    let text = written.text();
    text.split_once("INFO ").unwrap().1.trim_end().to_owned()
}

#[test]
fn what_a_handler_says_of_a_line_stands_there_as_fields() {
    let fields = r#"{"page":"/","visitor":"ann"}"#;
    let said = line(|| tracing::info!(handler = "visits", fields, "visit 1"));
    assert_eq!(
        said,
        "visit 1 handler=\"visits\" page=\"/\" visitor=\"ann\""
    );
    let none = line(|| tracing::info!(handler = "visits", fields = "", "visit 1"));
    assert_eq!(none, "visit 1 handler=\"visits\"");
}

#[test]
fn a_handler_cannot_forge_lines_or_fields_of_the_host_by_its_fields() {
    let fields = r#"{"a handler=\"x\"\u000aINFO":"b\u000aINFO forged"}"#;
    let said = line(|| tracing::info!(handler = "visits", fields, "visit"));
    assert_eq!(
        said,
        r#"visit handler="visits" a_handler_"x"_INFO="b\nINFO forged""#
    );
}

#[test]
fn other_lines_show_an_error_with_its_causes() {
    #[derive(Debug, thiserror::Error)]
    #[error("commit")]
    struct Failed(#[source] fmt::Error);
    let error: &(dyn std::error::Error + 'static) = &Failed(fmt::Error);
    let said = line(|| tracing::info!(error, partition = 3, "trying again"));
    let cause = fmt::Error.to_string();
    assert_eq!(
        said,
        format!("trying again error=commit error.sources=[{cause}] partition=3")
    );
}
