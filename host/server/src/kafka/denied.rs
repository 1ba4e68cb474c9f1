//! What brokers refuse: to whom it is said, and whether it is over by itself.

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::bus::SubscribeError;
use crate::ledger::Scope;

/// Why a subscription could not be joined: what is not allowed stays so, anything else may be over in a moment.
pub(super) fn unjoined(scope: &Scope, what: &str, error: &KafkaError) -> SubscribeError {
    let message = format!("{what}: {error}");
    match code_of(error) {
        Some(RDKafkaErrorCode::PolicyViolation) => refused(scope, message),
        Some(_) if is_denied(error) => refused(scope, message),
        Some(_) | None => SubscribeError::Unavailable {
            group: scope.group.to_string(),
            message,
        },
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
