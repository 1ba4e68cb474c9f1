//! What a new owner of a partition is given back.

use weir_core::inbox;
use weir_core::partition::TIMERS_RESIDENT_MAX;
use weir_core::unit::{Cursor, Restore};

use super::catalog::{Catalog, Group, PartitionLog};
use super::key::Key;
use super::progress::{self, Progress};
use super::reads::PartitionReads;
use super::store::{ReadError, Store};

pub(super) fn restore(
    store: &Store,
    catalog: &Catalog,
    group: &Group,
    partition: u32,
    window: inbox::Config,
) -> Result<Restore, ReadError> {
    let progress = match store.get(&Key::Progress {
        group: group.id,
        partition,
    })? {
        Some(value) => progress::decode(&value)?,
        None => Progress::default(),
    };
    let extent = |read: fn(&PartitionLog) -> u64| {
        group.topics.iter().map(move |topic| {
            let topic = catalog.topic(topic);
            let log = topic.as_ref().and_then(|topic| topic.partition(partition));
            log.map_or(0, read)
        })
    };
    let mut cursors = progress.cursors;
    let unread = extent(PartitionLog::start).skip(cursors.len());
    cursors.extend(unread.map(|frontier| Cursor {
        frontier,
        completed: Vec::new(),
    }));
    let reads = PartitionReads {
        store,
        group: group.id,
        partition,
    };
    Ok(Restore {
        unit: progress.unit,
        cursors,
        open: progress.open,
        parked: reads.parked(usize::MAX)?,
        timers: reads.timers(None, TIMERS_RESIDENT_MAX)?,
        lease: progress.lease,
        marked: progress.marked,
        witnessed: false,
        active: progress.active,
        next_parked: progress.next_parked,
        ends: extent(PartitionLog::end).collect(),
        inbox: reads.inbox(window)?,
        stream_time: progress.stream_time,
    })
}
