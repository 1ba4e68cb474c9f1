//! Events on their way into the park and out of it.

use std::sync::Arc;

use super::outcome::{aside, fresh_head};
use super::{Decoded, Entry, Partition, Stage, Work};
use crate::identity::Hash128;
use crate::time::Millis;
use crate::unit::{
    Attempts, Fate, Head, ItemId, Output, ParkedEvent, Parking, SequenceKey, TimerChange,
};

impl Partition {
    /// Sets an event aside: behind its sequence, or as the first of it with what is next.
    pub(super) fn park(&mut self, now: Millis, item: ItemId, head: Option<Head>) {
        let Some(entry) = self.entries.get(&item) else {
            return;
        };
        let sequence = entry.sequence.clone();
        let mut output = Output::default();
        if let Work::Timer(key) = &entry.work {
            // The firing is an event of its sequence from here on; the name is free again.
            output.timers.push(TimerChange {
                key: key.clone(),
                timer: None,
            });
        }
        let head = self.begin_park(&sequence, head);
        output.parking = Some(Box::new(Parking {
            join: Some(self.parked_event(now, item, None)),
            leave: None,
            head,
        }));
        self.stage(now, item, Fate::Parked, output);
    }

    /// Sets an event aside that did not fail: the breaker wants it, or the span is at its bound.
    pub(super) fn set_aside(&mut self, now: Millis, item: ItemId) {
        if self.is_parked_item(item) {
            let attempts = self.attempts(item);
            return self.repark(now, item, now + aside(&self.config.retry), attempts);
        }
        let head = Head {
            due: now + aside(&self.config.retry),
            attempts: self.attempts(item),
            letter: None,
            held: false,
        };
        self.park(now, item, Some(head));
    }

    /// Makes a sequence known as parked; what is next counts only if it was not.
    pub(super) fn begin_park(
        &mut self,
        sequence: &SequenceKey,
        head: Option<Head>,
    ) -> Option<Head> {
        if self.park.contains(sequence) {
            return None;
        }
        let head = head.unwrap_or_else(|| fresh_head(Millis(0)));
        self.park.begin(sequence.clone(), head);
        Some(head)
    }

    /// The parked form of an item.
    pub(super) fn parked_event(
        &mut self,
        now: Millis,
        item: ItemId,
        letter: Option<Hash128>,
    ) -> ParkedEvent {
        let number = self.park.take_number();
        let record = self.entries.get(&item).map(|entry| (*entry.record).clone());
        ParkedEvent {
            number,
            record: record.unwrap_or_default(),
            origin: self.origin(item),
            parked_at: now,
            parked_active: self.clock.active,
            letter,
            replays: 0,
        }
    }

    /// The first event of a parked sequence failed, or must wait: what is next is written with the next unit.
    pub(super) fn repark(&mut self, now: Millis, item: ItemId, due: Millis, attempts: Attempts) {
        let Some(entry) = self.entries.remove(&item) else {
            return;
        };
        self.memory.give_back(entry.bytes);
        self.tallies.remove(&item);
        self.park.wait(entry.sequence, due, attempts);
        self.commits.changed(now);
    }

    /// The first event of a parked sequence is here.
    pub(super) fn unpark(
        &mut self,
        now: Millis,
        sequence: SequenceKey,
        parked: ParkedEvent,
        decoded: Decoded,
    ) {
        let item = ItemId::Parked(parked.number);
        let tenant = super::admission::tenant(decoded.event());
        let record = Arc::new(parked.record.clone());
        let entry = Entry {
            tenant,
            sequence,
            bytes: record.bytes(),
            written: 0,
            record,
            event: None,
            mark: None,
            // Whatever was parked before the host ended may have been running then.
            admitted: parked.parked_at,
            work: Work::Parked(Box::new(parked)),
            stage: Stage::Queued,
        };
        self.admit(item, entry, false);
        self.begin(now, item, decoded);
    }
}
