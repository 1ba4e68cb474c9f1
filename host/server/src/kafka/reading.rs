//! Reads a partition to its end outside of any group: when the end is one, what is on the way there, and what is lost.

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;

use super::clients::Logged;
use super::records::number;
use super::waiting::{ANSWER, pause};

/// Between two looks at what the cluster has still to write.
pub(super) const AGAIN: Duration = Duration::from_millis(20);
/// Between two looks how long nothing has come; a record wakes the thread.
const LOOK: Duration = Duration::from_millis(100);

/// Waits until what was written before `high` is committed or aborted.
pub(super) fn wait_until_stable(
    consumer: &BaseConsumer<Logged>,
    topic: &str,
    partition: u32,
    high: u64,
    patience: Duration,
) -> Result<(), KafkaError> {
    let deadline = Instant::now() + patience;
    loop {
        // This client reads what is committed, so for it a partition ends at the last stable offset.
        let error = match consumer.fetch_watermarks(topic, number(partition), ANSWER) {
            Ok((_, stable)) if u64::try_from(stable).is_ok_and(|stable| stable >= high) => {
                return Ok(());
            }
            Ok(_) => KafkaError::OffsetFetch(RDKafkaErrorCode::UnstableOffsetCommit),
            Err(error) => error,
        };
        if Instant::now() > deadline {
            return Err(error);
        }
        pause(AGAIN);
    }
}

/// What looks like the end of a partition.
pub(super) enum End {
    /// The broker says so.
    Told,
    /// It has said so, and nothing has come since for as long as is waited.
    Silent,
}

/// Hands over what comes of the partition that is assigned up to its end, if it is one by `is_end`. It fails where nothing
/// comes for `silence`, and at once with an error that `stops` it: all others are those of a connection that is made anew.
pub(super) fn read_to_end<E>(
    consumer: &BaseConsumer<Logged>,
    silence: Duration,
    (is_end, stops): (impl Fn(End) -> bool, impl Fn(&KafkaError) -> bool),
    failed: impl Fn(KafkaError) -> E,
    mut each: impl FnMut(&BorrowedMessage<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let (mut heard, mut is_told) = (Instant::now(), false);
    loop {
        match consumer.poll(LOOK) {
            Some(Ok(message)) => {
                each(&message)?;
                heard = Instant::now();
            }
            Some(Err(KafkaError::PartitionEOF(_))) if is_end(End::Told) => return Ok(()),
            Some(Err(KafkaError::PartitionEOF(_))) => is_told = true,
            None if is_told && heard.elapsed() > silence && is_end(End::Silent) => return Ok(()),
            Some(Err(error)) if heard.elapsed() > silence || stops(&error) => {
                return Err(failed(error));
            }
            None if heard.elapsed() > silence => {
                let late = RDKafkaErrorCode::OperationTimedOut;
                return Err(failed(KafkaError::MessageConsumption(late)));
            }
            Some(Err(_)) | None => {}
        }
    }
}

/// Whether nothing is read any more where it was read, until it is begun anew.
pub(super) fn is_lost(error: &KafkaError) -> bool {
    let codes = [
        RDKafkaErrorCode::UnknownTopicOrPartition,
        RDKafkaErrorCode::TopicAuthorizationFailed,
    ];
    is_gone(error) || matches!(error, KafkaError::MessageConsumption(code) if codes.contains(code))
}

/// Whether the position is gone: what stood there was deleted, or the topic was made anew.
pub(super) fn is_gone(error: &KafkaError) -> bool {
    let codes = [
        RDKafkaErrorCode::AutoOffsetReset,
        RDKafkaErrorCode::LogTruncation,
        RDKafkaErrorCode::OffsetOutOfRange,
    ];
    matches!(error, KafkaError::MessageConsumption(code) if codes.contains(code))
}

#[cfg(test)]
mod tests;
