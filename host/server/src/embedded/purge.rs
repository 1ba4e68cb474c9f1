//! Deletes a subscription: everything that the schema keeps under its number. Topics and dead letters stay.

use rocksdb::WriteBatch;

use super::Embedded;
use super::key::{self, Key};
use super::store::{ReadError, Store};

/// What was deleted of a subscription.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Purged {
    /// Entries by what they were, such as `state`.
    pub entries: Vec<(&'static str, u64)>,
}

/// Why nothing was deleted.
#[derive(Debug, thiserror::Error)]
pub enum PurgeError {
    /// Nothing is known under this name.
    #[error("there is no subscription {group:?}; there are {}", list(known))]
    Unknown {
        /// What was asked.
        group: String,
        /// What there is.
        known: Vec<String>,
    },
    /// The store could not be read.
    #[error("count what belongs to subscription {group:?}")]
    Read {
        /// Which.
        group: String,
        /// Cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

fn list(names: &[String]) -> String {
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}

impl Embedded {
    /// Deletes all that is kept of the subscription, at once or not at all. It must not be served meanwhile. Blocks.
    pub fn purge_subscription(&self, group: &str) -> Result<Purged, PurgeError> {
        let (store, catalog) = (&self.inner.store, &self.inner.catalog);
        // Nobody registers it between the look and the deletion.
        let _held = catalog.hold_subscriptions();
        let Some(id) = catalog.group_id(group) else {
            return Err(PurgeError::Unknown {
                group: group.to_owned(),
                known: catalog.group_names(),
            });
        };
        let mut batch = WriteBatch::default();
        let mut entries = Vec::new();
        for kind in key::OF_GROUP {
            let count = count(store, kind, id).map_err(|error| PurgeError::Read {
                group: group.to_owned(),
                source: error.into(),
            })?;
            entries.push((kind.name, count));
            store.delete_prefix(&mut batch, kind.family, &kind.prefix(id));
        }
        store.delete(&mut batch, &Key::Group { group: id });
        store.write_synced(batch);
        catalog.forget_group(group);
        Ok(Purged { entries })
    }
}

fn count(store: &Store, kind: key::GroupKind, group: u32) -> Result<u64, ReadError> {
    let prefix = kind.prefix(group);
    let mut iterator = store.iterate(kind.family, &prefix);
    iterator.seek(prefix);
    let mut count = 0;
    while iterator.valid() {
        count += 1;
        iterator.next();
    }
    iterator.status()?;
    Ok(count)
}
