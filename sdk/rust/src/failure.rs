//! How a handler says that it could not.

use std::{error::Error, fmt, time::Duration};

use crate::bindings::weir::handler::types;

/// The code of a failure that nobody classified: an error that reached `?` as it was.
pub const UNCLASSIFIED: &str = "error";

/// The result of a handler and of everything in this crate that can fail.
pub type Result<T, E = Failure> = core::result::Result<T, E>;

/// What another attempt would bring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// Perhaps success. Costs an attempt.
    Transient,
    /// Nothing yet: something outside is down. Costs no attempt.
    Unavailable,
    /// The same failure: the event becomes a dead letter.
    Permanent,
}

/// Why an event was not handled.
///
/// Every error turns into a transient failure by `?`: wrong at worst by a few attempts, where permanent would give up
/// an event that the next attempt could handle. Like `anyhow::Error`, it is for that reason not an `Error` itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    kind: FailureKind,
    code: String,
    message: String,
    retry_after: Option<Duration>,
}

impl Failure {
    /// This attempt failed; another may not.
    pub fn transient(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(FailureKind::Transient, code, message)
    }

    /// Something outside is down. The host waits and holds events back rather than use up their attempts.
    pub fn unavailable(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(FailureKind::Unavailable, code, message)
    }

    /// No attempt can succeed: dead letter now.
    pub fn permanent(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(FailureKind::Permanent, code, message)
    }

    fn new(kind: FailureKind, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            kind,
            code: code.into(),
            message: message.into(),
            retry_after: None,
        }
    }

    /// Asks for no attempt before this long. The host may wait longer or, at its own limit, shorter.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// What another attempt would bring.
    pub fn kind(&self) -> FailureKind {
        self.kind
    }

    /// Stable, lower-case, at most 64 bytes: metrics and dead letters are grouped by it.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// For people, at most 1,024 bytes.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl<E: Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::transient(UNCLASSIFIED, chain(&error))
    }
}

/// Says what an error means for the event: `amount.parse().or_permanent("bad-amount")?`.
pub trait OrFail<T> {
    /// Another attempt may succeed.
    ///
    /// # Errors
    /// The error as a transient [`Failure`] with this code.
    fn or_transient(self, code: &str) -> Result<T>;

    /// Something outside is down.
    ///
    /// # Errors
    /// The error as an unavailable [`Failure`] with this code.
    fn or_unavailable(self, code: &str) -> Result<T>;

    /// No attempt can succeed.
    ///
    /// # Errors
    /// The error as a permanent [`Failure`] with this code.
    fn or_permanent(self, code: &str) -> Result<T>;
}

impl<T, E: Error> OrFail<T> for core::result::Result<T, E> {
    fn or_transient(self, code: &str) -> Result<T> {
        self.map_err(|error| Failure::transient(code, chain(&error)))
    }

    fn or_unavailable(self, code: &str) -> Result<T> {
        self.map_err(|error| Failure::unavailable(code, chain(&error)))
    }

    fn or_permanent(self, code: &str) -> Result<T> {
        self.map_err(|error| Failure::permanent(code, chain(&error)))
    }
}

/// An error and its causes in one line.
fn chain(error: &dyn Error) -> String {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        message = format!("{message}: {error}");
        cause = error.source();
    }
    message
}

impl From<Failure> for types::Failure {
    fn from(failure: Failure) -> Self {
        Self {
            kind: match failure.kind {
                FailureKind::Transient => types::FailureKind::Transient,
                FailureKind::Unavailable => types::FailureKind::Unavailable,
                FailureKind::Permanent => types::FailureKind::Permanent,
            },
            code: failure.code,
            message: failure.message,
            retry_after_ms: failure.retry_after.map(crate::grants::milliseconds),
        }
    }
}
