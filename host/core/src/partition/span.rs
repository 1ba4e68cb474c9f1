//! How long the first open position of a topic may wait for a retry: no longer than the span allows.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Partition, Progress, Stage};
use crate::gate::Pass;
use crate::time::Millis;
use crate::unit::{ItemId, Position};

impl Partition {
    /// The first open position of a topic may not wait longer than the span allows: its sequence is set aside.
    /// True when one was.
    pub(super) fn relieve_span(&mut self, now: Millis, gate: &dyn Pass) -> bool {
        if !self.sets_aside() || gate.is_open(now) {
            return false;
        }
        let limits = &self.config.limits;
        let late = self.blockers().filter(|(_, progress, since)| {
            progress.span() >= limits.span_max || now.since(*since) >= limits.span_age_max
        });
        let late: BTreeSet<ItemId> = late.map(|(blocker, ..)| blocker).collect();
        let is_late = !late.is_empty();
        for item in late {
            if let Some(Stage::RetryWait(at)) = self.entries.get(&item).map(|entry| &entry.stage) {
                self.retries.remove(&(*at, item));
                self.set_aside(now, item);
            }
        }
        is_late
    }

    /// When a first open position will have waited as long as it may.
    pub(super) fn span_due_at(&self) -> Option<Millis> {
        let age_max = self.config.limits.span_age_max;
        let due = self.blockers().map(|(.., since)| since + age_max);
        due.min().filter(|_| self.sets_aside())
    }

    /// How long a first open position has waited.
    pub(super) fn span_age(&self, now: Millis) -> Duration {
        let ages = self.blockers().map(|(.., since)| now.since(since));
        ages.max().unwrap_or_default()
    }

    /// Whoever waits for a retry and holds the first open position of a topic up, and since when.
    fn blockers(&self) -> impl Iterator<Item = (ItemId, &Progress, Millis)> {
        let topics = (0..).zip(&self.progress);
        let topics = topics.filter(|_| !self.retries.is_empty());
        topics.filter_map(|(topic, progress)| {
            let offset = progress.frontier();
            let blocker = self.blocker(ItemId::Record(Position { topic, offset }))?;
            Some((blocker, progress, self.entries.get(&blocker)?.admitted))
        })
    }

    /// Whoever waits for a retry so that `item` cannot get its fate: itself, the head of its lane, or the holder of
    /// its id.
    fn blocker(&self, item: ItemId) -> Option<ItemId> {
        let sequence = &self.entries.get(&item)?.sequence;
        let head = self.lanes.get(sequence).and_then(super::Lane::head)?;
        let entry = self.entries.get(&head)?;
        let blocker = match entry.stage {
            Stage::RetryWait(_) => head,
            Stage::AwaitsId => self.ids.get(&entry.mark?)?.0,
            Stage::Queued
            | Stage::Ready
            | Stage::Loading
            | Stage::Running(_)
            | Stage::Staged(_) => return None,
        };
        let entry = self.entries.get(&blocker)?;
        let waits = matches!(entry.stage, Stage::RetryWait(_)) && entry.event.is_some();
        // One that waits for the ledger's word on its id may turn out to be a duplicate.
        let own_id = entry.mark.is_none_or(|mark| self.holds(mark, blocker));
        (waits && own_id).then_some(blocker)
    }
}
