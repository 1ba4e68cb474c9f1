//! Logs: lines on standard error, for people or, as JSON, for machines.

mod json;

use std::fmt;
use std::io::IsTerminal;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::{RecordFields, VisitFmt, VisitOutput};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::{DefaultVisitor, Writer};

/// Which lines are written, in `tracing-subscriber`'s directives, for example `info,weir=debug`.
pub const LOG_VARIABLE: &str = "WEIR_LOG";

/// The field of a handler's lines in which its own fields stand.
const HANDLER_FIELDS: &str = "fields";

/// Starts logging; called once, by `main`.
pub fn init(json: bool, default: LevelFilter) {
    let filter = EnvFilter::builder()
        .with_default_directive(default.into())
        .with_env_var(LOG_VARIABLE)
        .from_env_lossy();
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false);
    if json {
        lines.event_format(json::Lines).init();
    } else {
        let lines = lines.with_ansi(std::io::stderr().is_terminal());
        lines.fmt_fields(Fields).init();
    }
}

/// The fields of a line as they come with the library, but for those that a handler has written: they stand in the text of a
/// JSON object, and become `name="value"` each.
struct Fields;

impl<'w> FormatFields<'w> for Fields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'w>, fields: R) -> fmt::Result {
        let mut line = Line {
            visitor: DefaultVisitor::new(writer, true),
            written: Ok(()),
        };
        fields.record(&mut line);
        line.written.and(line.visitor.finish())
    }
}

struct Line<'w> {
    visitor: DefaultVisitor<'w>,
    written: fmt::Result,
}

impl Visit for Line<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() != HANDLER_FIELDS {
            return self.visitor.record_str(field, value);
        }
        let fields: Map<String, Value> = serde_json::from_str(value).unwrap_or_default();
        for (name, value) in &fields {
            // A name must not end the line, or look like the host's own.
            let name = name.replace(|c: char| c.is_control() || c == ' ' || c == '=', "_");
            let value = value.as_str().unwrap_or_default();
            let written = write!(self.visitor.writer(), " {name}={value:?}");
            self.written = self.written.and(written);
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.visitor.record_error(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.visitor.record_debug(field, value);
    }
}

#[cfg(test)]
mod tests;
