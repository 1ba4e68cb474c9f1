use weir_core::partition::Ordering;

use super::*;
use crate::kafka::origin::Topic;
use crate::ledger::Fixed;

fn of(partitions: u32) -> Description {
    Description { id: 7, partitions }
}

#[test]
fn a_topic_that_is_denied_hides_nothing_of_the_others() {
    let topic = |name: &str| Topic {
        name: Some(name.into()),
        description: of(4),
    };
    let before = Origin {
        fixed: Fixed {
            ordering: Ordering::Key,
            across_topics: false,
            inbox: true,
            inbox_key: None,
            mapping: None,
        },
        topics: ["denied", "grown", "gone"].map(topic).to_vec(),
    };
    let denied = KafkaError::AdminOp(RDKafkaErrorCode::TopicAuthorizationFailed);
    let told = vec![Err(denied), Ok(Some(of(8))), Ok(None)];
    let found = or_as_it_was(&before, told);
    assert_eq!(found, [Some(of(4)), Some(of(8)), None]);
}
