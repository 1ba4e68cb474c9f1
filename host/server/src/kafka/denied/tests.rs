use super::*;

#[test]
fn what_people_can_mend_is_told_with_what_to_do() {
    for (code, words) in [
        (RDKafkaErrorCode::TopicAuthorizationFailed, "\"Rights\""),
        (RDKafkaErrorCode::GroupAuthorizationFailed, "\"Rights\""),
        (
            RDKafkaErrorCode::InvalidReplicationFactor,
            "kafka.replication",
        ),
        (RDKafkaErrorCode::PolicyViolation, "kafka.create_topics"),
    ] {
        let error = KafkaError::AdminOp(code);
        let said = Refusal(error.clone()).to_string();
        assert!(said.starts_with(&error.to_string()), "{said}");
        assert!(said.contains(words), "{said}");
    }
    let error = KafkaError::AdminOp(RDKafkaErrorCode::OperationTimedOut);
    assert_eq!(told(&error), error.to_string());
}
