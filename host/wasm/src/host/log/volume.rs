//! What all attempts of a handler write to the log: a flood in every attempt must not fill a disk.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{LINE_BYTES, TARGET};
use crate::limits::Limits;
use crate::ticker::Clock;

/// A bucket of bytes that fills by itself; all instances of a handler pour from it.
pub(crate) struct Volume {
    handler: Arc<str>,
    clock: Arc<Clock>,
    bytes_per_s: u64,
    burst: u64,
    bucket: Mutex<Bucket>,
    /// Lines that were dropped and not told of.
    dropped: AtomicU64,
}

struct Bucket {
    bytes: u64,
    filled_at: Duration,
    /// Lines dropped since it was empty; none while lines are written.
    dropped: Option<u64>,
}

impl Volume {
    pub(crate) fn new(handler: Arc<str>, clock: Arc<Clock>, limits: &Limits) -> Self {
        let bytes = |bytes| u64::try_from(bytes).unwrap_or(u64::MAX);
        let burst = bytes(limits.log_burst_bytes);
        Self {
            bucket: Mutex::new(Bucket {
                bytes: burst,
                filled_at: clock.now(),
                dropped: None,
            }),
            handler,
            clock,
            bytes_per_s: bytes(limits.log_bytes_per_s),
            burst,
            dropped: AtomicU64::new(0),
        }
    }

    /// Whether a line of so many bytes may be written. The first that may not is told, and then nothing until the bucket is
    /// half full: how many there were. So what is told of a flood is no flood.
    pub(super) fn takes(&self, bytes: usize) -> bool {
        let bucket = &mut *self.lock();
        self.fill(bucket);
        if bucket.dropped.is_some() && bucket.bytes >= self.burst / 2 {
            let lines = bucket.dropped.take().unwrap_or(0);
            tracing::warn!(target: TARGET, handler = &*self.handler, lines, "log lines were dropped, the handler wrote too many");
        }
        let bytes = u64::try_from(LINE_BYTES + bytes).unwrap_or(u64::MAX);
        let left = bucket.bytes.checked_sub(bytes);
        if let (Some(left), None) = (left, bucket.dropped) {
            bucket.bytes = left;
            return true;
        }
        if bucket.dropped.is_none() {
            let limit = self.bytes_per_s;
            tracing::warn!(target: TARGET, handler = &*self.handler, bytes_per_s = limit, "log limit of the handler reached, lines are dropped");
        }
        *bucket.dropped.get_or_insert(0) += 1;
        self.drop_line();
        false
    }

    /// Counts a line that was not written.
    pub(super) fn drop_line(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    /// Lines that were dropped since the last call.
    pub(crate) fn take_dropped(&self) -> u64 {
        if self.dropped.load(Ordering::Relaxed) == 0 {
            return 0;
        }
        self.dropped.swap(0, Ordering::Relaxed)
    }

    fn fill(&self, bucket: &mut Bucket) {
        let now = self.clock.now();
        let passed = now.saturating_sub(bucket.filled_at).as_millis();
        let more = u128::from(self.bytes_per_s) * passed / 1_000;
        let more = u64::try_from(more).unwrap_or(u64::MAX);
        // Less than a byte is left to the next time.
        if more > 0 {
            bucket.bytes = bucket.bytes.saturating_add(more).min(self.burst);
            bucket.filled_at = now;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Bucket> {
        // Half of a change is a few bytes.
        self.bucket.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
