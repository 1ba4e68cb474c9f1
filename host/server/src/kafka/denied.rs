//! What brokers refuse: what to do about it, and whether it is over by itself.

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::bus::SubscribeError;
use crate::ledger::Scope;

/// What a broker answered instead of doing what it was asked for.
#[derive(Debug, thiserror::Error)]
#[error("{}", told(.0))]
pub(super) struct Refusal(pub(super) KafkaError);

/// What a broker says, and what to do where that does not say it.
pub(super) fn told(error: &KafkaError) -> String {
    match code_of(error).and_then(remedy) {
        Some(remedy) => format!("{error}: {remedy}"),
        None => error.to_string(),
    }
}

fn remedy(code: RDKafkaErrorCode) -> Option<&'static str> {
    match Some(code) {
        Some(
            RDKafkaErrorCode::TopicAuthorizationFailed
            | RDKafkaErrorCode::GroupAuthorizationFailed
            | RDKafkaErrorCode::TransactionalIdAuthorizationFailed
            | RDKafkaErrorCode::ClusterAuthorizationFailed,
        ) => Some("give the host the rights that docs/kafka.md lists under \"Rights\""),
        Some(RDKafkaErrorCode::InvalidReplicationFactor) => Some(
            "the cluster has fewer brokers at the moment: start them, or write a smaller kafka.replication",
        ),
        Some(RDKafkaErrorCode::PolicyViolation) => Some(
            "the cluster has rules for new topics (create.topic.policy.class.name): write the kafka.replication that they ask \
             for, or let somebody else make the topics and write kafka.create_topics = \"check\"",
        ),
        Some(_) | None => None,
    }
}

/// Why a subscription could not be joined: what is not allowed stays so, anything else may be over in a moment.
pub(super) fn unjoined(scope: &Scope, what: &str, error: &KafkaError) -> SubscribeError {
    let message = format!("{what}: {}", told(error));
    match code_of(error) {
        Some(RDKafkaErrorCode::PolicyViolation) => refused(scope, message),
        Some(_) if is_denied(error) => refused(scope, message),
        Some(_) | None => unavailable(scope, message),
    }
}

/// Whether it says that this host may not do what it asked for.
pub(super) fn is_denied(error: &KafkaError) -> bool {
    matches!(
        code_of(error),
        Some(
            RDKafkaErrorCode::TopicAuthorizationFailed
                | RDKafkaErrorCode::GroupAuthorizationFailed
                | RDKafkaErrorCode::ClusterAuthorizationFailed
        )
    )
}

fn code_of(error: &KafkaError) -> Option<RDKafkaErrorCode> {
    if let KafkaError::AdminOp(code) = error {
        return Some(*code);
    }
    error.rdkafka_error_code()
}

pub(super) fn refused(scope: &Scope, message: String) -> SubscribeError {
    SubscribeError::Refused {
        group: scope.group.to_string(),
        message,
    }
}

/// The same of what may be over in a moment.
pub(super) fn unavailable(scope: &Scope, message: String) -> SubscribeError {
    SubscribeError::Unavailable {
        group: scope.group.to_string(),
        message,
    }
}

#[cfg(test)]
mod tests;
