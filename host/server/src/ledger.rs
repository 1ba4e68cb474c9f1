//! The seam to where units of work are committed.
//!
//! | operation | embedded store | Kafka |
//! |---|---|---|
//! | [`Ledger::restore`] | reads cursor, attempts, inbox blocks | waits for stable offsets, restores the changelog to the high watermark |
//! | [`Ledger::commit`] | joins the next group: one batch, one sync | one transaction; an unknown outcome is resolved by unit number before it answers |
//! | [`Ledger::state`] | a point read | a point read of the local copy |

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use weir_core::unit::{CommitResult, Restore, SequenceKey, Unit};

/// Whose work: one subscription.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Scope {
    /// `weir.<environment>.<tenant>.<handler>`.
    pub group: Arc<str>,
    /// Full topic names in the subscription's order: `Position::topic` indexes them.
    pub topics: Arc<[Arc<str>]>,
}

/// The ledger could not be read.
#[derive(Debug, thiserror::Error)]
#[error("read {what} of {group}")]
pub struct LedgerError {
    /// What was read.
    pub what: &'static str,
    /// Subscription.
    pub group: Arc<str>,
    /// Cause.
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// A ledger: commits units of work and gives them back.
pub trait Ledger: Send + Sync + 'static {
    /// What was committed for this partition; the start of the topics where nothing was.
    fn restore(
        &self,
        scope: &Scope,
        partition: u32,
    ) -> BoxFuture<'static, Result<Restore, LedgerError>>;

    /// Commits the unit as a whole or not at all; answers when it is durable or surely absent. At most one commit of
    /// a partition is in flight.
    fn commit(&self, scope: &Scope, partition: u32, unit: Unit)
    -> BoxFuture<'static, CommitResult>;

    /// A committed value of a sequence; expired ones are absent.
    fn state(
        &self,
        scope: &Scope,
        partition: u32,
        sequence: &SequenceKey,
        name: &str,
    ) -> Result<Option<Bytes>, LedgerError>;

    /// All committed names of a sequence, sorted.
    fn state_names(
        &self,
        scope: &Scope,
        partition: u32,
        sequence: &SequenceKey,
    ) -> Result<Vec<String>, LedgerError>;
}
