//! `weir drain`: a host gives its partitions to others for good. It goes on to answer, and serves nothing until it is
//! started anew.

use tokio_util::sync::CancellationToken;

/// How far that is.
#[derive(Debug, Default)]
pub struct Draining {
    asked: CancellationToken,
    finished: CancellationToken,
}

impl Draining {
    /// Has the host do it; false when it was asked before.
    pub fn ask(&self) -> bool {
        let is_first = !self.asked.is_cancelled();
        self.asked.cancel();
        is_first
    }

    /// Waits for an operator.
    pub async fn asked(&self) {
        self.asked.cancelled().await;
    }

    /// Nothing runs any more.
    pub fn finish(&self) {
        self.finished.cancel();
    }

    /// Waits until nothing runs any more.
    pub async fn finished(&self) {
        self.finished.cancelled().await;
    }
}
