//! What a ledger lacks that it must have: why what was read of it is not believed.
//!
//! The number of the last unit says that the end is there. It says nothing of the rest: a topic that was made anew while
//! a host went on ends with the right unit too. The first unit of each partition says on what it stands, by an entry that
//! nothing removes and that later units write again at most, so it is there as long as the beginning is. A topic that is
//! only compacted begins at offset 0 for ever; whatever else its beginning is, somebody has deleted what was before.
//!
//! Parked events lie in a topic of their own, which no unit has to write to. How many there are of each sequence says the
//! ledger.

use crate::embedded::{Extent, Missing};

/// A ledger from which nobody may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Gap {
    #[error(
        "the last unit is {offsets} by the positions and {ledger} by the {entries} entries of the ledger topic up to \
         offset {end}; was it made anew?"
    )]
    End {
        offsets: u64,
        ledger: u64,
        entries: u64,
        end: u64,
    },
    #[error(
        "the ledger topic ends with unit {unit} and lacks the first, by its {entries} entries up to offset {end}; was it \
         made anew?"
    )]
    Beginning { unit: u64, entries: u64, end: u64 },
    #[error(
        "the ledger topic ends with unit {unit} and begins at offset {first}: what it had before was deleted, and not by \
         compaction"
    )]
    Deleted { unit: u64, first: u64 },
    #[error(
        "{events} parked event(s) of {sequences} sequence(s) are not in their topic, by what it has up to offset {end}; \
         was it made anew?"
    )]
    Parked {
        events: u64,
        sequences: u64,
        end: u64,
    },
}

/// What there is of a partition.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    /// The last unit by the committed positions.
    pub(super) offsets: u64,
    /// The last unit by the ledger.
    pub(super) unit: u64,
    /// That were read of it.
    pub(super) entries: u64,
    /// Whether it says on what the partition stands.
    pub(super) has_begun: bool,
    pub(super) missing: Missing,
    /// The topics, by [`crate::embedded::Log`].
    pub(super) extents: [Extent; 2],
}

impl Found {
    pub(super) fn gap(self) -> Option<Gap> {
        let Self {
            offsets,
            unit,
            entries,
            has_begun,
            missing: Missing { sequences, events },
            extents: [Extent { first, end, .. }, parks],
        } = self;
        if offsets > unit {
            // The number in the committed offsets is what fences trust: the ledger must not be behind it.
            return Some(Gap::End {
                offsets,
                ledger: unit,
                entries,
                end,
            });
        }
        if unit == 0 {
            return None;
        }
        if !has_begun {
            return Some(Gap::Beginning { unit, entries, end });
        }
        if first > 0 {
            return Some(Gap::Deleted { unit, first });
        }
        (events > 0).then_some(Gap::Parked {
            events,
            sequences,
            end: parks.end,
        })
    }
}

#[cfg(test)]
mod tests;
