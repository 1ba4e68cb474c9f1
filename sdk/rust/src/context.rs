//! What the host knows about this attempt.

use std::time::{Duration, SystemTime};

use crate::host::context;

/// Which attempt of the event this is; 1 for the first.
pub fn attempt() -> u32 {
    context::attempt()
}

/// What is left until the time limit ends this attempt.
pub fn remaining() -> Duration {
    Duration::from_millis(context::remaining_ms())
}

/// The time of this attempt, to the millisecond. It stands still within an attempt and is virtual in tests.
pub fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(context::now_ms())
}

/// The tenant that the event belongs to.
pub fn tenant() -> Option<String> {
    context::tenant()
}

/// The topic that the event came from, in its full name.
pub fn topic() -> String {
    context::topic()
}

/// The partition that the event came from.
pub fn partition() -> u32 {
    context::partition()
}

/// The event's position in its partition.
pub fn position() -> u64 {
    context::position()
}

/// The record key, which orders events and owns state and timers.
pub fn key() -> Option<Vec<u8>> {
    context::key()
}

/// A key for a call to a system outside, the same on every attempt, host and version. The label tells several calls of
/// one event apart.
pub fn idempotency_key(label: &str) -> String {
    context::idempotency_key(label)
}
