//! What a partition of a subscription holds in the store, read by point or by range.

use std::ops::RangeInclusive;

use bytes::Bytes;
use weir_core::identity::Hash128;
use weir_core::inbox::{self as window, Inbox};
use weir_core::unit::{
    Marked, ParkedEvent, ParkedSequence, SequenceKey, Timer, TimerKey, TimerPage, TimerPlace,
    TimerSlot,
};

use super::key::{Key, Kind, Slot};
use super::letter::StoredLetter;
use super::park::{self, StoredSequence};
use super::store::{ReadError, Store};
use super::{inbox, state, timer};
use crate::clock::now;

/// Whose keys are read.
#[derive(Clone, Copy)]
pub(super) struct PartitionReads<'a> {
    pub(super) store: &'a Store,
    pub(super) group: u32,
    pub(super) partition: u32,
}

impl PartitionReads<'_> {
    /// A value; expired ones are absent.
    pub(super) fn state(
        &self,
        sequence: &SequenceKey,
        name: &str,
    ) -> Result<Option<Bytes>, ReadError> {
        let Some(key) = self.state_key(sequence, name) else {
            return Ok(None);
        };
        let Some(bytes) = self.store.get(&key)? else {
            return Ok(None);
        };
        let stored = state::decode(&bytes)?;
        Ok((!stored.is_expired(now())).then_some(stored.value))
    }

    /// Calls `each` with the names of a sequence, sorted, and the bytes of their values.
    pub(super) fn each_state(
        &self,
        sequence: &SequenceKey,
        mut each: impl FnMut(&str, usize),
    ) -> Result<(), ReadError> {
        let Some(prefix) = self.state_key(sequence, "") else {
            return Ok(());
        };
        let now = now();
        self.store
            .scan(Kind::State.family(), &prefix.encode(), |key, value| {
                if let Key::State { name, .. } = key
                    && !state::is_expired(value, now)
                {
                    each(name, state::value_bytes(value)?);
                }
                Ok(true)
            })
    }

    /// None for a sequence of one event, which has no state.
    fn state_key<'a>(&self, sequence: &'a SequenceKey, name: &'a str) -> Option<Key<'a>> {
        let SequenceKey::Keyed { tenant, key } = sequence else {
            return None;
        };
        Some(Key::State {
            group: self.group,
            partition: self.partition,
            tenant,
            key,
            name,
        })
    }

    pub(super) fn parked_sequence(
        &self,
        sequence: &SequenceKey,
    ) -> Result<Option<ParkedSequence>, ReadError> {
        let stored = self.store.get(&Key::ParkedHead {
            group: self.group,
            partition: self.partition,
            sequence: sequence.into(),
        })?;
        let stored = stored.map(|value| StoredSequence::decode(&value));
        Ok(stored.transpose()?.map(|stored| stored.sequence))
    }

    /// Parked sequences, at most `max`.
    pub(super) fn parked(
        &self,
        max: usize,
    ) -> Result<Vec<(SequenceKey, ParkedSequence)>, ReadError> {
        let mut parked = Vec::new();
        self.each_of(Kind::ParkedHead, |key, value| {
            if let Key::ParkedHead { sequence, .. } = key {
                if parked.len() == max {
                    return Ok(false);
                }
                let stored = StoredSequence::decode(value)?;
                parked.push((sequence.into(), stored.sequence));
            }
            Ok(true)
        })?;
        Ok(parked)
    }

    /// Events of a parked sequence by ascending number, at most `max`.
    pub(super) fn parked_events(
        &self,
        sequence: &SequenceKey,
        max: usize,
    ) -> Result<Vec<ParkedEvent>, ReadError> {
        let &Self {
            group, partition, ..
        } = self;
        let sequence = sequence.into();
        let head = Key::ParkedHead {
            group,
            partition,
            sequence,
        };
        let Some(head) = self.store.get(&head)? else {
            return Ok(Vec::new());
        };
        let first = Key::ParkedEvent {
            group,
            partition,
            sequence,
            number: StoredSequence::decode(&head)?.first,
        }
        .encode();
        let prefix = &first[..first.len() - size_of::<u64>()];
        let mut events = Vec::new();
        self.store
            .scan_from(Kind::ParkedEvent.family(), prefix, &first, |key, value| {
                if let Key::ParkedEvent { number, .. } = key {
                    if events.len() == max {
                        return Ok(false);
                    }
                    events.push(park::decode_event(number, value)?);
                }
                Ok::<_, ReadError>(events.len() < max)
            })?;
        Ok(events)
    }

    pub(super) fn timer(&self, key: &TimerKey) -> Result<Option<Timer>, ReadError> {
        let stored = self.store.get(&Key::Timer {
            group: self.group,
            partition: self.partition,
            sequence: (&key.sequence).into(),
            slot: (&key.slot).into(),
        })?;
        Ok(stored.map(|value| timer::decode(&value)).transpose()?)
    }

    /// The timers that come next after this place, at most `max`.
    pub(super) fn timers(
        &self,
        after: Option<TimerPlace>,
        max: usize,
    ) -> Result<TimerPage, ReadError> {
        let prefix = Kind::Due.of_partition(self.group, self.partition);
        let from = after.map_or_else(
            || prefix.to_vec(),
            |(due, id)| {
                let (group, partition) = (self.group, self.partition);
                let key = Key::Due {
                    group,
                    partition,
                    due,
                    id,
                };
                key.encode()
            },
        );
        let mut page = TimerPage::default();
        self.store
            .scan_from(Kind::Due.family(), &prefix, &from, |key, value| {
                if let Key::Due { due, id, .. } = key
                    && after != Some((due, id))
                {
                    page.more = page.timers.len() == max;
                    if page.more {
                        return Ok(false);
                    }
                    page.timers.push((timer::decode_due(value)?, due, id));
                }
                Ok::<_, ReadError>(true)
            })?;
        Ok(page)
    }

    /// The timers that the handler has set in a sequence.
    pub(super) fn timers_of(&self, sequence: &SequenceKey) -> Result<TimerPage, ReadError> {
        let mut page = TimerPage::default();
        self.each_timer(sequence, |name, value| {
            let timer::Setting { due, id } = timer::decode_setting(value)?;
            let key = TimerKey {
                sequence: sequence.clone(),
                slot: TimerSlot::Named(name.into()),
            };
            page.timers.push((key, due, id));
            Ok(())
        })?;
        Ok(page)
    }

    /// Their names.
    pub(super) fn timer_names(&self, sequence: &SequenceKey) -> Result<Vec<String>, ReadError> {
        let mut names = Vec::new();
        self.each_timer(sequence, |name, _value| {
            names.push(name.to_owned());
            Ok(())
        })?;
        Ok(names)
    }

    fn each_timer(
        &self,
        sequence: &SequenceKey,
        mut each: impl FnMut(&str, &[u8]) -> Result<(), ReadError>,
    ) -> Result<(), ReadError> {
        let prefix = Key::Timer {
            group: self.group,
            partition: self.partition,
            sequence: sequence.into(),
            slot: Slot::Named(""),
        };
        self.store
            .scan(Kind::Timer.family(), &prefix.encode(), |key, value| {
                if let Key::Timer {
                    slot: Slot::Named(name),
                    ..
                } = key
                {
                    each(name, value)?;
                }
                Ok(true)
            })
    }

    pub(super) fn letter(&self, id: Hash128) -> Result<Option<StoredLetter>, ReadError> {
        let stored = self.store.get(&Key::Letter {
            group: self.group,
            partition: self.partition,
            id,
        })?;
        Ok(stored
            .map(|value| StoredLetter::decode(&value))
            .transpose()?)
    }

    /// All inbox blocks.
    pub(super) fn inbox(&self, window: window::Config) -> Result<Inbox, ReadError> {
        let mut all = Inbox::new(window);
        self.each_of(Kind::InboxBlock, |key, value| {
            if let Key::InboxBlock { unit, .. } = key {
                all.insert(inbox::decode(unit, value)?);
            }
            Ok(true)
        })?;
        Ok(all)
    }

    /// When the last of these units that marked an id was staged.
    pub(super) fn marked(
        &self,
        id: Hash128,
        units: &[RangeInclusive<u64>],
    ) -> Result<Option<Marked>, ReadError> {
        let kind = Kind::InboxBlock;
        let prefix = kind.of_partition(self.group, self.partition);
        let mut found = None;
        for units in units {
            let (group, partition, unit) = (self.group, self.partition, *units.start());
            let from = Key::InboxBlock {
                group,
                partition,
                unit,
            };
            self.store
                .scan_from(kind.family(), &prefix, &from.encode(), |key, value| {
                    if let Key::InboxBlock { unit, .. } = key {
                        if unit > *units.end() {
                            return Ok(false);
                        }
                        found = inbox::find(value, id)?.or(found);
                    }
                    Ok::<_, ReadError>(true)
                })?;
        }
        Ok(found)
    }

    /// Calls `each` with all keys of this kind, in order, until it answers false.
    fn each_of(
        &self,
        kind: Kind,
        each: impl FnMut(Key, &[u8]) -> Result<bool, ReadError>,
    ) -> Result<(), ReadError> {
        let prefix = kind.of_partition(self.group, self.partition);
        self.store.scan(kind.family(), &prefix, each)
    }
}
