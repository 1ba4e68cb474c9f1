use super::*;

#[test]
fn a_position_that_is_gone_is_told_from_a_topic_that_is_away_and_from_a_broker_that_is() {
    for (code, gone, lost) in [
        (RDKafkaErrorCode::AutoOffsetReset, true, true),
        (RDKafkaErrorCode::LogTruncation, true, true),
        (RDKafkaErrorCode::OffsetOutOfRange, true, true),
        (RDKafkaErrorCode::UnknownTopicOrPartition, false, true),
        (RDKafkaErrorCode::TopicAuthorizationFailed, false, true),
        (RDKafkaErrorCode::GroupAuthorizationFailed, false, false),
        (RDKafkaErrorCode::BrokerTransportFailure, false, false),
    ] {
        let error = KafkaError::MessageConsumption(code);
        assert_eq!((is_gone(&error), is_lost(&error)), (gone, lost), "{code:?}");
    }
}
