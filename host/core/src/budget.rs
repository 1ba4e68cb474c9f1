//! Memory for events that the partitions of a host share.
//!
//! Half of it is divided evenly, so that no partition is starved by others; a partition that needs more than its own
//! part borrows from the other half. When that is spent, whoever wants to borrow reads no more.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// The memory of a host.
#[derive(Debug)]
pub struct Budget {
    /// What each partition has for itself.
    own: usize,
    /// What all may borrow from.
    shared: usize,
    borrowed: AtomicUsize,
    turns: AtomicU64,
}

impl Budget {
    /// Bytes for so many partitions. Each may have one event, however little that leaves for it.
    #[must_use]
    pub fn new(bytes: usize, partitions: usize) -> Self {
        let own = (bytes / 2 / partitions.max(1)).max(1);
        Self {
            own,
            shared: bytes.saturating_sub(own.saturating_mul(partitions)),
            borrowed: AtomicUsize::new(0),
            turns: AtomicU64::new(0),
        }
    }

    /// Whether nothing is left to borrow.
    #[must_use]
    pub fn is_spent(&self) -> bool {
        self.borrowed.load(Ordering::Relaxed) >= self.shared
    }

    /// Grows whenever those that could not borrow should ask again.
    #[must_use]
    pub fn turns(&self) -> u64 {
        self.turns.load(Ordering::Relaxed)
    }

    fn borrow(&self, bytes: usize) {
        self.borrowed.fetch_add(bytes, Ordering::Relaxed);
    }

    fn give_back(&self, bytes: usize) {
        let before = self.borrowed.fetch_sub(bytes, Ordering::Relaxed);
        if before >= self.shared && before - bytes < self.shared {
            self.turns.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// What one partition holds.
#[derive(Debug)]
pub struct Share {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Share {
    /// Of a partition that holds nothing.
    #[must_use]
    pub fn new(budget: Arc<Budget>) -> Self {
        Self { budget, bytes: 0 }
    }

    /// What it holds.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether it may take more. One that holds nothing always may.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.bytes < self.budget.own || !self.budget.is_spent()
    }

    /// Takes so many bytes more: a record is taken as a whole.
    pub fn take(&mut self, bytes: usize) {
        let before = self.borrowed();
        self.bytes += bytes;
        let more = self.borrowed() - before;
        if more > 0 {
            self.budget.borrow(more);
        }
    }

    /// Gives so many bytes back.
    pub fn give_back(&mut self, bytes: usize) {
        let before = self.borrowed();
        self.bytes -= bytes;
        let less = before - self.borrowed();
        if less > 0 {
            self.budget.give_back(less);
        }
    }

    fn borrowed(&self) -> usize {
        self.bytes.saturating_sub(self.budget.own)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.give_back(self.bytes);
    }
}

#[cfg(test)]
mod tests;
