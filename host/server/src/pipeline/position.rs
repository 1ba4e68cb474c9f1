//! Where a partition goes on: at what was committed, at the start of a new subscription, or where an operator says when
//! the position is lost.

use std::time::Duration;

use weir_core::inbox;
use weir_core::unit::{CommitResult, Cursor, ItemId, Restore, Unit};

use super::{PipelineError, Subscription};
use crate::alarm::Alarm;
use crate::clock;
use crate::ledger::{LedgerError, LostPosition};
use crate::manifest::From;
use crate::steering::Start;

/// After a start that the ledger could not take.
const COMMIT_BACK_OFF: Duration = Duration::from_secs(1);

/// Why a lost position was not replaced.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChoiceError {
    /// The ledger could not be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The log does not have it; says what it has.
    #[error(
        "partition {partition} of topic {topic} has offsets {first} to {end}, {offset} is none of them"
    )]
    Offset {
        /// Partition number.
        partition: u32,
        /// Full name.
        topic: String,
        /// What was asked.
        offset: u64,
        /// The first that is kept.
        first: u64,
        /// The one after the last.
        end: u64,
    },
    /// Nothing was changed.
    #[error("commit the position of partition {partition}: {message}")]
    Commit {
        /// Partition number.
        partition: u32,
        /// From the ledger.
        message: String,
    },
}

/// What the ledger holds; a new subscription commits its start first, so that a position which is missing later is
/// known to be lost.
pub(crate) async fn restore(
    subscription: &Subscription,
    partition: u32,
    window: inbox::Config,
) -> Result<Restore, PipelineError> {
    let scope = &subscription.deployment.scope;
    let ledger = &subscription.ledger;
    let lost = ledger.lost_positions(scope, partition).await?;
    if !lost.is_empty() {
        let message = describe(subscription, &lost);
        return Err(PipelineError::PositionLost { partition, message });
    }
    let restore = ledger.restore(scope, partition, window).await?;
    if restore.unit > 0 {
        ledger.begin(scope, partition)?;
        return Ok(restore);
    }
    let mut unit = unit_of(&restore);
    if subscription.deployment.manifest.from == From::Latest {
        for (cursor, end) in unit.cursors.iter_mut().zip(&restore.ends) {
            cursor.frontier = *end;
        }
    }
    let status = &subscription.status;
    loop {
        match ledger.commit(scope, partition, unit.clone()).await {
            CommitResult::Committed => {
                status.clear(Alarm::CommitFailing, Some(partition));
                return Ok(ledger.restore(scope, partition, window).await?);
            }
            CommitResult::Refused { message, .. } => {
                return Err(PipelineError::Start { partition, message });
            }
            // The bus is about to say so.
            CommitResult::Moved => return std::future::pending().await,
            CommitResult::Unavailable { message } => {
                status.raise(Alarm::CommitFailing, Some(partition), message);
                tokio::time::sleep(COMMIT_BACK_OFF).await;
            }
        }
    }
}

/// What is lost of a partition, for people.
pub(crate) fn describe(subscription: &Subscription, lost: &[LostPosition]) -> String {
    let topics = &subscription.deployment.scope.topics;
    let name = |one: &LostPosition| {
        topics
            .get(usize::from(one.topic))
            .map_or("", |name| &**name)
    };
    let lost = lost.iter().map(|one| one.describe(name(one)));
    lost.collect::<Vec<_>>().join("; ")
}

/// Commits another position in the place of each lost one of a partition, which must not be served meanwhile. Commands
/// of operators are read from their first, whatever is chosen: one that was obeyed is not obeyed again.
pub(crate) async fn replace(
    subscription: &Subscription,
    partition: u32,
    lost: &[LostPosition],
    start: Start,
) -> Result<(), ChoiceError> {
    let scope = &subscription.deployment.scope;
    let ledger = &subscription.ledger;
    // Its marks are not looked at.
    let window = inbox::Config::default();
    let mut unit = unit_of(&ledger.restore(scope, partition, window).await?);
    for one in lost {
        let LostPosition {
            topic, first, end, ..
        } = *one;
        let frontier = match start {
            _ if topic == subscription.deployment.command_topic() => first,
            Start::Earliest => first,
            Start::Latest => end,
            Start::Offset(offset) if (first..=end).contains(&offset) => offset,
            Start::Offset(offset) => {
                let topic = scope.topics[usize::from(topic)].to_string();
                return Err(ChoiceError::Offset {
                    partition,
                    topic,
                    offset,
                    first,
                    end,
                });
            }
        };
        unit.cursors[usize::from(topic)] = Cursor {
            frontier,
            completed: Vec::new(),
        };
        // They stood in what is lost.
        unit.open.retain(|open| match open.item {
            ItemId::Record(position) => position.topic != topic,
            ItemId::Parked(_) | ItemId::Timer(_) => true,
        });
    }
    match ledger.commit(scope, partition, unit).await {
        CommitResult::Committed => Ok(ledger.begin(scope, partition)?),
        CommitResult::Moved => Err(ChoiceError::Commit {
            partition,
            message: "another host has it".to_owned(),
        }),
        CommitResult::Refused { message, .. } | CommitResult::Unavailable { message } => {
            Err(ChoiceError::Commit { partition, message })
        }
    }
}

/// A unit that changes nothing of what is stored, and says that no attempt may be running.
fn unit_of(restore: &Restore) -> Unit {
    Unit {
        number: restore.unit + 1,
        cursors: restore.cursors.clone(),
        open: restore.open.clone(),
        active: restore.active,
        next_parked: restore.next_parked,
        stream_time: restore.stream_time,
        staged_at: clock::now(),
        ..Unit::default()
    }
}
