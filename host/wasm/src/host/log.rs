//! Log lines of a handler: from `weir:handler/log`, standard output and standard error, bounded per attempt and, over all
//! attempts, in a second.
//!
//! What a guest says of a line beside its message goes as one field, the text of a JSON object: a field of tracing has a name
//! that is known when the host is compiled. Who writes the lines takes it apart.

mod volume;

use std::borrow::Cow;
use std::fmt::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Host;
use crate::bindings::weir::handler::log::{self, Level};

pub(crate) use self::volume::Volume;

/// The target of all lines of handlers.
const TARGET: &str = "weir::handler";
/// What a line costs beside its bytes, so that empty lines are bounded too.
const LINE_BYTES: usize = 16;
/// The last line of an attempt that writes too many.
const CUT: &str = "log limit of the attempt reached, lines are dropped";
/// A longer line of standard output is broken.
const PIPE_LINE_BYTES_MAX: usize = 4_096;

/// Which of the standard streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pipe {
    Stdout,
    Stderr,
}

/// Where the lines of one instance go.
pub(crate) struct LogSink {
    handler: Arc<str>,
    bytes_max: usize,
    volume: Arc<Volume>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    used_bytes: usize,
    dropping: bool,
    /// Unfinished lines of standard output and standard error.
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl LogSink {
    pub(crate) fn new(handler: Arc<str>, bytes_max: usize, volume: Arc<Volume>) -> Self {
        Self {
            handler,
            bytes_max,
            volume,
            state: Mutex::default(),
        }
    }

    /// Takes bytes of a standard stream; each finished line is written.
    pub(crate) fn push(&self, pipe: Pipe, bytes: &[u8]) {
        let state = &mut *self.lock();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let buffer = if pipe == Pipe::Stdout {
                &mut state.stdout
            } else {
                &mut state.stderr
            };
            let space = PIPE_LINE_BYTES_MAX.saturating_sub(buffer.len());
            buffer.extend_from_slice(&piece[..piece.len().min(space)]);
            if piece.ends_with(b"\n") || buffer.len() >= PIPE_LINE_BYTES_MAX {
                let line = std::mem::take(buffer);
                self.write_pipe(state, pipe, &line);
            }
        }
    }

    /// Writes unfinished lines and gives the next attempt its full allowance.
    pub(crate) fn end_attempt(&self) {
        let state = &mut *self.lock();
        for pipe in [Pipe::Stdout, Pipe::Stderr] {
            let buffer = if pipe == Pipe::Stdout {
                &mut state.stdout
            } else {
                &mut state.stderr
            };
            if !buffer.is_empty() {
                let line = std::mem::take(buffer);
                self.write_pipe(state, pipe, &line);
            }
        }
        state.used_bytes = 0;
        state.dropping = false;
    }

    fn write_pipe(&self, state: &mut State, pipe: Pipe, line: &[u8]) {
        let level = if pipe == Pipe::Stdout {
            Level::Info
        } else {
            Level::Warn
        };
        let message = String::from_utf8_lossy(line.trim_ascii_end());
        if self.takes(state, level, message.len()) {
            self.write_line(level, &message, "");
        }
    }

    fn write_line(&self, level: Level, message: &str, fields: &str) {
        let (handler, message) = (&*self.handler, one_line(message));
        match level {
            Level::Trace => tracing::trace!(target: TARGET, handler, fields, "{message}"),
            Level::Debug => tracing::debug!(target: TARGET, handler, fields, "{message}"),
            Level::Info => tracing::info!(target: TARGET, handler, fields, "{message}"),
            Level::Warn => tracing::warn!(target: TARGET, handler, fields, "{message}"),
            Level::Error => tracing::error!(target: TARGET, handler, fields, "{message}"),
        }
    }

    /// Whether a line of so many bytes may be written, and takes them if so. The first that the attempt may not is its last.
    fn takes(&self, state: &mut State, level: Level, bytes: usize) -> bool {
        if !state.dropping && state.used_bytes + LINE_BYTES + bytes > self.bytes_max {
            state.dropping = true;
            if self.volume.takes(CUT.len()) {
                tracing::warn!(target: TARGET, handler = &*self.handler, "{CUT}");
            }
        }
        if state.dropping {
            self.volume.drop_line();
            return false;
        }
        state.used_bytes += LINE_BYTES + bytes;
        // What nobody has asked for takes nothing of a disk.
        is_wanted(level) && self.volume.takes(bytes)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Lines are worth writing even after a panic elsewhere.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl log::Host for Host {
    fn write(
        &mut self,
        level: Level,
        message: String,
        fields: Vec<(String, String)>,
    ) -> wasmtime::Result<()> {
        self.call()?;
        let bytes = fields.iter().map(|(name, value)| name.len() + value.len());
        let bytes = message.len() + bytes.sum::<usize>();
        let state = &mut *self.log.lock();
        // What will be dropped is not formatted first.
        if self.log.takes(state, level, bytes) {
            self.log.write_line(level, &message, &object(&fields));
        }
        Ok(())
    }
}

/// Whether lines of this level are written at all.
fn is_wanted(level: Level) -> bool {
    match level {
        Level::Trace => tracing::enabled!(target: TARGET, tracing::Level::TRACE),
        Level::Debug => tracing::enabled!(target: TARGET, tracing::Level::DEBUG),
        Level::Info => tracing::enabled!(target: TARGET, tracing::Level::INFO),
        Level::Warn => tracing::enabled!(target: TARGET, tracing::Level::WARN),
        Level::Error => tracing::enabled!(target: TARGET, tracing::Level::ERROR),
    }
}

/// Names and values as the text of a JSON object; nothing when there are none.
fn object(fields: &[(String, String)]) -> String {
    let mut text = String::new();
    for (name, value) in fields {
        text.push(if text.is_empty() { '{' } else { ',' });
        push_string(&mut text, name);
        text.push(':');
        push_string(&mut text, value);
    }
    if !text.is_empty() {
        text.push('}');
    }
    text
}

/// A string of JSON (RFC 8259, section 7).
fn push_string(text: &mut String, value: &str) {
    text.push('"');
    for c in value.chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            c if c.is_control() => {
                // All of them are below U+00A0. Writing to a string cannot fail.
                let _ = write!(text, "\\u{:04x}", u32::from(c));
            }
            c => text.push(c),
        }
    }
    text.push('"');
}

/// A handler must not be able to forge lines of the host's log.
fn one_line(text: &str) -> Cow<'_, str> {
    if text.contains(char::is_control) {
        text.chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect::<String>()
            .into()
    } else {
        text.into()
    }
}

#[cfg(test)]
mod tests;
