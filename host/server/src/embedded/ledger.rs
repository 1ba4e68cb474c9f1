//! The ledger's side: units of work go to the committer, everything else is read.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use weir_core::unit::{CommitResult, Cursor, InboxBlock, Restore, SequenceKey, Unit};

use super::catalog::{Catalog, Group, PartitionLog};
use super::committer::Rejected;
use super::key::{Family, Key, PARTITION_PREFIX};
use super::staging::StagedUnit;
use super::store::{ReadError, Store};
use super::{Embedded, inbox, progress, state};
use crate::clock::now;
use crate::ledger::{Ledger, LedgerError, Scope};

impl Ledger for Embedded {
    fn restore(
        &self,
        scope: &Scope,
        partition: u32,
    ) -> BoxFuture<'static, Result<Restore, LedgerError>> {
        let (inner, owned) = (Arc::clone(&self.inner), scope.clone());
        // An inbox window is megabytes: too long a read for the runtime's own threads.
        let read = move || {
            let group = inner
                .catalog
                .group(&inner.store, &owned.group, &owned.topics)
                .map_err(|error| failed("progress", &owned, error))?;
            restore(&inner.store, &inner.catalog, &group, partition)
                .map_err(|error| failed("progress", &owned, error))
        };
        let group = Arc::clone(&scope.group);
        Box::pin(async move {
            let what = "progress";
            let read = tokio::task::spawn_blocking(read).await;
            read.unwrap_or_else(|error| {
                Err(LedgerError {
                    what,
                    group,
                    source: error.into(),
                })
            })
        })
    }

    fn commit(
        &self,
        scope: &Scope,
        partition: u32,
        unit: Unit,
    ) -> BoxFuture<'static, CommitResult> {
        let inner = Arc::clone(&self.inner);
        let group = inner
            .catalog
            .group(&inner.store, &scope.group, &scope.topics);
        Box::pin(async move {
            if let Err(message) = inner.disk.check_units() {
                return CommitResult::Unavailable { message };
            }
            let group = match group {
                Ok(group) => group,
                Err(error) => {
                    return CommitResult::Unavailable {
                        message: error.to_string(),
                    };
                }
            };
            let staged = match StagedUnit::new(&inner.catalog, group, partition, &unit) {
                Ok(staged) => staged,
                Err(refused) => return refused,
            };
            drop(unit);
            match inner.committer.commit(staged).await {
                Ok(result) => result,
                Err(Rejected::Closed | Rejected::Full) => CommitResult::Unavailable {
                    message: "the store is being closed".to_owned(),
                },
            }
        })
    }

    fn state(
        &self,
        scope: &Scope,
        partition: u32,
        sequence: &SequenceKey,
        name: &str,
    ) -> Result<Option<Bytes>, LedgerError> {
        let Some(Sequence { group, tenant, key }) = self.sequence(scope, sequence)? else {
            return Ok(None);
        };
        let key = Key::State {
            group: group.id,
            partition,
            tenant,
            key,
            name,
        };
        let read = || -> Result<_, ReadError> {
            let Some(bytes) = self.inner.store.get(&key)? else {
                return Ok(None);
            };
            let stored = state::decode(&bytes)?;
            Ok((!stored.is_expired(now())).then_some(stored.value))
        };
        read().map_err(|error| failed("state", scope, error))
    }

    fn state_names(
        &self,
        scope: &Scope,
        partition: u32,
        sequence: &SequenceKey,
    ) -> Result<Vec<String>, LedgerError> {
        let Some(Sequence { group, tenant, key }) = self.sequence(scope, sequence)? else {
            return Ok(Vec::new());
        };
        let prefix = Key::State {
            group: group.id,
            partition,
            tenant,
            key,
            name: "",
        }
        .encode();
        let (mut names, now) = (Vec::new(), now());
        let read = self.inner.store.scan(
            Family::State,
            &prefix,
            |key, value| -> Result<bool, ReadError> {
                if let Key::State { name, .. } = key
                    && !state::is_expired(value, now)
                {
                    names.push(name.to_owned());
                }
                Ok(true)
            },
        );
        read.map_err(|error| failed("state names", scope, error))?;
        Ok(names)
    }
}

impl Embedded {
    /// Where the state of a sequence lies; none for a sequence of one event.
    fn sequence<'a>(
        &self,
        scope: &Scope,
        sequence: &'a SequenceKey,
    ) -> Result<Option<Sequence<'a>>, LedgerError> {
        let SequenceKey::Keyed { tenant, key } = sequence else {
            return Ok(None);
        };
        let group = self
            .inner
            .catalog
            .group(&self.inner.store, &scope.group, &scope.topics);
        Ok(Some(Sequence {
            group: group.map_err(|error| failed("state", scope, error))?,
            tenant,
            key,
        }))
    }
}

/// What the keys of a sequence's state begin with.
struct Sequence<'a> {
    group: Arc<Group>,
    tenant: &'a str,
    key: &'a [u8],
}

fn restore(
    store: &Store,
    catalog: &Catalog,
    group: &Group,
    partition: u32,
) -> Result<Restore, ReadError> {
    let progress = match store.get(&Key::Progress {
        group: group.id,
        partition,
    })? {
        Some(value) => progress::decode(&value)?,
        None => progress::Progress::default(),
    };
    let mut cursors = progress.cursors;
    for topic in group.topics.iter().skip(cursors.len()) {
        let topic = catalog.topic(topic);
        let start = topic
            .as_ref()
            .and_then(|topic| topic.partition(partition))
            .map_or(0, PartitionLog::start);
        cursors.push(Cursor {
            frontier: start,
            completed: Vec::new(),
        });
    }
    let mut blocks: Vec<InboxBlock> = Vec::new();
    let prefix = Key::InboxBlock {
        group: group.id,
        partition,
        unit: 0,
    }
    .encode();
    store.scan(
        Family::Ledger,
        &prefix[..PARTITION_PREFIX],
        |key, value| -> Result<bool, ReadError> {
            if let Key::InboxBlock { unit, .. } = key {
                blocks.push(inbox::decode(unit, value)?);
            }
            Ok(true)
        },
    )?;
    Ok(Restore {
        unit: progress.unit,
        cursors,
        open: progress.open,
        inbox: blocks,
        stream_time: progress.stream_time,
    })
}

fn failed(
    what: &'static str,
    scope: &Scope,
    error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> LedgerError {
    LedgerError {
        what,
        group: Arc::clone(&scope.group),
        source: error.into(),
    }
}
