//! What an attempt sees of its sequence: staged writes over what is committed.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use weir_core::partition::StagedState;
use weir_core::unit::SequenceKey;
use weir_wasm::{StateUnavailable, StateView, TimersView};

use super::Subscription;
use crate::ledger::LedgerError;

/// One sequence, as the attempt that is about to start finds it.
#[derive(Clone)]
pub(super) struct SequenceView {
    pub(super) subscription: Arc<Subscription>,
    pub(super) partition: u32,
    pub(super) sequence: SequenceKey,
    pub(super) staged: StagedState,
}

impl StateView for SequenceView {
    fn get(&self, name: &str) -> Result<Option<Bytes>, StateUnavailable> {
        if let Some(staged) = self.staged.get(name) {
            return Ok(staged);
        }
        let Subscription {
            deployment, ledger, ..
        } = &*self.subscription;
        ledger
            .committed()
            .state(&deployment.scope, self.partition, &self.sequence, name)
            .map_err(unavailable)
    }

    fn names(&self) -> Result<Vec<String>, StateUnavailable> {
        let Subscription {
            deployment, ledger, ..
        } = &*self.subscription;
        let committed =
            ledger
                .committed()
                .state_names(&deployment.scope, self.partition, &self.sequence);
        Ok(overlay(
            committed.map_err(unavailable)?,
            self.staged.names(),
        ))
    }

    fn total_bytes(&self) -> Result<usize, StateUnavailable> {
        let Subscription {
            deployment, ledger, ..
        } = &*self.subscription;
        if self.staged.names().next().is_none() {
            let committed =
                ledger
                    .committed()
                    .state_bytes(&deployment.scope, self.partition, &self.sequence);
            return committed.map_err(unavailable);
        }
        // Staged writes may become committed between two reads: each name is looked at once, through both.
        StateView::names(self)?.iter().try_fold(0, |total, name| {
            let value = self.get(name)?;
            Ok(total + value.map_or(0, |value| name.len() + value.len()))
        })
    }
}

impl TimersView for SequenceView {
    fn names(&self) -> Result<Vec<String>, StateUnavailable> {
        let Subscription {
            deployment, ledger, ..
        } = &*self.subscription;
        let committed =
            ledger
                .committed()
                .timer_names(&deployment.scope, self.partition, &self.sequence);
        Ok(overlay(
            committed.map_err(unavailable)?,
            self.staged.timers(),
        ))
    }
}

/// Committed names with the staged ones over them.
fn overlay<'a>(
    committed: Vec<String>,
    staged: impl Iterator<Item = (&'a str, bool)>,
) -> Vec<String> {
    let mut names: BTreeSet<String> = committed.into_iter().collect();
    for (name, present) in staged {
        if present {
            names.insert(name.to_owned());
        } else {
            names.remove(name);
        }
    }
    names.into_iter().collect()
}

fn unavailable(error: LedgerError) -> StateUnavailable {
    StateUnavailable(error.to_string())
}
