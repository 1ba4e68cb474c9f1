//! What an attempt that did not return normally ended with.

use std::time::Duration;

use wasmtime::{PoolConcurrencyLimitError, Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;
use weir_core::event::{Failure, FailureKind};

use crate::limits::NAME_BYTES_MAX;

/// At most this long, so that metrics and dead letters stay small.
const CODE_BYTES_MAX: usize = 64;
/// At most this long; more is cut.
const MESSAGE_BYTES_MAX: usize = 1_024;
/// Innermost functions that a trap's message names.
const FRAMES_MAX: usize = 4;
/// At most this long; outer frames are left out.
const BACKTRACE_BYTES_MAX: usize = 8 << 10;

/// Why the host ended an attempt.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Stop {
    #[error("the attempt used more than {} ms of CPU time", .0.as_millis())]
    Cpu(Duration),
    #[error("the attempt took longer than {} ms", .0.as_millis())]
    Wall(Duration),
    #[error(
        "the instance asked for {wanted} bytes of memory; its limit is {limit} (raise `memory_mib` in [limits])"
    )]
    Memory { wanted: usize, limit: usize },
    #[error("the instance asked for a table of {wanted} elements; the limit is {limit}")]
    Table { wanted: usize, limit: usize },
    #[error("the attempt called the host more than {0} times")]
    HostCalls(u32),
    #[error("a name of state or of a timer has {0} bytes; at most {NAME_BYTES_MAX} are allowed")]
    NameBytes(usize),
    #[error("the state of the event's key would have more than {0} bytes")]
    StateBytes(usize),
    #[error(
        "the names of state that the attempt sets or removes have more than {0} bytes, each counted with the event's key"
    )]
    StateWrites(usize),
    #[error("the event's key would have more than {0} timers")]
    Timers(usize),
    #[error("the data of a timer has {bytes} bytes; at most {max} are allowed")]
    TimerBytes { bytes: usize, max: usize },
    #[error("the event has no key, so it has no state and no timers")]
    Unkeyed,
    #[error("the state or the timers of the event's key cannot be read: {0}")]
    StateUnavailable(String),
}

impl Stop {
    pub(crate) fn into_failure(self) -> Failure {
        let (kind, code) = match self {
            Self::Cpu(_) => (FailureKind::Limit, "cpu-limit"),
            Self::Wall(_) => (FailureKind::Limit, "wall-limit"),
            Self::Memory { .. } => (FailureKind::Limit, "memory-limit"),
            Self::Table { .. } => (FailureKind::Limit, "table-limit"),
            Self::HostCalls(_) => (FailureKind::Limit, "host-call-limit"),
            Self::NameBytes(_) => (FailureKind::Limit, "name-limit"),
            Self::StateBytes(_) | Self::StateWrites(_) => (FailureKind::Limit, "state-limit"),
            Self::Timers(_) | Self::TimerBytes { .. } => (FailureKind::Limit, "timer-limit"),
            Self::Unkeyed => (FailureKind::Permanent, "unkeyed"),
            Self::StateUnavailable(_) => (FailureKind::Unavailable, "state-unavailable"),
        };
        failure(kind, code, &self.to_string())
    }
}

/// Turns an error of wasmtime into a failure: a stop of ours, a trap, an exit, or the host out of instances. Where the
/// component is to blame, the failure says where in it.
pub(crate) fn classify(error: &wasmtime::Error) -> Failure {
    let failure = classify_cause(error);
    let backtrace = match failure.kind {
        FailureKind::Trap | FailureKind::Limit => error.downcast_ref().and_then(backtrace),
        FailureKind::Transient | FailureKind::Unavailable | FailureKind::Permanent => None,
    };
    Failure {
        backtrace,
        ..failure
    }
}

fn classify_cause(error: &wasmtime::Error) -> Failure {
    if let Some(stop) = error.downcast_ref::<Stop>() {
        return stop.clone().into_failure();
    }
    if let Some(trap) = error.downcast_ref::<Trap>() {
        return failure(
            FailureKind::Trap,
            trap_code(*trap),
            &with_frames(trap.to_string(), error),
        );
    }
    if let Some(I32Exit(status)) = error.downcast_ref::<I32Exit>() {
        return failure(
            FailureKind::Trap,
            "trap-exit",
            &format!("the component exited with status {status}"),
        );
    }
    if let Some(exhausted) = error.downcast_ref::<PoolConcurrencyLimitError>() {
        return failure(
            FailureKind::Unavailable,
            "instances-exhausted",
            &exhausted.to_string(),
        );
    }
    let cause = error.root_cause().to_string();
    // The error has no type of its own that others could name.
    if cause.contains("fuel allocated for hostcalls has been exhausted") {
        let message = "the attempt passed more than 12 MiB of texts and lists to the host at once";
        return failure(FailureKind::Limit, "copy-limit", message);
    }
    // Without guest code at work it was what passed between guest and host: an event that could not be put where the
    // guest wanted it, or a result that is none.
    let code = match error.downcast_ref::<WasmBacktrace>() {
        Some(_) => "trap-other",
        None => "trap-abi",
    };
    failure(FailureKind::Trap, code, &with_frames(cause, error))
}

/// A failure that a guest returned or the host made, cut to its bounds.
pub(crate) fn failure(kind: FailureKind, code: &str, message: &str) -> Failure {
    Failure {
        kind,
        code: sanitise_code(code),
        message: cut(message, MESSAGE_BYTES_MAX).to_owned(),
        retry_after_ms: None,
        backtrace: None,
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the rest have no name of their own in metrics"
)]
fn trap_code(trap: Trap) -> &'static str {
    match trap {
        Trap::UnreachableCodeReached => "trap-unreachable",
        Trap::StackOverflow => "trap-stack-overflow",
        Trap::MemoryOutOfBounds | Trap::HeapMisaligned => "trap-memory-access",
        Trap::TableOutOfBounds | Trap::IndirectCallToNull | Trap::BadSignature => {
            "trap-indirect-call"
        }
        Trap::IntegerDivisionByZero | Trap::IntegerOverflow | Trap::BadConversionToInteger => {
            "trap-arithmetic"
        }
        Trap::CannotEnterComponent => "trap-reentered",
        Trap::CannotLeaveComponent => "trap-abi",
        _ => "trap-other",
    }
}

/// Adds the innermost functions, where the component has their names.
fn with_frames(mut message: String, error: &wasmtime::Error) -> String {
    let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() else {
        return message;
    };
    let names = backtrace
        .frames()
        .iter()
        .filter_map(|frame| frame.func_name())
        .take(FRAMES_MAX);
    for (i, name) in names.enumerate() {
        message.push_str(if i == 0 { "; in " } else { " < " });
        message.push_str(name);
    }
    message
}

/// One frame in a line, innermost first: function, core module, and the byte of the module's file. None without frames.
fn backtrace(backtrace: &WasmBacktrace) -> Option<String> {
    let mut lines = String::new();
    for frame in backtrace.frames() {
        let mut line = match frame.func_name() {
            Some(name) => name.to_owned(),
            None => format!("function {}", frame.func_index()),
        };
        if let Some(module) = frame.module().name() {
            line.push_str(&format!(" in {module}"));
        }
        if let Some(offset) = frame.module_offset() {
            line.push_str(&format!(" at {offset:#x}"));
        }
        if lines.len() + line.len() >= BACKTRACE_BYTES_MAX {
            break;
        }
        lines.push_str(&line);
        lines.push('\n');
    }
    (!lines.is_empty()).then_some(lines)
}

/// Lower-case letters, digits, `-`, `_` and `.`; anything else becomes `-`.
fn sanitise_code(code: &str) -> String {
    let code: String = code
        .chars()
        .take(CODE_BYTES_MAX)
        .map(|c| match c.to_ascii_lowercase() {
            c @ ('a'..='z' | '0'..='9' | '-' | '_' | '.') => c,
            _ => '-',
        })
        .collect();
    if code.is_empty() {
        "unspecified".to_owned()
    } else {
        code
    }
}

/// The longest prefix of at most `bytes_max` bytes that ends between characters.
pub(crate) fn cut(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

#[cfg(test)]
mod tests;
