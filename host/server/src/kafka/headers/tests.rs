use super::*;

#[test]
fn a_message_has_no_headers_only_where_librdkafka_says_so() {
    use rd::rd_kafka_resp_err_t as Answer;
    assert_eq!(are_there(Answer::RD_KAFKA_RESP_ERR_NO_ERROR), Ok(true));
    assert_eq!(are_there(Answer::RD_KAFKA_RESP_ERR__NOENT), Ok(false));
    for (answer, error) in [
        (
            Answer::RD_KAFKA_RESP_ERR__BAD_MSG,
            RDKafkaErrorCode::BadMessage,
        ),
        (
            Answer::RD_KAFKA_RESP_ERR__UNDERFLOW,
            RDKafkaErrorCode::Underflow,
        ),
    ] {
        assert_eq!(are_there(answer), Err(error));
    }
}
