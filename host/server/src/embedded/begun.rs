//! That a partition of a subscription has positions, and in which topics: the value of
//! [`Key::Begun`](super::key::Key::Begun). It lies apart from the positions, so that their loss shows, and so does a
//! topic of the same name that is another one.
//!
//! `version u8, topic u32*`, in the order of the subscription; zero is none.

use bytes::Bytes;
use rocksdb::WriteBatch;

use super::Embedded;
use super::catalog::{Catalog, Group, PartitionLog};
use super::codec::{DecodeError, Input};
use super::key::Key;
use super::progress;
use super::store::{ReadError, Store};
use crate::ledger::{LostPosition, Stood};

const VERSION: u8 = 1;

/// The value for a subscription's topics as they are.
pub(super) fn encode(catalog: &Catalog, group: &Group) -> Vec<u8> {
    let mut out = vec![VERSION];
    for topic in numbers(catalog, group) {
        out.extend_from_slice(&topic.to_le_bytes());
    }
    out
}

fn numbers(catalog: &Catalog, group: &Group) -> impl Iterator<Item = u32> {
    let topics = group.topics.iter();
    topics.map(|name| catalog.topic(name).map_or(0, |topic| topic.id))
}

fn decode(bytes: &[u8]) -> Result<Vec<u32>, DecodeError> {
    let mut input = Input::versioned("partition", Bytes::copy_from_slice(bytes), VERSION)?;
    let mut topics = Vec::new();
    while !input.is_empty() {
        topics.push(input.u32()?);
    }
    Ok(topics)
}

impl Embedded {
    /// Notes that a partition has positions in these topics, unless that is noted. Blocks until it is durable.
    pub(super) fn note_begun(&self, group: &Group, partition: u32) -> Result<(), ReadError> {
        let (store, catalog) = (&self.inner.store, &self.inner.catalog);
        let key = Key::Begun {
            group: group.id,
            partition,
        };
        let value = encode(catalog, group);
        if store.get(&key)?.is_none_or(|known| *known != *value) {
            let mut batch = WriteBatch::default();
            store.put(&mut batch, &key, &value);
            store.write_synced(batch);
        }
        Ok(())
    }
}

/// The positions of a partition that lead nowhere.
pub(super) fn lost(
    store: &Store,
    catalog: &Catalog,
    group: &Group,
    partition: u32,
) -> Result<Vec<LostPosition>, ReadError> {
    let id = group.id;
    let begun = store.get(&Key::Begun {
        group: id,
        partition,
    })?;
    let Some(begun) = begun.map(|value| decode(&value)).transpose()? else {
        // It is new, or an older version had it, which noted nothing.
        return Ok(Vec::new());
    };
    let stored = store.get(&Key::Progress {
        group: id,
        partition,
    })?;
    let cursors = match &stored {
        Some(value) => progress::decode(value)?.cursors,
        None => Vec::new(),
    };
    let mut lost = Vec::new();
    for ((at, name), number) in (0..).zip(group.topics.iter()).zip(numbers(catalog, group)) {
        let topic = catalog.topic(name);
        let Some(log) = topic.as_ref().and_then(|topic| topic.partition(partition)) else {
            continue;
        };
        let bounds = (PartitionLog::start(log), log.end());
        let was = begun.get(usize::from(at)).copied().unwrap_or(0);
        let stood = match cursors.get(usize::from(at)) {
            None if stored.is_none() && was != 0 => Stood::Nowhere,
            None => continue,
            Some(cursor) if was != 0 && was != number => Stood::OnAnother(cursor.frontier),
            Some(cursor) => Stood::At(cursor.frontier),
        };
        lost.extend(LostPosition::of(at, stood, bounds));
    }
    Ok(lost)
}

#[cfg(test)]
mod tests;
