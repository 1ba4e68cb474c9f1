//! Commands about letters, to the owners of their partitions.

use std::time::Duration;

use weir_core::command::{self, Command, Kind};
use weir_core::dead_letter::Letter;
use weir_core::event::Record;

use super::LettersError;
use crate::bus::Publish;
use crate::clock;
use crate::lookup::{Answer, Asked, Question};
use crate::names;
use crate::pipeline::Subscription;

/// Between two looks at whether a command was obeyed.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Publishes commands, each about a letter of a partition with the record that died; all of them or none.
pub async fn command(
    subscription: &Subscription,
    commands: Vec<(u32, Kind, Letter, Record)>,
) -> Result<(), LettersError> {
    let topic = names::commands_topic(&subscription.deployment.scope.group);
    let now = clock::now();
    let records = commands
        .into_iter()
        .map(|(partition, kind, letter, original)| {
            let command = Command {
                kind,
                letter: letter.id,
                replays: letter.replays,
                origin: letter.origin,
            };
            Publish {
                // Modulo the number of partitions it is the partition itself.
                partition_hash: partition,
                record: command::to_record(&command, original, now.0),
            }
        });
    Ok(subscription.bus.publish(&topic, records.collect()).await?)
}

/// Waits until the owners of these partitions have obeyed all that was published before; false when they have not in
/// this time, or they or the cluster cannot be asked.
pub async fn wait_obeyed(subscription: &Subscription, partitions: &[u32], time: Duration) -> bool {
    let topic = names::commands_topic(&subscription.deployment.scope.group);
    let all = async {
        let mut left = Vec::new();
        for &partition in partitions {
            let bounds = subscription.bus.bounds(&topic, partition).await?;
            left.push((partition, bounds.map_or(0, |(_, end)| end)));
        }
        loop {
            let asked = left.iter().map(|&(partition, _)| Asked {
                partition,
                question: Question::Letters(Vec::new()),
            });
            let answers = subscription.look_up(asked.collect()).await?;
            let mut answers = answers.into_iter();
            left.retain(|(_, end)| match answers.next() {
                Some(Answer::Letters { obeyed, .. }) => obeyed < *end,
                Some(Answer::Parked(_) | Answer::Sequence(_)) | None => true,
            });
            if left.is_empty() {
                return Ok::<_, LettersError>(());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    matches!(tokio::time::timeout(time, all).await, Ok(Ok(())))
}
