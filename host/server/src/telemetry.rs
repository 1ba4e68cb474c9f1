//! Logs: lines on standard error, for people or, as JSON, for machines.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// Which lines are written, in `tracing-subscriber`'s directives, for example `info,weir=debug`.
pub const LOG_VARIABLE: &str = "WEIR_LOG";

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
        lines.json().flatten_event(true).init();
    } else {
        lines.with_ansi(std::io::stderr().is_terminal()).init();
    }
}
