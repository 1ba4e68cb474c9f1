//! The host's silence, which its partitions ask for and wait for.

use std::sync::Arc;

use tokio::sync::watch;
use weir_core::solitude::Solitude;

/// A [`Solitude`] that wakes those who wait for it.
#[derive(Debug)]
pub struct SharedSolitude {
    solitude: Arc<Solitude>,
    turns: watch::Sender<()>,
}

impl Default for SharedSolitude {
    fn default() -> Self {
        let turns = watch::Sender::new(());
        let wake = turns.clone();
        Self {
            solitude: Arc::new(Solitude::new(move || wake.send_replace(()))),
            turns,
        }
    }
}

impl SharedSolitude {
    /// What the machines of partitions ask.
    pub(crate) fn solitude(&self) -> Arc<Solitude> {
        Arc::clone(&self.solitude)
    }

    /// Changes when whoever was refused should ask again.
    pub(super) fn turns(&self) -> watch::Receiver<()> {
        self.turns.subscribe()
    }
}
