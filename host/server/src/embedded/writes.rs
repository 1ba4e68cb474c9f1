//! What a unit writes under keys of its own: state, timers, parks and letters, in their stored form.
//!
//! State is written without a look at what was there. The rest is rare and reads first where it must: a timer that is
//! replaced leaves its entry by due time, a parked sequence keeps where its events begin. What is read is what the
//! units before left, because at most one unit of a partition is in flight.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::time::Duration;

use rocksdb::WriteBatch;
use weir_core::identity::Hash128;
use weir_core::time::Millis;
use weir_core::unit::{
    Completion, LetterStatus, ParkedSequence, Parking, SequenceKey, TimerChange, TimerKey, Unit,
};

use super::key::{Family, Key, Kind};
use super::letter::StoredLetter;
use super::park::StoredSequence;
use super::store::{ReadError, Store};
use super::timer::Setting;
use super::{inbox, park, progress, state, timer};

/// Values that have expired and leave with one unit, beside twice as many as it sets: no more are ever set than leave.
const EXPIRED_MAX: usize = 256;
/// Bytes of their keys, beside as many as the unit writes itself: it has to fit into a transaction.
const EXPIRED_BYTES_MAX: usize = 256 << 10;
/// What stands under keys that say all.
pub(super) const NOTED: &[u8] = &[1];

/// Keys and values, one after the other in one buffer: a unit writes hundreds.
#[derive(Debug, Default)]
pub(super) struct Writes {
    buffer: Vec<u8>,
    ends: Vec<End>,
}

/// Where a key and its value end; a value as long as nothing at all is a removal.
#[derive(Debug)]
struct End {
    family: Family,
    key: usize,
    value: usize,
}

impl Writes {
    pub(super) fn len_bytes(&self) -> usize {
        self.buffer.len()
    }

    pub(super) fn count(&self) -> usize {
        self.ends.len()
    }

    /// Adds all of them in the order in which they were made.
    pub(super) fn add_to(&self, store: &Store, batch: &mut WriteBatch) {
        let families = Family::ALL.map(|family| store.family(family));
        let mut start = 0;
        for &End { family, key, value } in &self.ends {
            let (family, name) = (families[family as usize], &self.buffer[start..key]);
            if key == value {
                batch.delete_cf(family, name);
            } else {
                batch.put_cf(family, name, &self.buffer[key..value]);
            }
            start = value;
        }
    }

    /// Every key and value in the order in which they were made; none is a removal.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        let mut start = 0;
        self.ends.iter().map(move |&End { key, value, .. }| {
            let name = &self.buffer[start..key];
            start = value;
            (name, (key != value).then(|| &self.buffer[key..value]))
        })
    }

    /// Those of its keys that are of this kind.
    fn keys_of(&self, kind: Kind) -> HashSet<Vec<u8>> {
        let keys = self.iter().map(|(key, _)| key);
        let own = keys.filter(|key| key[0] == kind as u8);
        own.map(<[u8]>::to_vec).collect()
    }

    fn put<T>(&mut self, key: &Key, value: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        key.encode_into(&mut self.buffer);
        let end = self.buffer.len();
        let answer = value(&mut self.buffer);
        self.ends.push(End {
            family: key.family(),
            key: end,
            value: self.buffer.len(),
        });
        answer
    }

    fn delete(&mut self, key: &Key) {
        self.put(key, |_nothing| ());
    }
}

/// Makes the writes of one unit.
pub(super) struct UnitWriter<'a> {
    store: &'a Store,
    group: u32,
    partition: u32,
    staged_at: Millis,
    writes: Writes,
    /// Whether it is noted when state expires: compaction of a changelog leaves it, so a unit has to remove it.
    notes_expiry: bool,
    /// The values that this unit sets.
    sets: usize,
    /// Timers that this unit has changed so far.
    settings: HashMap<&'a TimerKey, Option<Setting>>,
    /// Parked sequences that this unit has changed so far.
    parks: HashMap<&'a SequenceKey, ParkChange>,
    /// When letters that this unit has changed so far died.
    deaths: HashMap<Hash128, Option<Millis>>,
}

/// What a unit does to the events of a parked sequence.
#[derive(Clone, Copy, Default)]
struct ParkChange {
    /// The lowest number that joined.
    joined: Option<u64>,
    /// The highest number that left; all before it have left too.
    left: Option<u64>,
}

impl<'a> UnitWriter<'a> {
    pub(super) fn new(store: &'a Store, group: u32, partition: u32, staged_at: Millis) -> Self {
        Self {
            store,
            group,
            partition,
            staged_at,
            writes: Writes::default(),
            notes_expiry: false,
            sets: 0,
            settings: HashMap::new(),
            parks: HashMap::new(),
            deaths: HashMap::new(),
        }
    }

    /// Of a unit that goes into a changelog.
    pub(super) fn noting_expiry(self) -> Self {
        Self {
            notes_expiry: true,
            ..self
        }
    }

    /// How many there are so far.
    pub(super) fn count(&self) -> usize {
        self.writes.count()
    }

    pub(super) fn finish(self) -> Writes {
        self.writes
    }

    /// The names that a completion sets and removes.
    pub(super) fn state(&mut self, completion: &Completion) {
        // A sequence of one event has no state: nobody could read it back.
        let SequenceKey::Keyed {
            tenant,
            key: sequence_key,
        } = &completion.sequence
        else {
            return;
        };
        for write in &completion.output.state {
            let key = Key::State {
                group: self.group,
                partition: self.partition,
                tenant,
                key: sequence_key,
                name: &write.name,
            };
            let Some(value) = &write.value else {
                self.writes.delete(&key);
                continue;
            };
            self.sets += 1;
            let life = write.ttl_ms.map(Duration::from_millis);
            let expires = life.map(|life| self.staged_at + life);
            self.writes
                .put(&key, |out| state::encode_into(out, expires, value));
            if let Some((expires, life)) = expires.zip(life).filter(|_| self.notes_expiry) {
                let noted = Key::Expiry {
                    group: self.group,
                    partition: self.partition,
                    at: state::look_at(expires, life),
                    tenant,
                    key: sequence_key,
                    name: &write.name,
                };
                self.writes.put(&noted, |out| out.extend_from_slice(NOTED));
            }
        }
    }

    /// Removes values that have expired by the time of the unit, and that it leaves as they are; a bounded number of them.
    /// Nobody has seen them since.
    pub(super) fn expired(&mut self) -> Result<(), ReadError> {
        let (store, group, partition) = (self.store, self.group, self.partition);
        let prefix = Kind::Expiry.of_partition(group, partition);
        let mut noted = store.iterate(Kind::Expiry.family(), &prefix);
        noted.seek(prefix);
        let looked_max = EXPIRED_MAX + 2 * self.sets;
        let bytes_max = EXPIRED_BYTES_MAX + self.writes.len_bytes();
        let (mut changed, mut looked, mut bytes) = (None, 0, 0);
        while let Some(entry) = noted.key()
            && looked < looked_max
            && bytes < bytes_max
            && let expiry @ Key::Expiry {
                at,
                tenant,
                key,
                name,
                ..
            } = Key::decode(entry)?
            && at <= self.staged_at
        {
            let value = Key::State {
                group,
                partition,
                tenant,
                key,
                name,
            };
            let stored = store.get(&value)?;
            let is_expired = stored.is_some_and(|it| state::is_expired(&it, self.staged_at));
            let changed = changed.get_or_insert_with(|| self.writes.keys_of(Kind::State));
            if is_expired && changed.insert(value.encode()) {
                self.writes.delete(&value);
            }
            self.writes.delete(&expiry);
            looked += 1;
            bytes += entry.len();
            noted.next();
        }
        noted.status()?;
        Ok(())
    }

    /// Answers the encoded size of the timer's record.
    pub(super) fn timer(&mut self, change: &'a TimerChange) -> Result<usize, ReadError> {
        let key = Key::Timer {
            group: self.group,
            partition: self.partition,
            sequence: (&change.key.sequence).into(),
            slot: (&change.key.slot).into(),
        };
        let after = change.timer.as_ref().map(Setting::from);
        let before = match self.settings.entry(&change.key) {
            Entry::Occupied(mut changed) => changed.insert(after),
            Entry::Vacant(unchanged) => {
                unchanged.insert(after);
                let stored = self.store.get(&key)?;
                stored
                    .map(|value| timer::decode_setting(&value))
                    .transpose()?
            }
        };
        if let Some(setting) = before {
            let due = self.due(setting);
            self.writes.delete(&due);
        }
        let Some(timer) = &change.timer else {
            if before.is_some() {
                self.writes.delete(&key);
            }
            return Ok(0);
        };
        let (due, name) = (self.due(timer.into()), key.encode());
        self.writes.put(&due, |out| out.extend_from_slice(&name));
        Ok(self.writes.put(&key, |out| timer::encode_into(out, timer)))
    }

    fn due(&self, setting: Setting) -> Key<'static> {
        setting.key(self.group, self.partition)
    }

    /// Events that join and leave the park of their sequence; [`Self::head`] follows.
    pub(super) fn parking(&mut self, sequence: &'a SequenceKey, parking: &Parking) {
        let (group, partition) = (self.group, self.partition);
        let event_key = |number| Key::ParkedEvent {
            group,
            partition,
            sequence: sequence.into(),
            number,
        };
        let change = self.parks.entry(sequence).or_default();
        if let Some((number, _bytes)) = parking.leave {
            change.left = change.left.max(Some(number));
            self.writes.delete(&event_key(number));
        }
        if let Some(event) = &parking.join {
            let joined = change.joined.unwrap_or(event.number);
            change.joined = Some(joined.min(event.number));
            self.writes.put(&event_key(event.number), |out| {
                park::encode_event_into(out, event)
            });
        }
    }

    /// A parked sequence after the unit.
    pub(super) fn head(
        &mut self,
        sequence: &SequenceKey,
        parked: Option<ParkedSequence>,
    ) -> Result<(), ReadError> {
        let key = Key::ParkedHead {
            group: self.group,
            partition: self.partition,
            sequence: sequence.into(),
        };
        let Some(parked) = parked else {
            self.writes.delete(&key);
            return Ok(());
        };
        let ParkChange { joined, left } = self.parks.get(sequence).copied().unwrap_or_default();
        let first = match left {
            Some(left) => left.saturating_add(1),
            None => match self.store.get(&key)? {
                Some(value) => StoredSequence::decode(&value)?.first,
                None => joined.unwrap_or(0),
            },
        };
        let stored = StoredSequence {
            first: first.min(joined.unwrap_or(first)),
            sequence: parked,
        };
        self.writes.put(&key, |out| stored.encode_into(out));
        Ok(())
    }

    pub(super) fn letter(&mut self, completion: &Completion) -> Result<(), ReadError> {
        let output = &completion.output;
        let Some((id, status)) = output.letter else {
            return Ok(());
        };
        let (group, partition) = (self.group, self.partition);
        let key = Key::Letter {
            group,
            partition,
            id,
        };
        let died = match (status, self.deaths.get(&id)) {
            (LetterStatus::Dead, _) => {
                let record = output.records.first();
                record.map(|out| Millis(out.record.timestamp_ms))
            }
            (_, Some(died)) => *died,
            (_, None) => {
                let stored = self.store.get(&key)?;
                let stored = stored.map(|value| StoredLetter::decode(&value));
                stored.transpose()?.and_then(|letter| letter.died)
            }
        };
        self.deaths.insert(id, died);
        let letter = StoredLetter {
            status,
            since: self.staged_at,
            died,
        };
        self.writes.put(&key, |out| letter.encode_into(out));
        Ok(())
    }

    /// On what the partition stands, in the words of whom it is for.
    pub(super) fn begun(&mut self, origin: &[u8]) {
        let (group, partition) = (self.group, self.partition);
        self.writes.put(&Key::Begun { group, partition }, |out| {
            out.extend_from_slice(origin)
        });
    }

    /// Where the partition stands after the unit, its inbox marks, and the marks that have left the window.
    pub(super) fn progress(&mut self, unit: &Unit) {
        let (group, partition) = (self.group, self.partition);
        let block = |unit| Key::InboxBlock {
            group,
            partition,
            unit,
        };
        if let Some(marks) = inbox::encode_unit(unit) {
            self.writes
                .put(&block(unit.number), |out| out.extend_from_slice(&marks));
        }
        for &expired in &unit.expired_blocks {
            self.writes.delete(&block(expired));
        }
        let stored = progress::encode_unit(unit);
        self.writes.put(&Key::Progress { group, partition }, |out| {
            out.extend_from_slice(&stored)
        });
    }
}
