//! Log lines of a handler: from `weir:handler/log`, standard output and standard error, bounded per attempt.

use std::borrow::Cow;
use std::fmt::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Host;
use crate::bindings::weir::handler::log::{self, Level};

/// The target of all lines of handlers.
const TARGET: &str = "weir::handler";
/// What a line costs beside its bytes, so that empty lines are bounded too.
const LINE_BYTES: usize = 16;
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
    pub(crate) fn new(handler: Arc<str>, bytes_max: usize) -> Self {
        Self {
            handler,
            bytes_max,
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
        self.write_line(
            state,
            level,
            String::from_utf8_lossy(line.trim_ascii_end()).as_ref(),
            "",
        );
    }

    fn write_line(&self, state: &mut State, level: Level, message: &str, fields: &str) {
        let bytes = message.len() + fields.len();
        if !self.takes(state, bytes) {
            return;
        }
        state.used_bytes += LINE_BYTES + bytes;
        let (handler, message) = (&*self.handler, one_line(message));
        match level {
            Level::Trace => tracing::trace!(target: TARGET, handler, fields, "{message}"),
            Level::Debug => tracing::debug!(target: TARGET, handler, fields, "{message}"),
            Level::Info => tracing::info!(target: TARGET, handler, fields, "{message}"),
            Level::Warn => tracing::warn!(target: TARGET, handler, fields, "{message}"),
            Level::Error => tracing::error!(target: TARGET, handler, fields, "{message}"),
        }
    }

    /// Whether the attempt may write a line of so many bytes. The first that it may not is the last of the attempt.
    fn takes(&self, state: &mut State, bytes: usize) -> bool {
        if !state.dropping && state.used_bytes + LINE_BYTES + bytes > self.bytes_max {
            state.dropping = true;
            tracing::warn!(target: TARGET, handler = %self.handler, "log limit of the attempt reached, lines are dropped");
        }
        !state.dropping
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
        if !self.log.takes(state, bytes) {
            return Ok(());
        }
        let mut line = String::new();
        for (name, value) in &fields {
            let space = if line.is_empty() { "" } else { " " };
            // Writing to a string cannot fail.
            let _ = write!(line, "{space}{}={value:?}", one_line(name));
        }
        self.log.write_line(state, level, &message, &line);
        Ok(())
    }
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
