//! L0 of the inbox: exactly the completed positions of one topic partition, without a window.

use std::collections::BTreeMap;

use crate::unit::Cursor;

/// Completed positions that are durable, and how far records were admitted.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress {
    frontier: u64,
    /// Half-open ranges after the frontier by their start; neither empty nor touching.
    completed: BTreeMap<u64, u64>,
    /// One past the highest position that was admitted.
    next: u64,
}

impl Progress {
    pub(super) fn restore(cursor: Cursor) -> Self {
        Self {
            frontier: cursor.frontier,
            completed: cursor.completed.into_iter().collect(),
            next: cursor.frontier,
        }
    }

    pub(super) fn frontier(&self) -> u64 {
        self.frontier
    }

    /// One past the highest position that was admitted.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// From the first open position to the last admitted.
    pub(super) fn span(&self) -> u64 {
        self.next.saturating_sub(self.frontier)
    }

    pub(super) fn is_completed(&self, offset: u64) -> bool {
        offset < self.frontier
            || self
                .completed
                .range(..=offset)
                .next_back()
                .is_some_and(|(_, end)| offset < *end)
    }

    /// Notes that this offset was read and says whether the bus passed over open offsets before it.
    pub(super) fn admit(&mut self, offset: u64) -> bool {
        let passed = self.pass(offset);
        self.next = self.next.max(offset + 1);
        passed
    }

    /// Notes that all was read before this offset, and says whether there were open offsets that did not come. Those
    /// (transaction markers, compacted records) hold no record and count as completed.
    pub(super) fn pass(&mut self, to: u64) -> bool {
        let gaps = self.open_in(self.next, to);
        for (start, end) in &gaps {
            self.complete_range(*start, *end);
        }
        self.next = self.next.max(to);
        !gaps.is_empty()
    }

    pub(super) fn complete(&mut self, offset: u64) {
        self.complete_range(offset, offset + 1);
    }

    pub(super) fn cursor(&self) -> Cursor {
        Cursor {
            frontier: self.frontier,
            completed: self.completed.iter().map(|(s, e)| (*s, *e)).collect(),
        }
    }

    /// The parts of `from..to` that are not completed.
    fn open_in(&self, from: u64, to: u64) -> Vec<(u64, u64)> {
        let mut open = Vec::new();
        let mut at = from.max(self.frontier);
        if at >= to {
            return open;
        }
        for (&start, &end) in self.completed.range(..to) {
            if start > at {
                open.push((at, start));
            }
            at = at.max(end);
        }
        if at < to {
            open.push((at, to));
        }
        open
    }

    /// Invariant: no offset of the range is completed.
    fn complete_range(&mut self, mut start: u64, mut end: u64) {
        if start == self.frontier {
            self.frontier = end;
            while let Some(next) = self.completed.first_entry() {
                if *next.key() != self.frontier {
                    break;
                }
                self.frontier = next.remove();
            }
            return;
        }
        if let Some((&before, &before_end)) = self.completed.range(..start).next_back()
            && before_end == start
        {
            self.completed.remove(&before);
            start = before;
        }
        if let Some(after_end) = self.completed.remove(&end) {
            end = after_end;
        }
        self.completed.insert(start, end);
    }
}

#[cfg(test)]
mod tests;
