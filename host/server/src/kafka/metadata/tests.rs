use std::cell::Cell;

use rdkafka::error::RDKafkaErrorCode;

use super::*;

const LONG: Duration = Duration::from_secs(3600);
const AWAY: KafkaError = KafkaError::MetadataFetch(RDKafkaErrorCode::OperationTimedOut);

fn led(name: &str, leaders: &[i32]) -> Described {
    let leaders = leaders.iter().map(|id| (*id >= 0).then_some(*id));
    (name.into(), Some(leaders.collect()))
}

#[test]
fn a_failure_counts_as_an_answer_for_as_long_as_one() {
    let metadata = Metadata::default();
    let asked = Cell::new(0);
    let fail = || {
        asked.set(asked.get() + 1);
        Err(AWAY)
    };
    for _ in 0..3 {
        assert_eq!(metadata.refresh_by(LONG, fail), Err(AWAY));
    }
    assert_eq!(asked.get(), 1);
    assert_eq!(metadata.refresh_by(Duration::ZERO, fail), Err(AWAY));
    assert_eq!(asked.get(), 2);
}

#[test]
fn what_was_known_stays_known_while_nobody_answers() {
    let metadata = Metadata::default();
    metadata
        .refresh_by(Duration::ZERO, || Ok(vec![led("a", &[1, -1])]))
        .unwrap();
    assert_eq!(metadata.refresh_by(Duration::ZERO, || Err(AWAY)), Err(AWAY));
    assert_eq!(metadata.partitions("a"), Some(2));
    assert_eq!(metadata.leader("a", 0), Some(1));
    assert_eq!(metadata.leader("a", 1), None);
}

/// On the way of what is emitted, too: hosts that count differently would place one key differently.
#[test]
fn a_topic_that_has_grown_is_known_with_the_next_answer() {
    let metadata = Metadata::default();
    for leaders in [&[1][..], &[1, 2, 1]] {
        metadata
            .refresh_by(Duration::ZERO, || Ok(vec![led("a", leaders)]))
            .unwrap();
        assert_eq!(metadata.partitions("a"), u32::try_from(leaders.len()).ok());
    }
}

#[test]
fn a_topic_is_forgotten_some_time_after_the_last_answer_that_had_it() {
    let (mut known, start) = (Known::default(), Instant::now());
    known.take(vec![led("a", &[1]), led("b", &[1])], start);
    let soon = start + FORGOTTEN / 2;
    // It is there, and its broker cannot say more at the moment.
    known.take(vec![led("b", &[1]), ("a".into(), None)], soon);
    assert!(known.topics.contains_key("a"));
    known.take(vec![led("b", &[1])], start + FORGOTTEN);
    let left: Vec<_> = known.topics.keys().map(|name| &**name).collect();
    assert_eq!(left, ["b"]);
}
